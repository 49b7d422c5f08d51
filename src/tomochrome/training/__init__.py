"""Training of the shipped models: data, augmentation, losses, the loop, calibration, export."""

from __future__ import annotations

__all__: list[str] = []

"""Training of the shipped models: data, augmentation, losses, the loop, calibration, export.

torch is imported when a run begins, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.training.config import TrainingConfig, load_config
    from tomochrome.training.finish import finish
    from tomochrome.training.loop import train

_HOMES = {
    "TrainingConfig": "config",
    "finish": "finish",
    "load_config": "config",
    "train": "loop",
}

__all__ = ["TrainingConfig", "finish", "load_config", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tomochrome.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

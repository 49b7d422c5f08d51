"""From Hounsfield units to tissue color: models, prediction, guided upsampling.

Nothing here imports torch, MONAI or numba before it is needed.
"""

from __future__ import annotations

from tomochrome.colorize.bundle import DEFAULT_MODEL, ModelCard, find_model, models
from tomochrome.colorize.predict import colorize
from tomochrome.colorize.warm import warm_up

__all__ = ["DEFAULT_MODEL", "ModelCard", "colorize", "find_model", "models", "warm_up"]

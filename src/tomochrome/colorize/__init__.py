"""From Hounsfield units to tissue color: models, prediction, guided upsampling.

Nothing here imports torch, MONAI or numba before it is needed.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tomochrome.colorize.bundle import DEFAULT_MODEL, ModelCard, find_model, models
from tomochrome.colorize.predict import colorize
from tomochrome.colorize.warm import warm_up

if TYPE_CHECKING:
    from tomochrome.color import Chroma

__all__ = ["DEFAULT_MODEL", "ModelCard", "colorize", "find_model", "models", "warm_up"]


class _Room(ModuleType):
    """A room that answers to its own name.

    Python hangs an imported room onto its package, so ``tomochrome.colorize`` is this module
    whenever anybody imported it, while users call ``tomochrome.colorize(volume)``: it can do both.
    """

    def __call__(self, *args: Any, **options: Any) -> Chroma:
        """Call `colorize`."""
        return colorize(*args, **options)


sys.modules[__name__].__class__ = _Room

"""Comparison of two volumes: checkerboard, wipe, blend, red-cyan, difference, contours, flicker.

Each comparison is a view that is computed lazily on indexing. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.compare.base import View, render
    from tomochrome.compare.board import MODES, checkerboard, view
    from tomochrome.compare.contours import Contours, ContourSettings
    from tomochrome.compare.mix import (
        Blend,
        BlendSettings,
        Difference,
        DifferenceSettings,
        NoSettings,
        RedCyan,
    )
    from tomochrome.compare.pair import Pair
    from tomochrome.compare.select import (
        Checkerboard,
        CheckerboardSettings,
        Flicker,
        FlickerSettings,
        Wipe,
        WipeSettings,
        smallest_tile_mm,
    )

_MODULES = {
    "MODES": "board",
    "Blend": "mix",
    "Checkerboard": "select",
    "Contours": "contours",
    "WipeSettings": "select",
    "Difference": "mix",
    "Flicker": "select",
    "ContourSettings": "contours",
    "BlendSettings": "mix",
    "Pair": "pair",
    "NoSettings": "mix",
    "RedCyan": "mix",
    "FlickerSettings": "select",
    "DifferenceSettings": "mix",
    "CheckerboardSettings": "select",
    "View": "base",
    "Wipe": "select",
    "checkerboard": "board",
    "render": "base",
    "smallest_tile_mm": "select",
    "view": "board",
}

__all__ = [
    "MODES",
    "Blend",
    "BlendSettings",
    "Checkerboard",
    "CheckerboardSettings",
    "ContourSettings",
    "Contours",
    "Difference",
    "DifferenceSettings",
    "Flicker",
    "FlickerSettings",
    "NoSettings",
    "Pair",
    "RedCyan",
    "View",
    "Wipe",
    "WipeSettings",
    "checkerboard",
    "render",
    "smallest_tile_mm",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tomochrome.compare' has no attribute '{name}'")
    value = getattr(import_module(f"tomochrome.compare.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

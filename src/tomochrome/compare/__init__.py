"""Two volumes side by side in one: checkerboard, wipe, blend, red-cyan, difference, contours.

Each comparison is a view, computed only where it is looked at. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.compare.base import View, render
    from tomochrome.compare.board import MODES, checkerboard, view
    from tomochrome.compare.contours import Contours, Lines
    from tomochrome.compare.mix import Blend, Difference, Mixture, Plain, RedCyan, Spread
    from tomochrome.compare.pair import Pair
    from tomochrome.compare.select import (
        Checkerboard,
        Curtain,
        Flicker,
        Shown,
        Tiles,
        Wipe,
        smallest_tile_mm,
    )

_WHERE = {
    "MODES": "board",
    "Blend": "mix",
    "Checkerboard": "select",
    "Contours": "contours",
    "Curtain": "select",
    "Difference": "mix",
    "Flicker": "select",
    "Lines": "contours",
    "Mixture": "mix",
    "Pair": "pair",
    "Plain": "mix",
    "RedCyan": "mix",
    "Shown": "select",
    "Spread": "mix",
    "Tiles": "select",
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
    "Checkerboard",
    "Contours",
    "Curtain",
    "Difference",
    "Flicker",
    "Lines",
    "Mixture",
    "Pair",
    "Plain",
    "RedCyan",
    "Shown",
    "Spread",
    "Tiles",
    "View",
    "Wipe",
    "checkerboard",
    "render",
    "smallest_tile_mm",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tomochrome.compare' has no attribute '{name}'")
    value = getattr(import_module(f"tomochrome.compare.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

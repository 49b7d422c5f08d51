from .base import View, render
from .board import MODES, checkerboard, view
from .contours import Contours, ContourSettings
from .mix import (
    Blend,
    BlendSettings,
    Difference,
    DifferenceSettings,
    NoSettings,
    RedCyan,
)
from .pair import Pair
from .select import (
    Checkerboard,
    CheckerboardSettings,
    Flicker,
    FlickerSettings,
    Wipe,
    WipeSettings,
    smallest_tile_mm,
)

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

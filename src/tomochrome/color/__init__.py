"""Color: sRGB and CIELAB, gamut, palettes, chroma maps and lighting.

Names are imported on first use, so that palettes can be listed without compiled kernels.
The function ``palette`` is defined in `tomochrome.color.palette`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.color.alpha import ALPHA_PRESETS
    from tomochrome.color.chroma import Chroma
    from tomochrome.color.convert import fit_chroma, lab_to_srgb, lab_to_srgb8, srgb_to_lab
    from tomochrome.color.difference import ciede2000
    from tomochrome.color.lighting import Lighting, light, light_slice
    from tomochrome.color.palette import Palette, palette_names
    from tomochrome.color.selection import TissueSelection
    from tomochrome.color.view import LitVolume, light_3d

_MODULES = {
    "ALPHA_PRESETS": "alpha",
    "Chroma": "chroma",
    "Lighting": "lighting",
    "LitVolume": "view",
    "Palette": "palette",
    "TissueSelection": "selection",
    "ciede2000": "difference",
    "fit_chroma": "convert",
    "lab_to_srgb": "convert",
    "lab_to_srgb8": "convert",
    "light": "lighting",
    "light_3d": "view",
    "light_slice": "lighting",
    "palette_names": "palette",
    "srgb_to_lab": "convert",
}

__all__ = [
    "ALPHA_PRESETS",
    "Chroma",
    "Lighting",
    "LitVolume",
    "Palette",
    "TissueSelection",
    "ciede2000",
    "fit_chroma",
    "lab_to_srgb",
    "lab_to_srgb8",
    "light",
    "light_3d",
    "light_slice",
    "palette_names",
    "srgb_to_lab",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tomochrome.color' has no attribute '{name}'")
    value = getattr(import_module(f"tomochrome.color.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

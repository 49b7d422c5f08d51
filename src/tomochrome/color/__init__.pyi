from .alpha import ALPHA_PRESETS
from .chroma import Chroma
from .convert import fit_chroma, lab_to_srgb, lab_to_srgb8, srgb_to_lab
from .lighting import Lighting, light, light_slice
from .palettes import Palette, palette_names
from .perception import ciede2000
from .selection import TissueSelection
from .slab import Slab, light_slab, light_slabs
from .view import LitVolume, light_3d

__all__ = [
    "ALPHA_PRESETS",
    "Chroma",
    "Lighting",
    "LitVolume",
    "Palette",
    "Slab",
    "TissueSelection",
    "ciede2000",
    "fit_chroma",
    "lab_to_srgb",
    "lab_to_srgb8",
    "light",
    "light_3d",
    "light_slab",
    "light_slabs",
    "light_slice",
    "palette_names",
    "srgb_to_lab",
]

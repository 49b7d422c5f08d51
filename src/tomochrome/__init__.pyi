from .color import Chroma, Lighting, light
from .colorization import (
    ColoringReport,
    ColoringRequest,
    Reference,
    colorize,
    colorize_file,
    models,
)
from .colorization.hints import apply_hints
from .colorization.photograph_coloring import colorize_photograph
from .compare import checkerboard
from .errors import TomochromeError
from .io import ColoredScan, find, open_colored, read, save_colored, write
from .registration.pairwise import Registration, register
from .rendering.cinematic import render
from .restoration.defects import Restoration
from .restoration.scan_restoration import restore
from .transform import Transform
from .volume import Volume

__version__: str

__all__ = [
    "Chroma",
    "ColoredScan",
    "ColoringReport",
    "ColoringRequest",
    "Lighting",
    "Reference",
    "Registration",
    "Restoration",
    "TomochromeError",
    "Transform",
    "Volume",
    "__version__",
    "apply_hints",
    "checkerboard",
    "colorize",
    "colorize_file",
    "colorize_photograph",
    "find",
    "light",
    "models",
    "open_colored",
    "read",
    "register",
    "render",
    "restore",
    "save_colored",
    "write",
]

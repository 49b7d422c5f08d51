"""Tomochrome: anatomical color for CT. Luminance comes from the scanner, chroma from a model.

Not for diagnosis. Submodules are imported on first use, so that ``import tomochrome`` and
``tomochrome --help`` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tomochrome.color import Chroma, Lighting, light
    from tomochrome.colorization import Reference, colorize, models
    from tomochrome.colorization.hints import apply_hints
    from tomochrome.colorization.photograph import colorize_photograph
    from tomochrome.compare import checkerboard
    from tomochrome.errors import TomochromeError
    from tomochrome.io import find, read, write
    from tomochrome.registration.pairwise import Registration, register
    from tomochrome.transform import Transform
    from tomochrome.volume import Volume

_WHERE = {
    "Chroma": "tomochrome.color",
    "Lighting": "tomochrome.color",
    "light": "tomochrome.color",
    "apply_hints": "tomochrome.colorization.hints",
    "checkerboard": "tomochrome.compare",
    "Reference": "tomochrome.colorization",
    "colorize": "tomochrome.colorization",
    "colorize_photograph": "tomochrome.colorization.photograph",
    "models": "tomochrome.colorization",
    "find": "tomochrome.io",
    "read": "tomochrome.io",
    "write": "tomochrome.io",
    "register": "tomochrome.registration.pairwise",
    "Registration": "tomochrome.registration.pairwise",
    "Transform": "tomochrome.transform",
    "Volume": "tomochrome.volume",
    "TomochromeError": "tomochrome.errors",
}

__all__ = [
    "Chroma",
    "Lighting",
    "Reference",
    "Registration",
    "TomochromeError",
    "Transform",
    "Volume",
    "__version__",
    "apply_hints",
    "checkerboard",
    "colorize",
    "colorize_photograph",
    "find",
    "light",
    "models",
    "read",
    "register",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tomochrome' has no attribute '{name}'")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

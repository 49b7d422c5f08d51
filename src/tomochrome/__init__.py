"""Tomochrome: anatomical color for CT. Luminance comes from the scanner, chroma from a model.

Not for diagnosis. Submodules are imported on first use, so that ``import tomochrome`` and
``tomochrome --help`` are fast.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.append("__version__")


def __dir__() -> list[str]:
    return __all__

"""Color: sRGB and CIELAB, gamut, palettes, chroma maps and lighting.

Names are imported on first use, so that palettes can be listed without compiled kernels.
The function ``palette`` is defined in `tomochrome.color.palettes`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Comparison of two volumes: checkerboard, wipe, blend, red-cyan, difference, contours, flicker.

Each comparison is a view that is computed lazily on indexing. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

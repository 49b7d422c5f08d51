"""A procedural CT phantom: realistic patients by seed, as arrays.

A patient consists of a label map, a CT in HU and an affine. Arrays are indexed (z, y, x), with z to
superior, y to posterior and x to the patient's left; positions are LPS in mm. The package needs
numpy, scipy and numba, which it imports on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Defects of CT: their simulation in the projections or slices where they arise."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

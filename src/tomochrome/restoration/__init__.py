"""Restoration of CT: defects are simulated, found and filled, and what was filled is marked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

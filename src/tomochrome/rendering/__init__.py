"""Pictures of a colored scan in 3D, with light and shadow, and films of a turn around it.

Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

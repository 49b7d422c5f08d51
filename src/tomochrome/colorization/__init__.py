"""From Hounsfield units to tissue color: models, prediction, guided upsampling.

Names are imported on first use; torch, MONAI and numba only when something is computed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

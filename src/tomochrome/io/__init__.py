"""Reading and writing volumes: DICOM, NIfTI, NRRD, MetaImage, PNG.

Names are imported on first use, so that a child of `tomochrome.runtime.sandbox` which needs one
module does not wait for all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

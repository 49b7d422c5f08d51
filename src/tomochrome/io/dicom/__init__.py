"""DICOM: finding and judging series, reading and writing them.

Nothing is imported before it is used, so that a child of `tomochrome.runtime.sandbox` which
decodes frames does not wait for pydicom.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

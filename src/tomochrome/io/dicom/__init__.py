"""Classic DICOM series: headers, geometry, pixels, and writing."""

from tomochrome.io.dicom.write import write_series

__all__ = ["write_series"]

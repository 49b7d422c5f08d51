"""Reading and writing volumes: DICOM, NIfTI, NRRD, MetaImage, PNG."""

from tomochrome.io.find import find
from tomochrome.io.item import Found, Item, Skipped
from tomochrome.io.read import read
from tomochrome.io.write import check_fits, check_output, write

__all__ = ["Found", "Item", "Skipped", "check_fits", "check_output", "find", "read", "write"]

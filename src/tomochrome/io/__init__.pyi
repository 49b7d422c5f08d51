from .colored_scan import ColoredScan, open_colored, save_colored
from .dicom.source_study import SourceStudy, source_identity, source_study
from .dicom.tissue_segmentation import write_segmentation
from .image_formats import is_colored_scan
from .listing import find
from .measurement_file import read_measurements, write_measurements
from .reading import read
from .series_item import Item, Listing, Skipped
from .surfaces import surface, write_surfaces
from .writing import check_fits, check_output, companions, write, write_slice

__all__ = [
    "ColoredScan",
    "Item",
    "Listing",
    "Skipped",
    "SourceStudy",
    "check_fits",
    "check_output",
    "companions",
    "find",
    "is_colored_scan",
    "open_colored",
    "read",
    "read_measurements",
    "save_colored",
    "source_identity",
    "source_study",
    "surface",
    "write",
    "write_measurements",
    "write_segmentation",
    "write_slice",
    "write_surfaces",
]

"""Reading and writing volumes: DICOM, NIfTI, NRRD, MetaImage, PNG.

Names are imported on first use, so that a child of `tomochrome.runtime.sandbox` which needs one
module does not wait for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.io.listing import find
    from tomochrome.io.reading import read
    from tomochrome.io.series_item import Found, Item, Skipped
    from tomochrome.io.writing import check_fits, check_output, write

_WHERE = {
    "Found": "series_item",
    "Item": "series_item",
    "Skipped": "series_item",
    "check_fits": "writing",
    "check_output": "writing",
    "find": "listing",
    "read": "reading",
    "write": "writing",
}

__all__ = ["Found", "Item", "Skipped", "check_fits", "check_output", "find", "read", "write"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tomochrome.io' has no attribute '{name}'")
    value = getattr(import_module(f"tomochrome.io.{_WHERE[name]}"), name)
    globals()[name] = value
    return value

"""DICOM: finding and judging series, reading and writing them.

Nothing is imported before it is used, so that a child of `tomochrome.runtime.sandbox` which
decodes frames does not wait for pydicom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.io.dicom.dicom_write import write_series

__all__ = ["write_series"]


def __getattr__(name: str) -> Any:
    if name != "write_series":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from tomochrome.io.dicom.dicom_write import write_series

    return write_series

"""Export of a phantom patient as a DICOM series."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tomochrome.phantom.patient import Patient


def write_dicom(
    patient: Patient,
    folder: str | os.PathLike[str],
    *,
    compress: Literal["j2k"] | None = None,
    force: bool = False,
) -> Path:
    """Write a phantom's CT as a classic CT series, one file per slice.

    Parameters
    ----------
    patient
        A patient from `tomochrome.phantom.make_patient`.
    folder
        As for `tomochrome.io.dicom.write_series`.
    compress
        ``"j2k"`` for JPEG 2000 lossless; None for uncompressed explicit little endian.
    force
        Replace an existing series in that folder.

    Returns
    -------
    Path
        As from `tomochrome.io.dicom.write_series`.

    Raises
    ------
    OutputError, Cancelled
        As for `tomochrome.io.dicom.write_series`.
    """
    from tomochrome.io.dicom import write_series

    return write_series(
        patient.ct,
        folder,
        description=patient.description,
        patient_position="HFS",
        compress=compress,
        force=force,
    )

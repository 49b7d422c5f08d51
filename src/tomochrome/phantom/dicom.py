"""A phantom patient as a DICOM series, for the demo, for tests and for other programs."""

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
    """Write a phantom's CT as a classic CT series, one file a slice.

    Parameters
    ----------
    patient
        What `tomochrome.phantom.make_patient` returned.
    folder
        Folder to make; its parent must exist.
    compress
        ``"j2k"`` for JPEG 2000 lossless; None for uncompressed explicit little endian.
    force
        Replace an earlier series in that folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        If the folder cannot be written, or is there already (without ``force``).
    Cancelled
        If cancelled; nothing is left behind.
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

"""Results of `tomochrome.io.find`: readable items and skipped files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.notices import Notice
from tomochrome.volume import ScannerWindow, Unit, Verdict


@dataclass(frozen=True, eq=False)
class Item:
    """Description of one series or volume, without its pixels.

    Parameters
    ----------
    path
        The file, or the folder that holds the series.
    kind
        ``"dicom-series"``, ``"dicom-file"``, ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.
    series_uid
        DICOM Series Instance UID, or empty.
    modality
        DICOM modality, for example ``"CT"``; ``"unknown"`` if not given.
    title
        Series description without patient data.
    series_number
        DICOM series number, or None.
    study_title
        Study description without patient data.
    patient, study
        Keys shared by items of the same patient or study. They reveal nothing about the patient
        and differ in every process; empty for files that are not DICOM.
    phase
        Distinguishes volumes of the same series or file: ``"2 of 3"``, or empty.
    label
        What the headers say about it, in contrast to the other volumes of the series, for example
        ``"MONO_40"`` or ``"80 kV"``; or empty.
    key
        Value of `name` if the series UID alone is ambiguous.
    shape
        Number of voxels along (z, y, x), or None if unknown.
    present
        Number of slices that exist if some are missing, so that ``shape`` has more; otherwise 0.
    spacing
        Voxel spacing along (z, y, x) in mm, or None.
    affine
        4x4 matrix from (z, y, x) index to LPS mm of the volume that `read` returns, or None.
    value_range
        Minimum and maximum, or None (for DICOM, unless pixels were requested).
    unit
        Unit of the values.
    windows
        Windows stored in the header.
    verdict
        Assessment of the geometry and the kind of image.
    warnings
        Warnings for the user.
    refusal
        Why `read` refuses this item; None if it can be read.
    source
        Internal data for the reader.
    identity
        Patient name, id and birth date, accession number and study date, only if requested;
        never part of the JSON.
    """

    path: str
    kind: str
    series_uid: str = ""
    modality: str = "unknown"
    title: str = ""
    series_number: int | None = None
    study_title: str = ""
    patient: str = field(default="", repr=False)
    study: str = field(default="", repr=False)
    phase: str = ""
    label: str = ""
    key: str = ""
    shape: tuple[int, int, int] | None = None
    present: int = 0
    spacing: tuple[float, float, float] | None = None
    affine: NDArray[np.float64] | None = None
    value_range: tuple[float, float] | None = None
    unit: Unit = "unknown"
    windows: tuple[ScannerWindow, ...] = ()
    verdict: Verdict = "regular"
    warnings: tuple[Notice, ...] = ()
    refusal: Notice | None = None
    source: Any = field(default=None, repr=False)
    identity: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Unique name of the item among those found, accepted by `read` as ``series``.

        The series UID, with a number appended if it is ambiguous (``1.2.3#2``); without a UID, the
        path of the first slice or of the file.
        """
        return self.key or self.series_uid or self.path

    def to_json(self) -> dict[str, Any]:
        """Return the item as ``tomochrome info --json`` prints it, without patient identity."""
        value_range = self.value_range
        if value_range is not None and not np.isfinite(value_range).all():  # no JSON numbers
            value_range = None
        return {
            "path": self.path,
            "kind": self.kind,
            "series_uid": self.series_uid,
            "modality": self.modality,
            "shape": None if self.shape is None else list(self.shape),
            "spacing_mm": None if self.spacing is None else [float(v) for v in self.spacing],
            "affine": None if self.affine is None else self.affine.tolist(),
            "value_range": None if value_range is None else list(value_range),
            "unit": self.unit,
            "windows": [
                {"name": w.name, "center": w.center, "width": w.width} for w in self.windows
            ],
            "verdict": self.verdict,
            "warnings": list(map(str, self.warnings)),
            **({"refusal": self.refusal.text} if self.refusal else {}),
        }


@dataclass(frozen=True)
class Skipped:
    """A file that was skipped, and why."""

    path: str
    reason: str
    sentence: str = ""  #: a full sentence with the file name, if ``reason`` cannot follow "it is"
    general: str = ""  #: ``reason`` without the file name, if it contains that

    def to_json(self) -> dict[str, str]:
        """Return path and reason as plain values."""
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True)
class Listing:
    """Everything that `find` found at a path."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return items and skipped files as ``tomochrome info --json`` prints them."""
        return {
            "items": [item.to_json() for item in self.items],
            "skipped": [file.to_json() for file in self.skipped],
        }

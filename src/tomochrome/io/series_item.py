"""What `tomochrome.io.find` returns: items that can be read, and files that were skipped."""

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
    """One series or volume that was found, described without its pixels.

    Parameters
    ----------
    path
        The file, or the folder that holds the series.
    kind
        ``"dicom-series"``, ``"dicom-file"``, ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.
    series_uid
        DICOM's UID of the series, or empty.
    modality
        DICOM's, for example ``"CT"``; ``"unknown"`` where nothing names it.
    title
        What the scanner calls the series, with nothing of the patient in it.
    series_number
        The scanner's number of the series, or None.
    study_title
        What the study is called, with nothing of the patient in it.
    patient, study
        Keys that items of one patient, or one study, have in common. They say nothing about the
        patient and differ in every process; empty for files that are not DICOM.
    phase
        What tells this volume from the others of its series or file: ``"2 of 3"``, or empty.
    key
        What `name` returns, where the series UID alone would not tell volumes apart.
    shape
        Voxels along (z, y, x), or None where it is not known.
    spacing
        Distance of voxel centres along (z, y, x) in mm, or None.
    affine
        4x4 matrix from (z, y, x) index to LPS mm of the volume that `read` returns, or None.
    value_range
        Least and greatest value, or None (DICOM, unless pixels were asked for).
    unit
        What the values are in.
    windows
        The scanner's own windows.
    verdict
        What is to be said about the geometry and the kind of image.
    warnings
        What the user should know.
    refusal
        The sentence with which `read` refuses this item; empty when it can be read.
    source
        What the reader needs to read it; of no meaning to others.
    identity
        Patient name, id and birth date, accession number and study date, only when they were
        asked for; never part of the JSON.
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
    key: str = ""
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    affine: NDArray[np.float64] | None = None
    value_range: tuple[float, float] | None = None
    unit: Unit = "unknown"
    windows: tuple[ScannerWindow, ...] = ()
    verdict: Verdict = "regular"
    warnings: tuple[Notice, ...] = ()
    refusal: str = ""
    source: Any = field(default=None, repr=False)
    identity: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What `read` takes as ``series`` to choose this item; no other found with it has it.

        The series UID if it names just one volume, or with a number after it (``1.2.3#2``);
        where the UID is empty, the path of the first slice or of the file.
        """
        return self.key or self.series_uid or self.path

    @property
    def _has_range(self) -> bool:
        """Whether the range is known and can be said in JSON, which knows no infinity."""
        return self.value_range is not None and bool(np.isfinite(self.value_range).all())

    def to_json(self) -> dict[str, Any]:
        """Return the item as plain values, as ``tomochrome info --json`` prints it.

        The patient's identity is never among them.
        """
        return {
            "path": self.path,
            "kind": self.kind,
            "series_uid": self.series_uid,
            "modality": self.modality,
            "shape": None if self.shape is None else list(self.shape),
            "spacing_mm": None if self.spacing is None else [float(v) for v in self.spacing],
            "affine": None if self.affine is None else self.affine.tolist(),
            "value_range": None if not self._has_range else list(self.value_range or ()),
            "unit": self.unit,
            "windows": [
                {"name": w.name, "center": w.center, "width": w.width} for w in self.windows
            ],
            "verdict": self.verdict,
            "warnings": list(map(str, self.warnings)),
        }


@dataclass(frozen=True)
class Skipped:
    """A file that was skipped, and why."""

    path: str
    reason: str
    sentence: str = ""  #: the reason with the file's name, where it does not follow "it is"

    def to_json(self) -> dict[str, str]:
        """Return path and reason as plain values."""
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True)
class Found:
    """Everything that `find` met at a path."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return items and skipped files as ``tomochrome info --json`` prints them."""
        return {
            "items": [item.to_json() for item in self.items],
            "skipped": [file.to_json() for file in self.skipped],
        }

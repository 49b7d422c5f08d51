"""The study of a DICOM series, for results that are to lie beside it in an archive (PACS).

For pages, only who the patient is.

Only who asks for it gets it: everything else that is written is anonymous, in a study of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from tomochrome.errors import InputError, OutputError
from tomochrome.io.dicom.header_reader import identity_of
from tomochrome.io.dicom.patient import date_in_words, name_in_words
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.listing import find
from tomochrome.io.reading import choose
from tomochrome.volume import Volume

_EMPTY_ALLOWED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName", "StudyID", "PositionReferenceIndicator",
)  # fmt: skip
_OPTIONAL: Final = (
    "IssuerOfPatientID", "OtherPatientIDs", "PatientAge", "PatientSize", "PatientWeight",
    "StudyDescription", "PatientPosition", "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
_ON_GRID_MM: Final = 0.05


@dataclass(frozen=True, eq=False)
class SourceStudy:
    """Patient, study and frame of reference of a series, and its images.

    Parameters
    ----------
    elements
        The data elements of patient, study and frame of reference.
    series_uid
        SeriesInstanceUID.
    series_number
        SeriesNumber, or 0.
    instances
        SOPClassUID, SOPInstanceUID and position in LPS mm (None for several frames) of each image.
    """

    elements: Dataset = field(repr=False)
    series_uid: str
    series_number: int
    instances: tuple[tuple[str, str, tuple[float, ...] | None], ...] = field(repr=False)

    def instance_of_slice(self, volume: Volume) -> list[tuple[str, str]] | None:
        """Return SOPClassUID and SOPInstanceUID of the image of each slice of a volume.

        Parameters
        ----------
        volume
            A volume in the orientation in which the series was read.

        Returns
        -------
        list of tuple or None
            One for each slice, or None if the slices are not those of the series.
        """
        if len(self.instances) != volume.shape[0]:
            return None
        for z, (_, _, position) in enumerate(self.instances):
            own = volume.affine[:3, 0] * z + volume.affine[:3, 3]
            if position is None or np.abs(own - position).max() > _ON_GRID_MM:
                return None
        return [(sop_class, uid) for sop_class, uid, _ in self.instances]


def source_study(path: str | os.PathLike[str], series: str | None = None) -> SourceStudy:
    """Read the study of a DICOM series, with the identity of the patient.

    Parameters
    ----------
    path, series
        As for `tomochrome.io.read`.

    Returns
    -------
    SourceStudy
        For `tomochrome.io.write` and `tomochrome.io.write_segmentation`.

    Raises
    ------
    OutputError
        If the path is not a DICOM series, or the series names no study or frame of reference.
    InputError
        If it cannot be read.
    """
    item = choose(find(path), Path(path), series)
    if not item.kind.startswith("dicom"):
        raise OutputError(f"'{path}' is not a DICOM series, so there is no study to join")
    headers = item.source.headers
    try:
        with captured_warnings():
            first = dcmread(headers[0].path, stop_before_pixels=True)
            elements = _elements(first)
    except Exception as error:  # `find` has read it; pydicom can fail on any value of another tag
        raise InputError(f"'{headers[0].path}' has a header that cannot be copied") from error
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if not UID(str(first.get(keyword) or "")).is_valid:
            raise OutputError(f"'{path}' has no valid {keyword}, so nothing can join its study")
    return SourceStudy(
        elements,
        str(first.SeriesInstanceUID),
        headers[0].series_number or 0,
        tuple((h.sop_class, h.sop_uid, None if h.is_multiframe else h.position) for h in headers),
    )


def source_identity(path: str | os.PathLike[str], series: str | None = None) -> dict[str, str]:
    """Read name and ID of the patient of a DICOM series, and the date of the study.

    Parameters
    ----------
    path, series
        As for `tomochrome.io.read`.

    Returns
    -------
    dict
        "Patient", "ID" and "Study date" in words, without those that the series lacks; for
        `tomochrome.io.page.CasePage.name_patient`.

    Raises
    ------
    OutputError
        If the path is not a DICOM series, or the series names nobody.
    InputError
        If it cannot be read.
    """
    item = choose(find(path), Path(path), series)
    identity = identity_of(item)
    words = {
        "Patient": name_in_words(identity.get("PatientName", "")),
        "ID": identity.get("PatientID", "").strip(),
        "Study date": date_in_words(identity.get("StudyDate", "")),
    }
    if not words["Patient"] and not words["ID"]:
        raise OutputError(f"'{path}' names no patient, so there is no identity to show")
    return {title: text for title, text in words.items() if text}


def _elements(first: Dataset) -> Dataset:
    """Return copies of the elements, as text in UTF-8."""
    elements = Dataset()
    elements.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _EMPTY_ALLOWED:
        setattr(elements, keyword, str(first.get(keyword) or ""))
    for keyword in _OPTIONAL:
        if first.get(keyword):
            setattr(elements, keyword, first[keyword].value)
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(elements, keyword, str(first.get(keyword) or ""))
    return elements

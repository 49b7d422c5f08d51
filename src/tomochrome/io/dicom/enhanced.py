"""Multi-frame images: one header for each frame.

Enhanced objects (CT, MR, PET, and legacy converted ones) store in functional groups what a
classic series stores in the header of each slice. Functional groups are either shared by all
frames or have one item per frame (DICOM PS3.3 C.7.6.16). A value that is missing for a frame is
taken from the shared groups, or else from the top level of the data set. The order of the frames
has no meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence_item

from tomochrome.errors import InputError
from tomochrome.io.archive import file_error
from tomochrome.io.dicom.damage import COPY_AGAIN
from tomochrome.io.dicom.elements import element, floats, items, number, tag_of, text, unit, values
from tomochrome.io.dicom.header import Header, acquisition_of, times_of, windows_of
from tomochrome.io.dicom.kinds import other_than_image

TAGS: Final = tuple(
    tag_of(keyword)
    for keyword in (
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
        "DimensionIndexSequence", "RealWorldValueMappingSequence", "GridFrameOffsetVector",
    )
)  # fmt: skip
"""Elements to read from a multi-frame file in addition to those of every header."""

MAX_FRAMES: Final = 100_000
"""Limit on the frames of a file: a whole-organ perfusion scan has 320 slices at some 60 times."""
SAME_OFFSET_MM: Final = 0.01
"""Tolerance of frame offsets, which are written with at least two decimal places."""

_FRAME_TYPES: Final = (
    "CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence",
    "XRay3DFrameTypeSequence",
)  # fmt: skip
_PLACES: Final = {
    "InStackPositionNumber", "ImagePositionPatient", "ImageOrientationPatient", "SliceLocation",
    "ImagePositionVolume", "ImageOrientationVolume", "FrameNumber", "InstanceNumber",
    "FrameAcquisitionNumber",
}  # fmt: skip
"""Dimensions that index frame positions, which the headers give exactly, or only count frames."""
_MAPS: Final = {"RCBF", "RCBV", "MTT", "TTP", "T_TEST", "Z_SCORE", "STD_DEVIATION", "QUANTITY"}
"""Quantities other than X-ray attenuation that the values of a CT object may represent."""
_STACK: Final = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_UNIT: Final = re.compile(r"(?=.*[/%0-9]|..?$)[A-Za-z0-9/.%{}*]{1,16}")
"""Units such as ml/100ml/s, 1 and ms; names do not match."""
_DATE_TIME: Final = re.compile(r"\d{8}(\d\d)(\d\d)(\d\d(?:\.\d{1,6})?)(?:[+-]\d{4})?")


def frames(path: Path, dataset: Dataset, base: Header) -> list[Header]:
    """Return one header for each frame of a multi-frame image.

    `Header.acquisition` contains the stack, the temporal position and any other non-spatial
    dimension as ``("StackID", "1")``, ``("TemporalPositionIndex", "2")`` and so on, in addition
    to acquisition number, percentage of the cardiac cycle, tube voltage and kernel.

    Parameters
    ----------
    path
        Path for error messages.
    dataset
        The data set of the file with at least the elements `TAGS`.
    base
        The header from the top level of the data set.

    Returns
    -------
    list of Header
        Headers in the order in which the frames are stored. Only ``base`` for single-frame
        images, color images, segmentations and other objects that do not consist of slices.

    Raises
    ------
    InputError
        If the frames have no position in space (a cine loop or a screen capture), or the number
        of frames contradicts the functional groups.
    """
    if base.samples != 1 or other_than_image(base.sop_class, base.modality):
        return [base]
    if base.frames > MAX_FRAMES:
        raise file_error(
            path,
            f"claims {base.frames:.6g} frames, more than any scan holds",
            "the header is damaged, copy the file again",
        )
    # One item more than there are frames is enough to detect a mismatch.
    per_frame = _first_items(dataset, "PerFrameFunctionalGroupsSequence", base.frames + 1)
    shared = _first_items(dataset, "SharedFunctionalGroupsSequence", 1)
    if not per_frame and not shared:
        return [base] if base.frames == 1 else _classic(path, dataset, base)
    if len(per_frame) != base.frames and (per_frame or base.frames != 1):
        described = "more" if len(per_frame) > base.frames else str(len(per_frame))
        raise file_error(
            path,
            f"claims {base.frames} frames but describes {described}, so it is damaged or "
            "incomplete",
            COPY_AGAIN,
        )
    return _enhanced(path, dataset, base, shared[0] if shared else Dataset(), per_frame)


def _enhanced(
    path: Path, dataset: Dataset, base: Header, shared: Dataset, per_frame: Sequence[Dataset]
) -> list[Header]:
    groups = per_frame or [Dataset()]
    # One position at the top level cannot apply to several frames.
    common = base if len(groups) == 1 else replace(base, position=None)
    common = _overlay(common, shared)
    common_unit = _mapped_unit(shared) or _mapped_unit(dataset)
    headers = []
    for i, group in enumerate(groups):
        header = _overlay(common, group)
        mapped = _mapped_unit(group) or common_unit or _map_of(header)
        if mapped and header.rescale_type in ("", "US"):
            header = replace(header, rescale_type=mapped)
        headers.append(replace(header, frame=i))
    if all(h.position is None for h in headers):
        raise _without_place(path, base)
    return _with_dimensions(headers, dataset, groups)


def _first_items(dataset: Dataset, keyword: str, count: int) -> list[Dataset]:
    """Return the first items of a sequence; a damaged sequence counts as missing.

    A few megabytes can contain millions of items, so only as many as needed are parsed.
    """
    sequence = element(dataset, keyword)
    if not isinstance(sequence, RawDataElement) or sequence.VR not in ("SQ", "UN", None):
        return items(dataset, keyword)[: max(count, 1)]
    if not isinstance(sequence.value, bytes):
        return []
    buffer = BytesIO(sequence.value)
    # UN sequences are implicit VR little endian in any transfer syntax (PS3.5 6.2.2).
    unknown = sequence.VR == "UN"
    implicit, little = sequence.is_implicit_VR or unknown, sequence.is_little_endian or unknown
    parsed: list[Dataset] = []
    try:
        while len(parsed) < count and buffer.tell() < len(sequence.value):
            item = read_sequence_item(buffer, implicit, little, "iso8859")
            if item is None:
                break
            parsed.append(item)
    except Exception:  # on malformed input a parser may raise anything
        return []
    return parsed


def _overlay(header: Header, group: Dataset) -> Header:
    """Return the header with its values replaced by those of a functional group.

    A value that is present but invalid becomes None: the shared value does not apply to a frame
    that overrides it.
    """
    changes: dict[str, Any] = {}
    for sequence, fields in _VALUES.items():
        for item in items(group, sequence)[:1]:
            changes |= {
                name: get(item, word) for word, (name, get) in fields.items() if word in item
            }
    for sequence in _FRAME_TYPES:
        for item in items(group, sequence)[:1]:
            kinds = tuple(str(v).strip() for v in values(item, "FrameType"))
            changes["image_type"] = kinds or header.image_type
    for item in items(group, "FrameVOILUTSequence")[:1]:
        changes["windows"] = windows_of(item) or header.windows
    acquisition = _acquisition_of(group)
    if acquisition:
        changes["acquisition"] = tuple((dict(header.acquisition) | acquisition).items())
    times = _times_of(group)
    if times:
        changes["times"] = tuple((dict(header.times) | times).items())
    return replace(header, **changes) if changes else header


_Getter = Callable[[Dataset, str], Any]
_VALUES: Final[dict[str, dict[str, tuple[str, _Getter]]]] = {
    "PixelMeasuresSequence": {
        "PixelSpacing": ("pixel_spacing", partial(floats, count=2)),
        "SliceThickness": ("thickness", number),
    },
    "PlanePositionSequence": {"ImagePositionPatient": ("position", partial(floats, count=3))},
    "PlaneOrientationSequence": {
        "ImageOrientationPatient": ("orientation", partial(floats, count=6)),
    },
    "PixelValueTransformationSequence": {
        "RescaleSlope": ("slope", number),
        "RescaleIntercept": ("intercept", number),
        "RescaleType": ("rescale_type", unit),
    },
}
"""By sequence and its element: the field of `Header` and the function that reads the value."""


def _acquisition_of(group: Dataset) -> dict[str, str]:
    """Return the values that distinguish the acquisition of a frame from others."""
    details: dict[str, str] = {}
    for sequence in _UNASSIGNED:
        for item in items(group, sequence)[:1]:
            details |= dict(acquisition_of(item))
    for item in items(group, "FrameContentSequence")[:1]:
        stack = str(next(iter(values(item, "StackID")), "")).strip(" \0")
        if _STACK.fullmatch(stack):
            details["StackID"] = stack
        for keyword in ("TemporalPositionIndex", "FrameAcquisitionNumber"):
            if (value := number(item, keyword)) is not None:
                details[keyword.removeprefix("Frame")] = f"{value:g}"
    for sequence, keyword in _ACQUISITION.items():
        for item in items(group, sequence)[:1]:
            details |= {k: v for k, v in acquisition_of(item) if k == keyword}
    return details


_UNASSIGNED: Final = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Sequences for attributes of converted classic images that belong to no functional group."""
_ACQUISITION: Final = {
    "CTXRayDetailsSequence": "KVP",
    "CTReconstructionSequence": "ConvolutionKernel",
    "CardiacSynchronizationSequence": "NominalPercentageOfCardiacPhase",
}


def _times_of(group: Dataset) -> dict[str, float]:
    """Return the acquisition time of a frame (s since midnight) and its trigger delay (ms)."""
    times: dict[str, float] = {}
    for sequence in _UNASSIGNED:
        for item in items(group, sequence)[:1]:
            times |= dict(times_of(item))
    for item in items(group, "FrameContentSequence")[:1]:
        stamp = str(next(iter(values(item, "FrameAcquisitionDateTime")), "")).strip(" \0")
        clock = _DATE_TIME.fullmatch(stamp)
        if clock:
            hours, minutes, seconds = map(float, clock.groups())
            times["AcquisitionTime"] = 3600 * hours + 60 * minutes + seconds
    for item in items(group, "CardiacSynchronizationSequence")[:1]:
        delay = number(item, "NominalCardiacTriggerDelayTime")
        if delay is not None:
            times["TriggerTime"] = delay
    return times


def _mapped_unit(group: Dataset) -> str:
    """Return the unit of the real-world values, or an empty string.

    Source: DICOM PS3.3 C.7.6.16.2.11; units are UCUM codes, where ``[hnsf'U]`` is HU.
    Perfusion maps and similar images give their unit in this sequence rather than as RescaleType.
    """
    for mapping in items(group, "RealWorldValueMappingSequence")[:1]:
        for code in items(mapping, "MeasurementUnitsCodeSequence")[:1]:
            name = str(next(iter(values(code, "CodeValue")), "")).strip(" \0")
            if text(code, "CodingSchemeDesignator") != "UCUM":
                return ""
            if name in ("[hnsf'U]", "[HU]", "HU"):
                return "HU"
            return name if _UNIT.fullmatch(name) else ""
    return ""


def _map_of(header: Header) -> str:
    """Return the quantity that a CT frame maps, or an empty string (PS3.3 C.8.16.1.4)."""
    contrast = header.image_type[3:4]
    return contrast[0] if contrast and contrast[0] in _MAPS else ""


def _with_dimensions(
    headers: list[Header], dataset: Dataset, groups: Sequence[Dataset]
) -> list[Header]:
    """Add the non-spatial dimensions to the values that distinguish acquisitions.

    Source: DICOM PS3.3 C.7.6.17. An index that is equal in all frames, or different in each
    frame, does not form groups and is left out.
    """
    names = [_dimension(item, n) for n, item in enumerate(items(dataset, "DimensionIndexSequence"))]
    if not names:
        return headers
    rows = [_indices(group, len(names)) for group in groups]
    columns = {
        name: column
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
        if name not in _PLACES and None not in column and 1 < len(set(column)) < len(column)
    }
    if not columns:
        return headers
    return [
        replace(
            header,
            acquisition=tuple(
                ({n: str(c[i]) for n, c in columns.items()} | dict(header.acquisition)).items()
            ),
        )
        for i, header in enumerate(headers)
    ]


def _dimension(item: Dataset, place: int) -> str:
    """Return the keyword of the attribute that a dimension indexes; private ones are numbered."""
    try:
        pointer = item.get("DimensionIndexPointer")
        keyword = keyword_for_tag(pointer) if isinstance(pointer, int) else ""
    except Exception:  # conversion of a malformed value
        keyword = ""
    if keyword == "TemporalPositionTimeOffset":
        return "TemporalPositionIndex"
    return keyword or f"Dimension{place + 1}"


def _indices(group: Dataset, count: int) -> tuple[int | None, ...]:
    for item in items(group, "FrameContentSequence")[:1]:
        indices = floats(item, "DimensionIndexValues", count)
        if indices is not None:
            return tuple(int(v) for v in indices)
    return (None,) * count


def _classic(path: Path, dataset: Dataset, base: Header) -> list[Header]:
    """Return the headers of frames at given offsets along the normal of the first frame.

    Source: DICOM PS3.3 C.8.8.3.2 (Grid Frame Offset Vector). If the first offset is not 0, the
    values are z coordinates of axial planes instead.
    """
    along = _offsets(dataset)
    if along.shape != (base.frames,) or not np.isfinite(along).all():
        raise _without_place(path, base)
    if base.position is None or base.orientation is None:
        raise _without_place(path, base)
    row, column = np.asarray(base.orientation).reshape(2, 3)
    normal = np.cross(row, column)
    if abs(along[0]) > SAME_OFFSET_MM:
        axial = abs(normal[2]) > 1 - 1e-6
        if not axial or abs(along[0] - base.position[2]) > SAME_OFFSET_MM:
            raise _without_place(path, base)
        along, normal = along - base.position[2], np.array([0.0, 0.0, 1.0])
    positions = np.asarray(base.position) + along[:, None] * normal
    return [
        replace(base, frame=i, position=tuple(float(v) for v in position))
        for i, position in enumerate(positions)
    ]


def _offsets(dataset: Dataset) -> NDArray[np.float64]:
    try:
        return np.atleast_1d(np.array(dataset.get("GridFrameOffsetVector"), dtype=np.float64))
    except Exception:  # conversion of a malformed value, which counts as missing
        return np.empty(0)


def _without_place(path: Path, base: Header) -> InputError:
    return file_error(
        path,
        f"holds {base.frames} frames of modality {base.modality or 'unknown'} without a position "
        "in space (a film or a screen capture?), so they do not form a volume",
        "export the original images",
    )

"""Grouping of headers into volumes.

The headers of a series (by its UID, or by folder and series number if that is empty) are split by
properties that are constant in a volume: kind of image, orientation, matrix, pixel spacing, unit
and stack; if slices overlap, also by acquisition or phase.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np

from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.kinds import image_kind
from tomochrome.io.dicom.patient import study_key
from tomochrome.io.dicom.phases import part
from tomochrome.notices import Notice

ORIENTATION_TOLERANCE: Final = 0.005
"""Direction cosines that differ by more (a third of a degree) are different orientations. Smaller
differences are assessed by `judge`."""
SPACING_TOLERANCE: Final = 1e-3
"""Relative difference of pixel spacings that is tolerated: one pixel in a matrix of 1024."""
MAX_COMPARED: Final = 100
"""Maximum number of geometries of a series that are compared, so that a damaged folder in which
every slice has a different one is listed in seconds."""

_ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip

MAX_LENGTH: Final = 64
"""Maximum number of characters of a label."""


@dataclass(frozen=True)
class Group:
    """The headers of one volume, and its place among the volumes of its series."""

    headers: tuple[Header, ...]
    phase: str = ""  #: "1 of 2", or empty if it is the only one
    number: int = 0  #: number of the volume in its series; 0 if the series UID alone identifies it
    label: str = ""  #: what distinguishes it from the others: "MONO_40"; see `labels`
    notes: tuple[Notice, ...] = ()  #: notices about the other volumes of the series


def group(headers: Iterable[Header]) -> list[Group]:
    """Group headers into volumes.

    Parameters
    ----------
    headers
        One for each file or frame, in any order; the order within a volume is kept.

    Returns
    -------
    list of Group
        The volumes of a series are adjacent. If exactly one of several volumes is a CT and not a
        localizer, it is identified by the series UID and the others are numbered from 2; otherwise
        all are numbered from 1.
    """
    series: dict[str | tuple[Any, ...], list[Header]] = {}
    for header in headers:
        unnamed = (header.path.parent, header.study_uid, header.series_number)
        series.setdefault(header.series_uid or unnamed, []).append(header)
    groups: list[Group] = []
    for images in map(_without_own_uids, series.values()):
        kinds: dict[tuple[Any, ...], list[Header]] = {}
        for header in images:
            kinds.setdefault(_kind(header), []).append(header)
        groups.extend(_volumes(list(kinds.values())))
    return groups


def _without_own_uids(headers: list[Header]) -> list[Header]:
    """Remove UIDs of frame of reference and study if nearly every image has one of its own.

    Some programs that remove the patient's identity, and some that write series, make them up for
    each file: they do not say that the patient moved, or that the images are of several studies.
    """
    if _is_own([h.frame_of_reference for h in headers]):
        headers = [replace(h, frame_of_reference="") for h in headers]
    if _is_own([h.study_uid for h in headers]):
        named = {h.patient for h in headers if h.patient != study_key(h.study_uid)}
        if len(named) <= 1:
            study, patient = headers[0].study_uid, headers[0].patient
            headers = [replace(h, study_uid=study, patient=patient) for h in headers]
    return headers


def _is_own(uids: Sequence[str]) -> bool:
    """Return whether more than half of the images have a UID that no other image has."""
    counts = Counter(uid for uid in uids if uid)
    if len(counts) < 2:
        return False
    return 2 * sum(count == 1 for count in counts.values()) > len(uids)


def _kind(header: Header) -> tuple[Any, ...]:
    """Return the properties that all images of a volume share, except geometry."""
    unit = "" if header.rescale_type == "HU" else header.rescale_type
    return (
        header.study_uid, header.modality, image_kind(header.image_type), unit,
        header.is_multiframe,
    )  # fmt: skip


def _volumes(kinds: Sequence[list[Header]]) -> list[Group]:
    """Split the images of a series, given by kind, into volumes."""
    shapes = [shape for kind in kinds for shape in _shapes(kind)]
    real = [s for s in shapes if not s[0].is_localizer]
    groups = []
    for shape in shapes:
        notes = (
            (_shape_note(shape, real),)
            if any(shape is one for one in real) and len(real) > 1
            else ()
        )
        parts = part(shape)
        if len(parts.parts) == 1:
            groups.append(Group(parts.parts[0], notes=notes))
            continue
        for i, (inside, label) in enumerate(zip(parts.parts, labels(parts.parts), strict=True)):
            said = _phase_note(parts.noun, parts.by, i, len(parts.parts), label)
            groups.append(Group(inside, label=label, notes=(said, *notes)))
    return _numbered(groups)


def _numbered(groups: list[Group]) -> list[Group]:
    """Number the volumes of a series."""
    if len(groups) == 1:
        return groups
    places = [i for i, g in enumerate(groups) if not g.headers[0].is_localizer]
    if len(places) > 1:
        for count, i in enumerate(places, start=1):
            groups[i] = replace(groups[i], phase=f"{count} of {len(places)}")
    main = [i for i, g in enumerate(groups) if _is_ct(g.headers[0])]
    order = [*main, *(i for i in range(len(groups)) if i not in main)]
    start = 1 if len(main) != 1 else 0
    numbers = {i: n for n, i in enumerate(order, start=start)}
    if not start:  # the series UID identifies the only CT volume
        numbers = {i: n + 1 if n else 0 for i, n in numbers.items()}
    named = [replace(g, number=numbers[i]) for i, g in enumerate(groups)]
    return sorted(named, key=lambda g: g.number)


def _is_ct(header: Header) -> bool:
    return header.modality == "CT" and not header.is_localizer and header.slope is not None


_Shape = list[Header]
"""Headers that share matrix, pixel spacing, orientation and stack."""


def _shapes(headers: Sequence[Header]) -> list[_Shape]:
    """Split headers of one kind by matrix, pixel spacing, orientation and stack."""
    shapes: list[_Shape] = []
    shape_of: dict[tuple[Any, ...], _Shape] = {}
    incomplete = []
    for header in headers:
        stack_id = dict(header.acquisition).get("StackID", "")
        key = (header.rows, header.columns, header.pixel_spacing, header.orientation, stack_id)
        turned = header.orientation
        if turned is None or header.pixel_spacing is None or not _of_unit_length(turned):
            incomplete.append(header)
            continue
        shape = shape_of.get(key)
        if shape is None:
            near = (s for s in shapes[-MAX_COMPARED:] if not _differences(s[0], header))
            shape = next(near, None)
            if shape is None:
                shape = []
                shapes.append(shape)
            shape_of[key] = shape
        shape.append(header)
    return _with_incomplete(shapes, incomplete)


def _with_incomplete(shapes: list[_Shape], incomplete: list[Header]) -> list[_Shape]:
    """Add headers without orientation or spacing to the largest volume with the same matrix.

    Such a volume is refused when its geometry is assessed: it is incomplete, because the position
    of some slices is not known.
    """
    for header in incomplete:
        matrix = header.rows, header.columns
        fitting = [s for s in shapes if (s[0].rows, s[0].columns) == matrix]
        if fitting:
            max(fitting, key=len).append(header)
        else:
            shapes.append([header])
    return shapes


@lru_cache(maxsize=1024)  # slices of one volume share it
def _of_unit_length(orientation: tuple[float, ...]) -> bool:
    lengths = np.linalg.norm(np.reshape(orientation, (2, 3)), axis=1)
    return bool(np.abs(lengths - 1).max() < 0.01)


def _differences(a: Header, b: Header) -> list[str]:
    """Return the names of the properties by which two headers belong to different volumes."""
    texts = []
    if (a.rows, a.columns) != (b.rows, b.columns):
        texts.append("matrix")
    if not _close(a.pixel_spacing, b.pixel_spacing, 0.0, SPACING_TOLERANCE):
        texts.append("pixel spacing")
    if not _close(a.orientation, b.orientation, ORIENTATION_TOLERANCE, 0.0):
        texts.append("orientation")
    if dict(a.acquisition).get("StackID") != dict(b.acquisition).get("StackID"):
        texts.append("stack")
    return texts


def _close(
    a: tuple[float, ...] | None, b: tuple[float, ...] | None, absolute: float, relative: float
) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= absolute + relative * abs(y) for x, y in zip(a, b, strict=True))


def _kind_differences(a: Header, b: Header) -> list[str]:
    names = ("study", "modality", "kind of image", "unit", "storage format")
    return [name for name, x, y in zip(names, _kind(a), _kind(b), strict=True) if x != y]


def _shape_note(shape: _Shape, shapes: Sequence[_Shape]) -> Notice:
    """Return a notice about the other volumes of the series and their differences."""
    texts = [
        word
        for other in shapes[:MAX_COMPARED]
        if other is not shape
        for word in (*_kind_differences(shape[0], other[0]), *_differences(shape[0], other[0]))
    ]
    words = list(dict.fromkeys(texts)) or ["geometry"]
    by = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    count = len(shape)
    text = (
        f"the series holds {len(shapes)} volumes that differ in {by}; "
        f"this is the one with {count} slice{'s' if count > 1 else ''}"
    )
    return Notice("content", "info", text)


def _phase_note(noun: str, by: str, index: int, count: int, label: str) -> Notice:
    which = _ORDINALS[index] if index < len(_ORDINALS) else f"number {index + 1}"
    named = f" (here {label})" if label else ""
    text = (
        f"the series holds {count} {noun} of the same region, distinguished by their {by}"
        f"{named}; this is the {which}"
    )
    return Notice("content", "info", text)


def _acquired(keyword: str, words: str) -> Callable[[Header], str]:
    def said(header: Header) -> str:
        value = dict(header.acquisition).get(keyword, "")
        return words.format(value) if value else ""

    return said


_SAID: Final[tuple[Callable[[Header], str], ...]] = (
    lambda header: "\\".join(header.image_type),
    lambda header: header.title,
    _acquired("NominalPercentageOfCardiacPhase", "{} %"),
    _acquired("TemporalPositionIdentifier", "time {}"),
    _acquired("TemporalPositionIndex", "time {}"),
    _acquired("KVP", "{} kV"),
    _acquired("ConvolutionKernel", "{}"),
    lambda header: "" if header.thickness is None else f"{header.thickness:g} mm",
)


def labels(volumes: Sequence[Sequence[Header]]) -> list[str]:
    """Return for each volume the values that distinguish it from the others.

    For example ``"MONO_40"`` and ``"MONO_70"`` (values of Image Type), or ``"80 kV"``. A label is
    empty if the headers say nothing that holds for all slices of a volume and not for all volumes.

    Parameters
    ----------
    volumes
        The headers of each volume.
    """
    told: list[list[str]] = [[] for _ in volumes]
    for place, said in enumerate(_SAID):
        values = [{said(header) for header in headers} for headers in volumes]
        if any(len(value) != 1 for value in values):
            continue
        single = [value.pop() for value in values]
        if len(set(single)) == 1:
            continue
        for words, value in zip(told, _own(single) if place == 0 else single, strict=True):
            if value and value not in words:
                words.append(value)
    return [", ".join(words)[:MAX_LENGTH] for words in told]


def _own(types: Sequence[str]) -> list[str]:
    """Return the values of each image type that not all image types have."""
    split = [[value for value in text.split("\\") if value] for text in types]
    shared = set(split[0]).intersection(*split[1:])
    return [" ".join(value for value in values if value not in shared) for values in split]

"""Series that contain several acquisitions: detecting and splitting them.

Two phases with interleaved slices pass every test of geometry: together they look like one volume
with half the slice spacing, in which every second slice shows another time. They are detected by
other values of the headers, compared in the order of the slice positions.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.header import Header

SAME_POSITION_MM: Final = 0.01
"""Slices closer than this have the same position, except in micro-CT."""
_SAME_POSITION_PIXELS: Final = 0.05
"""The same in micro-CT, whose slices are as thin as its pixels are small."""
_PLACE: Final = "place in the plane"
_FRAME: Final = "FrameOfReferenceUID"
_MAX_PHASES: Final = 20
_MIN_PAUSE: Final = 5.0
"""Least ratio of time differences between acquisitions to those within one acquisition."""
_MIN_JUMP: Final = 2.0
"""Least time difference between acquisitions, in seconds (trigger times: milliseconds)."""
_MIN_ROUNDS: Final = 3
"""Least number of cycles of interleaved phases; fewer could be chance."""


def same_position_mm(header: Header) -> float:
    """Return the distance in mm below which slices have the same position."""
    if header.pixel_spacing is None or min(header.pixel_spacing) <= 0:
        return SAME_POSITION_MM
    return min(SAME_POSITION_MM, _SAME_POSITION_PIXELS * min(header.pixel_spacing))


def interleaved(ordered: Sequence[Header]) -> str:
    """Return how acquisitions are interleaved in sorted slices, or an empty string.

    Frame of reference, acquisition number, temporal position, cardiac phase, tube voltage and
    kernel may change along a volume (a step-and-shoot scan), but an earlier value must not recur.
    Times may increase, decrease or change with each rotation, but must not alternate between
    neighbouring slices while every second (third ...) slice is close in time. Neither may the
    numbers of the images, nor may neighbours have the same number.
    """
    told: dict[str, list[str]] = {}
    for header in ordered:
        frame = header.frame_of_reference
        for keyword, value in (*header.acquisition, *([(_FRAME, frame)] if frame else [])):
            told.setdefault(keyword, []).append(value)
    for keyword, values in told.items():
        runs = 1 + sum(a != b for a, b in pairwise(values))
        kinds = len(set(values))
        if runs > kinds:
            return f"{keyword} alternates between {kinds} values along the stack"
    for keyword in dict.fromkeys(key for header in ordered for key, _ in header.times):
        times = [time for header in ordered for key, time in header.times if key == keyword]
        phases = _phases(np.array(times)) if len(times) == len(ordered) else 0
        if phases:
            return f"{keyword} alternates between {phases} acquisitions along the stack"
    numbers = [h.instance for h in ordered if h.instance is not None and not h.is_multiframe]
    if len(numbers) < len(ordered):
        return ""
    phases = _phases(np.array(numbers, dtype=np.float64)) or _sharing(numbers)
    return f"InstanceNumber alternates between {phases} acquisitions" if phases else ""


def _sharing(numbers: Sequence[int]) -> int:
    """Return how many neighbours share each number in position order, or 0 if few do."""
    runs = [len(list(run)) for _, run in groupby(numbers)]
    return max(runs) if len(runs) >= _MIN_ROUNDS and 2 * len(runs) <= len(numbers) else 0


def _phases(times: NDArray[np.float64]) -> int:
    """Return the number of interleaved acquisitions from times in position order, or 0."""
    near = np.abs(np.diff(times))
    for lag in range(2, min(_MAX_PHASES, (len(times) - 1) // _MIN_ROUNDS) + 1):
        apart = np.abs(times[lag:] - times[:-lag])
        if np.median(near) > max(_MIN_PAUSE * float(np.median(apart)), _MIN_JUMP):
            return lag
    return 0


@dataclass(frozen=True)
class Split:
    """Slices split by acquisition, and the value that distinguishes the parts."""

    parts: tuple[tuple[Header, ...], ...]
    noun: str = ""  #: what the parts are: "phases", "reconstructions" ...
    by: str = ""  #: name of the value that distinguishes the parts


# Elements are tried in order of how specifically they distinguish volumes.
_FIRST: Final = (
    "FrameOfReferenceUID", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase", "AcquisitionNumber",
)  # fmt: skip
_LAST: Final = (
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "ImageType",
    "SeriesDescription",
    _PLACE,
    "file",
)
_WORDS: Final = {
    "FrameOfReferenceUID": ("volumes", "frame of reference (the patient was moved)"),
    "TemporalPositionIdentifier": ("phases", "temporal position"),
    "TemporalPositionIndex": ("phases", "temporal position"),
    "NominalPercentageOfCardiacPhase": ("phases", "percentage of the heart cycle"),
    "AcquisitionNumber": ("phases", "acquisition number"),
    "KVP": ("volumes", "tube voltage"),
    "ConvolutionKernel": ("reconstructions", "reconstruction kernel"),
    "SliceThickness": ("reconstructions", "slice thickness"),
    "ImageType": ("volumes", "image type"),
    "SeriesDescription": ("volumes", "series description"),
    _PLACE: ("volumes", "place in the slice plane"),
    "file": ("volumes", "file"),
    "AcquisitionTime": ("phases", "time of acquisition"),
    "ContentTime": ("phases", "time of the images"),
    "TriggerTime": ("phases", "time after the heartbeat"),
    "InstanceNumber": ("phases", "running number of the images"),
}
_CLOCKS: Final = ("AcquisitionTime", "TriggerTime", "ContentTime")
_MAX_VALUES: Final = 20_000
_ADJOINING: Final = 2.5
"""Greatest gap between consecutive acquisitions along the table, in slice spacings."""
_PLACE_MM: Final = 0.5


def part(headers: Sequence[Header]) -> Split:
    """Split the slices of one series into volumes of one acquisition (phase, kernel ...) each.

    Slices at distinct positions that are not interleaved stay together, whatever their
    acquisition numbers and times: the table may move in steps. Otherwise slices are grouped by
    the value of an element, and groups that adjoin along the table without overlap are joined.
    Only a split that leaves no overlap is accepted. If there is none, the slices stay together,
    and the check of the geometry refuses them.

    Parameters
    ----------
    headers
        Slices of one orientation, matrix and pixel spacing.
    """
    whole = Split((tuple(headers),))
    if len(headers) < 2 or any(h.position is None or h.orientation is None for h in headers):
        return whole
    originals: dict[tuple[Any, ...], list[Header]] = {}
    for header in headers:  # copies of a file are not a phase: they stay with the original
        key = (header.sop_uid or str(header.path), header.frame, header.position)
        originals.setdefault(key, []).append(header)
    slices = [copies[0] for copies in originals.values()]
    row, column = np.asarray(slices[0].orientation, dtype=np.float64).reshape(2, 3)
    normal = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    if not length or not np.isfinite(length):
        return whole
    positions = np.array([h.position for h in slices], dtype=np.float64)
    along = positions @ (normal / length)
    places = positions - np.outer(along, normal / length)
    if np.count_nonzero(np.abs(positions).max(axis=1) == 0) > 1:
        return whole  # positions were removed
    used: set[str] = set()
    series = _Slices(slices, along, places)
    if series.is_one_position:
        # Ordinary slices differ in these as well, and their positions may have been removed.
        used = {"AcquisitionNumber", "InstanceNumber", *_CLOCKS}
    phase = _part(series, used)
    if phase is None or len(phase[0]) < 2:
        return whole
    parts, noun, by = phase
    copies = list(originals.values())
    return Split(tuple(tuple(h for i in indices for h in copies[i]) for indices in parts), noun, by)


@dataclass(frozen=True)
class _Slices:
    headers: list[Header]
    along: NDArray[np.float64]  #: position of each slice along the normal in mm
    places: NDArray[np.float64]  #: in-plane component of each position in mm

    @property
    def same(self) -> float:
        """Distance in mm below which slices have the same position."""
        return same_position_mm(self.headers[0])

    @property
    def is_one_position(self) -> bool:
        """Whether all slices have the same position."""
        return bool(
            np.ptp(self.along) < self.same and np.ptp(self.places, axis=0).max() < _PLACE_MM
        )

    def value(self, keyword: str, i: int) -> str:
        header = self.headers[i]
        if keyword == "FrameOfReferenceUID":
            return header.frame_of_reference
        if keyword == "SliceThickness":
            return "" if header.thickness is None else f"{header.thickness:g}"
        if keyword == "ImageType":
            return "\\".join(header.image_type)
        if keyword == "SeriesDescription":
            return header.title
        if keyword == _PLACE:
            return str(tuple(int(v) for v in np.rint(self.places[i] / _PLACE_MM)))
        if keyword == "file":
            return str(header.path) if header.is_multiframe else ""
        return dict(header.acquisition).get(keyword, "")

    def clock(self, keyword: str, i: int) -> float | None:
        header = self.headers[i]
        if keyword == "InstanceNumber":
            return None if header.instance is None else float(header.instance)
        return dict(header.times).get(keyword)


_Found = tuple[list[list[int]], str, str]


def _part(slices: _Slices, used: set[str], among: list[int] | None = None) -> _Found | None:
    """Return the slice indices of each volume, or None if every split leaves an overlap."""
    among = list(range(len(slices.headers))) if among is None else among
    ordered = sorted(among, key=lambda i: slices.along[i])
    if not _overlapping(slices, ordered):
        return [among], "", ""
    for keyword, parts in _ways(slices, ordered, used):
        if len(parts) < 2 or (keyword == _PLACE and min(map(len, parts)) < 2):
            continue
        inner = [_part(slices, used | {keyword}, p) for p in parts]
        if all(phase is not None for phase in inner):
            noun, by = _WORDS.get(keyword, ("phases", keyword))
            by = " and ".join(dict.fromkeys([by, *(f[2] for f in inner if f and f[2])]))
            return [indices for phase in inner if phase for indices in phase[0]], noun, by
    return None


def _overlapping(slices: _Slices, ordered: list[int]) -> bool:
    along = slices.along[ordered]
    if (np.diff(along) < slices.same).any():
        return True
    return bool(interleaved([slices.headers[i] for i in ordered]))


def _ways(
    slices: _Slices, ordered: list[int], used: set[str]
) -> Iterator[tuple[str, list[list[int]]]]:
    """Yield the ways to split slices, the most specific first."""
    others = {key for i in ordered for key, _ in slices.headers[i].acquisition}
    others -= {*_FIRST, *_LAST, "StackID"}
    for keyword in (*_FIRST, *sorted(others), *_LAST):
        if keyword not in used:
            kinds: dict[str, list[int]] = {}
            for i in ordered:
                kinds.setdefault(slices.value(keyword, i), []).append(i)
            if 1 < len(kinds) <= _MAX_VALUES:
                yield keyword, _joined(slices, [kinds[k] for k in sorted(kinds, key=_rank)])
    for keyword in _CLOCKS:
        if keyword not in used:
            yield keyword, _joined(slices, _by_pauses(slices, keyword, ordered))
    for keyword in (*_CLOCKS, "InstanceNumber"):
        if keyword not in used:
            yield keyword, _by_turns(slices, keyword, ordered)


def _rank(value: str) -> tuple[int, float, str]:
    """Return a sort key: numbers by value, then texts, then missing values."""
    try:
        return 0, float(value), value
    except ValueError:
        return (1 if value else 2), 0.0, value


def _joined(slices: _Slices, kinds: list[list[int]]) -> list[list[int]]:
    """Join acquisitions that adjoin without overlap, as after a table movement."""
    every = np.unique(np.concatenate([slices.along[k] for k in kinds])) if kinds else np.zeros(0)
    steps = np.diff(every)
    steps = steps[steps >= slices.same]
    reach = _ADJOINING * float(np.median(steps)) if len(steps) else 0.0
    parts: list[list[int]] = []
    taken: list[list[tuple[float, float]]] = []
    for kind in kinds:
        places = [float(slices.along[i]) for i in kind]
        extent = min(places), max(places)
        for inside, there in zip(parts, taken, strict=True):
            if _adjoins(there, extent, slices.same, reach):
                inside.extend(kind)
                insort(there, extent)
                break
        else:
            parts.append(list(kind))
            taken.append([extent])
    return parts


def _adjoins(
    there: list[tuple[float, float]], extent: tuple[float, float], same: float, reach: float
) -> bool:
    """Return whether an extent adjoins one of the others within reach and overlaps none."""
    first, last = extent
    i = bisect_left(there, extent)
    before = first - there[i - 1][1] if i > 0 else np.inf
    after = there[i][0] - last if i < len(there) else np.inf
    return bool(same < min(before, after) <= reach)


def _by_pauses(slices: _Slices, keyword: str, ordered: list[int]) -> list[list[int]]:
    """Split slices at long pauses between their times."""
    clocks = {i: slices.clock(keyword, i) for i in ordered}
    times = {i: time for i, time in clocks.items() if time is not None}
    if len(times) < len(ordered):
        return []
    by_time = sorted(ordered, key=lambda i: times[i])
    gaps = np.diff([times[i] for i in by_time])
    pauses = gaps > max(_MIN_PAUSE * float(np.median(gaps)), _MIN_JUMP)
    cuts = [0, *(np.flatnonzero(pauses) + 1), len(by_time)]
    return [by_time[a:b] for a, b in pairwise(cuts)]


def _by_turns(slices: _Slices, keyword: str, ordered: list[int]) -> list[list[int]]:
    """Split slices by their order in time at each position, if all positions have equally many.

    The times must run phase by phase or position by position; no other order allows phases to be
    identified.
    """
    cuts = np.flatnonzero(np.diff(slices.along[ordered]) >= slices.same) + 1
    turns = [ordered[a:b] for a, b in pairwise([0, *cuts, len(ordered)])]
    clocks = {i: slices.clock(keyword, i) for i in ordered}
    if len({len(turn) for turn in turns}) != 1 or None in clocks.values():
        return []
    table = np.array([sorted((clocks[i], i) for i in turn) for turn in turns], dtype=np.float64)
    times, indices = table[..., 0], table[..., 1].astype(int)
    if (np.diff(times, axis=1) <= 0).any():
        return []
    phase_by_phase = (times[:, 1:].min(axis=0) > times[:, :-1].max(axis=0)).all()
    starts = np.argsort(times[:, 0])
    position_by_position = (times[starts[1:], 0] > times[starts[:-1], -1]).all()
    if not phase_by_phase and not position_by_position:
        return []
    return [[int(i) for i in column] for column in indices.T]

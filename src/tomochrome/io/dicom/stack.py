"""Do these slices form one volume? Positions, order, affine, and a verdict in words.

Slices are ordered by their position projected on the normal of the slice plane (DICOM PS3.3
C.7.6.2.1.1), never by file name or instance number, and SliceThickness never stands in for
their distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.headers import Header
from tomochrome.io.dicom.phases import interleaved
from tomochrome.io.dicom.regular import Plan
from tomochrome.volume import Verdict

SAME_POSITION_MM: Final = 0.01
"""Slices closer than this are at one position: thinner CT slices do not exist."""
POSITION_TOLERANCE_MM: Final = 0.06
"""Headers round positions to a tenth of a millimetre at worst, which is off by up to 0.05."""
POSITION_TOLERANCE: Final = 0.02
"""Or by this part of the spacing, which nobody sees and no measurement notices."""
DRIFT_TOLERANCE_PIXELS: Final = 0.5
"""Sideways drift over the whole stack beyond which the stack is tilted: the nearest pixel
would no longer be the same one."""
COSINE_TOLERANCE: Final = 1e-3
"""Direction cosines are often written with three to six digits."""
LEAST_MM: Final = 0.001
MOST_MM: Final = 100.0
"""Pixels of CT, micro-CT too, lie between these."""
MOST_RESCALE: Final = 1e9
"""Slopes and intercepts beyond this are damage, in PET too."""
FARTHEST_MM: Final = 1e6
"""No slice lies a kilometre from the origin: what says so is damaged."""
UNSEEN: Final = 1.5
"""Slices farther apart than this many thicknesses leave a gap that is worth saying."""
WHOLE_GAP_TOLERANCE: Final = 0.1
"""A gap within this part of a whole multiple of the spacing is where slices are missing."""


@dataclass(frozen=True)
class Stack:
    """The slices in order, and how they lie."""

    headers: tuple[Header, ...]
    affine: NDArray[np.float64] | None
    verdict: Verdict
    warnings: tuple[str, ...] = ()
    refusal: str = ""  #: why this cannot be read as one volume; empty if it can
    plan: Plan | None = None  #: how to even the slices out; None if they are regular as stored


def stack(headers: Sequence[Header]) -> Stack:
    """Order the slices of one series, find their affine, and judge them.

    Parameters
    ----------
    headers
        At least one header; all of one series.

    Returns
    -------
    Stack
        Ordered along the slice normal. The affine is None only when positions, orientations
        or pixel spacing are missing or contradict one another.
    """
    unplaced = _refuse_unplaced(headers) or _refuse_values(headers)
    if unplaced:
        return Stack(tuple(headers), None, "irregular", (unplaced,), unplaced)
    headers, warnings = _without_copies(headers)
    first = headers[0]
    row, column, normal = _axes(first)
    positions = np.array([h.position for h in headers], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    ordered = tuple(headers[i] for i in order)
    positions, along = positions[order], along[order]
    if len(ordered) == 1:
        return _single(ordered, row, column, normal, warnings)
    verdict, refusal = _judge(positions, along, normal, ordered)
    spacing = float(along[-1] - along[0]) / (len(ordered) - 1)
    if spacing < SAME_POSITION_MM:
        return Stack(ordered, None, verdict, (*warnings, refusal), refusal)
    affine = _affine(ordered[0], row, column, normal, spacing)
    warnings = (*warnings, *_unseen(ordered, spacing))
    return Stack(ordered, affine, verdict, (*warnings, refusal) if refusal else warnings, refusal)


def _axes(
    header: Header,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors along a row, down a column, and normal to the slice."""
    assert header.orientation is not None
    row, column = np.asarray(header.orientation, dtype=np.float64).reshape(2, 3)
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def _affine(
    header: Header,
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    normal: NDArray[np.float64],
    spacing: float,
) -> NDArray[np.float64]:
    assert header.pixel_spacing is not None and header.position is not None
    down, across = header.pixel_spacing
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = normal * spacing, column * down, row * across
    affine[:3, 3] = header.position
    return affine


def _unseen(ordered: Sequence[Header], spacing: float) -> tuple[str, ...]:
    """Return a warning when slices are so far apart that something between them was not scanned."""
    thickest = max((h.thickness or 0.0 for h in ordered), default=0.0)
    if not 0.0 < thickest < spacing / UNSEEN:
        return ()
    return (
        f"the slices are {thickest:g} mm thick but {spacing:.3g} mm apart: "
        "what lies between them is not in the images (or slices are missing)",
    )


def _single(
    ordered: tuple[Header, ...],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    normal: NDArray[np.float64],
    warnings: tuple[str, ...],
) -> Stack:
    """A single slice has no neighbour to measure: its thickness is its extent."""
    thickness = ordered[0].thickness
    if thickness is None or thickness <= 0:
        thickness = 1.0
        warnings = (*warnings, "a single slice without a thickness: 1 mm is assumed")
    affine = _affine(ordered[0], row, column, normal, thickness)
    return Stack(ordered, affine, "regular", warnings)


def _refuse_unplaced(headers: Sequence[Header]) -> str:
    """Return why the slices cannot be placed in space at all, or an empty string."""
    n = len(headers)
    missing = sum(not _sensible_position(h) or not _sensible_orientation(h) for h in headers)
    if missing:
        return (
            f"{missing} of {n} slices say nothing usable about their position or orientation, "
            "so they cannot be placed in space; export the series again as original CT images"
        )
    if any(h.pixel_spacing is None or min(h.pixel_spacing) <= 0 for h in headers):
        return "the pixel spacing is missing, so sizes are unknown; export the series again"
    first = headers[0]
    matrices = {(h.rows, h.columns) for h in headers}
    if len(matrices) > 1:
        sizes = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(matrices))
        return f"the slices differ in matrix ({sizes}), so they are not one volume; {_CHOOSE}"
    if any(not np.allclose(h.pixel_spacing or (), first.pixel_spacing or (), rtol=1e-3)
           for h in headers):  # fmt: skip
        return f"the slices differ in pixel spacing, so they are not one volume; {_CHOOSE}"
    if any(not LEAST_MM <= v <= MOST_MM for h in headers for v in h.pixel_spacing or ()):
        return "the pixel spacing makes no sense for a CT; export the series again"
    cosines = np.array([h.orientation for h in headers])
    if np.abs(cosines - cosines[0]).max() > COSINE_TOLERANCE:
        return f"the slices differ in orientation, so they are not one volume; {_CHOOSE}"
    return ""


def _refuse_values(headers: Sequence[Header]) -> str:
    """Return why no values can come out of the rescaling, or an empty string."""
    slopes = {h.slope for h in headers if h.modality == "CT" and h.slope is not None}
    if slopes and min(slopes) <= 0:
        return (
            f"a rescale slope of {min(slopes):g} would blank or invert the values, "
            "so the headers are damaged; export the series again"
        )
    factors = [v for h in headers for v in (h.slope, h.intercept) if v is not None]
    if factors and max(map(abs, factors)) > MOST_RESCALE:
        return "the rescale slope or intercept makes no sense; export the series again"
    return ""


_CHOOSE: Final = "put each kind of slice in a folder of its own"


def _sensible_position(header: Header) -> bool:
    return header.position is not None and max(map(abs, header.position)) <= FARTHEST_MM


def _sensible_orientation(header: Header) -> bool:
    if header.orientation is None:
        return False
    row, column = np.asarray(header.orientation).reshape(2, 3)
    lengths = np.linalg.norm([row, column], axis=1)
    return bool(np.abs(lengths - 1).max() < 0.01 and abs(row @ column) < 0.01)


def _without_copies(headers: Sequence[Header]) -> tuple[list[Header], tuple[str, ...]]:
    """Drop files that hold the very same image (the same SOP instance) a second time."""
    seen: dict[tuple[str, int, tuple[float, ...] | None], Header] = {}
    for header in headers:
        # The position belongs to the key: some anonymizers give all slices one UID.
        name = header.sop_uid or str(header.path)
        seen.setdefault((name, header.frame, header.position), header)
    copies = len(headers) - len(seen)
    if not copies:
        return list(headers), ()
    return list(seen.values()), (
        f"files that repeat an image of the series (same SOP instance) were left out: {copies}",
    )


def _judge(
    positions: NDArray[np.float64],
    along: NDArray[np.float64],
    normal: NDArray[np.float64],
    headers: Sequence[Header],
) -> tuple[Verdict, str]:
    """Return the verdict on two or more ordered slices, and why they are refused, if so."""
    gaps = np.diff(along)
    doubled = int((gaps < SAME_POSITION_MM).sum())
    if doubled:
        return "irregular", (
            f"slices share a position {doubled} times (several phases or a repeated scan?), "
            "so this is not one volume; put each acquisition in a folder of its own"
        )
    turns = interleaved(headers)
    if turns:
        return "irregular", (
            f"slices of several acquisitions lie between each other ({turns}), "
            "so this is not one volume; put each acquisition in a folder of its own"
        )
    drift = positions - positions[0] - np.outer(along - along[0], normal)
    sideways = float(np.linalg.norm(drift, axis=1).max())
    assert headers[0].pixel_spacing is not None
    if sideways > DRIFT_TOLERANCE_PIXELS * min(headers[0].pixel_spacing):
        travel = positions[-1] - positions[0]
        cosine = float(abs(travel @ normal) / np.linalg.norm(travel))
        angle = float(np.degrees(np.arccos(min(1.0, cosine))))
        return "tilted", (
            f"the slices are tilted by {angle:.1f} degrees against the direction of travel "
            "(gantry tilt), which Tomochrome does not straighten yet; "
            "export an upright reconstruction"
        )
    return _judge_gaps(along, gaps)


def _judge_gaps(along: NDArray[np.float64], gaps: NDArray[np.float64]) -> tuple[Verdict, str]:
    mean = (along[-1] - along[0]) / len(gaps)
    off = np.abs(along - (along[0] + mean * np.arange(len(along)))).max()
    if off <= max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE * mean):
        return "regular", ""
    usual = float(np.median(gaps))
    multiples = np.round(gaps / usual)
    whole = np.abs(gaps - multiples * usual) <= WHOLE_GAP_TOLERANCE * usual
    if whole.all() and multiples.max() >= 2:
        missing = int((multiples - 1).sum())
        return "incomplete", (
            f"slices are missing: {missing} (gaps of {gaps.max():.2f} mm among slices "
            f"{usual:.2f} mm apart); copy the whole series again"
        )
    return "irregular", (
        f"the distance between slices changes from {gaps.min():.2f} to {gaps.max():.2f} mm, "
        "which Tomochrome does not even out yet; export a reconstruction with equal spacing"
    )

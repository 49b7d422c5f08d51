"""Irregularities in the slice positions of one volume, as measurements and messages.

Sideways shifts (steady shifts of a tilted gantry, and jumps if the patient
moved) and gaps are assessed separately.

Images at the same position are copies of one image, a repeated slice, or a second acquisition.
Copies and single repeated slices are left out. If the images of many positions are repeated, each
of them belongs to one of several acquisitions that nothing tells apart: a volume of one image from
each position would mix them, so it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.phases import same_position_mm
from tomochrome.io.dicom.regular import Plan, SliceGeometry
from tomochrome.io.walk import open_regular
from tomochrome.notices import Notice, refused
from tomochrome.volume import Verdict

POSITION_TOLERANCE: Final = 0.02
"""Tolerance as a fraction of the slice distance, too small to be seen or measured."""
THIN_TOLERANCE: Final = 0.25
"""Limit on the tolerance as a fraction of the slice distance, for slices thinner than a quarter of
a millimeter: one missing slice moves others by at least .4 of it from their place on a line."""
DRIFT_TOLERANCE_PIXELS: Final = 0.5
"""Sideways shift over the entire stack above which it is tilted: the nearest pixel changes."""
MAX_TILT_DEGREES: Final = 45.0
"""Maximum angle of a tilt; gantries tilt by up to 30 degrees."""
WHOLE_GAP_TOLERANCE: Final = 0.1
"""Gaps within this fraction of a multiple of the slice distance are due to missing slices."""
MIN_RUN: Final = 3
"""So many equal gaps in a row are a change of the slice distance: no slice is missing."""
UNSEEN: Final = 1.5
"""Distance of slices, in slice thicknesses, above which a warning is given."""

_DIRECTIONS: Final = ("right-left", "front-back", "foot-head")

POSITION_TOLERANCE_MM: Final = 0.06
"""Tolerance for rounded positions: to a tenth of a millimeter at worst, an error of up to 0.05."""
SAME_POSITION: Final = 0.1
"""Slices within `POSITION_TOLERANCE_MM` and this fraction of the median gap also have the same
position: a repeated slice whose position was rounded differently."""
MAX_REPEATED: Final = 2
"""Maximum number of different images at positions that another image has: the scanner repeated a
rotation. More, or more than half of the number of positions, are a second acquisition."""


@dataclass(frozen=True)
class Finding:
    """An irregularity, and how reading deals with it."""

    what: str
    done: str = ""  #: the correction; empty if none is needed
    stored: str = ""  #: the consequence if the slices are read as stored
    verdict: Verdict = "irregular"

    def notice(self, *, as_stored: bool = False) -> Notice:
        """Return the warning, with the consequence if the slices are read as stored."""
        end = self.stored if as_stored else self.done
        return Notice("geometry", "warning", f"{self.what}: {end}" if end else self.what)


@dataclass(frozen=True, eq=False)
class Sideways:
    """The sideways shift between slices."""

    tilt: float = 0.0  #: degrees between the direction of travel and the normal
    travel: NDArray[np.float64] | None = None  #: unit vector of the table's direction, if tilted
    jump: float = 0.0  #: maximum sideways step in mm, if it is not a tilt

    def finding(self, plan: Plan | None) -> list[Finding]:
        """Return the findings: none or one."""
        if self.travel is not None:
            grid = "" if plan is None else f" of {plan.shape[0]} slices {plan.spacing:.2f} mm apart"
            return [
                Finding(
                    f"the slices are tilted by {self.tilt:.1f} degrees against the direction of "
                    "travel (gantry tilt)",
                    f"they were resampled to an orthogonal grid{grid}",
                    "they were left tilted, so the volume's axes are not orthogonal",
                    "tilted",
                )
            ]
        if self.jump:
            return [
                Finding(
                    f"the slices jump sideways by up to {self.jump:.1f} mm (the patient or the "
                    "table moved)",
                    "each was placed at its own position",
                    _LEFT,
                )
            ]
        return []


_LEFT: Final = "they were left as stored, so their positions in this volume are approximate"


def sideways(geometry: SliceGeometry) -> Sideways:
    """Assess the sideways shift from slice to slice."""
    along = geometry.along
    moved = geometry.positions - geometry.positions[0] - np.outer(along, geometry.normal)
    tolerance = max(DRIFT_TOLERANCE_PIXELS * min(geometry.pixel_spacing), POSITION_TOLERANCE_MM)
    if float(np.linalg.norm(moved, axis=1).max()) <= tolerance:
        return Sideways()
    centred = along - along.mean()
    slope = centred @ moved / (centred @ centred)
    rest = moved - moved.mean(axis=0) - np.outer(centred, slope)
    travel = geometry.normal + slope
    travel /= np.linalg.norm(travel)
    tilt = float(np.degrees(np.arccos(min(1.0, float(travel @ geometry.normal)))))
    steady = float(np.linalg.norm(rest, axis=1).max()) <= tolerance
    if steady and tilt <= MAX_TILT_DEGREES:
        return Sideways(tilt, travel)
    return Sideways(jump=float(np.linalg.norm(np.diff(moved, axis=0), axis=1).max()))


@dataclass(frozen=True)
class Gaps:
    """The distances of slices along their normal."""

    even: bool
    missing: int = 0  #: number of missing slices, if gaps are multiples of the median one
    whole: bool = False  #: whether every gap is a multiple of the median one

    def findings(self, geometry: SliceGeometry, stretch: float) -> list[Finding]:
        """Return the findings; ``stretch`` is the ratio of table travel to mm along the normal."""
        if self.even:
            return []
        gaps = np.diff(geometry.along) * stretch
        usual = geometry.usual_gap * stretch
        bridged = geometry.bridged
        wide = gaps > usual * UNSEEN
        filled = "the gaps were filled by linear interpolation between their neighbors"
        if self.missing:
            what = f"slices are missing: {self.missing}"
            if not (wide & bridged).any():  # all missing slices are in the holes
                return _holes(geometry, bridged, f"{what}, which leaves")
            what += f" (gaps of up to {gaps.max():.2f} mm among slices {usual:.2f} mm apart)"
            done = filled if bridged.all() else filled.replace("the gaps", "the smaller gaps")
            return [Finding(what, done, _LEFT, "incomplete"), *_holes(geometry, bridged)]
        what = f"the distance between slices changes from {gaps.min():.2f} to {gaps.max():.2f} mm"
        done = "they were resampled to even spacing by linear interpolation"
        return [Finding(what, done, _LEFT), *_holes(geometry, bridged)]


def _holes(
    geometry: SliceGeometry, bridged: NDArray[np.bool_], lead: str = "no image covers"
) -> list[Finding]:
    """Return one finding for all gaps that are too large to be interpolated."""
    wide = np.flatnonzero(~bridged)
    if not wide.size:
        return []
    axis = int(np.argmax(np.abs(geometry.normal)))
    places = geometry.positions[:, axis]
    extents = [
        f"{abs(places[i + 1] - places[i]):.1f} mm (from {places[i]:.1f} to {places[i + 1]:.1f} mm "
        f"{_DIRECTIONS[axis]})"
        for i in wide[:3]
    ]
    more = f" and {wide.size - 3} more" if wide.size > 3 else ""
    noun = "a hole" if wide.size == 1 else "holes"
    return [
        Finding(
            f"{lead} {noun} of {', '.join(extents)}{more}",
            "too large to interpolate, left empty",
            "the slices on both sides are adjacent in this volume",
            "incomplete",
        )
    ]


def gaps(along: NDArray[np.float64]) -> Gaps:
    """Assess the distances of slices at positions ``along`` the normal (mm, ascending)."""
    apart = np.diff(along)
    centred = np.arange(len(along)) - len(apart) / 2
    mean = float(centred @ along / (centred @ centred))
    # Deviation from the fitted line, because the first and last positions are rounded as well.
    off = np.abs(along - along.mean() - mean * centred).max()
    rounding = min(POSITION_TOLERANCE_MM, THIN_TOLERANCE * float(np.median(apart)))
    if off <= max(rounding, POSITION_TOLERANCE * mean):
        return Gaps(even=True)
    usual = float(np.median(apart))
    multiples = np.round(apart / usual).astype(int)
    whole = bool(
        (np.abs(apart - multiples * usual) <= WHOLE_GAP_TOLERANCE * usual).all()
        and multiples.min() >= 1
    )
    runs = [(multiple, len(list(run))) for multiple, run in groupby(multiples.tolist())]
    meant = all(length >= MIN_RUN for _, length in runs)
    missing = int((multiples - 1).sum()) if whole and not meant else 0
    return Gaps(even=False, missing=missing, whole=whole and multiples.max() >= 2)


def unseen(headers: Sequence[Header], usual: float) -> tuple[Notice, ...]:
    """Return a warning if slices are so far apart that tissue between them was not scanned."""
    thickest = max((h.thickness or 0.0 for h in headers), default=0.0)
    if not 0.0 < thickest < usual / UNSEEN:
        return ()
    text = (
        f"the slices are {thickest:g} mm thick but {usual:.3g} mm apart: "
        "the tissue between them was not imaged (or slices are missing)"
    )
    return (Notice("geometry", "warning", text),)


@dataclass(frozen=True)
class Repeats:
    """Slices at the same position."""

    kept: list[int]  #: indices of the slices to keep, one for each position
    aside: float = 0.0  #: maximum sideways distance in mm of slices in one plane
    copies: int = 0  #: number of images left out that equal a kept one
    others: int = 0  #: number of images left out that differ from the kept one
    at_origin: bool = False  #: whether different images have the position (0, 0, 0)

    def refusal(self) -> Notice | None:
        """Return why the slices are not one volume; None if they are."""
        count = len(self.kept)
        if self.others <= min(MAX_REPEATED, count / 2) and not self.at_origin:
            return None
        images = count + self.others
        if count == 1:
            return refused(
                f"all {images} images have the same position: their positions were removed, or "
                "they show one slice at different times; export the series again as original CT "
                "images"
            )
        if self.at_origin:
            return refused(
                "several images have the position (0, 0, 0), so their positions were removed; "
                "export the series again as original CT images"
            )
        return refused(
            f"{images} different images have only {count} positions, and nothing in their headers "
            "says which of them belong together; export each acquisition as its own series"
        )


def repeats(
    along: NDArray[np.float64], positions: NDArray[np.float64], headers: Sequence[Header]
) -> Repeats:
    """Find slices with the same position.

    Parameters
    ----------
    along
        Positions along the normal in mm, ascending, (n,).
    positions
        Positions of the slices in LPS mm, (n, 3).
    headers
        Their headers. The pixels of slices with the same position are compared, if they are in
        files of their own.

    Returns
    -------
    Repeats
        Of the slices with the same position, the first by time and instance number is kept.
    """
    near = min(map(same_position_mm, headers))
    gaps = np.diff(along)
    real = gaps[gaps >= near]
    usual = float(np.median(real)) if real.size else 0.0
    same = gaps < max(near, min(POSITION_TOLERANCE_MM, SAME_POSITION * usual))
    kept, aside, copies, others, at_origin = [], 0.0, 0, 0, False
    starts = [0, *(np.flatnonzero(~same) + 1).tolist(), len(along)]
    for start, stop in pairwise(starts):
        chosen = min(range(start, stop), key=lambda i: (*_when(headers[i]), i))
        kept.append(chosen)
        if stop == start + 1:
            continue
        apart = positions[start:stop] - positions[start]
        aside = max(aside, float(np.linalg.norm(apart, axis=1).max()))
        unequal = sum(
            not _same_image(headers[chosen], headers[i]) for i in range(start, stop) if i != chosen
        )
        copies += stop - start - 1 - unequal
        others += unequal
        at_origin |= unequal > 0 and not np.abs(positions[start]).max()
    return Repeats(kept, aside, copies, others, at_origin)


def _when(header: Header) -> tuple[float, float]:
    times = dict(header.times)
    time = next((times[k] for k in ("AcquisitionTime", "ContentTime") if k in times), np.inf)
    return time, np.inf if header.instance is None else float(header.instance)


def _same_image(a: Header, b: Header) -> bool:
    """Return whether two files hold the same image, from their pixels as stored."""
    if a.is_multiframe or b.is_multiframe or not a.pixels_at or not b.pixels_at:
        return False
    if (a.transfer_syntax, a.slope, a.intercept) != (b.transfer_syntax, b.slope, b.intercept):
        return False
    try:
        with open_regular(a.path) as first, open_regular(b.path) as second:
            first.seek(a.pixels_at)
            second.seek(b.pixels_at)
            while block := first.read(_BLOCK):
                if block != second.read(_BLOCK):
                    return False
            return not second.read(1)
    except OSError:  # reported when the slices are read
        return False


_BLOCK: Final = 1 << 20

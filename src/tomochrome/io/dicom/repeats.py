"""Images at the same position: copies of one image, a repeated slice, or a second acquisition.

Copies and single repeated slices are left out. If the images of many positions are repeated, each
of them belongs to one of several acquisitions that nothing tells apart: a volume of one image from
each position would mix them, so it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.phases import same_position_mm
from tomochrome.io.walk import open_regular

POSITION_TOLERANCE_MM: Final = 0.06
"""Tolerance for rounded positions: to a tenth of a millimeter at worst, an error of up to 0.05."""
SAME_POSITION: Final = 0.1
"""Slices within `POSITION_TOLERANCE_MM` and this fraction of the median gap also have the same
position: a repeated slice whose position was rounded differently."""
MOST_REPEATED: Final = 2
"""Maximum number of different images at positions that another image has: the scanner repeated a
rotation. More, or more than half of the number of positions, are a second acquisition."""


@dataclass(frozen=True)
class Repeats:
    """Slices at the same position."""

    kept: list[int]  #: indices of the slices to keep, one for each position
    aside: float = 0.0  #: maximum sideways distance in mm of slices in one plane
    copies: int = 0  #: number of images left out that equal a kept one
    others: int = 0  #: number of images left out that differ from the kept one
    at_origin: bool = False  #: whether different images have the position (0, 0, 0)

    def refusal(self) -> str:
        """Return why the slices are not one volume, or an empty string."""
        count = len(self.kept)
        if self.others <= min(MOST_REPEATED, count / 2) and not self.at_origin:
            return ""
        images = count + self.others
        if count == 1:
            return (
                f"all {images} images have the same position: their positions were removed, or "
                "they show one slice at different times; export the series again as original CT "
                "images"
            )
        if self.at_origin:
            return (
                "several images have the position (0, 0, 0), so their positions were removed; "
                "export the series again as original CT images"
            )
        return (
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

"""Evidence in the values of a scan: groups of air and soft tissue, and shifts of the scale."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SMOOTH: Final = 41  #: HU; for noise and steps of the values
AIR: Final = (-1100.0, -850.0)
"""Air measures -1000 HU, apart from noise and calibration errors."""
MIN_AIR: Final = 0.001
"""Smallest fraction of the voxels: 0.1 % is a little bowel gas."""
SOFT_TISSUE: Final = (-200.0, 300.0)
MIN_SOFT_TISSUE: Final = 0.01
LUNG: Final = -600.0  # inflated lung and its noise lie between air and this
BETWEEN: Final = (-600.0, -250.0)  #: only the edges of lung, gas and skin have such values
PEAK: Final = (-150.0, 450.0)  #: fat, water, organs, and blood with contrast agent
MIN_DIP: Final = (1.2, 3.0)
"""Smallest ratio of the densities of air (or lung) and of soft tissue to the rarest values between
them: of the smaller one, and the product of both ratios."""
MIN_CLEAR_DIP: Final = (2.0, 20.0)
"""The same for other evidence that is weak: where the outside is 0 as in masked MR images, and for
a shifted CT."""
MAX_BELOW: Final = (0.01, 0.5)
"""Largest fraction below air, apart from padding: absolute, and per fraction of air (noise)."""
MAX_SYMMETRY: Final = 0.75
"""Largest overlap of the histogram with its mirror image about 0, if it is highest there."""
CENTERED: Final = 16.0
MIN_PADDING: Final = 0.01  # fraction of the voxels that have one value below air
MIN_FILLED: Final = 0.1  # fraction of the voxels that a program has filled with 0

BODY: Final = (-150.0, 150.0)  #: fat, water and organs
MIN_BODY: Final = 0.3
"""Smallest fraction of soft tissue among the voxels of a shifted CT that are not air."""
MAX_BETWEEN: Final = 0.2
MAX_SPAN: Final = 2.0**17  # of values for which a shift is searched
MIN_SHIFT: Final = 200  #: a smaller one is an error of calibration
SHIFTS: Final = (1000, 1024, -1000, -1024, 2000, 2048, -2000, -2048, 4096, 8192, 32768)
"""What programs add to Hounsfield units to avoid negative values, or subtract twice."""
NEAR: Final = 130.0
"""From the shift that the air indicates to one of `SHIFTS`; without air, lung takes its place."""
MAX_OFF: Final = 25.0  #: cost in HU of lung in the place of air
UNUSUAL: Final = (4.0, 12.0)
"""Cost in HU of a shift that is not usual: where air is one exact value, and elsewhere."""
LEAN: Final = (35.0, 65.0)  #: brain, muscle and organs
FAT: Final = -100.0

_PIECE: Final = 1 << 15  # values
_STEP: Final = 40  # of the search for a shift


@dataclass(frozen=True, eq=False)
class Histogram:
    """Fractions of the voxels for each whole number.

    Parameters
    ----------
    first
        The smallest number.
    share
        Fraction of the voxels for ``first`` and each number that follows.
    is_filled
        Whether voxels filled with 0 were left out.
    """

    first: int
    share: NDArray[np.float64]
    is_filled: bool = False

    @classmethod
    def of(cls, values: NDArray[Any]) -> Histogram:
        """Count finite values of any shape, not empty, that span at most `MAX_SPAN`."""
        flat = values.reshape(-1)
        first, last = (round(float(end)) for end in (flat.min(), flat.max()))
        counts = np.zeros(last - first + 1)
        for start in range(0, flat.size, _PIECE):
            piece = np.rint(flat[start : start + _PIECE].astype(np.float64)) - first
            counts += np.bincount(piece.astype(np.intp), minlength=counts.size)
        return cls(first, counts / flat.size)

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        return np.concatenate(([0.0], np.cumsum(self.share)))

    def mass(self, low: float, high: float) -> float:
        """Return the fraction of the voxels from ``low`` to ``high``."""
        ends = np.clip((int(low) - self.first, int(high) - self.first + 1), 0, self.share.size)
        return float(self._sums[ends[1]] - self._sums[ends[0]])

    def density(self, low: float, high: float) -> NDArray[np.float64]:
        """Return the fractions per HU from ``low`` to ``high``, averaged over `SMOOTH`."""
        centers = np.arange(int(low), int(high) + 1) - self.first
        ends = np.clip(np.add(centers, [[-(SMOOTH // 2)], [SMOOTH // 2 + 1]]), 0, self.share.size)
        return np.asarray(self._sums[ends[1]] - self._sums[ends[0]]) / SMOOTH

    def mode(self, low: float, high: float) -> int:
        """Return the median of the values where they are densest between ``low`` and ``high``."""
        top = int(low) + int(self.density(low, high).argmax()) - self.first
        start, stop = np.clip((top - SMOOTH // 2, top + SMOOTH // 2 + 1), 0, self.share.size)
        middle = (self._sums[start] + self._sums[stop]) / 2
        return (
            self.first + int(np.searchsorted(self._sums[start:stop], middle, "right")) + start - 1
        )

    def shifted(self, shift: int) -> Histogram:
        """Return the histogram of the values minus ``shift``."""
        moved = replace(self, first=self.first - shift)
        moved.__dict__["_sums"] = self._sums
        return moved

    def is_constant(self, value: int) -> bool:
        """Whether most of the values around ``value`` are exactly that, as programs write it."""
        half = SMOOTH // 2
        return self.mass(value, value) > self.mass(value - half, value + half) / 2

    def without_padding(self) -> Histogram:
        """Leave out what programs fill the outside of an image with.

        These are single frequent values below air, such as -2000 or -3024; and 0 where it is one
        value with many voxels, and air is not.
        """
        share = self.share.copy()
        low = share[: max(int(AIR[0]) - self.first, 0)]
        for place in np.flatnonzero(low > MIN_PADDING):
            low[place] *= not self.is_constant(self.first + int(place))
        is_filled = self.mass(0, 0) > MIN_FILLED and self.is_constant(0)
        is_filled = is_filled and not self.is_constant(self.mode(*AIR))
        if is_filled:
            share[-self.first] = 0
        return (
            replace(self, share=share / share.sum(), is_filled=is_filled) if share.any() else self
        )

    def symmetry(self) -> float:
        """Return the overlap with the mirror image about 0, from 0 to 1."""
        reach = max(abs(self.first), abs(self.first + self.share.size - 1)) + SMOOTH
        both = self.density(-reach, reach)
        return float(np.minimum(both, both[::-1]).sum() / both.sum())


def why_impossible(histogram: Histogram, *, strict: bool = False) -> str:
    """Return why values cannot be those of a CT, as a clause; empty if they can.

    Too many are below air, or the histogram is symmetric about 0.
    """
    air = histogram.mass(*AIR)
    below = histogram.mass(histogram.first, AIR[0] - 1)
    if below > MAX_BELOW[0] + (0 if strict else MAX_BELOW[1] * air):
        return f"{100 * below:.2g} % of the values are below {AIR[0]:g}, and air is about -1000"
    is_centered = air >= MIN_AIR and abs(histogram.mode(*PEAK)) <= CENTERED
    if is_centered and histogram.symmetry() > MAX_SYMMETRY:
        return "negative and positive values are equally frequent, as in a difference of images"
    return ""


def why_no_groups(histogram: Histogram, *, strict: bool = False) -> str:
    """Return why the values do not fall into groups as in a CT, as a clause; empty if they do.

    In a CT, air and lung form one group and fat, water and organs another one, few values lie
    between them, and none below. With ``strict`` the groups must be clear.
    """
    reason = why_impossible(histogram, strict=strict)
    if reason:
        return reason
    if histogram.mass(*AIR) < MIN_AIR:
        return "hardly any voxel is air (about -1000)"
    if histogram.mass(*SOFT_TISSUE) < MIN_SOFT_TISSUE:
        return "hardly any voxel is soft tissue (-200 to 300)"
    air_at, soft_at = histogram.mode(AIR[0], LUNG), histogram.mode(*PEAK)
    dip = histogram.density(air_at, soft_at).min()
    air_top, soft_top = (histogram.density(at, at)[0] for at in (air_at, soft_at))
    lower, higher = sorted((air_top, soft_top))
    if strict and histogram.is_constant(soft_at) and not histogram.is_constant(air_at):
        return "soft tissue is a constant"
    least = MIN_CLEAR_DIP if strict or histogram.is_filled else MIN_DIP
    if lower < least[0] * dip or lower * higher < least[1] * dip**2:
        return "air (about -1000) and soft tissue (about 0) do not form separate groups of values"
    return ""


def find_shift(values: NDArray[Any]) -> tuple[int, int] | None:
    """Return what was added to Hounsfield units, if values look like a shifted CT.

    The groups of air and soft tissue of `why_no_groups` are searched anywhere on the scale; much
    of what is not air must be soft tissue. Of the usual shifts near the one that the air
    indicates, the one that fits air, fat, water and organs best is returned; else a multiple of
    10.

    Parameters
    ----------
    values
        Finite values of any shape, not empty.

    Returns
    -------
    tuple of two int, or None
        The shift, and the value that air has; None if no shift is found.
    """
    if float(values.max()) - float(values.min()) > MAX_SPAN:
        return None
    histogram = Histogram.of(values)
    level = _air(histogram)
    if level is None:
        return None
    rough = level + 1000
    is_constant = histogram.is_constant(level)  # a program's air, or the end of the scale
    choices = [shift for shift in SHIFTS if abs(shift - rough) <= NEAR]
    choices += [rough, level + 1024] if is_constant else [round(rough / 10) * 10]
    unusual = UNUSUAL[0] if is_constant else UNUSUAL[1]
    costs = {
        shift: _misfit(histogram, level, shift) + (0 if shift in SHIFTS else unusual)
        for shift in choices
    }
    shift = min(costs, key=costs.__getitem__)
    return (shift, level) if shift else None


def _air(histogram: Histogram) -> int | None:
    """Return the value that air has, wherever the groups of `why_no_groups` are on the scale."""
    start = (histogram.first + 1000) // _STEP * _STEP
    for shift in range(start - _STEP, start + histogram.share.size, _STEP):
        air = histogram.mass(shift + AIR[0], shift + AIR[1])
        rest = 1 - air
        body = histogram.mass(shift + BODY[0], shift + BODY[1])
        between = histogram.mass(shift + BETWEEN[0], shift + BETWEEN[1])
        if abs(shift) < MIN_SHIFT or air < MIN_AIR or body < max(MIN_BODY * rest, MIN_SOFT_TISSUE):
            continue
        moved = histogram.shifted(shift)
        if between <= MAX_BETWEEN * rest and not why_no_groups(moved, strict=True):
            return moved.mode(*AIR) + shift
    return None


def _misfit(histogram: Histogram, air: float, shift: int) -> float:
    """Return how far air and the most frequent soft tissue are from their Hounsfield units."""
    soft = histogram.mode(BODY[0] + shift, BODY[1] + shift) - shift
    lean = max(LEAN[0] - soft, 0.0, soft - LEAN[1])
    off = min(abs(air - shift + 1000), abs(air - shift + 1024), MAX_OFF)
    return off + min(lean, abs(soft - FAT), abs(soft))

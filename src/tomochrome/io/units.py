"""Detecting whether values without a unit are Hounsfield units.

The evidence: groups of air and soft tissue, and shifts of the scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.notices import Notice
from tomochrome.volume import Unit, Volume

FAT_OR_BELOW: Final = -200.0
"""Every body CT has values at or below this: air, lung, or the darkest fat."""
MIN_JUDGED: Final = 1000  #: voxels; fewer are no evidence against a header
MAX_HU: Final = 32767.0  # metal, on the extended 16-bit Hounsfield scale

EXACT_FLOAT: Final = 2**24
"""The integers up to this magnitude are all exact in float32."""
MODALITIES: Final = {
    "CT": "CT",
    "MR": "magnetic resonance",
    "PT": "positron emission tomography",
    "NM": "nuclear medicine",
    "US": "ultrasound",
    "CR": "X-ray",
    "DX": "X-ray",
    "MG": "mammography",
    "XA": "angiography",
    "RF": "fluoroscopy",
}
"""Names of DICOM modality codes (PS3.3 C.7.3.1.1.1)."""

_SAMPLE = 1_000_000

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


def looks_like_hounsfield(
    voxels: NDArray[Any], outside: NDArray[np.bool_] | None = None
) -> tuple[bool, str]:
    """Judge whether values without a unit can be Hounsfield units.

    They can if some value is at or below -200, all fit into 16 bits, and the values of air (about
    -1000) and of soft tissue (-200 to 300) form separate groups, see
    `tomochrome.io.units.why_no_groups`. MR magnitude and PET values are not negative, phase
    images and noise have no groups, differences are symmetric about 0, photographs are unsigned,
    and normalized images have values close to 0: none of them passes.

    Parameters
    ----------
    voxels
        Values after any slope and intercept, of any shape. Large arrays are subsampled, except
        for the minimum and maximum.
    outside
        Mask of the same shape, True for voxels to ignore; not all of them.

    Returns
    -------
    tuple of bool and str
        The result, and the reason as a clause.
    """
    least, greatest = extremes(voxels, outside)
    if not np.isfinite([least, greatest]).all():
        return False, "some values are not finite numbers"
    sample = _sample(voxels, outside)
    if least > FAT_OR_BELOW:
        fault = f"the smallest value is {least:g}, and a CT holds air or fat below -200"
    elif greatest > MAX_HU or least < -MAX_HU - 1:
        fault = f"the values reach from {least:g} to {greatest:g}, beyond 16 bits"
    else:
        fault = why_no_groups(Histogram.of(sample).without_padding())
    if not fault:
        return True, "air is near -1000 and soft tissue between -200 and 300"
    return False, (voxels.dtype.itemsize > 1 and shifted(sample)) or fault


def contradicts_hounsfield(
    voxels: NDArray[Any], outside: NDArray[np.bool_] | None = None
) -> tuple[str, bool]:
    """Judge values that a DICOM header declares to be Hounsfield units.

    Parameters
    ----------
    voxels, outside
        As for `looks_like_hounsfield`; all voxels may be outside.

    Returns
    -------
    tuple of str and bool
        Why they are unlikely to be Hounsfield units, as a clause, empty if they are not; and
        whether they cannot be: those of a shifted CT, many below air, symmetric about 0, or with
        a background far above air. The values of a small field of view, for example without air,
        are unusual but possible.
    """
    if voxels.size < MIN_JUDGED or (outside is not None and outside.all()):
        return "", False
    least, greatest = extremes(voxels, outside)
    if least == greatest:
        return "", False
    fits, reason = looks_like_hounsfield(voxels, outside)
    if fits:
        return "", False
    if greatest > MAX_HU or least < -MAX_HU - 1 or not np.isfinite([least, greatest]).all():
        return reason, False
    sample = _sample(voxels, outside)
    histogram = Histogram.of(sample)
    cannot = (
        find_shift(sample) is not None
        or bool(why_impossible(histogram.without_padding()))
        or (least > FAT_OR_BELOW and histogram.mass(least, least) > MIN_FILLED)
    )
    return reason, cannot


def shifted(sample: NDArray[Any]) -> str:
    """Return that values are those of a shifted CT, and how to correct them; empty if not."""
    change = find_shift(sample)
    if change is None:
        return ""
    shift, air = change
    correction = f"subtract {shift} from them" if shift > 0 else f"add {-shift} to them"
    return (
        f"the values look like those of a CT shifted by {shift} (air is near {air}, not near "
        f"-1000); {correction}"
    )


def extremes(voxels: NDArray[Any], outside: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Return the minimum and maximum of the values that are not ``outside``."""
    if outside is None:
        return float(voxels.min()), float(voxels.max())
    # Slice by slice, to avoid a copy of all values.
    planes = (plane[~lost] for plane, lost in zip(voxels, outside, strict=True))
    ends = [(plane.min(), plane.max()) for plane in planes if plane.size]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _sample(voxels: NDArray[Any], outside: NDArray[np.bool_] | None) -> NDArray[Any]:
    flat = voxels.reshape(-1)
    every = slice(None, None, max(1, flat.size // _SAMPLE))
    return flat[every] if outside is None else flat[every][~outside.reshape(-1)[every]]


def infer_unit(
    voxels: NDArray[Any], outside: NDArray[np.bool_] | None = None
) -> tuple[Unit, Notice]:
    """Return the most likely unit of values without one, and a notice about it.

    The notice is only information where the values leave no doubt.
    """
    fits, reason = looks_like_hounsfield(voxels, outside)
    if fits:
        histogram = Histogram.of(_sample(voxels, outside)).without_padding()
        text = "the file specifies no unit; read as Hounsfield units, "
        if why_no_groups(histogram, strict=True):
            text += "although air (about -1000) and soft tissue do not form clear groups of values"
            return "HU", Notice("unit", "warning", text)
        return "HU", Notice("unit", "info", f"{text}because {reason}")
    return "unknown", Notice("unit", "warning", f"the values are not Hounsfield units: {reason}")


def unit_of(values: Volume | NDArray[Any]) -> tuple[Unit, str]:
    """Return the unit of a volume, or the most likely unit of an array, and the reason.

    A volume whose unit is known keeps it. Everything else is judged by
    `looks_like_hounsfield`; booleans and complex numbers are never Hounsfield units.

    Returns
    -------
    tuple of Unit and str
        ``"HU"``, ``"unknown"``, or the volume's own unit; and the reason as a clause.
    """
    if isinstance(values, Volume):
        if values.is_rgba:
            return "RGBA", "they are colors"
        if values.unit != "unknown":
            return values.unit, "the file says so"
        values = np.asarray(values.voxels)
    if values.dtype.kind not in "iuf":
        return "unknown", f"values of type {values.dtype} are not intensities"
    if values.size == 0:
        return "unknown", "there are no values"
    fits, reason = looks_like_hounsfield(values)
    return ("HU" if fits else "unknown"), reason


def why_not_hu(volume: Volume) -> str:
    """Describe, as a clause, a volume that is not CT in Hounsfield units.

    Names the modality if it is known and not CT, else what the values indicate.
    """
    modality = volume.provenance.modality
    if modality in MODALITIES and modality != "CT":
        return f"it is {MODALITIES[modality]}"
    unit, reason = unit_of(volume)
    if unit == "unknown":
        return reason
    return "its values are labels or statistics" if unit == "HU" else f"its values are {unit}"


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

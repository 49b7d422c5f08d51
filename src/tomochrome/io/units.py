"""Detecting whether values without a unit are Hounsfield units."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.hounsfield import (
    MIN_FILLED,
    Histogram,
    find_shift,
    why_impossible,
    why_no_groups,
)
from tomochrome.notices import Notice
from tomochrome.volume import Unit, Volume

FAT_OR_BELOW: Final = -200.0
"""Every body CT has values at or below this: air, lung, or the darkest fat."""
MIN_JUDGED: Final = 1000  #: voxels; fewer are no evidence against a header
HIGHEST: Final = 32767.0  # metal, on the extended 16-bit Hounsfield scale

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


def looks_like_hounsfield(
    voxels: NDArray[Any], outside: NDArray[np.bool_] | None = None
) -> tuple[bool, str]:
    """Judge whether values without a unit can be Hounsfield units.

    They can if some value is at or below -200, all fit into 16 bits, and the values of air (about
    -1000) and of soft tissue (-200 to 300) form separate groups, see
    `tomochrome.io.hounsfield.why_no_groups`. MR magnitude and PET values are not negative, phase
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
    elif greatest > HIGHEST or least < -HIGHEST - 1:
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
    if greatest > HIGHEST or least < -HIGHEST - 1 or not np.isfinite([least, greatest]).all():
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
    found = find_shift(sample)
    if found is None:
        return ""
    shift, air = found
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

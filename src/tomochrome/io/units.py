"""Are these Hounsfield units? A rule for formats that do not say."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.volume import Unit

FAT_OR_BELOW: Final = -200.0
"""A CT of a body holds something at or below this: air, lung, or the darkest of the fat."""
AIR: Final = (-1100.0, -850.0)
"""Air around and inside the body measures -1000 HU, give or take noise and calibration."""
LEAST_AIR: Final = 0.001  # of the voxels: a thousandth is a little bowel gas
SOFT_TISSUE: Final = (-200.0, 300.0)
LEAST_SOFT_TISSUE: Final = 0.01
HIGHEST: Final = 32767.0  # metal, in the extended Hounsfield scale of 16 bits

_SAMPLE = 4_000_000


def looks_like_hounsfield(voxels: NDArray[Any]) -> tuple[bool, str]:
    """Judge whether values without a unit can be Hounsfield units.

    They can when some value is at or below -200, none is beyond 16 bits, at least a
    thousandth of the voxels is air (about -1000, or padding below it) and at least a
    hundredth is soft tissue (-200 to 300). MR and PET are not negative, pictures are
    unsigned, normalized images lie within a few units of 0: none of them passes.

    Parameters
    ----------
    voxels
        Values after any slope and intercept, of any shape. Large arrays are sampled evenly,
        except for the least and the greatest value.

    Returns
    -------
    tuple of bool and str
        The verdict, and the reason as half a sentence.
    """
    least, greatest = float(voxels.min()), float(voxels.max())
    if not np.isfinite([least, greatest]).all():
        return False, "some values are not finite numbers"
    if least > FAT_OR_BELOW:
        return False, f"the least value is {least:g}, and a CT holds air or fat below -200"
    if greatest > HIGHEST or least < -HIGHEST - 1:
        return False, f"the values reach from {least:g} to {greatest:g}, beyond 16 bits"
    flat = voxels.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    air = np.mean((sample >= AIR[0]) & (sample <= AIR[1])) + np.mean(sample < AIR[0])
    if air < LEAST_AIR:
        return False, "hardly any voxel is air (about -1000)"
    tissue = np.mean((sample >= SOFT_TISSUE[0]) & (sample <= SOFT_TISSUE[1]))
    if tissue < LEAST_SOFT_TISSUE:
        return False, "hardly any voxel is soft tissue (-200 to 300)"
    return True, "air lies near -1000 and soft tissue between -200 and 300"


def infer_unit(voxels: NDArray[Any]) -> tuple[Unit, str]:
    """Return the unit that values without one most likely have, and a warning that says so."""
    fits, reason = looks_like_hounsfield(voxels)
    if fits:
        return "HU", f"the file names no unit; read as Hounsfield units, because {reason}"
    return "unknown", f"the values are not Hounsfield units: {reason}"


def compact(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return values as int16 where that is exact, else as float32 (bytes stay bytes)."""
    if voxels.dtype == np.uint8 or (voxels.dtype == np.int16 and voxels.dtype.isnative):
        return voxels
    if voxels.dtype.kind == "b":
        return voxels.astype(np.uint8)
    limits = np.iinfo(np.int16)
    if voxels.min() >= limits.min and voxels.max() <= limits.max:
        small = voxels.astype(np.int16)
        if voxels.dtype.kind in "iu" or np.array_equal(small, voxels):
            return small
    return voxels.astype(np.float32)

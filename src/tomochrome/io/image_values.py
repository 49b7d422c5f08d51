"""Conversion of stored values: rescaling, compact exact types, masks of invalid voxels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import FileError
from tomochrome.io.units import EXACT_FLOAT, extremes, infer_unit
from tomochrome.notices import Notice
from tomochrome.runtime import check
from tomochrome.volume import Unit

AIR_HU: Final = -1024
_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
_INT16: Final = np.iinfo(np.int16)


@dataclass(frozen=True, eq=False)
class Values:
    """Values of one volume.

    Parameters
    ----------
    voxels
        int16 or uint8 where that is exact, else float32; integers that float32 cannot represent
        (possibly labels) keep their type. Shape (z, y, x).
    outside
        True for voxels without a finite value; None if there are none.
    unit
        The most likely unit.
    warnings
        Warnings about the values.
    """

    voxels: NDArray[Any]
    outside: NDArray[np.bool_] | None
    unit: Unit
    warnings: tuple[Notice, ...]


def rescaled(
    raw: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    where: str,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> Values:
    """Rescale stored values and infer their unit.

    Invalid voxels (NaN, infinite, beyond the range of float32) are set to -1024 HU (to the minimum
    for other units) and marked as outside the scan.

    Parameters
    ----------
    raw
        Integers or floats of any byte order: slices (y, x), or an array (z, y, x), which may be
        modified. Only one slice is in memory besides the result, except briefly while a float32
        volume whose first slices hold integers is copied to its final type.
    shape, dtype
        (z, y, x), and the stored type.
    where
        The file, for the error message.
    slope, intercept
        The value is ``raw * slope + intercept``.

    Raises
    ------
    InputError
        If no voxel has a valid value.
    Cancelled
        If the task was cancelled.
    """
    plain = (slope, intercept) == (1.0, 0.0)
    if isinstance(raw, np.ndarray) and plain and raw.dtype in (np.uint8, np.int16):
        voxels, outside = raw, None
    else:
        voxels, outside = _gathered(raw, shape, dtype, None if plain else (slope, intercept))
    check()
    if outside is None:
        unit, reason = infer_unit(voxels)
        return Values(voxels, None, unit, (reason,))
    if outside.all():
        raise FileError(where, "has no finite value in any voxel", "export it again")
    unit, reason = infer_unit(voxels, outside)
    voxels[outside] = AIR_HU if unit == "HU" else extremes(voxels, outside)[0]
    count = int(np.count_nonzero(outside))
    lost = f"{count} voxels ({100 * count / outside.size:.2g} %) hold no number"
    text = f"{lost}; they count as outside the scan and are shown as the darkest"
    return Values(voxels, outside, unit, (Notice("no-number", "warning", text, lost), reason))


def replacing_advice(unit: Unit) -> str:
    """Return what to replace values by that are not numbers: in CT, 0 would be water."""
    return f"replace them by {f'{AIR_HU} HU (air)' if unit == 'HU' else 'the background value'}"


def _gathered(
    raw: Iterable[NDArray[Any]],
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    scale: tuple[float, float] | None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the voxels and mask of `Values`."""
    native = dtype.newbyteorder("=")
    voxels: NDArray[Any]
    voxels = np.empty(shape, np.uint8 if native == np.uint8 and scale is None else np.int16)
    outside: NDArray[np.bool_] | None = None
    for z, stored in enumerate(raw):
        check()
        plane = stored.astype(native, copy=False)
        if voxels.dtype == native and native.kind in "iu" and scale is None:
            voxels[z] = plane
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            plane = plane if scale is None else plane.astype(np.float64) * scale[0] + scale[1]
            low, high = plane.min(), plane.max()
            if not (low >= -_MAX_FLOAT32 and high <= _MAX_FLOAT32):  # also True for NaN
                lost = ~(np.abs(plane) <= _MAX_FLOAT32)
                outside = np.zeros(shape, dtype=np.bool_) if outside is None else outside
                outside[z] = lost
                plane = np.where(lost, 0, plane)
                low, high = plane.min(), plane.max()
        if voxels.dtype == np.int16 and not _is_integral(plane, low, high):
            voxels = _copied(voxels, np.dtype(np.float32), z)
        is_exact = native.kind == "f" or (low >= -EXACT_FLOAT and high <= EXACT_FLOAT)
        if voxels.dtype == np.float32 and scale is None and not is_exact:
            voxels = _copied(voxels, native, z)
        voxels[z] = plane
    return voxels, outside


def _is_integral(plane: NDArray[Any], low: float, high: float) -> bool:
    """Whether all values are 16-bit integers."""
    if low < _INT16.min or high > _INT16.max:
        return False
    return plane.dtype.kind in "iu" or bool(np.array_equal(np.rint(plane), plane))


def _copied(voxels: NDArray[Any], dtype: np.dtype[Any], done: int) -> NDArray[Any]:
    """Return an array of another type with the first ``done`` slices copied."""
    wider = np.empty(voxels.shape, dtype=dtype)
    wider[:done] = voxels[:done]
    return wider


def labels(values: Values, what: str) -> Values:
    """Return the values with unit "unknown", for files that declare labels or statistics."""
    others = (notice for notice in values.warnings if notice.code != "unit")
    notice = Notice("content", "warning", what)
    return replace(values, unit="unknown", warnings=(*others, notice))

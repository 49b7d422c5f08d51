"""From stored numbers to a volume's values: scaled, made small where exact, holes marked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.stream import Planes
from tomochrome.io.units import EXACT_FLOAT, compact, extremes, infer_unit
from tomochrome.runtime import CancelToken, check
from tomochrome.volume import Unit

AIR_HU: Final = -1024
_LARGEST: Final = float(np.finfo(np.float32).max)
_INT16: Final = np.iinfo(np.int16)


@dataclass(frozen=True, eq=False)
class Values:
    """Values of one volume.

    Parameters
    ----------
    voxels
        int16 or uint8 where that is exact, else float32; integers that float32 does not hold
        (they may be labels) as stored. Shape (z, y, x).
    outside
        True where the file holds no number; None if there is no such voxel.
    unit
        What the values most likely are.
    warnings
        What there is to say about them.
    """

    voxels: NDArray[Any]
    outside: NDArray[np.bool_] | None
    unit: Unit
    warnings: tuple[str, ...]


def measured(
    raw: NDArray[Any] | Planes,
    where: str,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    cancel: CancelToken | None = None,
) -> Values:
    """Scale stored numbers and judge what they are.

    Voxels that hold no number (NaN, infinite, beyond 32-bit floats) are no measurement: they
    become -1024 HU (in other units the least value) and are marked as outside the scan.

    Parameters
    ----------
    raw
        Integers or floats, shape (z, y, x), of any byte order. May be changed. Of `Planes`,
        what is returned is all that is ever in memory, but for a float32 volume of which the
        first slices were whole numbers: they are there twice for a moment.
    where
        The file, for the error.
    slope, intercept
        The value is ``raw * slope + intercept``.
    cancel
        Looked at before each slice.

    Raises
    ------
    InputError
        If no voxel holds a number.
    Cancelled
        If ``cancel`` was set.
    """
    if isinstance(raw, Planes):
        voxels, outside = _scaled(raw, slope, intercept, cancel)
        return _judged(voxels, outside, where, cancel)
    if not raw.dtype.isnative:
        raw = raw.byteswap(inplace=raw.flags.writeable).view(raw.dtype.newbyteorder("="))
    if raw.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        voxels, outside = compact(raw), None
    else:
        voxels, outside = _scaled(raw, slope, intercept, cancel)
    return _judged(voxels, outside, where, cancel)


def _judged(
    voxels: NDArray[Any],
    outside: NDArray[np.bool_] | None,
    where: str,
    cancel: CancelToken | None,
) -> Values:
    """Return values with their unit, and voxels that hold no number filled."""
    check(cancel)
    if outside is None:
        unit, reason = infer_unit(voxels)
        return Values(voxels, None, unit, (reason,))
    if outside.all():
        raise InputError(f"'{where}' holds no number in any voxel; export it again")
    unit, reason = infer_unit(voxels, outside)
    voxels[outside] = AIR_HU if unit == "HU" else extremes(voxels, outside)[0]
    count = int(np.count_nonzero(outside))
    lost = (
        f"{count} voxels ({100 * count / outside.size:.2g} %) hold no number; "
        "they count as outside the scan and are shown as the darkest"
    )
    return Values(voxels, outside, unit, (lost, reason))


def _scaled(
    raw: NDArray[Any] | Planes, slope: float, intercept: float, cancel: CancelToken | None
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return values as `Values` has them, and the mask of those that are no numbers."""
    plain = (slope, intercept) == (1.0, 0.0)
    voxels: NDArray[Any] = np.empty(raw.shape, dtype=np.int16)
    outside: NDArray[np.bool_] | None = None
    for z, stored in enumerate(raw):
        check(cancel)
        with np.errstate(over="ignore", invalid="ignore"):
            plane = stored if plain else stored.astype(np.float64) * slope + intercept
            low, high = plane.min(), plane.max()
            if not (low >= -_LARGEST and high <= _LARGEST):  # NaN is neither
                lost = ~(np.abs(plane) <= _LARGEST)
                outside = np.zeros(raw.shape, dtype=np.bool_) if outside is None else outside
                outside[z] = lost
                plane = np.where(lost, 0, plane)
                low, high = plane.min(), plane.max()
        if voxels.dtype == np.int16 and not _whole(plane, low, high):
            voxels = _wider(voxels, raw, z, plain)
        if voxels.dtype == np.float32 and plain and not _exact(raw.dtype, low, high):
            voxels = _copied(voxels, raw.dtype.newbyteorder("="), z)
        if voxels is not raw or plane is not stored:
            voxels[z] = plane
    return voxels, outside


def _whole(plane: NDArray[Any], low: float, high: float) -> bool:
    """Whether all values are whole numbers of 16 bits."""
    if low < _INT16.min or high > _INT16.max:
        return False
    return bool(np.array_equal(np.rint(plane), plane))


def _wider(
    voxels: NDArray[Any], raw: NDArray[Any] | Planes, done: int, plain: bool
) -> NDArray[Any]:
    """Return a float32 array for all slices that holds the first ones already.

    Where the stored numbers are just that, it is their own array, so that memory is not
    taken twice.
    """
    if isinstance(raw, np.ndarray) and plain and raw.dtype == np.float32 and raw.flags.writeable:
        raw[:done] = voxels[:done]  # where a slice held no numbers, they are 0 now
        return raw
    return _copied(voxels, np.dtype(np.float32), done)


def _exact(dtype: np.dtype[Any], low: float, high: float) -> bool:
    """Whether 32-bit floats hold these values as well as they are stored, or nearly so."""
    return dtype.kind == "f" or (low >= -EXACT_FLOAT and high <= EXACT_FLOAT)


def _copied(voxels: NDArray[Any], dtype: np.dtype[Any], done: int) -> NDArray[Any]:
    """Return an array of another type that holds the first slices already."""
    wider = np.empty(voxels.shape, dtype=dtype)
    wider[:done] = voxels[:done]
    return wider


def labels(values: Values, what: str) -> Values:
    """Return values whose file says that they are something other than a measurement."""
    return replace(values, unit="unknown", warnings=(*values.warnings[:-1], what))

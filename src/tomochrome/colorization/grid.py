"""Linear interpolation from coarse grids to the voxels of a volume."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Taps(NamedTuple):
    """Indices and weights of linear interpolation along a coarse axis.

    Attributes
    ----------
    low
        int64 (n,): lower coarse neighbor of each fine index.
    weight
        float32 (n,): weight of the upper coarse neighbor, 0 to 1.
    """

    low: NDArray[np.int64]
    weight: NDArray[np.float32]

    def part(self, first: int, stop: int, base: int = 0) -> Taps:
        """Return the taps of fine indices ``first:stop``, relative to coarse index ``base``."""
        return Taps(self.low[first:stop] - base, self.weight[first:stop])


class CoarseField(NamedTuple):
    """Values on a coarse grid, and the interpolation taps of a volume's slices, rows and columns.

    The taps are flat arrays because numba accepts named tuples of arrays, but not nested ones.

    Attributes
    ----------
    values
        Shape (z, y, x) or (z, y, x, n).
    z, y, x
        int64: lower coarse neighbor of each slice, row and column of the volume.
    wz, wy, wx
        float32: weight of the upper coarse neighbor of each.
    """

    values: NDArray[Any]
    z: NDArray[np.int64]
    wz: NDArray[np.float32]
    y: NDArray[np.int64]
    wy: NDArray[np.float32]
    x: NDArray[np.int64]
    wx: NDArray[np.float32]

    def part(self, first: int, stop: int) -> CoarseField:
        """Return the field for the slices ``first:stop`` of the volume."""
        return self._replace(z=self.z[first:stop], wz=self.wz[first:stop])

    def plane(self, number: int) -> NDArray[np.float32]:
        """Interpolate values (z, y, x) at one slice of the volume: float32 (y, x)."""
        z, wz, values = self.z[number], self.wz[number], self.values
        plane = values[z] * (1 - wz) + values[min(z + 1, len(values) - 1)] * wz
        for axis, low, weight in ((0, self.y, self.wy), (1, self.x, self.wx)):
            next_ = np.minimum(low + 1, plane.shape[axis] - 1)
            weight = weight[:, None] if axis == 0 else weight
            plane = plane.take(low, axis) * (1 - weight) + plane.take(next_, axis) * weight
        return np.asarray(plane, np.float32)


def taps(positions: ArrayLike, coarse: int) -> Taps:
    """Return the taps for fractional coarse ``positions``; edge values extend beyond the ends.

    Parameters
    ----------
    positions
        Position of each fine index on the coarse axis, in coarse indices.
    coarse
        Length of the coarse axis.
    """
    position = np.clip(np.asarray(positions, dtype=np.float64), 0.0, coarse - 1.0)
    low = np.minimum(position.astype(np.int64), max(coarse - 2, 0))
    return Taps(low, (position - low).astype(np.float32))


def block_taps(n: int, factor: int, coarse: int) -> Taps:
    """Return the taps of ``n`` voxels on an axis that was averaged in blocks of ``factor``."""
    return taps((np.arange(n) - (factor - 1) / 2) / factor, coarse)


def pixel_taps(n: int, spacing: float, pixel: float, coarse: int) -> Taps:
    """Return the taps of ``n`` voxels on a coarse axis that starts at the same outer edge.

    Parameters
    ----------
    n, spacing
        Number of voxels and their spacing in mm.
    pixel, coarse
        Size in mm and number of the coarse pixels.
    """
    return taps((np.arange(n) + 0.5) * (spacing / pixel) - 0.5, coarse)


def first_columns(x: Taps, coarse: int) -> NDArray[np.int64]:
    """Return, for each coarse column, the first fine column whose lower neighbor it is.

    Returns
    -------
    ndarray
        int64 (coarse + 1,); the fine columns of coarse column ``i`` are ``[i] .. [i + 1] - 1``.
    """
    return np.searchsorted(x.low, np.arange(coarse + 1)).astype(np.int64)

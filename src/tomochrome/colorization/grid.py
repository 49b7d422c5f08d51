"""Coarse grids below a volume: where each of its voxels lies on them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Taps(NamedTuple):
    """Linear interpolation from a coarse axis.

    Attributes
    ----------
    low
        int64 (n,): lower coarse neighbour of each fine index.
    weight
        float32 (n,): weight of the next coarse neighbour, 0 to 1.
    """

    low: NDArray[np.int64]
    weight: NDArray[np.float32]

    def part(self, first: int, stop: int, base: int = 0) -> Taps:
        """Return the taps of fine indices ``first:stop``, counted from coarse index ``base``."""
        return Taps(self.low[first:stop] - base, self.weight[first:stop])


class OnGrid(NamedTuple):
    """Values on a coarse grid, and where the slices, rows and columns of a volume lie on it.

    Compiled loops take it as it is, which they would not if it held `Taps`.

    Attributes
    ----------
    values
        Shape (z, y, x) or (z, y, x, n).
    z, y, x
        int64: lower coarse neighbour of each slice, row and column of the volume.
    wz, wy, wx
        float32: weight of the next coarse neighbour of each.
    """

    values: NDArray[Any]
    z: NDArray[np.int64]
    wz: NDArray[np.float32]
    y: NDArray[np.int64]
    wy: NDArray[np.float32]
    x: NDArray[np.int64]
    wx: NDArray[np.float32]

    def part(self, first: int, stop: int) -> OnGrid:
        """Return the same for the slices ``first:stop`` of the volume."""
        return self._replace(z=self.z[first:stop], wz=self.wz[first:stop])


def taps(positions: ArrayLike, coarse: int) -> Taps:
    """Return the taps for fractional coarse ``positions``; beyond the ends the edge repeats.

    Parameters
    ----------
    positions
        Place of each fine index on the coarse axis, in coarse indices.
    coarse
        Length of the coarse axis.
    """
    place = np.clip(np.asarray(positions, dtype=np.float64), 0.0, coarse - 1.0)
    low = np.minimum(place.astype(np.int64), max(coarse - 2, 0))
    return Taps(low, (place - low).astype(np.float32))


def block_taps(n: int, factor: int, coarse: int) -> Taps:
    """Return the taps of ``n`` voxels on an axis averaged in blocks of ``factor``."""
    return taps((np.arange(n) - (factor - 1) / 2) / factor, coarse)


def pixel_taps(n: int, spacing: float, pixel: float, coarse: int) -> Taps:
    """Return the taps of ``n`` voxels on an axis of other pixels with the same outer edge.

    Parameters
    ----------
    n, spacing
        Number of voxels and their spacing in mm.
    pixel, coarse
        Size in mm and number of the coarse pixels.
    """
    return taps((np.arange(n) + 0.5) * (spacing / pixel) - 0.5, coarse)


def first_columns(x: Taps, coarse: int) -> NDArray[np.int64]:
    """Return, for each coarse column, the first fine column it is the lower neighbour of.

    Returns
    -------
    ndarray
        int64 (coarse + 1,); the fine columns of coarse column ``i`` are ``[i] .. [i + 1] - 1``.
    """
    return np.searchsorted(x.low, np.arange(coarse + 1)).astype(np.int64)

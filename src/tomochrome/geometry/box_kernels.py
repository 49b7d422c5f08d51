"""Compiled loop for sums over cubes of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks


def box_sums(values: NDArray[Any], radius: int, out: NDArray[Any]) -> None:
    """Compute sums over cubes of side ``2 * radius + 1`` around each voxel, zero-padded.

    ``values`` and ``out`` are (c, z, y, x). Running sums along each axis make the cost independent
    of the radius.
    """
    channels, depth, height, _ = values.shape
    _sums_in_slices(channels * depth, values, radius, out)
    _sums_across(channels * height, radius, out)


@njit(inline="always")
def _sums_down(rows, radius, out):  # type: ignore[no-untyped-def]
    """Sums of each row (n, x) and those up to ``radius`` rows away, into ``out`` (n, x)."""
    count, width = rows.shape
    column = np.zeros(width, rows.dtype)
    for n in range(min(radius, count)):
        for x in range(width):
            column[x] += rows[n, x]
    for n in range(count):
        if n + radius < count:
            for x in range(width):
                column[x] += rows[n + radius, x]
        if n - radius - 1 >= 0:
            for x in range(width):
                column[x] -= rows[n - radius - 1, x]
        for x in range(width):
            out[n, x] = column[x]


@in_chunks(least=1, fastmath=True)
def _sums_in_slices(first, last, values, radius, out):  # type: ignore[no-untyped-def]
    """Sums along x and y."""
    _, depth, height, width = values.shape
    for job in range(first, last):
        c, z = job // depth, job % depth
        rows = np.empty((height, width), values.dtype)
        for y in range(height):
            total = values.dtype.type(0)
            for x in range(min(radius, width)):
                total += values[c, z, y, x]
            for x in range(width):
                if x + radius < width:
                    total += values[c, z, y, x + radius]
                if x - radius - 1 >= 0:
                    total -= values[c, z, y, x - radius - 1]
                rows[y, x] = total
        _sums_down(rows, radius, out[c, z])


@in_chunks(least=1, fastmath=True)
def _sums_across(first, last, radius, out):  # type: ignore[no-untyped-def]
    """Sums along z, in place."""
    height = out.shape[2]
    for job in range(first, last):
        c, y = job // height, job % height
        planes = out[c, :, y].copy()
        _sums_down(planes, radius, out[c, :, y])

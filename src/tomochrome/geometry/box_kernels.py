"""Compiled loop of sums over cubes of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks


def box_sums(values: NDArray[Any], radius: int, out: NDArray[Any]) -> None:
    """Sums over cubes of side ``2 * radius + 1`` about each voxel, zeros outside the grid.

    ``values`` and ``out`` are (c, z, y, x); running sums along each axis, so that the cost does
    not depend on the radius.
    """
    channels, depth, height, _ = values.shape
    _sums_in_slices(channels * depth, values, radius, out)
    _sums_across(channels * height, radius, out)


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
        column = np.zeros(width, values.dtype)
        for y in range(min(radius, height)):
            for x in range(width):
                column[x] += rows[y, x]
        for y in range(height):
            if y + radius < height:
                for x in range(width):
                    column[x] += rows[y + radius, x]
            if y - radius - 1 >= 0:
                for x in range(width):
                    column[x] -= rows[y - radius - 1, x]
            for x in range(width):
                out[c, z, y, x] = column[x]


@in_chunks(least=1, fastmath=True)
def _sums_across(first, last, radius, out):  # type: ignore[no-untyped-def]
    """Sums along z, in place."""
    _, depth, height, width = out.shape
    for job in range(first, last):
        c, y = job // height, job % height
        planes = out[c, :, y, :].copy()
        column = np.zeros(width, out.dtype)
        for z in range(min(radius, depth)):
            for x in range(width):
                column[x] += planes[z, x]
        for z in range(depth):
            if z + radius < depth:
                for x in range(width):
                    column[x] += planes[z + radius, x]
            if z - radius - 1 >= 0:
                for x in range(width):
                    column[x] -= planes[z - radius - 1, x]
            for x in range(width):
                out[c, z, y, x] = column[x]

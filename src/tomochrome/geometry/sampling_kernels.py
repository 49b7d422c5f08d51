"""Compiled loops of interpolation: grid positions, and values of volumes and fields at positions.

Points are (n, 3) float64, LPS mm or an index; ``to_index`` is the upper 3x4 of the matrix from
there to the (z, y, x) index of the sampled array. As in ITK, a point is inside up to half a voxel
beyond the outer voxel centers, and takes the values of the outer voxels there. Each function
processes the points from ``first`` to ``last``; `in_chunks` calls it for all of them. All are in
one file because Numba recompiles a function only when its own file changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tomochrome.runtime.kernels import in_chunks

HALF = 0.5 - 1e-4
"""A result is valid if measured voxels have half of the weight, with a tolerance for rounding."""


class Grid(NamedTuple):
    """A volume that is sampled."""

    values: Any  #: numbers (z, y, x), or RGBA bytes (z, y, x, 4)
    outside: Any  #: bool (z, y, x): voxels that were not measured; used only if ``holes``
    holes: bool  #: whether there are such voxels
    to_index: Any  #: (3, 4) float64


class Field(NamedTuple):
    """A displacement field that is sampled."""

    vectors: Any  #: (z, y, x, 3) float32, LPS mm
    to_index: Any  #: (3, 4) float64


@njit(inline="always")
def _position(to_index, x, y, z):  # type: ignore[no-untyped-def]
    """Index (z, y, x) of a point."""
    return (
        to_index[0, 0] * x + to_index[0, 1] * y + to_index[0, 2] * z + to_index[0, 3],
        to_index[1, 0] * x + to_index[1, 1] * y + to_index[1, 2] * z + to_index[1, 3],
        to_index[2, 0] * x + to_index[2, 1] * y + to_index[2, 2] * z + to_index[2, 3],
    )


@njit(inline="always")
def _inside(at, shape):  # type: ignore[no-untyped-def]
    """Return whether an index is inside the grid; false for NaN."""
    return (
        -0.5 <= at[0] < shape[0] - 0.5
        and -0.5 <= at[1] < shape[1] - 0.5
        and -0.5 <= at[2] < shape[2] - 0.5
    )


@njit(inline="always")
def _neighbours(at, size):  # type: ignore[no-untyped-def]
    """Index of the lower and upper neighbour and the weight of the upper."""
    at = min(max(at, 0.0), float(size - 1))
    low = min(np.int64(at), max(size - 2, 0))
    return low, min(low + 1, size - 1), at - low


@njit(inline="always")
def _corner(at, shape, k):  # type: ignore[no-untyped-def]
    """Return index and weight of corner k (0 to 7) of the cell around an index."""
    z0, z1, fz = _neighbours(at[0], shape[0])
    y0, y1, fy = _neighbours(at[1], shape[1])
    x0, x1, fx = _neighbours(at[2], shape[2])
    i, wz = (z1, fz) if k & 4 else (z0, 1.0 - fz)
    j, wy = (y1, fy) if k & 2 else (y0, 1.0 - fy)
    h, wx = (x1, fx) if k & 1 else (x0, 1.0 - fx)
    return i, j, h, wz * wy * wx


@in_chunks
def grid_points(first, last, affine, shape, start, out):  # type: ignore[no-untyped-def]
    """Write the positions ``affine`` (3 or 4, 4) maps voxels to, beginning with voxel ``start``."""
    height, width = shape[1], shape[2]
    z, rest = (start + first) // (height * width), (start + first) % (height * width)
    y, x = rest // width, rest % width
    for n in range(first, last):
        for c in range(3):
            out[n, c] = affine[c, 0] * z + affine[c, 1] * y + affine[c, 2] * x + affine[c, 3]
        x += 1
        if x == width:
            x, y = 0, y + 1
        if y == height:
            y, z = 0, z + 1


@in_chunks
def map_points(first, last, points, matrix):  # type: ignore[no-untyped-def]
    """Transform points in place by an affine matrix (3 or 4, 4)."""
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for c in range(3):
            points[n, c] = matrix[c, 0] * x + matrix[c, 1] * y + matrix[c, 2] * z + matrix[c, 3]


@njit(inline="always")
def _vector(field, x, y, z):  # type: ignore[no-untyped-def]
    """Return the displacement at a point by linear interpolation; zero outside the grid."""
    at, shape = _position(field.to_index, x, y, z), field.vectors.shape
    dx, dy, dz = 0.0, 0.0, 0.0
    if _inside(at, shape):
        for k in range(8):
            i, j, h, w = _corner(at, shape, k)
            dx += w * field.vectors[i, j, h, 0]
            dy += w * field.vectors[i, j, h, 1]
            dz += w * field.vectors[i, j, h, 2]
    return dx, dy, dz


@in_chunks
def displace(first, last, points, field):  # type: ignore[no-untyped-def]
    """Add to each point its displacement, in place."""
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        dx, dy, dz = _vector(field, x, y, z)
        points[n, 0], points[n, 1], points[n, 2] = x + dx, y + dy, z + dz


@in_chunks
def displace_back(first, last, points, field, tolerance, most):  # type: ignore[no-untyped-def]
    """Replace each point ``q``, in place, by the ``p`` that the field takes to it.

    Fixed-point iteration ``p <- p - step * (p + u(p) - q)``, ``most`` times at most, with a smaller
    step whenever the residual grew; the best ``p`` is kept.
    """
    for n in range(first, last):
        qx, qy, qz = points[n, 0], points[n, 1], points[n, 2]
        px, py, pz = qx, qy, qz
        bx, by, bz, best, step = qx, qy, qz, 1e300, 1.0
        for _ in range(most):
            dx, dy, dz = _vector(field, px, py, pz)
            rx, ry, rz = px + dx - qx, py + dy - qy, pz + dz - qz
            left = rx * rx + ry * ry + rz * rz
            if left < best:
                best, bx, by, bz = left, px, py, pz
            else:
                step = max(0.7 * step, 0.05)
            if left <= tolerance * tolerance:
                break
            px, py, pz = px - step * rx, py - step * ry, pz - step * rz
        points[n, 0], points[n, 1], points[n, 2] = bx, by, bz


@in_chunks
def clear_beyond(first, last, points, to_index, shape, covered):  # type: ignore[no-untyped-def]
    """Clear ``covered`` (n,) for points outside a grid."""
    for n in range(first, last):
        at = _position(to_index, points[n, 0], points[n, 1], points[n, 2])
        covered[n] = covered[n] and _inside(at, shape)


@njit(inline="always")
def _measured(grid, at):  # type: ignore[no-untyped-def]
    """Return weighted sum and total weight of the measured voxels around an index."""
    total, weight, shape = 0.0, 0.0, grid.values.shape
    for k in range(8):
        i, j, h, w = _corner(at, shape, k)
        if w > 0.0 and not (grid.holes and grid.outside[i, j, h]):
            total += w * grid.values[i, j, h]
            weight += w
    return total, weight


@in_chunks
def linear(first, last, grid, points, fill, rounded, out, inside):  # type: ignore[no-untyped-def]
    """Trilinear samples of numbers into ``out`` (n,); ``fill`` where the volume does not reach.

    Nor does it where measured voxels carry less than `HALF` of the weight. Any numbers in, any
    out; ``rounded`` for whole ones, to the nearest. ``inside`` (n,) says where it reaches.
    """
    values, shape = grid.values, grid.values.shape
    for n in range(first, last):
        at = _position(grid.to_index, points[n, 0], points[n, 1], points[n, 2])
        value, there = fill, _inside(at, shape)
        if there and not grid.holes:
            z0, z1, fz = _neighbours(at[0], shape[0])
            y0, y1, fy = _neighbours(at[1], shape[1])
            x0, x1, fx = _neighbours(at[2], shape[2])
            gx, gy = 1.0 - fx, 1.0 - fy
            low = gy * (gx * values[z0, y0, x0] + fx * values[z0, y0, x1]) + fy * (
                gx * values[z0, y1, x0] + fx * values[z0, y1, x1]
            )
            high = gy * (gx * values[z1, y0, x0] + fx * values[z1, y0, x1]) + fy * (
                gx * values[z1, y1, x0] + fx * values[z1, y1, x1]
            )
            value = (1.0 - fz) * low + fz * high
        if there and (grid.holes or not np.isfinite(value)):
            total, weight = _measured(grid, at)
            there = weight >= HALF
            value = total / weight if there else fill
        inside[n] = there
        out[n] = np.rint(value) if rounded else value


@in_chunks
def linear_rgba(first, last, grid, points, out, inside):  # type: ignore[no-untyped-def]
    """Trilinear samples of RGBA bytes into ``out`` (n, 4), each color weighted by its opacity.

    What is clear tints nothing; where the volume does not reach, samples are clear black.
    """
    values, shape = grid.values, grid.values.shape
    for n in range(first, last):
        at = _position(grid.to_index, points[n, 0], points[n, 1], points[n, 2])
        red, green, blue, alpha, weight = 0.0, 0.0, 0.0, 0.0, 0.0
        if _inside(at, shape):
            for k in range(8):
                i, j, h, w = _corner(at, shape, k)
                if not (grid.holes and grid.outside[i, j, h]):
                    weight += w
                    w *= values[i, j, h, 3]
                    red += w * values[i, j, h, 0]
                    green += w * values[i, j, h, 1]
                    blue += w * values[i, j, h, 2]
                    alpha += w
        inside[n] = weight >= HALF
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = 0, 0, 0, 0
        if inside[n] and alpha >= 0.5 * weight:
            out[n, 0] = np.uint8(red / alpha + 0.5)
            out[n, 1] = np.uint8(green / alpha + 0.5)
            out[n, 2] = np.uint8(blue / alpha + 0.5)
            out[n, 3] = np.uint8(alpha / weight + 0.5)


@in_chunks
def nearest(first, last, grid, points, fill, out, inside):  # type: ignore[no-untyped-def]
    """Copy the voxel nearest to each point to ``out``, (n,) or (n, 4); ``fill`` outside."""
    shape = grid.values.shape
    for n in range(first, last):
        at = _position(grid.to_index, points[n, 0], points[n, 1], points[n, 2])
        there = _inside(at, shape)
        if there:
            i, j = np.int64(np.floor(at[0] + 0.5)), np.int64(np.floor(at[1] + 0.5))
            h = np.int64(np.floor(at[2] + 0.5))
            there = not (grid.holes and grid.outside[i, j, h])
        inside[n] = there
        if there:
            out[n] = grid.values[i, j, h]
        else:
            out[n] = fill

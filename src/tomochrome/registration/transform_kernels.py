"""Compiled loops that apply transforms: moving points through a field, sampling a volume.

All positions are LPS mm, (n, 3) float64; ``to_index`` is a 3x4 matrix from LPS mm to the
(z, y, x) index of the array that is sampled. A position counts as inside up to half a voxel
beyond the outer voxel centres, and takes the outer voxels' values there: ITK's rule.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from tomochrome.runtime.kernels import one_at_a_time


@njit(inline="always")
def _index(to_index, axis, x, y, z):  # type: ignore[no-untyped-def]
    return to_index[axis, 0] * x + to_index[axis, 1] * y + to_index[axis, 2] * z + to_index[axis, 3]


@njit(inline="always")
def _at(to_index, x, y, z):  # type: ignore[no-untyped-def]
    """Position (z, y, x) in voxels of a point in LPS mm."""
    return (
        _index(to_index, 0, x, y, z),
        _index(to_index, 1, x, y, z),
        _index(to_index, 2, x, y, z),
    )


@njit(inline="always")
def _inside(at, size):  # type: ignore[no-untyped-def]
    return -0.5 <= at < size - 0.5  # false for what is not a number


@njit(inline="always")
def _neighbours(at, size):  # type: ignore[no-untyped-def]
    """Index of the lower and upper neighbour and the weight of the upper."""
    at = min(max(at, 0.0), float(size - 1))
    low = min(np.int64(at), max(size - 2, 0))
    return low, min(low + 1, size - 1), at - low


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def grid_points(affine, first, depth, height, width, out):  # type: ignore[no-untyped-def]
    """Write the LPS mm of the voxels of ``depth`` slices from ``first`` on into ``out`` (n, 3)."""
    for k in prange(depth):
        z = first + k
        row = k * height * width
        for y in range(height):
            for x in range(width):
                for c in range(3):
                    out[row, c] = (
                        affine[c, 0] * z + affine[c, 1] * y + affine[c, 2] * x + affine[c, 3]
                    )
                row += 1


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def less_grid(points, affine, first, height, width, out):  # type: ignore[no-untyped-def]
    """Write how far ``points`` (n, 3) lie from what `grid_points` gives into ``out`` (n, 3)."""
    for k in prange(len(points) // (height * width)):
        z = first + k
        row = k * height * width
        for y in range(height):
            for x in range(width):
                for c in range(3):
                    out[row, c] = points[row, c] - (
                        affine[c, 0] * z + affine[c, 1] * y + affine[c, 2] * x + affine[c, 3]
                    )
                row += 1


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def carry(points, matrix):  # type: ignore[no-untyped-def]
    """Move points (n, 3), in place, by the upper three rows of an affine matrix."""
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for c in range(3):
            points[n, c] = matrix[c, 0] * x + matrix[c, 1] * y + matrix[c, 2] * z + matrix[c, 3]


@njit(inline="always")
def _vector(vectors, to_index, x, y, z):  # type: ignore[no-untyped-def]
    """Displacement at a point, linear; zero beyond the grid."""
    size_z, size_y, size_x = vectors.shape[:3]
    at_z, at_y, at_x = _at(to_index, x, y, z)
    dx, dy, dz = 0.0, 0.0, 0.0
    if _inside(at_z, size_z) and _inside(at_y, size_y) and _inside(at_x, size_x):
        z0, z1, fz = _neighbours(at_z, size_z)
        y0, y1, fy = _neighbours(at_y, size_y)
        x0, x1, fx = _neighbours(at_x, size_x)
        for k in range(8):
            i, wz = (z1, fz) if k & 4 else (z0, 1.0 - fz)
            j, wy = (y1, fy) if k & 2 else (y0, 1.0 - fy)
            h, wx = (x1, fx) if k & 1 else (x0, 1.0 - fx)
            w = wz * wy * wx
            dx += w * vectors[i, j, h, 0]
            dy += w * vectors[i, j, h, 1]
            dz += w * vectors[i, j, h, 2]
    return dx, dy, dz


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def displace(points, vectors, to_index):  # type: ignore[no-untyped-def]
    """Add to each point its displacement, in place."""
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        dx, dy, dz = _vector(vectors, to_index, x, y, z)
        points[n, 0], points[n, 1], points[n, 2] = x + dx, y + dy, z + dz


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def undo(points, vectors, to_index, tolerance, most):  # type: ignore[no-untyped-def]
    """Replace each point ``q``, in place, by the ``p`` that the field takes to it.

    Fixed-point iteration ``p <- p - step * (p + u(p) - q)``, with a smaller step whenever the
    residual grew; the best ``p`` is kept.
    """
    for n in prange(len(points)):
        qx, qy, qz = points[n, 0], points[n, 1], points[n, 2]
        px, py, pz = qx, qy, qz
        bx, by, bz, best, step = qx, qy, qz, 1e300, 1.0
        for _ in range(most):
            dx, dy, dz = _vector(vectors, to_index, px, py, pz)
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


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def sample_linear(values, points, to_index, fill, rounded, out, inside):  # type: ignore[no-untyped-def]
    """Trilinear samples of ``values`` (z, y, x) at ``points``; ``fill`` where it does not reach.

    Any numbers in, any out; ``rounded`` for whole ones, to the nearest.
    """
    size_z, size_y, size_x = values.shape
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        at_z, at_y, at_x = _at(to_index, x, y, z)
        there = _inside(at_z, size_z) and _inside(at_y, size_y) and _inside(at_x, size_x)
        inside[n] = there
        found = fill
        if there:
            z0, z1, fz = _neighbours(at_z, size_z)
            y0, y1, fy = _neighbours(at_y, size_y)
            x0, x1, fx = _neighbours(at_x, size_x)
            gx, gy = 1.0 - fx, 1.0 - fy
            low = gy * (gx * values[z0, y0, x0] + fx * values[z0, y0, x1]) + fy * (
                gx * values[z0, y1, x0] + fx * values[z0, y1, x1]
            )
            high = gy * (gx * values[z1, y0, x0] + fx * values[z1, y0, x1]) + fy * (
                gx * values[z1, y1, x0] + fx * values[z1, y1, x1]
            )
            found = (1.0 - fz) * low + fz * high
        out[n] = np.rint(found) if rounded else found


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def sample_measured(  # type: ignore[no-untyped-def]
    values, outside, points, to_index, fill, least, rounded, out, inside
):
    """As `sample_linear`, from the voxels that are not ``outside`` alone.

    Where they carry less than ``least`` of the weight the point counts as not reached.
    """
    size_z, size_y, size_x = values.shape
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        at_z, at_y, at_x = _at(to_index, x, y, z)
        total, weight = 0.0, 0.0
        if _inside(at_z, size_z) and _inside(at_y, size_y) and _inside(at_x, size_x):
            z0, z1, fz = _neighbours(at_z, size_z)
            y0, y1, fy = _neighbours(at_y, size_y)
            x0, x1, fx = _neighbours(at_x, size_x)
            for k in range(8):
                i, wz = (z1, fz) if k & 4 else (z0, 1.0 - fz)
                j, wy = (y1, fy) if k & 2 else (y0, 1.0 - fy)
                h, wx = (x1, fx) if k & 1 else (x0, 1.0 - fx)
                if not outside[i, j, h]:
                    w = wz * wy * wx
                    weight += w
                    total += w * values[i, j, h]
        there = weight >= least
        inside[n] = there
        found = total / weight if there else fill
        out[n] = np.rint(found) if rounded else found


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def nearest_index(shape, points, to_index, out):  # type: ignore[no-untyped-def]
    """Flat index of the voxel nearest to each point, -1 where the grid does not reach."""
    size_z, size_y, size_x = shape
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        at_z, at_y, at_x = _at(to_index, x, y, z)
        out[n] = -1
        if _inside(at_z, size_z) and _inside(at_y, size_y) and _inside(at_x, size_x):
            i = np.int64(np.floor(at_z + 0.5))
            j = np.int64(np.floor(at_y + 0.5))
            out[n] = (i * size_y + j) * size_x + np.int64(np.floor(at_x + 0.5))


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def sample_rgba(values, points, to_index, out):  # type: ignore[no-untyped-def]
    """Trilinear samples of RGBA bytes (z, y, x, 4), each color weighted by its opacity."""
    size_z, size_y, size_x = values.shape[:3]
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        at_z, at_y, at_x = _at(to_index, x, y, z)
        for c in range(4):
            out[n, c] = 0
        if not (_inside(at_z, size_z) and _inside(at_y, size_y) and _inside(at_x, size_x)):
            continue
        z0, z1, fz = _neighbours(at_z, size_z)
        y0, y1, fy = _neighbours(at_y, size_y)
        x0, x1, fx = _neighbours(at_x, size_x)
        red, green, blue, alpha = 0.0, 0.0, 0.0, 0.0
        for k in range(8):
            i, wz = (z1, fz) if k & 4 else (z0, 1.0 - fz)
            j, wy = (y1, fy) if k & 2 else (y0, 1.0 - fy)
            h, wx = (x1, fx) if k & 1 else (x0, 1.0 - fx)
            w = wz * wy * wx * values[i, j, h, 3]
            red += w * values[i, j, h, 0]
            green += w * values[i, j, h, 1]
            blue += w * values[i, j, h, 2]
            alpha += w
        if alpha >= 0.5:
            out[n, 0] = np.uint8(red / alpha + 0.5)
            out[n, 1] = np.uint8(green / alpha + 0.5)
            out[n, 2] = np.uint8(blue / alpha + 0.5)
            out[n, 3] = np.uint8(alpha + 0.5)

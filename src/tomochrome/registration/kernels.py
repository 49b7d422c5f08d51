"""Compiled loops of registration on the CPU: sampling through a displacement, box sums.

torch's own 3D ``grid_sample`` and ``interpolate`` use one thread a sample and no vector
instructions; refinement spends nearly all its time in them.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from tomochrome.runtime.kernels import one_at_a_time


@njit(inline="always")
def _corner(position, size):  # type: ignore[no-untyped-def]
    """Index of the lower neighbour and weight of the upper, clamped to the grid."""
    position = min(max(position, np.float32(0.0)), np.float32(size - 1))
    low = min(np.int64(position), max(size - 2, 0))
    return low, position - np.float32(low)


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def sample(image, displacement, out):  # type: ignore[no-untyped-def]
    """Trilinear samples of ``image`` (n, c, Z, Y, X) at each voxel plus its displacement.

    ``displacement`` (n, 3, z, y, x) is in voxels of ``image``; positions beyond the grid take
    its nearest voxel. ``out`` is (n, c, z, y, x).
    """
    count, channels, size_z, size_y, size_x = image.shape
    _, _, depth, height, width = out.shape
    one = np.float32(1.0)
    for job in prange(count * depth):
        n, z = job // depth, job % depth
        for y in range(height):
            for x in range(width):
                z0, fz = _corner(np.float32(z) + displacement[n, 0, z, y, x], size_z)
                y0, fy = _corner(np.float32(y) + displacement[n, 1, z, y, x], size_y)
                x0, fx = _corner(np.float32(x) + displacement[n, 2, z, y, x], size_x)
                z1, y1, x1 = (
                    min(z0 + 1, size_z - 1),
                    min(y0 + 1, size_y - 1),
                    min(x0 + 1, size_x - 1),
                )
                gz, gy, gx = one - fz, one - fy, one - fx
                for c in range(channels):
                    plane = image[n, c]
                    low = gy * (gx * plane[z0, y0, x0] + fx * plane[z0, y0, x1]) + fy * (
                        gx * plane[z0, y1, x0] + fx * plane[z0, y1, x1]
                    )
                    high = gy * (gx * plane[z1, y0, x0] + fx * plane[z1, y0, x1]) + fy * (
                        gx * plane[z1, y1, x0] + fx * plane[z1, y1, x1]
                    )
                    out[n, c, z, y, x] = gz * low + fz * high


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def sample_slope(image, displacement, upstream, out):  # type: ignore[no-untyped-def]
    """Derivative of `sample` with respect to ``displacement``, times ``upstream`` (n, c, z, y, x).

    ``out`` (n, 3, z, y, x); zero where a position was clamped to the grid.
    """
    count, channels, size_z, size_y, size_x = image.shape
    _, _, depth, height, width = upstream.shape
    one, zero = np.float32(1.0), np.float32(0.0)
    for job in prange(count * depth):
        n, z = job // depth, job % depth
        for y in range(height):
            for x in range(width):
                pz = np.float32(z) + displacement[n, 0, z, y, x]
                py = np.float32(y) + displacement[n, 1, z, y, x]
                px = np.float32(x) + displacement[n, 2, z, y, x]
                z0, fz = _corner(pz, size_z)
                y0, fy = _corner(py, size_y)
                x0, fx = _corner(px, size_x)
                z1, y1, x1 = (
                    min(z0 + 1, size_z - 1),
                    min(y0 + 1, size_y - 1),
                    min(x0 + 1, size_x - 1),
                )
                gz, gy, gx = one - fz, one - fy, one - fx
                sz, sy, sx = zero, zero, zero
                for c in range(channels):
                    plane, up = image[n, c], upstream[n, c, z, y, x]
                    v000, v001 = plane[z0, y0, x0], plane[z0, y0, x1]
                    v010, v011 = plane[z0, y1, x0], plane[z0, y1, x1]
                    v100, v101 = plane[z1, y0, x0], plane[z1, y0, x1]
                    v110, v111 = plane[z1, y1, x0], plane[z1, y1, x1]
                    low = gy * (gx * v000 + fx * v001) + fy * (gx * v010 + fx * v011)
                    high = gy * (gx * v100 + fx * v101) + fy * (gx * v110 + fx * v111)
                    sz += up * (high - low)
                    front = gx * (gz * v000 + fz * v100) + fx * (gz * v001 + fz * v101)
                    back = gx * (gz * v010 + fz * v110) + fx * (gz * v011 + fz * v111)
                    sy += up * (back - front)
                    left = gy * (gz * v000 + fz * v100) + fy * (gz * v010 + fz * v110)
                    right = gy * (gz * v001 + fz * v101) + fy * (gz * v011 + fz * v111)
                    sx += up * (right - left)
                out[n, 0, z, y, x] = sz if zero <= pz <= np.float32(size_z - 1) else zero
                out[n, 1, z, y, x] = sy if zero <= py <= np.float32(size_y - 1) else zero
                out[n, 2, z, y, x] = sx if zero <= px <= np.float32(size_x - 1) else zero


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def sample_adjoint(displacement, upstream, out):  # type: ignore[no-untyped-def]
    """Transpose of `sample` with respect to its image: scatter ``upstream`` into zeroed ``out``.

    One thread a sample, so that no two write to the same voxel.
    """
    count, channels, size_z, size_y, size_x = out.shape
    _, _, depth, height, width = upstream.shape
    one = np.float32(1.0)
    for n in prange(count):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    z0, fz = _corner(np.float32(z) + displacement[n, 0, z, y, x], size_z)
                    y0, fy = _corner(np.float32(y) + displacement[n, 1, z, y, x], size_y)
                    x0, fx = _corner(np.float32(x) + displacement[n, 2, z, y, x], size_x)
                    z1, y1, x1 = (
                        min(z0 + 1, size_z - 1),
                        min(y0 + 1, size_y - 1),
                        min(x0 + 1, size_x - 1),
                    )
                    gz, gy, gx = one - fz, one - fy, one - fx
                    for c in range(channels):
                        up = upstream[n, c, z, y, x]
                        low, high = up * gz, up * fz
                        out[n, c, z0, y0, x0] += low * gy * gx
                        out[n, c, z0, y0, x1] += low * gy * fx
                        out[n, c, z0, y1, x0] += low * fy * gx
                        out[n, c, z0, y1, x1] += low * fy * fx
                        out[n, c, z1, y0, x0] += high * gy * gx
                        out[n, c, z1, y0, x1] += high * gy * fx
                        out[n, c, z1, y1, x0] += high * fy * gx
                        out[n, c, z1, y1, x1] += high * fy * fx


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def box_sums(values, radius, out):  # type: ignore[no-untyped-def]
    """Sums over cubes of side ``2 * radius + 1`` about each voxel, zeros outside the grid.

    ``values`` and ``out`` are (c, z, y, x); running sums along each axis, so that the cost does
    not depend on the radius.
    """
    channels, depth, height, width = values.shape
    for job in prange(channels * depth):
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
    for job in prange(channels * height):
        c, y = job // height, job % height
        planes = out[c, :, y, :].copy()
        column = np.zeros(width, values.dtype)
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

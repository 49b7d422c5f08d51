"""Compiled kernels for warping images by a displacement on the CPU.

torch's 3D ``grid_sample`` and ``interpolate``, in which refinement would spend nearly all its
time, use one thread per batch item and are not vectorized.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from tomochrome.runtime.kernels import in_chunks


@njit(inline="always")
def corner(position, size):  # type: ignore[no-untyped-def]
    """Return index of the lower neighbor and weight of the upper one, clamped to the grid."""
    position = min(max(position, np.float32(0.0)), np.float32(size - 1))
    low = min(np.int64(position), max(size - 2, 0))
    return low, position - np.float32(low)


@njit(inline="always")
def _ends(position, size):  # type: ignore[no-untyped-def]
    """Return the indices of the lower and the upper neighbor, and the weights of both."""
    low, weight = corner(position, size)
    return low, min(low + 1, size - 1), np.float32(1.0) - weight, weight


@njit(inline="always")
def _cell(displacement, n, z, y, x, shape):  # type: ignore[no-untyped-def]
    """Return the position of voxel (z, y, x) plus its displacement, and `_ends` of each axis."""
    pz = np.float32(z) + displacement[n, 0, z, y, x]
    py = np.float32(y) + displacement[n, 1, z, y, x]
    px = np.float32(x) + displacement[n, 2, z, y, x]
    return (pz, py, px), _ends(pz, shape[2]), _ends(py, shape[3]), _ends(px, shape[4])


@in_chunks(jobs=lambda image, displacement, out: len(out) * out.shape[2], least=1, fastmath=True)
def sample(first, last, image, displacement, out):  # type: ignore[no-untyped-def]
    """Sample ``image`` (n, c, Z, Y, X) trilinearly at each voxel plus its displacement.

    ``displacement`` (n, 3, z, y, x) is in voxels of ``image``; positions outside the grid get
    the value of the nearest voxel. ``out`` is (n, c, z, y, x).
    """
    _, channels, depth, height, width = out.shape
    for job in range(first, last):
        n, z = job // depth, job % depth
        for y in range(height):
            for x in range(width):
                _, (z0, z1, gz, fz), (y0, y1, gy, fy), (x0, x1, gx, fx) = _cell(
                    displacement, n, z, y, x, image.shape
                )
                for c in range(channels):
                    plane = image[n, c]
                    low = gy * (gx * plane[z0, y0, x0] + fx * plane[z0, y0, x1]) + fy * (
                        gx * plane[z0, y1, x0] + fx * plane[z0, y1, x1]
                    )
                    high = gy * (gx * plane[z1, y0, x0] + fx * plane[z1, y0, x1]) + fy * (
                        gx * plane[z1, y1, x0] + fx * plane[z1, y1, x1]
                    )
                    out[n, c, z, y, x] = gz * low + fz * high


@in_chunks(jobs=lambda image, field, up, out: len(out) * out.shape[2], least=1, fastmath=True)
def sample_gradient(first, last, image, displacement, upstream, out):  # type: ignore[no-untyped-def]
    """Compute the gradient of `sample` for ``displacement``, given ``upstream`` (n, c, z, y, x).

    ``out`` is (n, 3, z, y, x), and zero where a position was clamped to the grid.
    """
    _, channels, depth, height, width = upstream.shape
    zero = np.float32(0.0)
    last_z, last_y, last_x = image.shape[2] - 1, image.shape[3] - 1, image.shape[4] - 1
    for job in range(first, last):
        n, z = job // depth, job % depth
        for y in range(height):
            for x in range(width):
                (pz, py, px), (z0, z1, gz, fz), (y0, y1, gy, fy), (x0, x1, gx, fx) = _cell(
                    displacement, n, z, y, x, image.shape
                )
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
                out[n, 0, z, y, x] = sz if zero <= pz <= last_z else zero
                out[n, 1, z, y, x] = sy if zero <= py <= last_y else zero
                out[n, 2, z, y, x] = sx if zero <= px <= last_x else zero


@in_chunks(jobs=lambda displacement, upstream, out: len(out), least=1, fastmath=True)
def sample_adjoint(first, last, displacement, upstream, out):  # type: ignore[no-untyped-def]
    """Compute the gradient of `sample` for its image: scatter ``upstream`` into zeroed ``out``.

    There is one thread per batch item, so that no two threads write to the same voxel.
    """
    _, channels, depth, height, width = upstream.shape
    for n in range(first, last):
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    pz = np.float32(z) + displacement[n, 0, z, y, x]
                    py = np.float32(y) + displacement[n, 1, z, y, x]
                    px = np.float32(x) + displacement[n, 2, z, y, x]
                    z0, z1, gz, fz = _ends(pz, out.shape[2])
                    y0, y1, gy, fy = _ends(py, out.shape[3])
                    x0, x1, gx, fx = _ends(px, out.shape[4])
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

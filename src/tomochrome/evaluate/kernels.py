"""Compiled loop of the measures: Jacobian determinants that cannot overlook a fold."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from tomochrome.runtime.kernels import one_at_a_time


@njit(inline="always")
def _det(a0, a1, a2, b0, b1, b2, c0, c1, c2):  # type: ignore[no-untyped-def]
    return a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0)


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def determinants(vectors, basis, first, factor, out):  # type: ignore[no-untyped-def]
    """Jacobian determinants of ``p -> p + u(p)`` at voxels, times ``factor``.

    Parameters
    ----------
    vectors
        (z, y, x, 3) float32, displacements in LPS mm.
    basis
        3x3 float64: LPS mm of a step along z, y and x, as columns.
    first
        Slice of ``vectors`` that belongs to the first one of ``out``.
    factor
        Determinant of what else the map consists of.
    out
        (slices, y, x) float32. At each voxel all eight combinations of forward and backward
        differences are taken; if one of their determinants is not positive the least is
        written, else their mean, which is the determinant of the central differences.
    """
    size_z, size_y, size_x = vectors.shape[:3]
    whole = _det(
        basis[0, 0], basis[1, 0], basis[2, 0], basis[0, 1], basis[1, 1], basis[2, 1],
        basis[0, 2], basis[1, 2], basis[2, 2],
    )  # fmt: skip
    for row in prange(out.shape[0] * size_y):
        z, y = first + row // size_y, row % size_y
        steps = np.empty((3, 2, 3))  # axis, backward and forward, component
        for x in range(size_x):
            for axis in range(3):
                at, size = (z, size_z) if axis == 0 else (y, size_y) if axis == 1 else (x, size_x)
                dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
                below, above = at > 0, at + 1 < size
                for c in range(3):
                    here, back, on = vectors[z, y, x, c], 0.0, 0.0
                    if below:
                        back = here - vectors[z - dz, y - dy, x - dx, c]
                    if above:
                        on = vectors[z + dz, y + dy, x + dx, c] - here
                    if not below:
                        back = on
                    if not above:
                        on = back
                    steps[axis, 0, c] = basis[c, axis] + back
                    steps[axis, 1, c] = basis[c, axis] + on
            least, total = np.inf, 0.0
            for corner in range(8):
                i, j, k = corner >> 2, (corner >> 1) & 1, corner & 1
                det = _det(
                    steps[0, i, 0], steps[0, i, 1], steps[0, i, 2],
                    steps[1, j, 0], steps[1, j, 1], steps[1, j, 2],
                    steps[2, k, 0], steps[2, k, 1], steps[2, k, 2],
                ) / whole  # fmt: skip
                least, total = min(least, det), total + det
            found = total * 0.125 * factor if least > 0 else -abs(least * factor)
            out[row // size_y, y, x] = found


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def mark_covered(points, to_index, shape, known):  # type: ignore[no-untyped-def]
    """Clear ``known`` (n,) where a grid does not reach: beyond half a voxel past its last centres.

    ``to_index`` is 3x4, from the points' space to the (z, y, x) index of the grid.
    """
    for n in prange(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for c in range(3):
            at = to_index[c, 0] * x + to_index[c, 1] * y + to_index[c, 2] * z + to_index[c, 3]
            if not -0.5 <= at < shape[c] - 0.5:
                known[n] = False


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def distances(a, b, known, out):  # type: ignore[no-untyped-def]
    """Write the distance between points (n, 3) of two lists into ``out``, -1 if not ``known``."""
    for n in prange(len(a)):
        total = 0.0
        for c in range(3):
            total += (a[n, c] - b[n, c]) ** 2
        out[n] = np.sqrt(total) if known[n] else -1.0


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def products(p, q, weight, out):  # type: ignore[no-untyped-def]
    """Write what the local correlation sums over windows: p, q, p p, q q, p q, 1, where it counts.

    ``p`` and ``q`` are float32 (z, y, x), 0 to 1; they are taken about 0.5, so that less cancels.
    ``weight`` is bool of that shape, ``out`` float32 (6, z, y, x).
    """
    half, zero = np.float32(0.5), np.float32(0)
    depth, height, width = p.shape
    for row in prange(depth * height):
        z, y = row // height, row % height
        for x in range(width):
            a, b, there = p[z, y, x] - half, q[z, y, x] - half, np.float32(1)
            if not weight[z, y, x]:
                a, b, there = zero, zero, zero
            out[0, z, y, x], out[1, z, y, x] = a, b
            out[2, z, y, x], out[3, z, y, x] = a * a, b * b
            out[4, z, y, x], out[5, z, y, x] = a * b, there


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True)
def local_correlations(sums, weight, first, last, flat):  # type: ignore[no-untyped-def]
    """Sum of squared local correlations, and of how many windows, over some slices.

    ``sums`` (6, z, y, x) are `products` summed over the window about each voxel. Windows count
    about voxels of ``weight`` where a picture's variance is more than ``flat``.
    """
    _, height, width = weight.shape
    rows = (last - first) * height
    total, count = np.zeros(rows), np.zeros(rows, np.int64)
    for row in prange(rows):
        z, y = first + row // height, row % height
        for x in range(width):
            if not weight[z, y, x]:
                continue
            n = max(np.float64(sums[5, z, y, x]), 1.0)
            mean_p, mean_q = sums[0, z, y, x] / n, sums[1, z, y, x] / n
            var_p = max(sums[2, z, y, x] / n - mean_p * mean_p, 0.0)
            var_q = max(sums[3, z, y, x] / n - mean_q * mean_q, 0.0)
            if max(var_p, var_q) <= flat:
                continue
            cross = sums[4, z, y, x] / n - mean_p * mean_q
            total[row] += cross * cross / (var_p * var_q + flat * flat)
            count[row] += 1
    return total.sum(), count.sum()

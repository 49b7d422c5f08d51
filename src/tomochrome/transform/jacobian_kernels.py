"""Compiled kernel for the Jacobian determinant, which does not miss narrow folds."""

from __future__ import annotations

import numpy as np
from numba import njit

from tomochrome.runtime.kernels import in_chunks


@njit(inline="always")
def _det(a0, a1, a2, b0, b1, b2, c0, c1, c2):  # type: ignore[no-untyped-def]
    return a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0)


@in_chunks(jobs=lambda vectors, basis, start, factor, out: out.shape[0] * out.shape[1], least=1)
def determinants(first, last, vectors, basis, start, factor, out):  # type: ignore[no-untyped-def]
    """Jacobian determinants of ``p -> p + u(p)`` at voxels, times ``factor``.

    Parameters
    ----------
    vectors
        (z, y, x, 3) float32, displacements in LPS mm.
    basis
        3x3 float64: LPS mm of a step along z, y and x, as columns.
    start
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
    for row in range(first, last):
        z, y = start + row // size_y, row % size_y
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
            value = total * 0.125 * factor if least > 0 else -abs(least * factor)
            out[row // size_y, y, x] = value

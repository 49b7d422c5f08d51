"""The compiled half of this room: sampling one volume at the voxels of another, and blending.

All kernels are in one file because Numba compiles anew only when the file of a function changes.
"""

from __future__ import annotations

import numpy as np

from tomochrome.color.compiled import kernel

#: Slack of the field of view's edge, in voxels: rounding must not lose the outermost layer.
EDGE = 1e-6
#: As `tomochrome.geometry.resample.HALF`: what carries half of the weight counts as measured.
HALF = 0.5 - 1e-4


@kernel
def _place(matrix, i, j, k, axis, size):  # type: ignore[no-untyped-def]
    """Index along one axis of the sampled volume, clamped to it; -1 outside its field of view.

    A voxel is a box about its centre, so the field of view ends half a voxel behind the last.
    """
    p = matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
    if p < -0.5 - EDGE or p > size - 0.5 + EDGE:
        return -1.0
    return min(max(p, 0.0), size - 1.0)


@kernel
def sample_scalar(voxels, outside, holes, matrix, nearest, fill, first, last, out, missing):  # type: ignore[no-untyped-def]
    """Fill rows ``first`` to ``last`` of ``out`` (i, j, k) with values of ``voxels`` (z, y, x).

    ``matrix`` (3, 4) leads from (i, j, k) to (z, y, x). ``outside`` marks unmeasured voxels
    where ``holes`` is set: they are never blended in.
    """
    nz, ny, nx = voxels.shape
    for row in range(first, last):
        i, j = row // out.shape[1], row % out.shape[1]
        for k in range(out.shape[2]):
            out[i, j, k] = fill
            missing[i, j, k] = True
            z = _place(matrix, i, j, k, 0, nz)
            y = _place(matrix, i, j, k, 1, ny)
            x = _place(matrix, i, j, k, 2, nx)
            if z < 0.0 or y < 0.0 or x < 0.0:
                continue
            if nearest:
                z0, y0, x0 = int(z + 0.5), int(y + 0.5), int(x + 0.5)
                if not (holes and outside[z0, y0, x0]):
                    out[i, j, k] = voxels[z0, y0, x0]
                    missing[i, j, k] = False
                continue
            z0, y0, x0 = int(z), int(y), int(x)
            total, weight = 0.0, 0.0
            for corner in range(8):
                cz, cy, cx = corner >> 2, (corner >> 1) & 1, corner & 1
                w = (z - z0) if cz else (1.0 - (z - z0))
                w *= (y - y0) if cy else (1.0 - (y - y0))
                w *= (x - x0) if cx else (1.0 - (x - x0))
                if w <= 0.0:  # beyond the last voxel, or a NaN that has no say
                    continue
                if holes and outside[z0 + cz, y0 + cy, x0 + cx]:
                    continue
                total += w * voxels[z0 + cz, y0 + cy, x0 + cx]
                weight += w
            if weight >= HALF:
                out[i, j, k] = total / weight
                missing[i, j, k] = False


@kernel
def sample_rgba(voxels, outside, holes, matrix, nearest, first, last, out, missing):  # type: ignore[no-untyped-def]
    """As `sample_scalar` for RGBA. Colors weigh by their alpha: what is clear tints nothing."""
    nz, ny, nx = voxels.shape[:3]
    for row in range(first, last):
        i, j = row // out.shape[1], row % out.shape[1]
        for k in range(out.shape[2]):
            out[i, j, k] = 0
            missing[i, j, k] = True
            z = _place(matrix, i, j, k, 0, nz)
            y = _place(matrix, i, j, k, 1, ny)
            x = _place(matrix, i, j, k, 2, nx)
            if z < 0.0 or y < 0.0 or x < 0.0:
                continue
            if nearest:
                z, y, x = np.floor(z + 0.5), np.floor(y + 0.5), np.floor(x + 0.5)
            z0, y0, x0 = int(z), int(y), int(x)
            red, green, blue, alpha, weight = 0.0, 0.0, 0.0, 0.0, 0.0
            for corner in range(8):
                cz, cy, cx = corner >> 2, (corner >> 1) & 1, corner & 1
                w = (z - z0) if cz else (1.0 - (z - z0))
                w *= (y - y0) if cy else (1.0 - (y - y0))
                w *= (x - x0) if cx else (1.0 - (x - x0))
                if w <= 0.0:
                    continue
                if holes and outside[z0 + cz, y0 + cy, x0 + cx]:
                    continue
                a = w * voxels[z0 + cz, y0 + cy, x0 + cx, 3]
                red += a * voxels[z0 + cz, y0 + cy, x0 + cx, 0]
                green += a * voxels[z0 + cz, y0 + cy, x0 + cx, 1]
                blue += a * voxels[z0 + cz, y0 + cy, x0 + cx, 2]
                alpha += a
                weight += w
            if weight < HALF:
                continue
            missing[i, j, k] = False
            if alpha > 0.0:
                out[i, j, k, 0] = int(red / alpha + 0.5)
                out[i, j, k, 1] = int(green / alpha + 0.5)
                out[i, j, k, 2] = int(blue / alpha + 0.5)
                out[i, j, k, 3] = int(alpha / weight + 0.5)


@kernel
def blend_rgba(a, b, share, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n, 4) with ``a`` and ``b`` mixed, ``share`` of ``b``, weighed by alpha."""
    for n in range(a.shape[0]):
        wa, wb = (1.0 - share) * a[n, 3], share * b[n, 3]
        alpha = wa + wb
        if alpha <= 0.0:
            out[n] = 0
            continue
        for c in range(3):
            out[n, c] = int((wa * a[n, c] + wb * b[n, c]) / alpha + 0.5)
        out[n, 3] = int(alpha + 0.5)

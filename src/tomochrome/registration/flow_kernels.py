"""Compiled kernels of the refinement: squaring a displacement, warping by a coarser one.

Displacements are (n, z, y, x, 3) with components (z, y, x) last, because all three are read
together; every axis has at least two voxels. Each kernel is followed by its adjoint.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tomochrome.registration.warp_kernels import corner
from tomochrome.runtime.kernels import in_chunks

F32 = NDArray[np.float32]


@in_chunks(jobs=lambda field, out: len(field) * field.shape[1], least=1, fastmath=True)
def square(first, last, field, out):  # type: ignore[no-untyped-def]
    """Compute ``out = field o field``."""
    _, depth, height, width, _ = field.shape
    flat = field.reshape(-1)
    row, plane = 3 * width, 3 * width * height
    one = np.float32(1.0)
    for job in range(first, last):
        n, z = job // depth, job % depth
        begin = n * depth * plane
        for y in range(height):
            for x in range(width):
                at = begin + z * plane + y * row + 3 * x
                z0, fz = corner(np.float32(z) + flat[at], depth)
                y0, fy = corner(np.float32(y) + flat[at + 1], height)
                x0, fx = corner(np.float32(x) + flat[at + 2], width)
                gz, gy, gx = one - fz, one - fy, one - fx
                a = begin + z0 * plane + y0 * row + 3 * x0
                b, c, d = a + row, a + plane, a + plane + row
                wa, wb, wc, wd = gz * gy, gz * fy, fz * gy, fz * fy
                for k in range(3):
                    left = wa * flat[a + k] + wb * flat[b + k] + wc * flat[c + k] + wd * flat[d + k]
                    right = (
                        wa * flat[a + 3 + k] + wb * flat[b + 3 + k]
                        + wc * flat[c + 3 + k] + wd * flat[d + 3 + k]
                    )  # fmt: skip
                    out[n, z, y, x, k] = flat[at + k] + gx * left + fx * right


@in_chunks(jobs=lambda field, upstream, out: len(field), least=1, fastmath=True)
def square_adjoint(first, last, field, upstream, out):  # type: ignore[no-untyped-def]
    """Add the gradient of `square` at ``field``, given ``upstream``, to ``out``.

    There is one thread per field, so that no two threads write to the same voxel.
    """
    _, depth, height, width, _ = field.shape
    row, plane = 3 * width, 3 * width * height
    one, zero = np.float32(1.0), np.float32(0.0)
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    for n in range(first, last):
        flat, up, add = field[n].reshape(-1), upstream[n].reshape(-1), out[n].reshape(-1)
        for z in range(depth):
            for y in range(height):
                for x in range(width):
                    at = z * plane + y * row + 3 * x
                    pz = np.float32(z) + flat[at]
                    py = np.float32(y) + flat[at + 1]
                    px = np.float32(x) + flat[at + 2]
                    z0, fz = corner(pz, depth)
                    y0, fy = corner(py, height)
                    x0, fx = corner(px, width)
                    gz, gy, gx = one - fz, one - fy, one - fx
                    a = z0 * plane + y0 * row + 3 * x0
                    b, c, d = a + row, a + plane, a + plane + row
                    wa, wb, wc, wd = gz * gy, gz * fy, fz * gy, fz * fy
                    u0, u1, u2 = up[at], up[at + 1], up[at + 2]
                    al = flat[a] * u0 + flat[a + 1] * u1 + flat[a + 2] * u2
                    ar = flat[a + 3] * u0 + flat[a + 4] * u1 + flat[a + 5] * u2
                    bl = flat[b] * u0 + flat[b + 1] * u1 + flat[b + 2] * u2
                    br = flat[b + 3] * u0 + flat[b + 4] * u1 + flat[b + 5] * u2
                    cl = flat[c] * u0 + flat[c + 1] * u1 + flat[c + 2] * u2
                    cr = flat[c + 3] * u0 + flat[c + 4] * u1 + flat[c + 5] * u2
                    dl = flat[d] * u0 + flat[d + 1] * u1 + flat[d + 2] * u2
                    dr = flat[d + 3] * u0 + flat[d + 4] * u1 + flat[d + 5] * u2
                    am, bm = gx * al + fx * ar, gx * bl + fx * br
                    cm, dm = gx * cl + fx * cr, gx * dl + fx * dr
                    sz, sy, sx = zero, zero, zero
                    if zero <= pz <= last_z:
                        sz = gy * (cm - am) + fy * (dm - bm)
                    if zero <= py <= last_y:
                        sy = gz * (bm - am) + fz * (dm - cm)
                    if zero <= px <= last_x:
                        sx = wa * (ar - al) + wb * (br - bl) + wc * (cr - cl) + wd * (dr - dl)
                    add[at] += u0 + sz
                    add[at + 1] += u1 + sy
                    add[at + 2] += u2 + sx
                    for q, w in ((a, wa), (b, wb), (c, wc), (d, wd)):
                        left, right = w * gx, w * fx
                        # read all before writing any, for contiguous memory access
                        n0, n1, n2 = add[q], add[q + 1], add[q + 2]
                        n3, n4, n5 = add[q + 3], add[q + 4], add[q + 5]
                        add[q] = n0 + left * u0
                        add[q + 1] = n1 + left * u1
                        add[q + 2] = n2 + left * u2
                        add[q + 3] = n3 + right * u0
                        add[q + 4] = n4 + right * u1
                        add[q + 5] = n5 + right * u2


@njit(inline="always")
def _along(index, size, coarse):  # type: ignore[no-untyped-def]
    """Return lower neighbor and weight of the upper one on a coarse grid with the same ends."""
    at = np.float32(index) * np.float32(np.float64(coarse - 1) / np.float64(max(size - 1, 1)))
    low = min(np.int64(at), coarse - 2)
    return low, at - np.float32(low)


@njit(inline="always")
def _row(field, n, z, y, size_z, size_y, row):  # type: ignore[no-untyped-def]
    """Interpolate the coarse displacements at row (z, y) of the fine grid into ``row`` (x, 3)."""
    z0, fz = _along(z, size_z, field.shape[1])
    y0, fy = _along(y, size_y, field.shape[2])
    one = np.float32(1.0)
    wa, wb = (one - fz) * (one - fy), (one - fz) * fy
    wc, wd = fz * (one - fy), fz * fy
    for x in range(field.shape[3]):
        for k in range(3):
            row[x, k] = (
                wa * field[n, z0, y0, x, k] + wb * field[n, z0, y0 + 1, x, k]
                + wc * field[n, z0 + 1, y0, x, k] + wd * field[n, z0 + 1, y0 + 1, x, k]
            )  # fmt: skip


@in_chunks(jobs=lambda image, *_: len(image) * image.shape[1], least=1, fastmath=True)
def sample_through(first, last, image, field, scale, out):  # type: ignore[no-untyped-def]
    """Warp images (n, z, y, x) by a displacement on a coarser grid with the same corners.

    ``field`` (n, Z, Y, X, 3), in voxels of its own grid, is interpolated linearly; ``scale`` (3,)
    converts its components to voxels of ``image``.
    """
    _, depth, height, width = image.shape
    flat = image.reshape(-1)
    plane = height * width
    one = np.float32(1.0)
    for job in range(first, last):
        n, z = job // depth, job % depth
        begin = n * depth * plane
        row = np.empty((field.shape[3], 3), np.float32)
        for y in range(height):
            _row(field, n, z, y, depth, height, row)
            for x in range(width):
                r, f = _along(x, width, field.shape[3])
                g = one - f
                dz = scale[0] * (g * row[r, 0] + f * row[r + 1, 0])
                dy = scale[1] * (g * row[r, 1] + f * row[r + 1, 1])
                dx = scale[2] * (g * row[r, 2] + f * row[r + 1, 2])
                z0, fz = corner(np.float32(z) + dz, depth)
                y0, fy = corner(np.float32(y) + dy, height)
                x0, fx = corner(np.float32(x) + dx, width)
                gz, gy, gx = one - fz, one - fy, one - fx
                a = begin + z0 * plane + y0 * width + x0
                b, c, d = a + width, a + plane, a + plane + width
                out[n, z, y, x] = gz * (
                    gy * (gx * flat[a] + fx * flat[a + 1]) + fy * (gx * flat[b] + fx * flat[b + 1])
                ) + fz * (
                    gy * (gx * flat[c] + fx * flat[c + 1]) + fy * (gx * flat[d] + fx * flat[d + 1])
                )


def gradient_through(image: F32, field: F32, scale: F32, upstream: F32, out: F32) -> None:
    """Add the gradient of `sample_through` for ``field`` to ``out``.

    The fine layers between two coarse layers are one job; even jobs are processed first, then odd
    ones, so that no two threads write to the same voxel.
    """
    for parity in range(2):
        jobs = len(image) * ((field.shape[1] - parity) // 2)
        _gradient_of_layers(jobs, image, field, scale, upstream, parity, out)


@in_chunks(least=1, fastmath=True)
def _gradient_of_layers(  # type: ignore[no-untyped-def]  # noqa: PLR0915 - one compiled pass
    first, last, image, field, scale, upstream, parity, out
):
    """Compute `gradient_through` for every other layer of the coarse grid."""
    _, depth, height, width = image.shape
    layers, rows, columns = field.shape[1], field.shape[2], field.shape[3]
    flat = image.reshape(-1)
    plane = height * width
    one, zero = np.float32(1.0), np.float32(0.0)
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    begin = np.full(layers, depth, np.int64)
    for z in range(depth - 1, -1, -1):
        begin[_along(z, depth, layers)[0]] = z
    for layer in range(layers - 2, -1, -1):
        begin[layer] = min(begin[layer], begin[layer + 1])
    half = (layers - parity) // 2
    for job in range(first, last):
        n, layer = job // half, 2 * (job % half) + parity
        origin = n * depth * plane
        row = np.empty((columns, 3), np.float32)
        back = np.empty((columns, 3), np.float32)
        for z in range(begin[layer], begin[layer + 1]):
            for y in range(height):
                _row(field, n, z, y, depth, height, row)
                back[:] = zero
                for x in range(width):
                    r, f = _along(x, width, columns)
                    g = one - f
                    pz = np.float32(z) + scale[0] * (g * row[r, 0] + f * row[r + 1, 0])
                    py = np.float32(y) + scale[1] * (g * row[r, 1] + f * row[r + 1, 1])
                    px = np.float32(x) + scale[2] * (g * row[r, 2] + f * row[r + 1, 2])
                    z0, fz = corner(pz, depth)
                    y0, fy = corner(py, height)
                    x0, fx = corner(px, width)
                    gz, gy, gx = one - fz, one - fy, one - fx
                    a = origin + z0 * plane + y0 * width + x0
                    b, c, d = a + width, a + plane, a + plane + width
                    am, bm = gx * flat[a] + fx * flat[a + 1], gx * flat[b] + fx * flat[b + 1]
                    cm, dm = gx * flat[c] + fx * flat[c + 1], gx * flat[d] + fx * flat[d + 1]
                    u = upstream[n, z, y, x]
                    sz, sy, sx = zero, zero, zero
                    if zero <= pz <= last_z:
                        sz = u * scale[0] * (gy * (cm - am) + fy * (dm - bm))
                    if zero <= py <= last_y:
                        sy = u * scale[1] * (gz * (bm - am) + fz * (dm - cm))
                    if zero <= px <= last_x:
                        sx = u * scale[2] * (
                            gz * (gy * (flat[a + 1] - flat[a]) + fy * (flat[b + 1] - flat[b]))
                            + fz * (gy * (flat[c + 1] - flat[c]) + fy * (flat[d + 1] - flat[d]))
                        )  # fmt: skip
                    back[r, 0] += g * sz
                    back[r, 1] += g * sy
                    back[r, 2] += g * sx
                    back[r + 1, 0] += f * sz
                    back[r + 1, 1] += f * sy
                    back[r + 1, 2] += f * sx
                v0, fv = _along(z, depth, layers)
                w0, fw = _along(y, height, rows)
                for x in range(columns):
                    for k in range(3):
                        s = back[x, k]
                        out[n, v0, w0, x, k] += (one - fv) * (one - fw) * s
                        out[n, v0, w0 + 1, x, k] += (one - fv) * fw * s
                        out[n, v0 + 1, w0, x, k] += fv * (one - fw) * s
                        out[n, v0 + 1, w0 + 1, x, k] += fv * fw * s

"""Compiled kernels for displacements on the CPU: warping, squaring, comparing what is warped.

torch's 3D ``grid_sample`` and ``interpolate``, in which refinement would spend nearly all its
time, use one thread per batch item and are not vectorized. Each kernel is followed by its adjoint
or returns its gradient; its torch twin is the function in `velocity` that calls it. All are in one
file because Numba recompiles a function only when its own file changes.

Displacements of `sample` are (n, 3, z, y, x). Those of `square` and `sample_through` are
(n, z, y, x, 3) with components (z, y, x) last, because all three are read together; every axis of
theirs has at least two voxels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks

F32 = NDArray[np.float32]


@njit(inline="always")
def _corner(position, size):  # type: ignore[no-untyped-def]
    """Return index of the lower neighbor and weight of the upper one, clamped to the grid."""
    position = min(max(position, np.float32(0.0)), np.float32(size - 1))
    low = min(np.int64(position), max(size - 2, 0))
    return low, position - np.float32(low)


@njit(inline="always")
def _ends(position, size):  # type: ignore[no-untyped-def]
    """Return the indices of the lower and the upper neighbor, and the weights of both."""
    low, weight = _corner(position, size)
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
                z0, fz = _corner(np.float32(z) + flat[at], depth)
                y0, fy = _corner(np.float32(y) + flat[at + 1], height)
                x0, fx = _corner(np.float32(x) + flat[at + 2], width)
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
                    z0, fz = _corner(pz, depth)
                    y0, fy = _corner(py, height)
                    x0, fx = _corner(px, width)
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
                z0, fz = _corner(np.float32(z) + dz, depth)
                y0, fy = _corner(np.float32(y) + dy, height)
                x0, fx = _corner(np.float32(x) + dx, width)
                gz, gy, gx = one - fz, one - fy, one - fx
                a = begin + z0 * plane + y0 * width + x0
                b, c, d = a + width, a + plane, a + plane + width
                out[n, z, y, x] = gz * (
                    gy * (gx * flat[a] + fx * flat[a + 1]) + fy * (gx * flat[b] + fx * flat[b + 1])
                ) + fz * (
                    gy * (gx * flat[c] + fx * flat[c + 1]) + fy * (gx * flat[d] + fx * flat[d + 1])
                )


@njit
def _first_layers(depth, layers):  # type: ignore[no-untyped-def]
    """Return the first fine layer at or above each coarse layer; ``depth`` if there is none."""
    begin = np.full(layers, depth, np.int64)
    for z in range(depth - 1, -1, -1):
        begin[_along(z, depth, layers)[0]] = z
    for layer in range(layers - 2, -1, -1):
        begin[layer] = min(begin[layer], begin[layer + 1])
    return begin


def gradient_through(image: F32, field: F32, scale: F32, upstream: F32, out: F32) -> None:
    """Add the gradient of `sample_through` for ``field`` to ``out``.

    The fine layers between two coarse layers are one job; even jobs are processed first, then odd
    ones, so that no two threads write to the same voxel.
    """
    for parity in range(2):
        jobs = len(image) * ((field.shape[1] - parity) // 2)
        _gradient_of_layers(jobs, image, field, scale, upstream, parity, out)


@in_chunks(least=1, fastmath=True)
def _gradient_of_layers(  # type: ignore[no-untyped-def]
    first, last, image, field, scale, upstream, parity, out
):
    """Compute `gradient_through` for every other layer of the coarse grid."""
    _, depth, height, width = image.shape
    layers, rows, columns = field.shape[1], field.shape[2], field.shape[3]
    flat = image.reshape(-1)
    plane = height * width
    one, zero = np.float32(1.0), np.float32(0.0)
    last_z, last_y, last_x = np.float32(depth - 1), np.float32(height - 1), np.float32(width - 1)
    begin = _first_layers(depth, layers)
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
                    z0, fz = _corner(pz, depth)
                    y0, fy = _corner(py, height)
                    x0, fx = _corner(px, width)
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


@in_chunks(jobs=lambda rows, *_: len(rows) * rows.shape[1], least=1, fastmath=True)
def squares(first, last, rows, displacement, weight, sums, gradient):  # type: ignore[no-untyped-def]
    """Sum the squared differences between each of two images and the other one, warped.

    Features are compared in many channels: warping them first, as `sample` does, would store them
    and their gradients at each iteration. The channels of a voxel are adjacent in memory.

    ``rows`` (2, z, y, x, c) are the images. ``displacement`` (2, 3, z, y, x) is in voxels;
    positions outside get the value of the nearest voxel. ``weight`` is (2, z, y, x). ``sums``
    (2, z) are those of each slice, ``gradient`` is that of their total for ``displacement``.
    """
    _, depth, height, width, channels = rows.shape
    zero, two = np.float32(0.0), np.float32(2.0)
    for job in range(first, last):
        n, z = job // depth, job % depth
        ours, theirs = rows[n], rows[1 - n]
        total = np.float64(0.0)
        for y in range(height):
            for x in range(width):
                w = weight[n, z, y, x]
                if w == zero:
                    for axis in range(3):
                        gradient[n, axis, z, y, x] = zero
                    continue
                pz = np.float32(z) + displacement[n, 0, z, y, x]
                py = np.float32(y) + displacement[n, 1, z, y, x]
                px = np.float32(x) + displacement[n, 2, z, y, x]
                z0, z1, gz, fz = _ends(pz, depth)
                y0, y1, gy, fy = _ends(py, height)
                x0, x1, gx, fx = _ends(px, width)
                v000, v001 = theirs[z0, y0, x0], theirs[z0, y0, x1]
                v010, v011 = theirs[z0, y1, x0], theirs[z0, y1, x1]
                v100, v101 = theirs[z1, y0, x0], theirs[z1, y0, x1]
                v110, v111 = theirs[z1, y1, x0], theirs[z1, y1, x1]
                here = ours[z, y, x]
                squared, sz, sy, sx = zero, zero, zero, zero
                for c in range(channels):
                    a, b = gx * v000[c] + fx * v001[c], gx * v010[c] + fx * v011[c]
                    d, e = gx * v100[c] + fx * v101[c], gx * v110[c] + fx * v111[c]
                    low, high = gy * a + fy * b, gy * d + fy * e
                    apart = gz * low + fz * high - here[c]
                    squared += apart * apart
                    sz += apart * (high - low)
                    sy += apart * (gz * (b - a) + fz * (e - d))
                    sx += apart * (
                        gz * (gy * (v001[c] - v000[c]) + fy * (v011[c] - v010[c]))
                        + fz * (gy * (v101[c] - v100[c]) + fy * (v111[c] - v110[c]))
                    )
                total += w * squared
                inside_z = zero <= pz and pz <= depth - 1
                inside_y = zero <= py and py <= height - 1
                inside_x = zero <= px and px <= width - 1
                gradient[n, 0, z, y, x] = two * w * sz if inside_z else zero
                gradient[n, 1, z, y, x] = two * w * sy if inside_y else zero
                gradient[n, 2, z, y, x] = two * w * sx if inside_x else zero
        sums[n, z] = total

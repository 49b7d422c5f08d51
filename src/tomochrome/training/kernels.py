"""Fused loops of the augmentation: sampling through a warp, blur, noise, windows.

All run without the interpreter's lock, so that a thread prepares the next batch while the
network trains on this one.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath=True)
def sample_planes(  # type: ignore[no-untyped-def]
    structures, hu, use_hu, remap, gain, shift, texture, grain, noise_tile, tile_shift,
    center, matrix, spacing, planes, subplanes, pixel, coarse, step, out, labels, middle,
):  # fmt: skip
    """Sample HU on parallel planes through a warp, and structures on the middle plane.

    Parameters
    ----------
    structures, hu
        uint8 and int16 (z, y, x); ``hu`` is read only with ``use_hu``.
    remap, gain, shift
        Per structure: what it becomes, and ``HU = hu * gain + shift`` (``hu`` is 0 without
        ``use_hu``).
    texture, grain
        Per structure: standard deviation in HU, correlation length in mm.
    noise_tile, tile_shift
        Periodic unit-variance noise (n, n, n) correlated over about four voxels, and its offset.
    center
        Voxel (z, y, x) at the middle of the output.
    matrix
        3x3 from output mm to patient mm.
    planes, subplanes
        Offsets of planes, and of the parts each is averaged from, in mm.
    pixel
        Output pixel in mm.
    coarse, step
        Displacement in mm (plane, i, j, 3) on every ``step``-th pixel.
    out, labels, middle
        Output float32 (plane, y, x), uint8 (y, x), and the plane that ``labels`` belongs to.
    """
    n_z, n_y, n_x = structures.shape
    n_p, height, width = out.shape
    size = noise_tile.shape[0]
    for p in range(n_p):
        for i in range(height):
            ci = i / step
            i0 = int(ci)
            fi = ci - i0
            for j in range(width):
                cj = j / step
                j0 = int(cj)
                fj = cj - j0
                a = (1 - fi) * (1 - fj)
                b = (1 - fi) * fj
                c = fi * (1 - fj)
                d = fi * fj
                dz = (
                    a * coarse[p, i0, j0, 0]
                    + b * coarse[p, i0, j0 + 1, 0]
                    + c * coarse[p, i0 + 1, j0, 0]
                    + d * coarse[p, i0 + 1, j0 + 1, 0]
                )
                dy = (
                    a * coarse[p, i0, j0, 1]
                    + b * coarse[p, i0, j0 + 1, 1]
                    + c * coarse[p, i0 + 1, j0, 1]
                    + d * coarse[p, i0 + 1, j0 + 1, 1]
                )
                dx = (
                    a * coarse[p, i0, j0, 2]
                    + b * coarse[p, i0, j0 + 1, 2]
                    + c * coarse[p, i0 + 1, j0, 2]
                    + d * coarse[p, i0 + 1, j0 + 1, 2]
                )
                py = (i - 0.5 * (height - 1)) * pixel
                px = (j - 0.5 * (width - 1)) * pixel
                total = 0.0
                for s in range(subplanes.shape[0]):
                    pz = planes[p] + subplanes[s]
                    qz = matrix[0, 0] * pz + matrix[0, 1] * py + matrix[0, 2] * px + dz
                    qy = matrix[1, 0] * pz + matrix[1, 1] * py + matrix[1, 2] * px + dy
                    qx = matrix[2, 0] * pz + matrix[2, 1] * py + matrix[2, 2] * px + dx
                    vz = min(max(center[0] + qz / spacing[0], 0.0), n_z - 1.001)
                    vy = center[1] + qy / spacing[1]
                    vx = center[2] + qx / spacing[2]
                    if vy < 0 or vx < 0 or vy > n_y - 1.001 or vx > n_x - 1.001:
                        total += -1000.0
                        if p == middle and s == 0:
                            labels[i, j] = 0
                        continue
                    z0, y0, x0 = int(vz), int(vy), int(vx)
                    fz, fy, fx = vz - z0, vy - y0, vx - x0
                    nearest = remap[
                        structures[
                            z0 + (1 if fz > 0.5 else 0),
                            y0 + (1 if fy > 0.5 else 0),
                            x0 + (1 if fx > 0.5 else 0),
                        ]
                    ]
                    if p == middle and s == 0:
                        labels[i, j] = nearest
                    value = 0.0
                    for k in range(8):
                        ez, ey, ex = k >> 2, (k >> 1) & 1, k & 1
                        w = (fz if ez else 1 - fz) * (fy if ey else 1 - fy) * (fx if ex else 1 - fx)
                        name = structures[z0 + ez, y0 + ey, x0 + ex]
                        corner = shift[name]
                        if use_hu:
                            corner += gain[name] * hu[z0 + ez, y0 + ey, x0 + ex]
                        value += w * corner
                    sd = texture[nearest]
                    if sd > 0:
                        g = 4.0 / grain[nearest]
                        tz = int(qz * g + tile_shift[0] + 1e4) % size
                        ty = int(qy * g + tile_shift[1] + 1e4) % size
                        tx = int(qx * g + tile_shift[2] + 1e4) % size
                        value += sd * noise_tile[tz, ty, tx]
                    total += value
                out[p, i, j] = total / subplanes.shape[0]


@njit(cache=True, nogil=True, fastmath=True)
def blur_planes(planes, sigma):  # type: ignore[no-untyped-def]
    """Blur each plane in place with a Gaussian of ``sigma`` pixels."""
    if sigma < 0.2:
        return
    reach = max(1, int(2.5 * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    n_p, height, width = planes.shape
    work = np.empty((height, width), np.float32)
    for p in range(n_p):
        plane = planes[p]
        for i in range(height):
            for j in range(width):
                total = np.float32(0)
                for k in range(-reach, reach + 1):
                    total += kernel[k + reach] * plane[i, min(max(j + k, 0), width - 1)]
                work[i, j] = total
        for i in range(height):
            for j in range(width):
                total = np.float32(0)
                for k in range(-reach, reach + 1):
                    total += kernel[k + reach] * work[min(max(i + k, 0), height - 1), j]
                plane[i, j] = total


@njit(cache=True, nogil=True, fastmath=True)
def add_noise(planes, bank, picks, corners, amplitude):  # type: ignore[no-untyped-def]
    """Add to each plane a piece of a noise image from a bank (n, y, x), scaled in HU."""
    n_p, height, width = planes.shape
    for p in range(n_p):
        for i in range(height):
            for j in range(width):
                planes[p, i, j] += amplitude * bank[picks[p], corners[p, 0] + i, corners[p, 1] + j]


@njit(cache=True, nogil=True, fastmath=True)
def window_channels(planes, plane_of, low, slope, visible, out):  # type: ignore[no-untyped-def]
    """Write the luminance of each channel's plane, 0 where the field of view ends."""
    n_c, height, width = out.shape
    for c in range(n_c):
        plane = planes[plane_of[c]]
        for i in range(height):
            for j in range(width):
                if visible[i, j]:
                    value = (plane[i, j] - low[c]) * slope[c]
                    out[c, i, j] = min(max(value, np.float32(0)), np.float32(1))
                else:
                    out[c, i, j] = 0

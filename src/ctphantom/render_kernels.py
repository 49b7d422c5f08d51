"""Compiled loops of `render` and `cryosection`, parallel over slices and deterministic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctphantom.compiling import kernel

F32 = NDArray[np.float32]


class Look(NamedTuple):
    """Appearance of each structure in a CT, float32 (structures,) unless stated otherwise."""

    means: F32  #: HU
    sds: F32  #: standard deviation of the texture in HU
    frequency: F32  #: voxels of the tile per mm
    offsets: F32  #: (structures, 3), in the tile
    slopes: F32  #: gradient to posterior in HU per mm
    gas: F32  #: HU decrease by gas bubbles, per unit of texture above one


class Blur(NamedTuple):
    """In-plane blur kernels of odd length."""

    y: F32
    x: F32


class Grain(NamedTuple):
    """The scanner's fine noise."""

    tiles: F32  #: (n, size, size) of unit variance
    shifts: NDArray[np.int64]  #: (z, 3): tile and offset in it for each slice
    sds: F32  #: (z,) in HU


class Mottle(NamedTuple):
    """Appearance of each structure in a photograph."""

    table: F32  #: (structures, 4): sRGB 0..255 and its spread
    frequency: F32  #: (structures,), voxels of the tile per mm
    offsets: F32  #: (structures, 3), in the tile
    exposure: np.float32
    texture: np.float32  #: factor on the spread


@kernel(inline="always")
def _tile_value(tile: F32, z: float, y: float, x: float) -> float:
    """Interpolate a periodic cube, whose edge is a power of two, at a position >= 0."""
    mask = tile.shape[0] - 1
    iz, iy, ix = int(z), int(y), int(x)
    fz, fy, fx = np.float32(z - iz), np.float32(y - iy), np.float32(x - ix)
    z0, y0, x0 = iz & mask, iy & mask, ix & mask
    z1, y1, x1 = (iz + 1) & mask, (iy + 1) & mask, (ix + 1) & mask
    a = tile[z0, y0, x0] + fx * (tile[z0, y0, x1] - tile[z0, y0, x0])
    b = tile[z0, y1, x0] + fx * (tile[z0, y1, x1] - tile[z0, y1, x0])
    c = tile[z1, y0, x0] + fx * (tile[z1, y0, x1] - tile[z1, y0, x0])
    d = tile[z1, y1, x0] + fx * (tile[z1, y1, x1] - tile[z1, y1, x0])
    a += fy * (b - a)
    c += fy * (d - c)
    return a + fz * (c - a)


@kernel(fastmath=True)
def _blur_slice(image: F32, work: F32, blur: Blur) -> None:
    """Blur a slice (y, x) in place, with edge values repeated outside."""
    kernel_y, kernel_x = blur
    ny, nx = image.shape
    ry, rx = kernel_y.size // 2, kernel_x.size // 2
    for y in range(ny):
        for x in range(nx):
            total = np.float32(0.0)
            for k in range(-rx, rx + 1):
                total += kernel_x[k + rx] * image[y, min(max(x + k, 0), nx - 1)]
            work[y, x] = total
    for y in range(ny):
        for x in range(nx):
            total = np.float32(0.0)
            for k in range(-ry, ry + 1):
                total += kernel_y[k + ry] * work[min(max(y + k, 0), ny - 1), x]
            image[y, x] = total


@kernel(fastmath=True, error_model="numpy")
def paint_and_blur(
    labels: NDArray[np.uint8], look: Look, tile: F32, spacing: F32, blur: Blur, middle_y: float,
    out: F32, z0: int, z1: int,
) -> None:  # fmt: skip
    """Write the HU of every voxel with its texture, blurred in plane, to ``out`` (z, y, x)."""
    means, sds, frequency, offsets, slopes, gas = look
    _, ny, nx = labels.shape
    for z in range(z0, z1):
        for y in range(ny):
            for x in range(nx):
                s = labels[z, y, x]
                value = means[s]
                if sds[s] > 0.0:
                    f = frequency[s]
                    t = _tile_value(
                        tile,
                        z * spacing[0] * f + offsets[s, 0],
                        y * spacing[1] * f + offsets[s, 1],
                        x * spacing[2] * f + offsets[s, 2],
                    )
                    value += sds[s] * t + slopes[s] * (y - middle_y) * spacing[1]
                    if gas[s] > 0.0 and t > 1.0:
                        value = max(value - gas[s] * (t - 1.0), np.float32(-980.0))
                out[z, y, x] = value
        _blur_slice(out[z], np.empty((ny, nx), np.float32), blur)


@kernel(fastmath=True, error_model="numpy")
def shrink(hu: F32, factor: int, water: F32, dense: F32, z0: int, z1: int) -> None:
    """Compute mean attenuation (water is 1) and its part above soft tissue in blocks of a slice.

    Both outputs are (z, y / factor, x / factor), rounded up, and initially zero.
    """
    _, ny, nx = hu.shape
    _, my, mx = water.shape
    for z in range(z0, z1):
        for y in range(ny):
            for x in range(nx):
                value = hu[z, y, x]
                if value > -980.0:
                    water[z, y // factor, x // factor] += np.float32(1.0) + value * 1e-3
                    if value > 200.0:
                        dense[z, y // factor, x // factor] += (value - 200.0) * 1e-3
                    if value > 2600.0:  # metal: denser than the HU range
                        dense[z, y // factor, x // factor] += (value - 2600.0) * 1.2e-2
        for y in range(my):
            for x in range(mx):
                water[z, y, x] /= factor * factor
                dense[z, y, x] /= factor * factor


@kernel(fastmath=True, error_model="numpy")
def project(
    image: F32, cosines: F32, sines: F32, pixel_y: float, pixel_x: float, n: int, out: F32,
    z0: int, z1: int,
) -> None:  # fmt: skip
    """Add the parallel projections of each slice, in mm times the image's unit, to zeroed ``out``.

    ``out`` is (z, angle, n). Detector elements have the size of a pixel in x; the ray of element
    n/2 passes through the center.
    """
    _, ny, nx = image.shape
    angles = cosines.size
    area = np.float32(pixel_y)
    for z in range(z0, z1):
        for y in range(ny):
            dy = (y - (ny - 1) * 0.5) * pixel_y / pixel_x
            for x in range(nx):
                value = image[z, y, x]
                if value > 0.01:
                    dx = x - (nx - 1) * 0.5
                    for a in range(angles):
                        s = dx * cosines[a] + dy * sines[a] + n * 0.5
                        i = int(s)
                        f = np.float32(s - i)
                        out[z, a, i] += value * area * (1 - f)
                        out[z, a, i + 1] += value * area * f


@kernel(fastmath=True, error_model="numpy")
def back_project(
    filtered: F32, cosines: F32, sines: F32, aspect: float, out: F32, z0: int, z1: int
) -> None:
    """Add the sum of the projections through each pixel, times pi / angles, to ``out`` (z, y, x).

    ``out`` is initially zero.
    """
    (_, angles, n), (_, ny, nx) = filtered.shape, out.shape
    scale = np.float32(np.pi / angles)
    for z in range(z0, z1):
        for a in range(angles):
            row = filtered[z, a]
            c = np.float32(cosines[a])
            for y in range(ny):
                start = np.float32(
                    (y - (ny - 1) * 0.5) * aspect * sines[a] + n * 0.5 - (nx - 1) * 0.5 * c
                )
                for x in range(nx):
                    s = start + c * x
                    i = int(s)
                    out[z, y, x] += scale * (row[i] + (s - i) * (row[i + 1] - row[i]))


@kernel(fastmath=True, error_model="numpy")
def finish(
    hu: F32, kernel_z: F32, streaks: F32, factor: int, grain: Grain, radius: float, aspect: float,
    out: NDArray[np.int16], z0: int, z1: int,
) -> None:  # fmt: skip
    """Blur along z, add streaks and noise, mask the circle (negative radius: none), round."""
    tiles, shifts, noise = grain
    nz, ny, nx = hu.shape
    rz = kernel_z.size // 2
    size = tiles.shape[1]
    my, mx = streaks.shape[1], streaks.shape[2]
    for z in range(z0, z1):
        tile = tiles[shifts[z, 0]]
        for y in range(ny):
            sy = min(max((y + 0.5) / factor - 0.5, 0.0), my - 1.001)
            iy = int(sy)
            fy = np.float32(sy - iy)
            jy = min(iy + 1, my - 1)
            ty = (y + shifts[z, 1]) % size
            for x in range(nx):
                total = np.float32(0.0)
                for k in range(-rz, rz + 1):
                    total += kernel_z[k + rz] * hu[min(max(z + k, 0), nz - 1), y, x]
                sx = min(max((x + 0.5) / factor - 0.5, 0.0), mx - 1.001)
                ix = int(sx)
                fx = np.float32(sx - ix)
                jx = min(ix + 1, mx - 1)
                upper = streaks[z, iy, ix] + fx * (streaks[z, iy, jx] - streaks[z, iy, ix])
                lower = streaks[z, jy, ix] + fx * (streaks[z, jy, jx] - streaks[z, jy, ix])
                total += upper + fy * (lower - upper)
                total += noise[z] * tile[ty, (x + shifts[z, 2]) % size]
                if radius > 0.0:
                    dy = (y - (ny - 1) * 0.5) * aspect
                    dx = x - (nx - 1) * 0.5
                    if dy * dy + dx * dx > radius * radius:
                        total = np.float32(-1024.0)
                limited = np.float32(min(max(float(total), -1024.0), 3071.0))
                out[z, y, x] = np.int16(np.rint(limited))


@kernel(fastmath=True, error_model="numpy")
def photograph(
    labels: NDArray[np.uint8], mottle: Mottle, tile: F32, spacing: F32, blur: Blur,
    out: NDArray[np.uint8], z0: int, z1: int,
) -> None:  # fmt: skip
    """Write the colors of slices ``z0..z1`` to ``out`` (z, y, x, 3).

    Brightness varies with the structure's grain, and hue between red and yellow with a coarser
    field.
    """
    table, frequency, offsets, exposure, texture = mottle
    ny, nx = labels.shape[1], labels.shape[2]
    for z in range(z0, z1):
        color = np.empty((3, ny, nx), np.float32)
        work = np.empty((ny, nx), np.float32)
        for y in range(ny):
            for x in range(nx):
                s = labels[z, y, x]
                f = frequency[s]
                pz, py, px = z * spacing[0], y * spacing[1], x * spacing[2]
                a, b, c = offsets[s, 0], offsets[s, 1], offsets[s, 2]
                light = _tile_value(tile, pz * f + a, py * f + b, px * f + c)
                blood = _tile_value(tile, pz * f / 5 + b, py * f / 5 + c, px * f / 5 + a)
                spread = texture * table[s, 3]
                bright = exposure + exposure * spread * light / 110.0
                red = spread * blood * 0.35
                color[0, y, x] = (table[s, 0] + red) * bright
                color[1, y, x] = (table[s, 1] - 0.5 * red) * bright
                color[2, y, x] = (table[s, 2] - 0.6 * red) * bright
        for channel in range(3):
            _blur_slice(color[channel], work, blur)
            for y in range(ny):
                for x in range(nx):
                    value = float(color[channel, y, x])
                    out[z, y, x, channel] = np.uint8(min(max(value + 0.5, 0.0), 255.0))

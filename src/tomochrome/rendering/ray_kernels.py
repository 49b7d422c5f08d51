"""Compiled loops of 3D pictures: light that passes through the volume, and rays from the camera.

Everything is in voxels of an isotropic grid, positions as (z, y, x). All kernels are in one file
because Numba recompiles a function only when its own file changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from tomochrome.runtime.kernels import in_chunks

BLOCK = 8
"""Voxels along each edge of the blocks whose distance to anything visible is known."""
_OPAQUE = 0.985  #: opacity at which a ray ends
_VISIBLE = 1.0 / 512.0  #: opacity of a millimeter below which a sample is skipped


class Scene(NamedTuple):
    """What the rays see."""

    opacity: Any  #: float32 (z, y, x): opacity of a layer of 1 mm
    color: Any  #: uint8 (z, y, x, 3): sRGB
    linear: Any  #: float32 (256,): linear light of sRGB
    empty: Any  #: uint8 (z, y, x) of blocks: distance in blocks to the next visible one
    direct: Any  #: float32 (z, y, x) of a coarser grid: share of the main light that arrives
    ambient: Any  #: the same of the ambient light
    light_step: float  #: voxels of ``opacity`` per voxel of ``direct``
    spacing: float  #: mm


class View(NamedTuple):
    """Camera and lights."""

    eye: Any  #: (3,) position
    forward: Any  #: (3,) unit direction of view
    right: Any  #: (3,) of half the width of the picture, at distance 1
    up: Any  #: (3,) of half its height
    key: Any  #: (3,) unit direction towards the main light
    strength: Any  #: (4,) of main light, ambient light, light from the camera, and highlights
    step: float  #: distance of samples in voxels


@njit(inline="always")
def _cell(at, size):  # type: ignore[no-untyped-def]
    """Index of the lower neighbor and weight of the upper, inside the grid."""
    at = min(max(at, 0.0), size - 1.001)
    low = int(at)
    return low, at - low


@njit(inline="always")
def _value(field, z, y, x):  # type: ignore[no-untyped-def]
    """Linear interpolation."""
    i, u = _cell(z, field.shape[0])
    j, v = _cell(y, field.shape[1])
    k, w = _cell(x, field.shape[2])
    a = field[i, j, k] * (1 - w) + field[i, j, k + 1] * w
    b = field[i, j + 1, k] * (1 - w) + field[i, j + 1, k + 1] * w
    c = field[i + 1, j, k] * (1 - w) + field[i + 1, j, k + 1] * w
    d = field[i + 1, j + 1, k] * (1 - w) + field[i + 1, j + 1, k + 1] * w
    return (a * (1 - v) + b * v) * (1 - u) + (c * (1 - v) + d * v) * u


@in_chunks(jobs=lambda slab, *_: slab.shape[0], least=16)
def pass_light(first, last, slab, transmitted, before, shift_y, shift_x):  # type: ignore[no-untyped-def]
    """Move light by one layer: what leaves the layer before arrives at this one.

    ``before`` (y, x) is the light that leaves the previous layer; ``transmitted`` gets what arrives
    here, ``slab`` is the share that passes here and becomes what leaves.
    """
    height, width = slab.shape
    for y in range(first, last):
        for x in range(width):
            at_y, at_x = y - shift_y, x - shift_x
            if at_y < 0 or at_x < 0 or at_y > height - 1 or at_x > width - 1:
                light = 1.0
            else:
                j, v = _cell(at_y, height)
                k, w = _cell(at_x, width)
                a = before[j, k] * (1 - w) + before[j, k + 1] * w
                b = before[j + 1, k] * (1 - w) + before[j + 1, k + 1] * w
                light = a * (1 - v) + b * v
            transmitted[y, x] += light
            slab[y, x] *= light


@njit(inline="always")
def _entry(eye, ray, shape):  # type: ignore[no-untyped-def]
    """Distances at which a ray enters and leaves the grid."""
    near, far = 0.0, 1e9
    for axis in range(3):
        if abs(ray[axis]) < 1e-9:
            if eye[axis] < 0 or eye[axis] > shape[axis] - 1:
                far = -1.0
        else:
            a, b = -eye[axis] / ray[axis], (shape[axis] - 1 - eye[axis]) / ray[axis]
            near, far = max(near, min(a, b)), min(far, max(a, b))
    return near, far


@njit(inline="always")
def _noise(x, y):  # type: ignore[no-untyped-def]
    """Interleaved gradient noise 0 to 1: a start for each ray, which hides layers of samples."""
    value = 52.9829189 * ((0.06711056 * x + 0.00583715 * y) % 1.0)
    return value % 1.0


@njit(inline="always")
def _lit(scene, view, z, y, x, ray):  # type: ignore[no-untyped-def]
    """Light that a point sends to the camera: of its color, and highlights.

    Half Lambert shading of the main light with its shadow, ambient light with its occlusion, and a
    light at the camera (Phong, Illumination for Computer Generated Pictures, CACM 18(6), 1975, for
    highlights).
    """
    field = scene.opacity
    gz = _value(field, z - 1, y, x) - _value(field, z + 1, y, x)
    gy = _value(field, z, y - 1, x) - _value(field, z, y + 1, x)
    gx = _value(field, z, y, x - 1) - _value(field, z, y, x + 1)
    length = np.sqrt(gz * gz + gy * gy + gx * gx) + 1e-6
    gz, gy, gx = gz / length, gy / length, gx / length
    surface = min(1.0, 8.0 * length)
    out = 1.5 * surface  # measured above the surface, which would shade itself
    share, middle = scene.light_step, 0.5 * (scene.light_step - 1.0)
    lz = (z + out * gz - middle) / share
    ly = (y + out * gy - middle) / share
    lx = (x + out * gx - middle) / share
    direct, ambient = _value(scene.direct, lz, ly, lx), _value(scene.ambient, lz, ly, lx)
    cosine = gz * view.key[0] + gy * view.key[1] + gx * view.key[2]
    wrapped = max(0.0, (cosine + 0.25) / 1.25)
    facing = -(gz * ray[0] + gy * ray[1] + gx * ray[2])
    key = view.strength[0] * direct * (surface * wrapped + (1.0 - surface) * 0.6)
    sky = view.strength[1] * ambient
    own = view.strength[2] * max(facing, 0.0) * ambient
    hz, hy, hx = view.key[0] - ray[0], view.key[1] - ray[1], view.key[2] - ray[2]
    half = (gz * hz + gy * hy + gx * hx) / (np.sqrt(hz * hz + hy * hy + hx * hx) + 1e-6)
    shine = view.strength[3] * direct * surface * max(half, 0.0) ** 24
    return key, sky + own, shine


@in_chunks(least=64)
def cast_rays(first, last, scene, view, width, start, picture, shape):  # type: ignore[no-untyped-def]
    """Write linear light and opacity of the pixels from ``start`` on to ``picture`` (n, 4).

    ``shape`` is (height, width) of the whole picture.
    """
    ray, color = np.empty(3), np.empty(3)
    field, grid = scene.opacity, scene.opacity.shape
    for n in range(first, last):
        row, column = (start + n) // width, (start + n) % width
        down = 1.0 - (2.0 * row + 1.0) / shape[0]
        across = (2.0 * column + 1.0) / shape[1] - 1.0
        size = 0.0
        for c in range(3):
            ray[c] = view.forward[c] + across * view.right[c] + down * view.up[c]
            size += ray[c] * ray[c]
        for c in range(3):
            ray[c] /= np.sqrt(size)
        near, far = _entry(view.eye, ray, grid)
        t = near + view.step * _noise(column, row)
        red, green, blue, covered = 0.0, 0.0, 0.0, 0.0
        while t < far and covered < _OPAQUE:
            z, y, x = (
                view.eye[0] + t * ray[0], view.eye[1] + t * ray[1], view.eye[2] + t * ray[2],
            )  # fmt: skip
            far_off = scene.empty[int(z) // BLOCK, int(y) // BLOCK, int(x) // BLOCK]
            if far_off > 0:
                t += max(view.step, (far_off - 1) * BLOCK)
                continue
            t += view.step
            opacity = _value(field, z, y, x)
            if opacity < _VISIBLE:
                continue
            i, u = _cell(z, grid[0])
            j, v = _cell(y, grid[1])
            k, w = _cell(x, grid[2])
            for c in range(3):
                color[c] = 0.0
            for corner in range(8):
                a, wa = (i + 1, u) if corner & 4 else (i, 1 - u)
                b, wb = (j + 1, v) if corner & 2 else (j, 1 - v)
                d, wd = (k + 1, w) if corner & 1 else (k, 1 - w)
                weight = wa * wb * wd
                for c in range(3):
                    color[c] += weight * scene.linear[scene.color[a, b, d, c]]
            key, soft, shine = _lit(scene, view, z, y, x, ray)
            share = 1.0 - (1.0 - min(opacity, 0.995)) ** (view.step * scene.spacing)
            share *= 1.0 - covered
            # Tissue lets red light through: shadows of it are warmer.
            red += share * (color[0] * (1.04 * key + soft) + shine)
            green += share * (color[1] * (key + soft) + shine)
            blue += share * (color[2] * (0.96 * key + soft) + shine)
            covered += share
        picture[n, 0], picture[n, 1], picture[n, 2] = red, green, blue
        picture[n, 3] = min(1.0, covered / _OPAQUE)

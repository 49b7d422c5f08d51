"""Light in a 3D picture: shadows of the main light, and ambient light from the sky.

Light passes through the volume layer by layer from each direction, and what it meets takes its
share (Behrens and Ratering, Adding Shadows to a Texture-Based Volume Renderer, IEEE VolVis 1998).
Interpolation between layers softens the shadows. On a coarse grid this is fast, and shadows need no
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.geometry.block_grids import block_means
from tomochrome.rendering.ray_kernels import pass_light
from tomochrome.runtime import check

Array = NDArray[np.float32]

_MAX_VOXELS: Final = 1 << 21
_DENSITY: Final = 0.5  #: of the shadows; below 1, light reaches into gaps
_SPREAD: Final = 0.14  #: size of the main light: distance of its points, at distance 1


def light_step(shape: Sequence[int]) -> int:
    """Return the number of voxels per voxel of the light's grid along each axis."""
    step = 1
    while np.prod([-(-n // step) for n in shape]) > _MAX_VOXELS:
        step += 1
    return step


def transmission(opacity: Array, spacing: float, step: int) -> Array:
    """Return the share of light that passes each voxel of the coarse grid, float32 (z, y, x)."""
    mean = block_means(opacity, (step, step, step)).astype(np.float32)
    return np.asarray((1.0 - np.minimum(mean, 0.995)) ** (_DENSITY * step * spacing), np.float32)


def main_light(passes: Array, towards: ArrayLike, points: int) -> Array:
    """Return the share of the main light that reaches each voxel.

    Parameters
    ----------
    passes
        As `transmission` returns it.
    towards
        Unit direction (z, y, x) of the index, towards the light.
    points
        Number of points of the light; more make softer shadows.
    """
    direction = np.asarray(towards, np.float64)
    aside = np.cross(direction, np.eye(3)[int(np.abs(direction).argmin())])
    other = np.cross(direction, aside)
    angles = 2 * np.pi * np.arange(points - 1) / max(points - 1, 1)
    around = [
        direction + _SPREAD * (np.cos(angle) * aside + np.sin(angle) * other) for angle in angles
    ]
    return _arriving(passes, [direction, *around], np.ones(points))


def sky_light(passes: Array, up: ArrayLike, directions: int) -> Array:
    """Return the share of ambient light that reaches each voxel; more of it comes from above.

    Parameters
    ----------
    passes
        As `transmission` returns it.
    up
        Unit direction (z, y, x) of the index, towards the zenith.
    directions
        Number of directions, evenly spread on the sphere.
    """
    k = np.arange(directions)
    height = 1.0 - (2.0 * k + 1.0) / directions
    radius, angle = np.sqrt(1.0 - height**2), np.pi * (3.0 - np.sqrt(5.0)) * k  # golden angle
    sphere = np.stack([height, radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return _arriving(passes, list(sphere), 0.6 + 0.4 * (sphere @ np.asarray(up, np.float64)))


def _arriving(
    passes: Array, directions: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]
) -> Array:
    total = np.zeros_like(passes)
    for direction, weight in zip(directions, weights, strict=True):
        total += np.float32(weight / weights.sum()) * _sweep(passes, direction)
    return total


def _sweep(passes: Array, towards: NDArray[np.float64]) -> Array:
    """Return the share of light from one direction that reaches each voxel."""
    axis = int(np.abs(towards).argmax())
    layers = np.moveaxis(passes, axis, 0)
    result = np.zeros(layers.shape, np.float32)
    shift = -np.delete(towards, axis) / abs(towards[axis])
    order = range(len(layers))[:: -1 if towards[axis] > 0 else 1]
    leaving = np.ones(layers.shape[1:], np.float32)
    for k in order:
        check()
        layer = np.array(layers[k], order="C")
        pass_light(layer, result[k], leaving, float(shift[0]), float(shift[1]))
        leaving = layer
    return np.moveaxis(result, 0, axis)

"""Transforms and volumes small enough for the tests of this folder and of io."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.geometry.displacement import DisplacementField
from tomochrome.volume import Volume


def turned(angle: float, shift: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """Rotation about z by ``angle`` radians, then a shift in mm."""
    matrix = np.eye(4)
    c, s = np.cos(angle), np.sin(angle)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:3, 3] = shift
    return matrix


def grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], *, oblique: float = 0.0
) -> NDArray[np.float64]:
    """Affine of an upright grid about the origin, turned about z by ``oblique``."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1.0
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return turned(oblique) @ affine


def smooth_field(
    shape: tuple[int, int, int], affine: NDArray[np.float64], size: float = 4.0, seed: int = 0
) -> DisplacementField:
    """Displacements of about ``size`` mm, smooth enough not to fold."""
    random = np.random.default_rng(seed)
    vectors = ndimage.gaussian_filter(random.normal(size=(*shape, 3)), (4, 4, 4, 0), mode="wrap")
    vectors *= size / np.abs(vectors).max()
    return DisplacementField(vectors.astype(np.float32), affine)


def texture(
    shape: tuple[int, int, int], affine: NDArray[np.float64], seed: int = 1, unit: str = "HU"
) -> Volume:
    """A smooth picture, float32, about -300 to 300."""
    random = np.random.default_rng(seed)
    voxels = ndimage.gaussian_filter(random.normal(size=shape), 1.5, mode="wrap")
    return Volume((voxels * 300 / np.abs(voxels).max()).astype(np.float32), affine, unit)  # type: ignore[arg-type]

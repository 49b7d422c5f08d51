"""A small patient with two organs, for tests of measures and of validation."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tomochrome.volume import Unit, Volume, default_affine

SHAPE = (20, 24, 22)
AFFINE = default_affine((4.0, 4.0, 4.0), (-44.0, -48.0, -40.0))


def patient(unit: Unit = "HU", shape: tuple[int, int, int] = SHAPE) -> tuple[Volume, Volume]:
    """An ellipsoid with texture and two organs, in air; and its labels."""
    index = np.moveaxis(np.indices(shape), 0, -1) / (np.array(shape) - 1) * 2 - 1
    rng = np.random.default_rng(0)
    body = (index**2).sum(-1) < 0.8
    hu = np.where(body, 40.0, -1000.0)
    hu += body * 400 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    labels = np.zeros(shape, np.uint8)
    labels[np.linalg.norm(index - (0.1, 0.2, 0.2), axis=-1) < 0.5] = 2
    labels[np.linalg.norm(index - (-0.1, -0.1, -0.4), axis=-1) < 0.15] = 9
    hu[labels == 2] += 120
    voxels = hu.astype(np.float32) if unit == "HU" else (hu + 1000).clip(0).astype(np.float32)
    return Volume(voxels, AFFINE, unit), Volume(labels, AFFINE, "unknown")

"""Small scans with strokes for the tests of hints."""

from __future__ import annotations

import numpy as np

from tomochrome.tissue import Tissue
from tomochrome.volume import Volume, default_affine

SPACING = (3.0, 2.0, 2.0)
SHAPE = (6, 64, 72)
LEFT, RIGHT = 60.0, 130.0  # HU of the two halves


def two_halves(noise: float = 6.0) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A body of two adjacent organs in a shell of fat: the volume, and the mask of each organ."""
    _, y, x = np.indices(SHAPE)
    radius = np.hypot((y - 31.5) / 26, (x - 35.5) / 30)
    hu = np.full(SHAPE, -1000.0)
    hu[radius < 1] = -100
    organs = radius < 0.85
    left, right = organs & (x < 36), organs & (x >= 36)
    hu[left], hu[right] = LEFT, RIGHT
    hu += np.random.default_rng(3).normal(0, noise, SHAPE)
    volume = Volume(np.rint(hu).astype(np.int16), default_affine(SPACING, (-70, -60, 20)))
    return volume, left, right


def one_stroke(label: int = Tissue.SPLEEN, slice_: int = 2) -> np.ndarray:
    """A short stroke in the left half."""
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[slice_, 30:32, 18:28] = label
    return strokes

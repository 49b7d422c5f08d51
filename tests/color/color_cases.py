"""Helpers for the tests of color."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.color import fit_chroma


def max_chroma(L: ArrayLike, hue: ArrayLike) -> NDArray[np.float32]:
    """Return the largest chroma C* that sRGB can show at L* and a hue angle in radians."""
    lightness, angle = np.broadcast_arrays(L, hue)
    far = np.stack([lightness, 200 * np.cos(angle), 200 * np.sin(angle)], axis=-1)
    return np.hypot(*np.moveaxis(fit_chroma(far), -1, 0)[1:])

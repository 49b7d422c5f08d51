"""Helpers for the tests of color."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from tomochrome.color import fit_chroma

RENDERING = {
    "center": st.floats(-1000, 2000),
    "width": st.floats(1, 4000),
    "function": st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    "saturation": st.floats(0, 2),
    "min_confidence": st.floats(0, 1),
}
"""Hypothesis strategies of a window and of settings of `tomochrome.color.light`."""


def max_chroma(L: ArrayLike, hue: ArrayLike) -> NDArray[np.float32]:
    """Return the largest chroma C* that sRGB can show at L* and a hue angle in radians."""
    lightness, angle = np.broadcast_arrays(L, hue)
    far = np.stack([lightness, 200 * np.cos(angle), 200 * np.sin(angle)], axis=-1)
    return np.hypot(*np.moveaxis(fit_chroma(far), -1, 0)[1:])

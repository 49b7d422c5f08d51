"""Quantization to grey levels by median cut, for models with quantized input.

P. Heckbert, "Color image quantization for frame buffer display", SIGGRAPH 1982, in one
dimension: the box with the most values is split at its median until there are enough boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import ModelError


def median_cut(values: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """Return representative grey levels of some values.

    Parameters
    ----------
    values
        Luminances, 0 to 1, any shape.
    count
        Maximum number of levels; there are no more levels than distinct values.

    Returns
    -------
    ndarray
        float32 (levels,), increasing: the mean of each box.
    """
    boxes = [np.sort(np.asarray(values, np.float32).ravel())]
    while len(boxes) < count:
        splits = [box for box in boxes if box[0] < box[-1]]
        if not splits:
            break
        box = max(splits, key=len)
        # at the median, but never with an empty side where many values are equal
        at = int(np.searchsorted(box, box[len(box) // 2]))
        at = at or int(np.searchsorted(box, box[0], side="right"))
        boxes = [other for other in boxes if other is not box] + [box[:at], box[at:]]
    return np.sort(np.array([box.mean(dtype=np.float64) for box in boxes], np.float32))


def quantize(luminances: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the nearest level of each luminance.

    Parameters
    ----------
    luminances
        Any shape.
    levels
        float32 (levels,), increasing.
    """
    if len(levels) == 1:
        return np.full_like(luminances, levels[0])
    between = (levels[1:] + levels[:-1]) / 2
    return levels[np.searchsorted(between, luminances)]


def checked_levels(stored: NDArray[np.generic], model: str) -> NDArray[np.float32]:
    """Validate a bundle's grey levels, and return them as float32.

    Raises
    ------
    ModelError
        If they are not increasing luminances from 0 to 1.
    """
    levels = np.asarray(stored, np.float32)
    valid = levels.ndim == 1 and 1 <= len(levels) <= 256 and bool(np.isfinite(levels).all())
    if not valid or levels.min() < 0 or levels.max() > 1 or (np.diff(levels) <= 0).any():
        raise ModelError(f"the grey levels of the model '{model}' are invalid; reinstall the model")
    return levels

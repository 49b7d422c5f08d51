"""Grey levels by median cut, for models that see few of them.

P. Heckbert, "Color image quantization for frame buffer display", SIGGRAPH 1982, in one
dimension: the box of most values is cut at its median until there are enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import ModelError


def median_cut(values: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """Return the grey levels that stand for some values.

    Parameters
    ----------
    values
        Luminances, 0 to 1, any shape.
    count
        Most levels wanted; fewer where there are fewer different values.

    Returns
    -------
    ndarray
        float32 (levels,), growing: the mean of each box.
    """
    boxes = [np.sort(np.asarray(values, np.float32).ravel())]
    while len(boxes) < count:
        splits = [box for box in boxes if box[0] < box[-1]]
        if not splits:
            break
        box = max(splits, key=len)
        # at the median, but with something on both sides where many values are equal
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
        float32 (levels,), growing.
    """
    if len(levels) == 1:
        return np.full_like(luminances, levels[0])
    between = (levels[1:] + levels[:-1]) / 2
    return levels[np.searchsorted(between, luminances)]


def checked_levels(stored: NDArray[np.generic], model: str) -> NDArray[np.float32]:
    """Return a bundle's grey levels as float32, once they are checked.

    Raises
    ------
    ModelError
        If they are no growing luminances from 0 to 1.
    """
    levels = np.asarray(stored, np.float32)
    sound = levels.ndim == 1 and 1 <= len(levels) <= 256 and bool(np.isfinite(levels).all())
    if not sound or levels.min() < 0 or levels.max() > 1 or (np.diff(levels) <= 0).any():
        raise ModelError(f"the grey levels of the model '{model}' make no sense; install it again")
    return levels

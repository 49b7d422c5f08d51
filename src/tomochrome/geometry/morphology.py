"""Dilation of masks, and their connected parts by size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime.task import check


def grown(marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask (z, y, x) by its 26-neighborhood.

    Separable along the axes; takes a tenth of the time of `scipy.ndimage.binary_dilation`.
    """
    for axis in range(3):
        check()
        wider = marks.copy()
        rows, old = np.moveaxis(wider, axis, 0), np.moveaxis(marks, axis, 0)
        rows[1:] |= old[:-1]
        rows[:-1] |= old[1:]
        marks = wider
    return marks


def large_parts(mask: NDArray[np.bool_], least: float) -> NDArray[np.bool_]:
    """Return the connected parts of a mask that have at least so many pixels or voxels.

    Neighbors share a side.
    """
    from scipy import ndimage  # slow to import, and panels need only `grown`

    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= least
    large[0] = False
    return np.asarray(large[labels])


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask, the first of several; none of an empty mask."""
    from scipy import ndimage  # as above

    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros(mask.shape, np.bool_)
    return np.asarray(labels == 1 + np.bincount(labels.ravel())[1:].argmax())

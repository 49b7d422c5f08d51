"""Hatching of restored voxels: diagonal lines and an outline, visible on dark and on bright."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.volume import RESTORED

LEGEND: Final = f"hatched: {RESTORED}"
PERIOD_PX: Final = 12  # distance of the lines along a row
STRENGTH: Final = 0.45  #: opacity of the lines


def hatch_lines(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels of the light and of the dark lines over a mask.

    Parameters
    ----------
    mask
        Booleans (y, x). Holes of a pixel or two are closed: there a restored value happens to
        equal the measured one.

    Returns
    -------
    tuple of ndarray
        Booleans (y, x): light diagonals and the outline, so that no part is too small to be seen,
        and dark diagonals beside the light ones.
    """
    if not mask.any():
        return mask, mask
    area = ~_grown(~_grown(np.pad(mask, 1)))[1:-1, 1:-1]
    outline = area & _grown(~area)
    phase = np.add.outer(np.arange(area.shape[0]), np.arange(area.shape[1])) % PERIOD_PX
    light = outline | (area & (phase == 0))
    return light, area & (phase == 1) & ~light


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask and the eight neighbors of its pixels."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    grown = rows.copy()
    grown[:, 1:] |= rows[:, :-1]
    grown[:, :-1] |= rows[:, 1:]
    return grown


def hatched(picture: NDArray[np.uint8], mask: NDArray[Any] | None) -> NDArray[np.uint8]:
    """Return a picture with hatching over a mask.

    Parameters
    ----------
    picture
        uint8 (y, x, 3) or (y, x, 4); alpha is unchanged.
    mask
        Booleans (y, x); None for no hatching.
    """
    if mask is None or not mask.any():
        return picture
    out = picture.copy()
    for line, tone in zip(hatch_lines(mask), (255, 0), strict=True):
        colors = out[line, :3]
        out[line, :3] = np.rint(colors + STRENGTH * (tone - colors.astype(np.float32)))
    return out

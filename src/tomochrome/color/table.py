"""One lookup table over (L*, a*, b*): gamut mapping and rounding to 8 bits, done once.

L* is held at the 256 values that grey pixels have, and (a*, b*) on a grid of whole numbers, finer
than 8-bit rounding. A column, all 256 grey levels of one (a*, b*), is computed when some palette
first needs it; the columns in use fit a processor's cache (a palette's mixtures need 1 to 2 MB).
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import FreeColors
from tomochrome.color.kernels import fill_columns
from tomochrome.color.palette import Palette
from tomochrome.color.space import GREY_L, LINEAR_OF_8BIT
from tomochrome.runtime.kernels import over_chunks

SIDE = 192  #: cells along a* and along b*, one unit each
REACH = 95.0  #: largest |a*| or |b*| held
GREY_LEVELS = 256

#: L* halfway between neighbouring grey levels.
GREY_EDGES = (GREY_L[1:] + GREY_L[:-1]) / 2


class ColorTable:
    """The table, filled on demand; safe to use from several threads."""

    def __init__(self) -> None:
        # Zero pages cost no memory until a column is written.
        self._columns = np.zeros((SIDE * SIDE, GREY_LEVELS, 4), np.uint8)
        self._filled = np.zeros(SIDE * SIDE, bool)
        self._lock = threading.Lock()
        self._whole: WeakKeyDictionary[Palette | FreeColors, float] = WeakKeyDictionary()
        #: uint32 (cells * 256,): bytes red, green, blue and an alpha of 0.
        self.words: NDArray[np.uint32] = self._columns.reshape(-1).view(np.uint32)

    def ensure(self, cells: NDArray[np.int32]) -> None:
        """Fill the columns of these cells that are not there yet."""
        with self._lock:
            missing = np.unique(cells[~self._filled[cells]])
            if missing.size:
                over_chunks(
                    lambda i, j: fill_columns(missing[i:j], self._columns, GREY_L, LINEAR_OF_8BIT),
                    missing.size,
                    least=32,
                )
                self._filled[missing] = True

    def ensure_mixtures(self, colors: Palette | FreeColors, saturation: float) -> None:
        """Fill the columns of every mixture of these colors and grey, up to this saturation.

        Parameters
        ----------
        colors
            A palette, or a table of free colors.
        """
        if not self.holds(colors, saturation):
            self.ensure(_mixtures(colors.ab * np.float32(saturation)))
            self._whole[colors] = saturation

    def holds(self, colors: Palette | FreeColors, saturation: float) -> bool:
        """Whether `ensure_mixtures` has been done for these colors up to this saturation."""
        return saturation <= self._whole.get(colors, -1.0)

    @property
    def columns_filled(self) -> int:
        """Number of columns computed so far (1 KiB each)."""
        return int(self._filled.sum())


def within_reach(ab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return colors (n, 2), those beyond `REACH` with less chroma at constant hue.

    sRGB ends far inside, so nothing that can be shown is lost.
    """
    far = np.maximum(np.abs(ab[:, 0]), np.abs(ab[:, 1]))
    if far.max() > REACH:
        ab = ab * np.minimum(1.0, REACH / np.maximum(far, 1.0))[:, None]
    return np.ascontiguousarray(ab, np.float32)


def _mixtures(ab: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the cells that mixtures of these chromas (n, 2) and grey can lie in.

    Mixtures fill the convex hull of the chromas and grey, and so do their fadings. A cell meets
    the hull where its centre lies in the hull widened by half a cell.
    """
    from scipy.spatial import ConvexHull

    half = 0.51  # and a little, for the digits of float32
    square = np.array([(-half, -half), (-half, half), (half, -half), (half, half)])
    # A mixture's weights may add up to 1.001 (see `Chroma`).
    ends = np.vstack([1.001 * ab.astype(np.float64), np.zeros((1, 2))])
    sides = ConvexHull((ends[:, None] + square).reshape(-1, 2)).equations
    at = np.arange(SIDE) - SIDE // 2
    inside = np.ones((SIDE, SIDE), bool)
    for a, b, offset in sides:
        inside &= a * at[:, None] + b * at[None, :] + offset <= 0.0
    return np.flatnonzero(inside).astype(np.int32)


TABLE = ColorTable()  #: shared by every lit volume of this process

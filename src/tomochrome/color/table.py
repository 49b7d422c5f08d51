"""A lookup table over (L*, a*, b*) with the result of gamut mapping and 8-bit rounding.

L* is sampled at the 256 values of grey pixels, and (a*, b*) at integers, which is finer than 8-bit
rounding. A column, all 256 grey levels of one (a*, b*), is computed when a palette first needs
it; the columns in use fit into the CPU cache (a palette's mixtures need 1 to 2 MB).
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import FreeColors
from tomochrome.color.color_kernels import fill_columns
from tomochrome.color.palettes import Palette
from tomochrome.color.space import GREY_L, LINEAR_OF_8BIT
from tomochrome.runtime.kernels import over_chunks

SIDE = 192  #: cells along a* and along b*, one unit each
MAX_AB = 95.0  #: largest |a*| or |b*| in the table
GREY_LEVELS = 256

#: L* halfway between adjacent grey levels.
GREY_EDGES = (GREY_L[1:] + GREY_L[:-1]) / 2


class ColorTable:
    """The table, filled on demand; thread-safe."""

    def __init__(self) -> None:
        # The operating system allocates pages only when a column is written.
        self._columns = np.zeros((SIDE * SIDE, GREY_LEVELS, 4), np.uint8)
        self._filled = np.zeros(SIDE * SIDE, bool)
        self._lock = threading.Lock()
        self._complete: WeakKeyDictionary[Palette | FreeColors, float] = WeakKeyDictionary()
        #: uint32 (cells * 256,): bytes red, green, blue, and alpha 0.
        self.words: NDArray[np.uint32] = self._columns.reshape(-1).view(np.uint32)

    def ensure(self, cells: NDArray[np.int32]) -> None:
        """Fill the columns of cells that are not filled yet."""
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
        """Fill the columns of all mixtures of colors and grey, up to a saturation.

        Parameters
        ----------
        colors
            A palette, or a table of free colors.
        """
        if not self.holds(colors, saturation):
            self.ensure(_mixtures(colors.ab * np.float32(saturation)))
            self._complete[colors] = saturation

    def holds(self, colors: Palette | FreeColors, saturation: float) -> bool:
        """Whether the columns of all mixtures are filled; see `ensure_mixtures`."""
        return saturation <= self._complete.get(colors, -1.0)

    @property
    def columns_filled(self) -> int:
        """Number of columns computed so far (1 KiB each)."""
        return int(self._filled.sum())


def clip_chroma(ab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return colors (n, 2) with chroma reduced to `MAX_AB` at constant hue.

    The limit is far outside of the sRGB gamut, so no displayable color is changed.
    """
    largest = np.abs(ab).max(axis=1)
    if largest.max() > MAX_AB:
        ab = ab * np.minimum(1.0, MAX_AB / np.maximum(largest, 1.0))[:, None]
    return np.ascontiguousarray(ab, np.float32)


def _mixtures(ab: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the cells that contain mixtures of these colors (n, 2) and grey.

    Mixtures and faded mixtures are in the convex hull of the colors and grey. A cell intersects
    the hull if its center is in the hull dilated by half a cell.
    """
    from scipy.spatial import ConvexHull

    half = 0.51  # with a margin for float32 rounding
    square = np.array([(-half, -half), (-half, half), (half, -half), (half, half)])
    # The sum of a mixture's weights may be up to 1.001 (see `Mixtures`).
    ends = np.vstack([1.001 * ab.astype(np.float64), np.zeros((1, 2))])
    sides = ConvexHull((ends[:, None] + square).reshape(-1, 2)).equations
    at = np.arange(SIDE) - SIDE // 2
    inside = np.ones((SIDE, SIDE), bool)
    for a, b, offset in sides:
        inside &= a * at[:, None] + b * at[None, :] + offset <= 0.0
    return np.flatnonzero(inside).astype(np.int32)


TABLE = ColorTable()  #: shared by all volumes of this process

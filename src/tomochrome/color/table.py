"""One lookup table over (L*, a*, b*): gamut mapping and rounding to 8 bits, done once.

L* is held at the 256 values that grey pixels have, and (a*, b*) on a grid of whole numbers, finer
than 8-bit rounding. A column, all 256 grey levels of one (a*, b*), is computed when some palette
first needs it; the columns in use fit a processor's cache (a palette's mixtures need 1 to 2 MB).
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.compiled import over_chunks
from tomochrome.color.kernels import fill_columns
from tomochrome.color.space import GREY_L, LINEAR_OF_8BIT

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

    @property
    def columns_filled(self) -> int:
        """Number of columns computed so far (1 KiB each)."""
        return int(self._filled.sum())


TABLE = ColorTable()  #: shared by every lit volume of this process

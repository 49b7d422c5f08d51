"""One lookup table over (L*, a*, b*): gamut mapping and rounding to 8 bits, done once.

L* is held at the 256 values that grey pixels have, and (a*, b*) on a grid of whole numbers, finer
than 8-bit rounding. A column, all 256 grey levels of one (a*, b*), is computed when some palette
first needs it; the columns in use fit a processor's cache (a palette's mixtures need 1 to 2 MB).
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.kernels import (
    chroma_share,
    encode,
    kernel,
    lab_from_linear,
    lightness_from_linear,
    linear_from_lab,
    linearize,
    over_chunks,
)

SIDE = 192  #: cells along a* and along b*, one unit each
REACH = 95.0  #: largest |a*| or |b*| held
GREY_LEVELS = 256

_LINEAR = np.array([linearize.py_func(v / 255.0) for v in range(256)])
#: L* of the grey pixel (g, g, g).
GREY_L = np.array([lab_from_linear.py_func(v, v, v)[0] for v in _LINEAR])
#: L* halfway between neighbouring grey levels.
GREY_EDGES = (GREY_L[1:] + GREY_L[:-1]) / 2


@kernel
def cell_of(a, b):  # type: ignore[no-untyped-def]
    """Index of the column that holds chroma (a*, b*), both within `REACH`."""
    return int(np.floor(a + 96.5)) * 192 + int(np.floor(b + 96.5))


@kernel
def _best_rounding(L, a, b, red, green, blue, darker, linear, out):  # type: ignore[no-untyped-def]
    """Choose among the eight 8-bit neighbours of a color.

    The least color difference with luminance counted three times; a neighbour whose L* is off
    by more than 0.15, or not brighter than the grey level before (``darker``), is taken only if
    all are: color never hides a grey level. Returns the L* chosen.
    """
    r0, g0, b0 = int(red), int(green), int(blue)
    best, chosen = 1e30, 0.0
    for corner in range(8):
        r = min(r0 + (corner & 1), 255)
        g = min(g0 + ((corner >> 1) & 1), 255)
        u = min(b0 + ((corner >> 2) & 1), 255)
        tL = lightness_from_linear(linear[r], linear[g], linear[u])
        dL = abs(tL - L)
        if dL > 0.15:
            cost = 1e6 + 1e6 * dL
        else:
            _, ta, tb = lab_from_linear(linear[r], linear[g], linear[u])
            cost = 9.0 * dL * dL + (ta - a) ** 2 + (tb - b) ** 2
        if tL <= darker:
            cost += 1e5
        if cost < best:
            best, chosen = cost, tL
            out[0], out[1], out[2] = r, g, u
    return chosen


@kernel
def _fill(cells, columns, grey_l, linear):  # type: ignore[no-untyped-def]
    for i in range(cells.shape[0]):
        cell = cells[i]
        a0, b0 = float(cell // 192 - 96), float(cell % 192 - 96)
        darker = -1.0
        for level in range(256):
            out = columns[cell, level]
            if a0 == 0.0 and b0 == 0.0:
                out[0], out[1], out[2] = level, level, level
                continue
            L = grey_l[level]
            share = chroma_share(L, a0, b0)
            a, b = a0 * share, b0 * share
            red, green, blue = linear_from_lab(L, a, b)
            darker = _best_rounding(
                L,
                a,
                b,
                255.0 * encode(min(max(red, 0.0), 1.0)),
                255.0 * encode(min(max(green, 0.0), 1.0)),
                255.0 * encode(min(max(blue, 0.0), 1.0)),
                darker,
                linear,
                out,
            )


class ColorTable:
    """The table, filled on demand; safe to use from several threads."""

    def __init__(self) -> None:
        # Zero pages cost no memory until a column is written.
        self._columns = np.zeros((SIDE * SIDE, GREY_LEVELS, 4), np.uint8)
        self._filled = np.zeros(SIDE * SIDE, bool)
        self._lock = threading.Lock()
        #: uint32 (cells, 256): bytes red, green, blue and an alpha of 0.
        self.words: NDArray[np.uint32] = self._columns.reshape(SIDE * SIDE, -1).view(np.uint32)

    def ensure(self, cells: NDArray[np.int32]) -> None:
        """Fill the columns of these cells that are not there yet."""
        with self._lock:
            missing = np.unique(cells[~self._filled[cells]])
            if missing.size:
                over_chunks(
                    lambda i, j: _fill(missing[i:j], self._columns, GREY_L, _LINEAR),
                    missing.size,
                    least=32,
                )
                self._filled[missing] = True

    @property
    def columns_filled(self) -> int:
        """Number of columns computed so far (1 KiB each)."""
        return int(self._filled.sum())


TABLE = ColorTable()  #: shared by every lit volume of this process

"""The table of tissue mixtures that a network's Chroma map points into.

A voxel's color is an expectation over the palette. Keeping 26 probabilities for each voxel
would take gigabytes, so a voxel keeps one 16-bit code: its two most probable tissues, the
share of the second among the two, and their total, in the levels that `kernels` writes. What
the total lacks to 1 was given to other tissues: it counts as grey, so that an uncertain voxel
loses saturation. Changing the palette then only multiplies this table by other colors.

Code 0 is air outside the body. The tables are the same for every network.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.kernels import OUTSIDE, SHARES, TOTALS
from tomochrome.tissue import N_TISSUES, Tissue

N_CODES = 1 + N_TISSUES * (N_TISSUES - 1) * SHARES * TOTALS


def encode(first: int, second: int, share: int, total: int) -> int:
    """Return the code of a mixture.

    Parameters
    ----------
    first, second
        Two different tissues, the more probable one first.
    share
        Level of the second's share, 0 to ``SHARES - 1``.
    total
        Level of the total, 0 to ``TOTALS - 1``.
    """
    other = second - (second > first)
    return 1 + ((first * (N_TISSUES - 1) + other) * SHARES + share) * TOTALS + total


@cache
def mixture_table() -> NDArray[np.float32]:
    """Weights of the tissues for each code: float32, shape (N_CODES, N_TISSUES), read-only."""
    table = np.zeros((N_CODES, N_TISSUES), dtype=np.float32)
    table[OUTSIDE, Tissue.AIR] = 1.0
    code = np.arange(N_CODES - 1)
    total = (code % TOTALS + 1) / TOTALS
    share = code // TOTALS % SHARES / (2 * SHARES - 1)
    pair = code // (TOTALS * SHARES)
    first, other = np.divmod(pair, N_TISSUES - 1)
    second = other + (other >= first)
    table[code + 1, first] = total * (1 - share)
    table[code + 1, second] = total * share
    table.setflags(write=False)
    return table

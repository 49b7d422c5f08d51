"""The tables that the codes of models point into: mixtures of tissues, and a grid of colors.

Tissues: a voxel's color is an expectation over the palette. Keeping the probability of every
tissue for each voxel would take gigabytes, so a voxel keeps one code: its two most probable
tissues, the share of the second among the two, and their total, in the levels that `kernels`
writes. What the total lacks to 1 was given to other tissues: it counts as grey, so that an
uncertain voxel loses saturation. Changing the palette only multiplies this table by other colors.

Colors: (a*, b*) in whole numbers, as fine as the table that lights them
(`tomochrome.color.table`).

Code 0 is air outside the body in both.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.colorization.kernels import MOST_AB, OUTSIDE, SHARES, TOTALS
from tomochrome.tissue import N_TISSUES, Tissue


def mixture_weights(tissues: int = N_TISSUES) -> NDArray[np.float32]:
    """Return the weights of the tissues for each code: float32, shape (codes, tissues).

    Parameters
    ----------
    tissues
        Number of tissues; above 26 there are more codes than 16 bits hold.
    """
    codes = 1 + tissues * (tissues - 1) * SHARES * TOTALS
    weights = np.zeros((codes, tissues), dtype=np.float32)
    weights[OUTSIDE, Tissue.AIR] = 1.0
    code = np.arange(codes - 1)
    total = (code % TOTALS + 1) / TOTALS
    share = code // TOTALS % SHARES / (2 * SHARES - 1)
    first, other = np.divmod(code // (TOTALS * SHARES), tissues - 1)
    second = other + (other >= first)
    weights[code + 1, first] = total * (1 - share)
    weights[code + 1, second] = total * share
    return weights


@cache
def tissue_table() -> Mixtures:
    """Return what the codes of a model that recognizes tissues stand for."""
    return Mixtures(mixture_weights())


@cache
def color_table() -> FreeColors:
    """Return what the codes of a model that predicts (a*, b*) stand for."""
    at = np.arange(-MOST_AB, MOST_AB + 1, dtype=np.float32)
    ab = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    return FreeColors(np.vstack([np.zeros((1, 2), np.float32), ab]))


@cache
def grey_tissue_table() -> Mixtures:
    """Return `tissue_table` with one more code, the last: grey, of no tissue."""
    return Mixtures(np.vstack([mixture_weights(), np.zeros((1, N_TISSUES), np.float32)]))


def mixture_codes(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the code of each mixture in `grey_tissue_table`, as near as the levels allow.

    What a row gives to further tissues than its two heaviest ones goes to these two.

    Parameters
    ----------
    weights
        float32 (n, `N_TISSUES`), at least 0, rows summing to at most 1.

    Returns
    -------
    ndarray
        uint16 (n,).
    """
    rows = np.arange(len(weights))
    first = weights.argmax(axis=1)
    most = weights[rows, first]
    others = weights.copy()
    others[rows, first] = -1
    second = others.argmax(axis=1)
    both = most + weights[rows, second]
    share = weights[rows, second] / np.maximum(both, 1e-9) * (2 * SHARES - 1)
    share = np.minimum(np.rint(share), SHARES - 1).astype(np.int64)
    level = np.minimum(np.rint(weights.sum(axis=1) * TOTALS), TOTALS).astype(np.int64)
    pair = first * (N_TISSUES - 1) + second - (second > first)
    code = 1 + (pair * SHARES + share) * TOTALS + level - 1
    return np.where(level > 0, code, len(grey_tissue_table()) - 1).astype(np.uint16)


def color_codes(ab: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the code of each color (a*, b*) in `color_table`; beyond its reach at constant hue.

    Parameters
    ----------
    ab
        float32 (n, 2).

    Returns
    -------
    ndarray
        uint16 (n,).
    """
    far = np.maximum(np.abs(ab).max(axis=1, keepdims=True), 1)
    a, b = np.floor(ab * np.minimum(1, MOST_AB / far) + (MOST_AB + 0.5)).astype(np.int64).T
    return np.asarray(1 + a * (2 * MOST_AB + 1) + b, np.uint16)

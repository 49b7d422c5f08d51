"""Tables indexed by a model's codes: mixtures of tissues, and a grid of colors.

Tissues: a voxel's color is the expectation over the palette. The probabilities of all tissues
for each voxel would take gigabytes, so each voxel has one code: its two most probable tissues,
the share of the second within the two, and their total probability, quantized as in `kernels`.
The remaining probability counts as grey, so that uncertain voxels are less saturated. To change
the palette, this table is multiplied by other colors.

Colors: integer (a*, b*), the resolution of the table used for rendering
(`tomochrome.color.table`).

Code 0 is air outside the body in both tables.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.colorization.slab_kernels import MAX_AB, OUTSIDE, SHARES, TOTALS
from tomochrome.tissue import N_TISSUES, Tissue

CONTRAST = 3.0
"""Contrast of mixtures, see `Mixtures`.

Compared with 1, the chroma error of `tissue` is 14 % lower on held-out phantoms, 17 % on a real
contrast-enhanced abdomen, 13 % on a chest angiography, and 3 % higher against the photograph of a
head.
"""

SHADES: Final = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
"""Shades of the brain, see `Mixtures`. Codes with a shade follow those of `mixture_weights`."""
_SHADED_SHARES, _MIN_SHADED_TOTAL = 3, 8
"""Only codes that are certainly brain have shades, so that codes fit 16 bits: a second share of at
most 2/15, and a total of at least 8/12."""


def mixture_weights(tissues: int = N_TISSUES) -> NDArray[np.float32]:
    """Return the weights of the tissues for each code: float32, shape (codes, tissues).

    Parameters
    ----------
    tissues
        Number of tissues; above 26 the codes exceed 16 bits.
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
    """Return the table for models that recognize tissues."""
    plain, codes = mixture_weights(), _shaded_codes()
    others = np.array([shade for shade in SHADES if shade], np.float32)
    shade = np.concatenate([np.zeros(len(plain), np.float32), np.tile(others, len(codes))])
    weights = np.vstack([plain, plain[np.repeat(codes, len(others))]])
    return Mixtures(weights, CONTRAST, shade)


def _shaded_codes() -> NDArray[np.int64]:
    """Return the codes that also exist in the other shades of the brain."""
    code = np.arange(N_TISSUES * (N_TISSUES - 1) * SHARES * TOTALS)
    first = code // (TOTALS * SHARES * (N_TISSUES - 1))
    share, total = code // TOTALS % SHARES, code % TOTALS + 1
    shaded = (first == Tissue.BRAIN) & (share < _SHADED_SHARES) & (total >= _MIN_SHADED_TOTAL)
    return np.flatnonzero(shaded) + 1


@cache
def brain_shades() -> NDArray[np.uint16]:
    """Return the code of each code of `mixture_weights` in each of `SHADES`: (codes, shades).

    A code that has no shades is itself in all of them.
    """
    codes, middle = _shaded_codes(), SHADES.index(0.0)
    plain = len(tissue_table()) - len(codes) * (len(SHADES) - 1)
    shades = np.repeat(np.arange(plain)[:, None], len(SHADES), axis=1)
    others = np.arange(plain, len(tissue_table())).reshape(len(codes), -1)
    shades[codes] = np.insert(others, middle, codes, axis=1)
    return shades.astype(np.uint16)


@cache
def color_table() -> FreeColors:
    """Return the table for models that predict (a*, b*)."""
    at = np.arange(-MAX_AB, MAX_AB + 1, dtype=np.float32)
    ab = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    return FreeColors(np.vstack([np.zeros((1, 2), np.float32), ab]))


@cache
def grey_tissue_table() -> Mixtures:
    """Return `tissue_table` with an additional last code for grey without a tissue."""
    table = tissue_table()
    weights = np.vstack([table.weights, np.zeros((1, N_TISSUES), np.float32)])
    return Mixtures(weights, CONTRAST, np.append(table.shade_of_code, np.float32(0)))


def mixture_codes(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the nearest code in `grey_tissue_table` for each mixture.

    The weights of all but the two heaviest tissues are reassigned to these two.

    Parameters
    ----------
    weights
        float32 (n, `N_TISSUES`), nonnegative, with row sums of at most 1.

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
    """Return the code of each color (a*, b*) in `color_table`, clipped at constant hue.

    Parameters
    ----------
    ab
        float32 (n, 2).

    Returns
    -------
    ndarray
        uint16 (n,).
    """
    largest = np.maximum(np.abs(ab).max(axis=1, keepdims=True), 1)
    a, b = np.floor(ab * np.minimum(1, MAX_AB / largest) + (MAX_AB + 0.5)).astype(np.int64).T
    return np.asarray(1 + a * (2 * MAX_AB + 1) + b, np.uint16)

"""The code table: every mixture has one code with the right weights."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.colorization.slab_kernels import OUTSIDE, SHARES, TOTALS
from tomochrome.colorization.tables import color_table, mixture_weights, tissue_table
from tomochrome.tissue import N_TISSUES, Tissue

tissues = st.integers(0, N_TISSUES - 1)
N_CODES = len(mixture_weights())


def encode(first: int, second: int, share: int, total: int) -> int:
    """Code of two tissues, the share of the second and their total, as levels."""
    other = second - (second > first)
    return 1 + ((first * (N_TISSUES - 1) + other) * SHARES + share) * TOTALS + total


def test_codes_fit_sixteen_bits_and_row_zero_is_air_outside() -> None:
    table = tissue_table().weights
    assert N_CODES < len(table) <= 65536 and table.shape[1] == N_TISSUES
    assert len(mixture_weights(40)) > 65536  # which fits 32 bits
    np.testing.assert_array_equal(table[OUTSIDE], np.eye(N_TISSUES)[Tissue.AIR])
    assert not table.flags.writeable


def test_rows_are_mixtures() -> None:
    table = tissue_table().weights
    assert table.min() >= 0
    assert table.sum(axis=1).max() <= 1 + 1e-6
    assert ((table > 0).sum(axis=1) <= 2).all()


@given(tissues, tissues, st.integers(0, SHARES - 1), st.integers(0, TOTALS - 1))
def test_a_code_means_its_mixture(first: int, second: int, share: int, total: int) -> None:
    if first == second:
        second = (second + 1) % N_TISSUES
    row = tissue_table().weights[encode(first, second, share, total)]
    assert np.isclose(row.sum(), (total + 1) / TOTALS)
    assert np.isclose(row[second], row.sum() * share / (2 * SHARES - 1))
    assert row.argmax() == first


def test_codes_are_unique() -> None:
    codes = {
        encode(a, b, s, t)
        for a in range(N_TISSUES)
        for b in range(N_TISSUES)
        if a != b
        for s in range(SHARES)
        for t in range(TOTALS)
    }
    assert codes == set(range(1, N_CODES))


def test_colors_are_whole_numbers_and_outside_has_none() -> None:
    ab = color_table().ab
    assert not ab[OUTSIDE].any()
    assert len(np.unique(ab[1:], axis=0)) == len(ab) - 1 == 191 * 191
    assert (ab[1:].min(), ab[1:].max()) == (-95, 95)
    assert len(ab) <= 65536

"""The linear system of hints, compared with a dense solution and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.colorization.slab_kernels import MAX_HU, MIN_HU
from tomochrome.colorization.spread import (
    BARRIER_MM,
    MIN_SIGMA,
    Domain,
    fit_table,
    laplacian,
    spread,
    table_row,
)
from tomochrome.errors import Cancelled
from tomochrome.runtime import Task, running

EVERYTHING_FITS = np.ones(MAX_HU - MIN_HU + 1, np.float32)


def dense(domain: Domain, strokes: list[np.ndarray], fit: np.ndarray, length: float) -> list:
    """Compute each membership by Gaussian elimination from explicit pairs of cells."""
    shape, n = domain.hu.shape, domain.hu.size
    matrix = np.zeros((n, n))
    cells = list(np.ndindex(shape))
    for i, cell in enumerate(cells):
        for axis in range(3):
            other = list(cell)
            other[axis] += 1
            if other[axis] < shape[axis] and domain.inside[cell] and domain.inside[tuple(other)]:
                j = np.ravel_multi_index(other, shape)
                step = (domain.hu[cell] - domain.hu[tuple(other)]) / MIN_SIGMA
                w = np.exp(-(step**2) / 2) / domain.spacing[axis] ** 2
                matrix[i, i] += w
                matrix[j, j] += w
                matrix[i, j] -= w
                matrix[j, i] -= w
        matrix[i, i] += length**-2
        matrix[i, i] += BARRIER_MM**-2 * (1 - fit[round(float(domain.hu[cell])) - MIN_HU])
    drawn = np.sum(strokes, axis=0).ravel() > 0
    found = []
    for share in strokes:
        x = np.zeros(n)
        x[drawn] = share.ravel()[drawn]
        rest = -matrix[np.ix_(~drawn, drawn)] @ x[drawn]
        x[~drawn] = np.linalg.solve(matrix[np.ix_(~drawn, ~drawn)], rest)
        found.append(x.reshape(shape))
    return found


def domains(seed: int, shape: tuple[int, int, int]) -> tuple[Domain, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    hu = rng.integers(0, 40, shape).astype(np.float32)
    inside = rng.random(shape) > 0.1
    strokes = [np.zeros(shape, np.float32) for _ in range(2)]
    for share in strokes:
        at = tuple(rng.integers(0, n) for n in shape)
        if not any(other[at] for other in strokes):
            share[at] = 1
            inside[at] = True
    return Domain(hu, inside, (3.0, 1.0, 1.5)), strokes


@given(st.integers(0, 10_000), st.tuples(*[st.integers(1, 5)] * 3))
def test_the_same_as_a_dense_solution(seed: int, shape: tuple[int, int, int]) -> None:
    domain, strokes = domains(seed, shape)
    fit = fit_table(np.array([20.0]), 3.0)
    found = spread(domain, strokes, [fit, fit], 20.0)
    for mine, theirs in zip(found, dense(domain, strokes, fit, 20.0), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-3)  # of conjugate gradients


@given(st.integers(0, 10_000))
def test_memberships_are_largest_on_their_strokes_and_sum_to_at_most_one(seed: int) -> None:
    """The maximum principle, for one matrix and all meanings."""
    domain, strokes = domains(seed, (3, 5, 6))
    found = spread(domain, strokes, [EVERYTHING_FITS] * 2, 30.0)
    for field, share in zip(found, strokes, strict=True):
        assert field.min() >= 0
        assert field.max() <= 1
        np.testing.assert_array_equal(field[share == 1], 1)
    assert np.sum(found, axis=0).max() <= 1 + 2e-3


def test_the_matrix_is_symmetric_and_constants_cost_nothing() -> None:
    domain, _ = domains(5, (3, 4, 5))
    matrix = laplacian(domain).toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(matrix.sum(axis=1), 0, atol=1e-6)
    outside = ~domain.inside.ravel()
    assert not matrix[outside].any()


def test_a_start_from_larger_cells_changes_nothing_but_the_time(monkeypatch) -> None:
    domain, strokes = domains(7, (4, 12, 13))
    plain = spread(domain, strokes, [EVERYTHING_FITS] * 2, 10.0)
    monkeypatch.setattr("tomochrome.colorization.spread._SMALL", 50)
    nested = spread(domain, strokes, [EVERYTHING_FITS] * 2, 10.0)
    np.testing.assert_allclose(nested, plain, atol=3e-3)


def test_in_uniform_tissue_it_falls_as_the_length_says() -> None:
    """Along a line of cells of 1 mm, exp(-d / length)."""
    hu = np.full((1, 1, 120), 50, np.float32)
    share = np.zeros_like(hu)
    share[0, 0, 0] = 1
    domain = Domain(hu, np.ones(hu.shape, bool), (1.0, 1.0, 1.0))
    (field,) = spread(domain, [share], [EVERYTHING_FITS], 20.0)
    np.testing.assert_allclose(field[0, 0, :60], np.exp(-np.arange(60) / 20), rtol=0.02)


def test_hu_under_the_stroke_fit_and_others_do_not() -> None:
    table = fit_table(np.full(50, 100.0), 5.0)
    assert table[table_row(np.array([100.0, 95.0]))].min() == 1
    assert table[table_row(np.array([-100.0, 300.0]))].max() < 1e-3
    assert table_row(np.array([-5000.0, 9000.0])).tolist() == [0, len(table) - 1]


def test_it_can_be_stopped() -> None:
    domain, strokes = domains(1, (3, 4, 5))
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        spread(domain, strokes, [EVERYTHING_FITS] * 2, 30.0)

import numpy as np
import pytest

from tomochrome.evaluate.coloring_figures import bootstrap_interval


def mean(total):
    return total[..., 1] / total[..., 0]


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(10, 2, 400)
    low, high = bootstrap_interval(np.stack([np.ones(400), values], axis=1), mean)
    half = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)


def test_slices_are_weighted_by_their_voxels():
    sums = np.array([[1e6, 2e6], [1.0, 900.0], [1.0, 900.0], [1e6, 2e6]])
    low, _ = bootstrap_interval(sums, mean)
    assert low == pytest.approx(2, abs=0.01)


def test_equal_slices_have_an_empty_interval_and_one_slice_has_none():
    sums = np.tile([4.0, 12.0], (5, 1))
    assert bootstrap_interval(sums, mean) == (3, 3)
    assert bootstrap_interval(sums[:1], mean) is None


def test_the_same_seed_gives_the_same_interval():
    sums = np.random.default_rng(2).uniform(1, 2, (9, 2))
    assert bootstrap_interval(sums, mean) == bootstrap_interval(sums, mean)
    assert bootstrap_interval(sums, mean) != bootstrap_interval(sums, mean, seed=1)

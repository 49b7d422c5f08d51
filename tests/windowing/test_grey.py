"""Values as grey from 0 to 1."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.windowing.grey import DENSER_THAN_LUNG, GREY_KNOTS, HU_KNOTS, to_grey

EVERYWHERE = np.ones((1, 1, 1), bool)


@given(st.lists(st.floats(-4000, 6000, width=32), min_size=2, max_size=20))
def test_hu_rise_from_black_to_white(values: list[float]) -> None:
    hu = np.sort(np.array(values, np.float32)).reshape(1, 1, -1)
    grey = to_grey(hu, np.ones(hu.shape, bool), hu=True)
    assert grey.dtype == np.float32
    assert (np.diff(grey) >= 0).all()
    assert grey.min() >= 0
    assert grey.max() <= 1


def test_hu_at_the_knots() -> None:
    hu = np.array(HU_KNOTS, np.float32).reshape(1, 1, -1)
    found = to_grey(hu, np.ones(hu.shape, bool), hu=True)
    np.testing.assert_allclose(found.ravel(), GREY_KNOTS, rtol=1e-6)
    assert to_grey(np.full((1, 1, 1), -200.0, np.float32), EVERYWHERE, hu=True) == np.float32(
        DENSER_THAN_LUNG
    )


def test_other_values_lie_between_their_percentiles() -> None:
    values = np.linspace(100, 900, 1001, dtype=np.float32).reshape(1, 1, -1)
    grey = to_grey(values, np.ones(values.shape, bool), hu=False).ravel()
    assert grey[0] == 0
    assert grey[-1] == 1
    np.testing.assert_allclose(grey[500], 0.5, atol=1e-6)
    # a unit of another size and zero does not matter
    other = to_grey(values * 3 - 50, np.ones(values.shape, bool), hu=False).ravel()
    np.testing.assert_allclose(other, grey, atol=1e-5)


def test_what_does_not_count_does_not_stretch_the_scale() -> None:
    values = np.linspace(0, 1, 1000, dtype=np.float32).reshape(1, 1, -1).copy()
    seen = np.ones(values.shape, bool)
    values[..., :100], seen[..., :100] = 5000, False
    grey = to_grey(values, seen, hu=False)
    assert np.ptp(grey[seen]) > 0.99
    none = to_grey(values, np.zeros(values.shape, bool), hu=False)  # then all of them count
    assert np.ptp(none[seen]) < 0.01


def test_few_values_that_differ_are_told_apart() -> None:
    values = np.zeros((1, 1, 5000), np.float32)
    values[..., 0] = 7
    grey = to_grey(values, np.ones(values.shape, bool), hu=False)
    assert grey.max() == 1
    assert grey.min() == 0

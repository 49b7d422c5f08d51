"""Connected parts of masks, against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label, regionprops

from tomochrome.geometry.morphology import large_parts, largest_part


@pytest.mark.parametrize("shape", [(24, 31), (7, 9, 11)])
@pytest.mark.parametrize("density", [0.2, 0.45, 0.7])
def test_parts_are_chosen_by_their_size(shape: tuple[int, ...], density: float) -> None:
    mask = np.random.default_rng(3).random(shape) < density
    labels = label(mask, connectivity=1)
    areas = {part.label: part.area for part in regionprops(labels)}
    for least in (1, 4, 12.5):
        expected = np.isin(labels, [k for k, area in areas.items() if area >= least])
        np.testing.assert_array_equal(large_parts(mask, least), expected)
    largest = labels[largest_part(mask)]
    assert len(set(largest)) == 1
    assert len(largest) == max(areas.values())


def test_diagonal_neighbors_are_two_parts_and_the_first_counts() -> None:
    mask = np.eye(2, dtype=bool)
    np.testing.assert_array_equal(largest_part(mask), [[True, False], [False, False]])
    assert not large_parts(mask, 2).any()


def test_an_empty_mask_has_no_part() -> None:
    empty = np.zeros((3, 4), bool)
    assert not largest_part(empty).any()
    assert not large_parts(empty, 1).any()

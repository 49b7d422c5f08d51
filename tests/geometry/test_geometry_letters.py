"""Letters for directions in the patient: true, principal first, opposite at opposite edges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomochrome.geometry import edge_letters, orientation_letters

OPPOSITE = str.maketrans("RLAPHF", "LRPAFH")
vectors = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-3, 0, 0), "R"),
        ((0, 1, 0), "P"),
        ((0, -1, 0), "A"),
        ((0, 0, 1), "H"),
        ((0, 0, -1), "F"),
        ((1, 0.02, 0.05), "L"),  # hardly oblique
        ((2, 1, 0), "LP"),
        ((1, 2, 0), "PL"),
        ((-1, -2, 3), "HAR"),
        ((0, 0, 0), ""),
    ],
)
def test_the_principal_direction_comes_first(direction, letters):
    assert orientation_letters(direction) == letters


@given(vectors)
def test_each_letter_says_the_truth_and_none_that_counts_is_missing(direction):
    signs = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
    unit = np.asarray(direction) / np.linalg.norm(direction)
    cosines = [unit[axis] * sign for axis, sign in map(signs.get, orientation_letters(direction))]
    assert cosines
    assert min(cosines) >= 0.1
    assert all(a >= b - 1e-6 for a, b in pairwise(cosines))
    assert np.linalg.norm(cosines) > 0.98


@given(vectors)
def test_opposite_directions_have_opposite_letters(direction):
    there, back = orientation_letters(direction), orientation_letters(-np.asarray(direction))
    assert back == there.translate(OPPOSITE)


def test_halfway_between_two_axes_both_ends_agree():
    # The two numbers differ in the last bit only.
    assert orientation_letters((0.1 + 0.2, 0.3, 0)) == "LP"
    assert orientation_letters((0.3, 0.1 + 0.2, 0)) == "LP"


def test_the_edges_of_a_picture():
    assert edge_letters((1, 0, 0), (0, -1, 0)) == {
        "left": "R",
        "right": "L",
        "top": "A",
        "bottom": "P",
    }

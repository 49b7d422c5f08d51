"""Axial, coronal and sagittal slices: positions in mm, and the nearest slice."""

from __future__ import annotations

import numpy as np
import pytest

from marker_cases import STORED, marked, stored_as, turned
from tomochrome.errors import OptionError
from tomochrome.geometry.affine import plane_distance
from tomochrome.geometry.orient import reorient
from tomochrome.geometry.planes import (
    nearest_slice,
    parse_position,
    plane_map,
    slice_orientation,
    slice_positions,
)
from tomochrome.volume import default_affine


@pytest.mark.parametrize(
    ("text", "axis", "mm"), [("x=-20", 0, -20.0), ("y = 3.5", 1, 3.5), ("z=1e2", 2, 100.0)]
)
def test_a_position_is_an_axis_and_mm(text, axis, mm):
    assert parse_position(text, "the cut") == (axis, mm)


@pytest.mark.parametrize("text", ["", "x", "x=", "=3", "w=3", "xy=3", "x=nan", "x=inf", "3=x"])
def test_other_positions_are_refused(text):
    with pytest.raises(OptionError, match="the cut must be x=MM, y=MM or z=MM in LPS mm"):
        parse_position(text, "the cut")


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_slices_lie_across_their_axis(stored):
    """The first axis is the plane's, and the others run down and to the right of the screen."""
    volume = stored_as(marked(), *stored)
    x, y, z = np.eye(3)
    for axis, down_right in enumerate([(-z, y), (-z, x), (y, x)]):
        shown = reorient(volume, *plane_map(volume.affine, axis))
        for column, direction in zip((1, 2), down_right, strict=True):
            assert shown.affine[:3, column] @ direction == pytest.approx(shown.spacing[column])
        positions = slice_positions(volume, axis)
        assert len(positions) == shown.shape[0]
        np.testing.assert_allclose(abs(np.diff(positions)), shown.spacing[0])


def test_the_nearest_slice_is_found_in_an_oblique_scan():
    volume = stored_as(turned(marked(), 25, -10, 15), *STORED[29])
    for axis in range(3):
        positions = slice_positions(volume, axis)
        for index in (0, len(positions) // 2, len(positions) - 1):
            assert nearest_slice(volume, axis, positions[index] + 0.1) == index


def test_a_position_outside_says_where_the_scan_is():
    volume = marked()
    positions = slice_positions(volume, 1)
    with pytest.raises(OptionError, match="there is no coronal slice at y=900: the scan reaches"):
        nearest_slice(volume, 1, 900.0)
    edge = positions.max() + 0.5 * abs(positions[1] - positions[0])
    assert positions[nearest_slice(volume, 1, edge)] == positions.max()


@pytest.mark.parametrize(
    ("order", "turn", "words"),
    [
        ((0, 1, 2), 0.0, "axial"),
        ((1, 0, 2), 0.0, "coronal"),
        ((2, 0, 1), 0.0, "sagittal"),
        ((0, 1, 2), 12.0, "axial, oblique by 12 degrees"),
        ((0, 1, 2), 60.0, "coronal, oblique by 30 degrees"),
    ],
)
def test_the_plane_of_slices_in_words(order, turn, words):
    volume = turned(marked(), 0, 0, turn)
    affine = reorient(volume, order, (False,) * 3).affine
    assert slice_orientation(affine) == words
    assert slice_orientation(volume.affine, order[0]) == words


def test_planes_of_sheared_slices_are_closer_than_their_voxels():
    affine = default_affine((6.0, 2.0, 1.0))
    affine[1, 0] = 1.8  # each slice lies 1.8 mm further back: 6 mm apart, 6.26 mm along the axis
    assert plane_distance(affine) == pytest.approx(6.0)
    assert slice_orientation(affine) == "axial"
    assert plane_distance(affine, 1) == pytest.approx(2.0 * 6.0 / np.hypot(6.0, 1.8))
    assert plane_distance(affine, 2) == pytest.approx(1.0)

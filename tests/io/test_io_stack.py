"""How slices lie: order, repeats, gaps, tilt and jumps, judged by their headers alone."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ORIENTATIONS, ct, series

from tomochrome.geometry.affine import apply, is_orthogonal
from tomochrome.io.dicom.header_reader import read_header
from tomochrome.io.dicom.regular import MAX_BRIDGED_MM, MAX_GROWTH, MAX_SLICES, MAX_VOXELS
from tomochrome.io.dicom.stack import stack
from tomochrome.notices import texts

quick = settings(max_examples=40, deadline=None)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@cache
def template():
    from pathlib import Path
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = sorted(series(Path(folder) / "s", ct((1, 24, 20))).iterdir())[0]
        return read_header(path)


def slices(positions, orientation=AXIAL, **values):
    """Headers at LPS positions, 24 rows of 20 pixels of 1 mm."""
    values = {"pixel_spacing": (1.0, 1.0), "thickness": None, **values}
    return [
        replace(
            template(), position=tuple(map(float, p)), orientation=tuple(orientation),
            sop_uid=f"1.{i}", instance=i + 1, **values,
        )
        for i, p in enumerate(positions)
    ]  # fmt: skip


def heights(*z):
    return [(-10.0, 5.0, v) for v in z]


def leaning(degrees, z):
    """Orientation and positions of a gantry that leans about the x axis, the table along z."""
    angle = np.radians(degrees)
    return (1, 0, 0, 0, np.cos(angle), -np.sin(angle)), heights(*z)


def reaches_all(found):
    """Whether the grid holds every corner of every slice."""
    corners = found.plan.geometry.corners()
    index = apply(np.linalg.inv(found.grid_affine), corners)
    return (index > -0.51).all() and (index < np.array(found.shape) - 0.49).all()


@quick
@given(
    st.sampled_from(list(ORIENTATIONS.values())),
    st.integers(2, 12),
    st.floats(0.3, 10),
    st.randoms(use_true_random=False),
)
def test_slices_are_ordered_by_their_place_along_the_normal(directions, n, step, random):
    row, column = directions[:, 2], directions[:, 1]
    normal = np.cross(row, column)
    headers = slices([np.array((3.0, -8, 40)) + normal * step * i for i in range(n)],
                     (*row, *column))  # fmt: skip
    mixed = list(headers)
    random.shuffle(mixed)
    found = stack(mixed)
    assert found.verdict == "regular"
    assert found.warnings == ()
    assert found.plan is None
    assert found.headers == tuple(headers)
    np.testing.assert_allclose(found.affine[:3, 0], normal * step, atol=1e-9)
    np.testing.assert_allclose(found.affine[:3, 3], headers[0].position)
    assert found.shape == (n, 24, 20)


def test_thickness_and_instance_numbers_are_never_the_distance():
    found = stack(slices(heights(0, 2, 4, 6), thickness=7.0))
    np.testing.assert_allclose(found.grid_affine[2, 0], 2.0)
    headers = [replace(h, instance=99 - i) for i, h in enumerate(slices(heights(0, 2, 4, 6)))]
    assert [h.position[2] for h in stack(headers).headers] == [0, 2, 4, 6]


def test_rounded_positions_are_no_gaps():
    z = np.round(np.arange(40) * 0.625, 1)
    assert stack(slices(heights(*z))).verdict == "regular"


def test_repeated_positions_keep_the_first_by_time_and_say_so():
    headers = slices(heights(0, 2, 4, 4, 6, 6.0001))
    headers[2] = replace(headers[2], times=(("AcquisitionTime", 100.0),))
    headers[3] = replace(headers[3], times=(("AcquisitionTime", 90.0),))
    found = stack(headers)
    assert found.verdict == "irregular"
    assert texts(found.warnings) == [
        "slices that repeat the position of another: 2: the first image of each position was kept",
    ]
    assert found.plan is None
    assert [h.instance for h in found.headers] == [1, 2, 4, 5]
    np.testing.assert_allclose(found.affine[:3, 0], (0, 0, 2), atol=1e-6)


@pytest.mark.parametrize("z", [(3, 3), (0, 0, 2, 2, 4, 4), (0, 2, 4, 4, 6, 6, 8, 8), (5, 5, 5, 7)])
def test_a_second_image_at_many_positions_is_refused(z):
    # Which images belong together cannot be known: one of each position would mix them.
    found = stack(slices(heights(*z), thickness=2.0))
    assert re.search("same position|have only", str(found.refusal))


def test_images_at_the_origin_lost_their_positions():
    headers = slices([(0, 0, 0), (0, 0, 0), *heights(2, 4, 6, 8, 10, 12)])
    assert "several images have the position (0, 0, 0)" in str(stack(headers).refusal)


@pytest.mark.parametrize("step", [0.02, 0.05, 0.1, 0.2, 0.25])
@pytest.mark.parametrize("gone", [(1,), (15,), (28,), (7, 8), (4, 20)])
def test_missing_thin_slices_are_seen(step, gone):
    z = [i * step for i in range(30) if i not in gone]
    found = stack(slices(heights(*z), pixel_spacing=(step, step)))
    assert found.verdict == "incomplete"
    assert f"slices are missing: {len(gone)} " in found.warnings[0].text
    assert found.shape[0] == 30


@pytest.mark.parametrize(("step", "digits"), [(0.1, 1), (0.125, 2), (0.3, 1), (0.4, 1), (0.008, 3)])
def test_thin_slices_with_rounded_positions_are_regular(step, digits):
    z = np.round(np.arange(40) * step, digits)
    assert stack(slices(heights(*z), pixel_spacing=(step, step))).verdict == "regular"


def test_slices_side_by_side_are_refused():
    headers = slices([(0, 0, 0), (0, 0, 2), (80, 0, 2), (0, 0, 4)])
    found = stack(headers)
    assert "side by side" in str(found.refusal)
    assert "80.0 mm" in str(found.refusal)


def test_missing_slices_are_counted_and_filled():
    found = stack(slices(heights(0, 2, 4, 8, 10, 16, 18)))
    assert found.verdict == "incomplete"
    assert texts(found.warnings) == [
        "slices are missing: 3 (gaps of up to 6.00 mm among slices 2.00 mm apart): "
        "the gaps were filled by linear interpolation between their neighbors",
    ]
    assert found.shape == (10, 24, 20)
    np.testing.assert_allclose(found.grid_affine[:3, 0], (0, 0, 2))
    np.testing.assert_allclose(found.grid_affine[:3, 3], (-10, 5, 0))


def test_a_wide_hole_is_left_and_said():
    assert MAX_BRIDGED_MM == 10
    found = stack(slices(heights(0, 2, 4, 6, 28, 30, 32)))
    assert found.verdict == "incomplete"
    assert texts(found.warnings) == [
        "slices are missing: 10, which leaves a hole of 22.0 mm (from 6.0 to 28.0 mm foot-head): "
        "too large to interpolate, left empty",
    ]
    assert found.plan.geometry.bridged.tolist() == [True] * 3 + [False] + [True] * 2
    assert "left empty" not in " ".join(texts(found.stored_warnings))
    assert all("as stored" in w.text or "are adjacent" in w.text for w in found.stored_warnings)


def test_a_filled_gap_and_a_hole_are_told_apart():
    found = stack(slices(heights(0, 2, 4, 8, 10, 32, 34)))
    assert texts(found.warnings) == [
        "slices are missing: 11 (gaps of up to 22.00 mm among slices 2.00 mm apart): "
        "the smaller gaps were filled by linear interpolation between their neighbors",
        "no image covers a hole of 22.0 mm (from 10.0 to 32.0 mm foot-head): "
        "too large to interpolate, left empty",
    ]


def test_a_scan_that_changes_its_spacing_misses_nothing():
    z = [*range(0, 20, 2), *range(20, 61, 4)]
    found = stack(slices(heights(*z)))
    assert found.verdict == "irregular"
    assert "from 2.00 to 4.00 mm" in found.warnings[0].text
    np.testing.assert_allclose(found.grid_affine[:3, 0], (0, 0, 2))


def test_one_odd_gap_does_not_make_ten_times_the_slices():
    z = np.append(np.arange(0, 60, 2.0), 30.2)
    found = stack(slices(heights(*z)))
    assert found.verdict == "irregular"
    assert found.shape[0] == 30


@pytest.mark.parametrize("degrees", [-30, -18.5, 5, 18.5, 30])
def test_tilt_is_measured_and_the_grid_is_upright(degrees):
    orientation, positions = leaning(degrees, np.arange(12) * 4.0)
    found = stack(slices(positions, orientation))
    assert found.verdict == "tilted"
    assert f"tilted by {abs(degrees):.1f} degrees" in found.warnings[0].text
    assert f"{found.shape[0]} slices {found.plan.spacing:.2f} mm apart" in found.warnings[0].text
    directions = found.grid_affine[:3, :3] / np.linalg.norm(found.grid_affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions, np.eye(3)[:, ::-1], atol=1e-12)
    assert reaches_all(found)
    assert found.plan.spacing <= 4.0 + 1e-9
    stored = 12 * 24 * 20
    assert np.prod(found.shape) <= 1.3 * max(MAX_GROWTH, 2) * stored
    # As stored, a sheared affine puts every slice exactly where it is.
    there = apply(found.affine, [(i, 0, 0) for i in range(12)])
    np.testing.assert_allclose(there, positions, atol=1e-9)
    assert not is_orthogonal(found.affine)


@quick
@given(
    st.floats(-30, 30), st.floats(-20, 20), st.sampled_from(list(ORIENTATIONS.values())),
    st.lists(st.floats(0.5, 9), min_size=2, max_size=9),
)  # fmt: skip
def test_whatever_lies_anyhow_gets_an_orthogonal_grid_around_it(tilt, turn, directions, steps):
    angles = np.radians((tilt, turn))
    row, column = directions[:, 2], directions[:, 1]
    travel = np.cross(row, column)
    column = column * np.cos(angles[0]) - travel * np.sin(angles[0])
    row = row * np.cos(angles[1]) - np.cross(row, column) * np.sin(angles[1])
    places = np.concatenate([[0], np.cumsum(steps)])
    found = stack(slices([travel * p for p in places], (*row, *column)))
    assert found.refusal is None
    if found.plan is None:
        assert found.verdict == "regular"
        return
    assert is_orthogonal(found.grid_affine, 1e-9)
    assert np.linalg.det(found.grid_affine[:3, :3][:, ::-1]) > 0
    assert reaches_all(found)
    np.testing.assert_allclose(np.linalg.norm(found.grid_affine[:3, 1:3], axis=0), 1.0)
    assert np.array(found.plan.geometry.positions).shape == (len(places), 3)


def test_planes_square_to_the_patient_stay_so_when_the_table_ran_askew():
    positions = [(0, 0.5 * i, 2.5 * i) for i in range(10)]
    found = stack(slices(positions))
    assert found.verdict == "tilted"
    np.testing.assert_allclose(found.grid_affine[:3, 0] / found.plan.spacing, (0, 0, 1))
    assert found.shape[1] == 24 + 5  # the slices are shifted, not turned


def test_a_moved_patient_is_no_tilt():
    positions = [(12.0 if i > 5 else 0.0, 0, 2.0 * i) for i in range(10)]
    found = stack(slices(positions))
    assert found.verdict == "irregular"
    assert texts(found.warnings) == [
        "the slices jump sideways by up to 12.0 mm (the patient or the table moved): "
        "each was placed at its own position",
    ]
    assert found.shape == (10, 24, 32)
    assert reaches_all(found)


def test_half_a_pixel_of_drift_is_nothing():
    positions = [(0, 0.04 * i, 2.0 * i) for i in range(10)]
    assert stack(slices(positions)).verdict == "regular"


def test_directions_that_were_rounded_otherwise_are_said():
    headers = slices(heights(0, 2, 4, 6, 8))
    headers[3] = replace(headers[3], orientation=(1.0, 0.004, 0.0, -0.004, 1.0, 0.0))
    found = stack(headers)
    assert found.verdict == "irregular"
    assert "directions differ by up to 0.23 degrees: the usual one" in found.warnings[0].text
    headers[3] = replace(headers[3], orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    assert "differ in orientation" in str(stack(headers).refusal)


def test_what_no_table_can_reach_is_refused():
    found = stack(slices(heights(0, 2, 4, 9000)))
    assert str(found.refusal).startswith("the slices extend over 9000 mm with a gap of 8996 mm")
    wide = slices(heights(*np.arange(50) * 0.02, 2000), rows=512, columns=512)
    assert "too much for a single scan" in str(stack(wide).refusal)
    aside = stack(slices([(0, 0, 0), (0, 0, 2), (99999, 0, 4), (0, 0, 6)]))
    assert str(aside.refusal).startswith("the slices are up to 99999 mm apart sideways, too far")
    assert aside.affine is None


def test_thin_slices_far_apart_are_said():
    found = stack(slices(heights(0, 10, 20), thickness=1.0))
    assert found.verdict == "regular"
    assert found.warnings[0].text.startswith("the slices are 1 mm thick but 10 mm apart")


coordinates = st.one_of(
    st.floats(-1e6, 1e6), st.floats(-300, 300), st.integers(-5, 5).map(float), st.just(1e-9)
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=8),
    st.sampled_from([(0.001, 0.001), (0.5, 0.5), (1.0, 0.7), (100.0, 100.0), (100.0, 0.001)]),
    st.sampled_from([(24, 20), (1, 1), (512, 512), (4096, 1)]),
    st.floats(-89, 89),
)
def test_anything_at_all_ends_in_a_refusal_or_a_grid_within_bounds(positions, pixel, matrix, tilt):
    orientation, _ = leaning(tilt, [])
    rows, columns = matrix
    headers = slices(positions, orientation, pixel_spacing=pixel, rows=rows, columns=columns)
    found = stack(headers)
    if found.refusal:
        assert found.warnings == (found.refusal,)
        assert found.plan is None
        return
    assert np.isfinite(found.affine).all()
    assert abs(np.linalg.det(found.affine[:3, :3])) > 0
    assert np.prod(found.shape, dtype=float) <= max(MAX_VOXELS, 2 * np.prod(matrix) * len(headers))
    if found.plan is not None:
        assert is_orthogonal(found.grid_affine, 1e-6)
        assert found.shape[0] <= MAX_SLICES
        assert found.warnings
    assert all("nan" not in w.text and "inf " not in w.text for w in found.warnings)

"""Tilted and uneven series against the volume they were sampled from, and on real slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import change, ct, series
from scipy.ndimage import gaussian_filter, label
from tilted_cases import gantry, leaning, write_slices

from tomochrome.errors import Cancelled
from tomochrome.geometry import closest_axial, reorient_like, resample, to_sitk
from tomochrome.geometry.affine import apply, compose
from tomochrome.io import find, read
from tomochrome.io.dicom.regular import Plan, SliceGeometry, plan
from tomochrome.io.dicom.slice_resampling import resample_slices
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine

AIR = -1024


@pytest.fixture(scope="module")
def head() -> Volume:
    """The phantom's head, as blurred as slices of 5 mm would make it."""
    from tomochrome.phantom import make_patient

    ct = make_patient(seed=1, region="head", spacing=(3.0, 3, 3), shape=(56, 68, 60), noise=0.0).ct
    blurred = gaussian_filter(ct.voxels.astype(np.float32), 4.0 / 3.0, mode="nearest")
    return Volume(np.rint(blurred).astype(np.int16), ct.affine, "HU")


def inside(volume: Volume) -> np.ndarray:
    return np.ones(volume.shape, bool) if volume.outside is None else ~volume.outside


SCANS = {
    "tilted": (18.5, [4.0] * 36, "x"),
    "tilted the other way": (-25.0, [4.0] * 36, "x"),
    "tilted sideways": (12.0, [4.0] * 36, "y"),
    "tilted and uneven": (18.5, [4.22] * 14 + [1.14] + [6.0] * 14, "x"),
    "uneven": (0.0, [3.0, 4.5, 2.2, 5.0, 3.3, 3.1] * 6, "x"),
}


@pytest.mark.parametrize("case", SCANS)
def test_the_volume_that_was_scanned_comes_back(tmp_path, head, case):
    degrees, gaps, about = SCANS[case]
    folder = gantry(tmp_path / "s", head, degrees, gaps, 3.0, about)
    (item,) = find(folder).items
    volume = read(item)
    assert item.verdict == ("tilted" if degrees else "irregular")
    assert item.shape == volume.shape
    np.testing.assert_array_equal(item.affine, volume.affine)
    assert item.spacing == pytest.approx(volume.spacing)
    assert volume.voxels.dtype == np.int16
    np.testing.assert_allclose(
        volume.affine[:3, :3] / volume.spacing, np.eye(3)[:, ::-1], atol=1e-9
    )
    truth = resample(head, volume, fill=-1000)
    both = inside(volume) & inside(truth)
    assert both.sum() > 0.5 * head.voxels.size * np.prod(head.spacing) / np.prod(volume.spacing)
    error = np.abs(volume.voxels.astype(float) - truth.voxels)[both]
    assert error.mean() < 12
    tissue = both & (np.abs(truth.voxels - 30) < 100)
    assert np.abs(volume.voxels.astype(float) - truth.voxels)[tissue].mean() < 6
    # The best shift between the two is none.
    for axis in range(3):
        moved = np.roll(truth.voxels, 1, axis).astype(float)
        assert np.abs(volume.voxels - moved)[both].mean() > 2 * error.mean()
    assert len(volume.provenance.stored_positions) == len(gaps) + 1
    assert "resampled to a regular grid" in volume.provenance.history[-1]
    to_sitk(volume)  # its axes stand at right angles


@pytest.mark.parametrize("degrees", [-20.0, 0.0, 18.5])
def test_landmarks_come_out_where_they_were(tmp_path, degrees):
    affine = default_affine((2.0, 2.0, 2.0), (-60.0, -60.0, -70.0))
    marks = np.array([(0.0, 0, 0), (25, -20, 18), (-22, 24, -25), (5, 28, 22.5), (-28, -10, -12)])
    points = apply(affine, np.moveaxis(np.indices((70, 60, 60)), 0, -1))
    hu = np.full((70, 60, 60), -1000.0)
    for mark in marks:
        hu += 2000 * np.exp(-((points - mark) ** 2).sum(-1) / (2 * 5.0**2))
    truth = Volume(np.rint(hu).astype(np.int16), affine, "HU")
    gaps = [3.0, 5.5, 3.0, 4.0] * 7
    volume = read(gantry(tmp_path / "s", truth, degrees, gaps, 2.0))
    found, count = label(volume.voxels > -500)
    assert count == len(marks)
    excess = np.clip(volume.voxels + 500.0, 0, None)
    for i in range(1, count + 1):
        index = np.argwhere(found == i)
        weights = excess[found == i]
        centre = apply(volume.affine, (index * weights[:, None]).sum(0) / weights.sum())
        nearest = marks[np.argmin(np.linalg.norm(marks - centre, axis=1))]
        off = np.linalg.inv(volume.affine[:3, :3]) @ (centre - nearest)
        assert np.abs(off).max() < 0.5


def field(points):
    return 30 + np.asarray(points) @ (2.0, -1.5, 3.0)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(-28, 28), st.sampled_from("xy"), st.floats(-10, 10),
    st.lists(st.floats(1, 8), min_size=1, max_size=8), st.booleans(), st.integers(0, 9),
)  # fmt: skip
def test_a_linear_field_is_reproduced_whatever_the_slices(tilt, about, slide, steps, whole, seed):
    directions = leaning(tilt, about)
    travel = np.array((np.tan(np.radians(slide)), 0, 1.0))
    positions = np.array([travel * t for t in np.concatenate([[0], np.cumsum(steps)])])
    geometry = SliceGeometry(
        positions, directions[:, 2], directions[:, 1], directions[:, 0], (1.5, 1.2), (14, 11)
    )
    grid = plan(geometry, travel / np.linalg.norm(travel))
    assert isinstance(grid, Plan)
    index = np.moveaxis(np.indices((14, 11)), 0, -1) * (1.5, 1.2)
    voxels = np.stack([field(p + index @ directions[:, 1:].T) for p in positions])
    voxels = np.rint(voxels).astype(np.int16) if whole else voxels.astype(np.float32)
    mask = np.random.default_rng(seed).random(voxels.shape) < 0.0
    result, outside = resample_slices(voxels, mask if seed % 2 else None, grid, fill=AIR)
    assert result.dtype == voxels.dtype
    measured = np.ones(grid.shape, bool) if outside is None else ~outside
    truth = field(apply(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1)))
    assert measured.any()
    assert np.abs(result - truth)[measured].max() < (1.2 if whole else 0.3)
    assert (result[~measured] == AIR).all()


def test_slices_on_the_grid_come_out_as_they_went_in(tmp_path):
    volume = ct((12, 24, 20))
    folder = change(series(tmp_path / "s", volume), lambda d, i: i not in (3, 7))
    back = read(folder)
    assert back.provenance.verdict == "incomplete"
    assert back.shape == volume.shape
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-6)
    for z in range(12):
        if z in (3, 7):
            middle = (volume.voxels[z - 1].astype(float) + volume.voxels[z + 1]) / 2
            assert np.abs(back.voxels[z] - middle).max() <= 0.5
        else:
            np.testing.assert_array_equal(back.voxels[z], volume.voxels[z])
    assert back.outside is None


def test_holes_stay_empty_and_a_slice_between_two_is_not_lost(tmp_path):
    volume = ct((24, 12, 10), spacing=(2.5, 1.0, 1.0))
    kept = [*range(6), 13, *range(20, 24)]
    back = read(change(series(tmp_path / "s", volume), lambda d, i: i in kept))
    assert back.shape == volume.shape
    for z in range(24):
        if z in kept:
            np.testing.assert_array_equal(back.voxels[z], volume.voxels[z])
            assert not back.outside[z].any()
        else:
            assert back.outside[z].all()
            assert (back.voxels[z] == AIR).all()


def test_padding_is_never_blended_with_tissue():
    geometry = SliceGeometry(
        np.array([(0, 0, 0.0), (0, 0, 3), (0, 0, 7)]), np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]), np.array([0, 0, 1.0]), (1.0, 1.0), (8, 9),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    mask = rng.random((3, 8, 9)) < 0.4
    voxels = np.where(mask, -2000, 40).astype(np.int16)
    for travel in (None, np.array([0, 0.3, 1.0]) / np.linalg.norm([0, 0.3, 1.0])):
        grid = plan(geometry, travel)
        result, outside = resample_slices(voxels, mask, grid, fill=AIR)
        assert set(np.unique(result[~outside])) == {40}
        assert set(np.unique(result[outside])) == {AIR}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_rows_along_the_slices_take_a_short_cut_to_the_same_values(masked, dtype):
    rng = np.random.default_rng(6)
    voxels = rng.integers(-1000, 1500, (5, 12, 10)).astype(dtype)
    mask = rng.random(voxels.shape) < (0.15 if masked else 0)
    directions = leaning(17.0)
    positions = np.array([(2.0 if i == 3 else 0.0, 0, z) for i, z in enumerate((0, 3, 4, 9, 11))])
    results = []
    for turn in (0.0, 3e-4):  # too little to see, enough to leave the short cut
        row = directions[:, 2] + turn * directions[:, 1]
        geometry = SliceGeometry(
            positions, row, directions[:, 1], directions[:, 0], (1.0, 1.0), voxels.shape[1:]
        )
        grid = plan(SliceGeometry(positions, directions[:, 2], directions[:, 1], directions[:, 0],
                          (1.0, 1.0), voxels.shape[1:]), np.array((0, 0, 1.0)))  # fmt: skip
        grid = Plan(grid.affine, grid.shape, geometry)
        results.append(resample_slices(voxels, mask if masked else None, grid, fill=AIR))
    (short, short_outside), (long, long_outside) = results
    both = ~short_outside & ~long_outside
    assert (short_outside != long_outside).mean() < 0.02
    assert both.mean() > 0.3
    assert np.abs(short.astype(float) - long)[both].max() < 12  # 0.3% of the greatest step


def test_a_jump_puts_each_slice_at_its_own_place(tmp_path):
    volume = ct((8, 20, 16), spacing=(2.0, 1.0, 1.0))
    origin = volume.affine[:3, 3]
    positions = [np.add(origin, (6.0 if z > 3 else 0.0, 0, 2.0 * z)) for z in range(8)]
    directions = volume.affine[:3, :3] / volume.spacing
    back = read(write_slices(tmp_path / "s", volume.voxels, directions, positions, 1.0))
    assert back.provenance.verdict == "irregular"
    assert back.shape == (8, 20, 22)
    np.testing.assert_array_equal(back.voxels[:4, :, :16], volume.voxels[:4])
    np.testing.assert_array_equal(back.voxels[4:, :, 6:], volume.voxels[4:])
    assert back.outside[:4, :, 16:].all()
    assert back.outside[4:, :, :6].all()
    assert back.outside.sum() == 8 * 20 * 6


def test_as_stored_leaves_the_slices_and_says_so(tmp_path):
    volume = ct((9, 20, 16), spacing=(3.0, 1.0, 1.0))
    directions = leaning(15.0)
    positions = [(1.0, 2.0, 3 + 3.0 * z) for z in range(9)]
    folder = write_slices(tmp_path / "s", volume.voxels, directions, positions, 1.0)
    raw = read(folder, as_stored=True)
    np.testing.assert_array_equal(raw.voxels, volume.voxels)
    np.testing.assert_allclose(
        apply(raw.affine, [(z, 0, 0) for z in range(9)]), positions, atol=1e-5
    )
    assert raw.provenance.verdict == "tilted"
    assert "left tilted" in raw.provenance.warnings[0].text
    assert raw.provenance.stored_positions == ()
    upright = read(folder)
    assert "resampled to an orthogonal grid" in upright.provenance.warnings[0].text
    # A sheared affine is exact for even tilt: both say the same of space.
    again = resample(raw, upright)
    both = inside(upright) & inside(again)
    assert np.abs(upright.voxels.astype(float) - again.voxels)[both].mean() < 40


def test_what_was_straightened_turns_upright_and_back(tmp_path):
    directions = compose((0, 0, 0), leaning(-15.0), (1.0, 1.0, 1.0))[:3, :3]
    flipped = directions * (-1, -1, 1)  # rows from posterior to anterior, feet first
    volume = ct((9, 20, 16), spacing=(3.0, 1.0, 1.0))
    positions = [(1.0, 2.0, 3 - 3.0 * z) for z in range(9)]
    stored = read(write_slices(tmp_path / "s", volume.voxels, flipped, positions, 1.0))
    assert stored.provenance.verdict == "tilted"
    upright = closest_axial(stored)
    assert (np.diag(upright.affine[:3, 2::-1]) > 0).all()
    back = reorient_like(upright, stored)
    np.testing.assert_array_equal(back.voxels, stored.voxels)
    np.testing.assert_array_equal(back.outside, stored.outside)


def test_cancel_is_seen_between_slices():
    geometry = SliceGeometry(
        np.array([(0, 0, 0.0), (0, 0, 1), (0, 0, 9)]), np.array([1.0, 0, 0]),
        np.array([0, 1.0, 0]), np.array([0, 0, 1.0]), (1.0, 1.0), (8, 9),
    )  # fmt: skip
    told = []

    def progress(done, total, stage):
        told.append((done, total))
        token.cancel()

    token = Task(progress)
    with running(token), pytest.raises(Cancelled):
        resample_slices(np.zeros((3, 8, 9), np.int16), None, plan(geometry), fill=AIR)
    assert told[0] == (0, 10)


def test_the_tilted_head_comes_out_upright(shared_data):
    folder = shared_data / "dicom" / "head_gantry_tilt"
    (item,) = find(folder).items
    assert item.verdict == "tilted"
    assert "tilted by 18.5 degrees" in item.warnings[0].text
    assert "from 1.14 to 7.38 mm" in item.warnings[1].text
    volume = read(item)
    assert volume.shape == item.shape == (119, 486, 512)
    np.testing.assert_allclose(
        volume.affine[:3, :3] / volume.spacing, np.eye(3)[:, ::-1], atol=1e-9
    )
    assert volume.voxels.dtype == np.int16
    assert len(volume.provenance.stored_positions) == 28
    # Each stored slice is found again where its header says that it was measured: between the
    # two upright voxels next to it, give or take the noise of the scan.
    raw = read(item, as_stored=True)
    assert raw.shape == (28, 512, 512)
    index = np.stack(np.meshgrid(np.arange(150, 362, 4), np.arange(150, 362, 4), indexing="ij"), -1)
    directions = leaning(18.5)
    for k in range(6, 26, 3):
        points = volume.provenance.stored_positions[k] + index * 0.4882812 @ directions[:, 1:].T
        there = np.rint(apply(np.linalg.inv(volume.affine), points)).astype(int)
        came = volume.voxels[tuple(np.moveaxis(there, -1, 0))].astype(float)
        went = raw.voxels[k][tuple(np.moveaxis(index, -1, 0))].astype(float)
        brain = (went > 0) & (went < 80)
        assert np.median(np.abs(came - went)[brain]) < 8
    # Two thirds up, where all slices are 7.38 mm apart, SimpleITK says the same of the sheared
    # slices, which it interpolates along the table instead of square to the slices.
    affine = sheared_affine(volume.provenance.stored_positions[15:], directions)
    sheared = resample(Volume(raw.voxels[15:], affine, "HU"), volume)
    both = inside(volume) & inside(sheared) & (sheared.voxels > 0) & (sheared.voxels < 80)
    assert both.sum() > 1e6
    assert np.abs(volume.voxels.astype(float) - sheared.voxels)[both].mean() < 6


def sheared_affine(positions, directions):
    """Affine of evenly tilted slices, sheared."""
    affine = np.eye(4)
    affine[:3, 0] = (np.array(positions[-1]) - positions[0]) / (len(positions) - 1)
    affine[:3, 1:3] = directions[:, 1:] * 0.4882812
    affine[:3, 3] = positions[0]
    return affine

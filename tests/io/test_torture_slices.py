"""Troubled slices: in any order, copied, missing, unevenly spaced, tilted, jumping, alone."""

from __future__ import annotations

import numpy as np
import pytest
import torture as T
from torture_cases import AIR, base, covers, holds_the_field, inside, said, settled, single

from tomochrome.geometry.affine import apply, compose
from tomochrome.io import find, read
from tomochrome.volume import Volume

# --- order and names ---------------------------------------------------------------------------


def misleading(datasets):
    for i, d in enumerate(datasets):
        d.InstanceNumber = 100 - i
        d.SliceThickness = "7"
        d.SliceLocation = str(-i)
        d.SpacingBetweenSlices = "9"
    return datasets


def test_order_and_spacing_come_from_positions_alone(tmp_path):
    order = np.random.default_rng(2).permutation(T.SHAPE[0])
    datasets = misleading(base())
    folder = T.save([datasets[i] for i in order], tmp_path / "s", name="IM{:d}")
    item, volume = single(folder)
    settled(item, volume)
    np.testing.assert_allclose(volume.spacing, T.SPACING)


def test_empty_uids_are_grouped_by_geometry(tmp_path):
    other = Volume(T.scan().voxels[:9, :40, :44], compose((0, 0, 0), T.AXIAL, (3, 2, 2)), "HU")
    first, second = base(), T.slices(other)
    for d in (*first, *second):
        d.SeriesInstanceUID = d.StudyInstanceUID = d.SOPInstanceUID = d.SOPClassUID = ""
        del d.SeriesNumber
    T.save(first, tmp_path / "s", name="a{:02d}")
    T.save(second, tmp_path / "s", name="b{:02d}")
    items = find(tmp_path / "s").items
    assert sorted(item.shape for item in items) == [(9, 40, 44), (24, 48, 48)]
    for item, expected in zip(sorted(items, key=lambda i: i.shape), (other, T.scan()), strict=True):
        settled(item, read(item), expected)
        settled(item, read(tmp_path / "s", series=item.name), expected)


def test_one_sop_uid_for_all_slices_loses_none(tmp_path):
    datasets = base()
    for d in datasets:
        d.SOPInstanceUID = "1.2.3"
    settled(*single(T.save(datasets, tmp_path / "s")))


# --- copies ------------------------------------------------------------------------------------


def test_files_that_are_there_twice_are_dropped_and_said(tmp_path):
    datasets = base()
    T.save(datasets, tmp_path / "s")
    T.save(datasets[3:6], tmp_path / "s" / "copy")
    item, volume = single(tmp_path / "s")
    settled(item, volume)
    said(item, "repeat", "twice", "copies", "same SOP")


def test_another_image_at_a_position_is_never_passed_over_in_silence(tmp_path):
    datasets = base()
    twin = base()[5]
    T.same_series([twin], datasets[0])
    T.put(twin, T.stored(twin) + 30)
    T.save([*datasets, twin], tmp_path / "s")
    items = find(tmp_path / "s").items
    for item in items:
        assert item.warnings
        assert item.refusal or item.verdict != "regular" or len(items) > 1
        if not item.refusal:
            volume = read(item)  # what is read is the one image or the other, never a mixture
            for z, plane in enumerate(volume.voxels):
                where = volume.affine[:3, 3] + volume.affine[:3, 0] * z
                k = int(np.rint((where[2] - T.ORIGIN[2]) / T.SPACING[0]))
                stored = [T.scan().voxels[k]] + ([T.scan().voxels[k] + 30] if k == 5 else [])
                assert any(np.array_equal(plane, other) for other in stored)


def test_identical_images_at_a_position_under_another_uid(tmp_path):
    datasets = base()
    twins = base()
    T.same_series(twins, datasets[0])
    T.save([*datasets, *twins[4:8]], tmp_path / "s")
    for item in find(tmp_path / "s").items:
        said(item, "position", "repeat", "same", "twice")


# --- gaps --------------------------------------------------------------------------------------


def test_missing_slices_are_filled_between_their_neighbours_and_said(tmp_path):
    datasets = base()
    gone = {4, 11, 17}
    kept = [d for i, d in enumerate(datasets) if i not in gone]
    item, volume = single(T.save(kept, tmp_path / "s"))
    assert item.verdict == "incomplete"
    said(item, r"missing.*\b3\b", r"\b3\b.*missing")
    said(item, "interpolat", "filled", "between")
    assert volume.shape == T.SHAPE == item.shape
    np.testing.assert_allclose(volume.affine, T.scan().affine, atol=1e-3)
    truth = T.scan().voxels.astype(float)
    for z in range(T.SHAPE[0]):
        if z in gone:
            middle = (truth[z - 1] + truth[z + 1]) / 2
            assert np.abs(volume.voxels[z] - middle).max() <= 0.5
        else:
            np.testing.assert_array_equal(volume.voxels[z], truth[z])
    assert inside(volume).all()
    positions = np.array(volume.provenance.stored_positions)
    np.testing.assert_allclose(positions, T.positions(kept), atol=1e-6)


def test_as_stored_keeps_the_slices_untouched(tmp_path):
    kept = [d for i, d in enumerate(base()) if i not in (4, 11)]
    folder = T.save(kept, tmp_path / "s")
    volume = read(folder, as_stored=True)
    np.testing.assert_array_equal(volume.voxels, np.delete(T.scan().voxels, (4, 11), 0))
    assert volume.provenance.verdict == "incomplete"
    assert volume.provenance.warnings


def test_a_big_hole_stays_a_hole(tmp_path):
    kept = [d for i, d in enumerate(base()) if not 8 <= i < 16]
    item, volume = single(T.save(kept, tmp_path / "s"))
    assert item.verdict == "incomplete"
    said(item, "hole", "left empty", "not filled")
    assert volume.shape == T.SHAPE
    for z in range(T.SHAPE[0]):
        if 8 <= z < 16:
            assert volume.outside[z].all()
            assert (volume.voxels[z] == AIR).all()
        else:
            np.testing.assert_array_equal(volume.voxels[z], T.scan().voxels[z])
            assert not volume.outside[z].any()


@pytest.mark.parametrize(
    "offsets",
    [
        [0, 4, 8, 12, 16, 23, 30, 37, 44],
        [0, 4.3, 7.9, 12.6, 16.1, 20.8, 24.2],
        [0, 1, 2, 3, 4, 6.5, 9, 11.5],
    ],
    ids=["two spacings", "uneven", "thin then thick"],
)
def test_uneven_gaps_are_evened_out_linearly(tmp_path, offsets):
    datasets = T.uneven(offsets)
    item, volume = single(T.save(datasets[::-1], tmp_path / "s"))
    assert item.verdict == "irregular"
    said(item, "distance", "gap", "spacing", "uneven")
    holds_the_field(volume)
    covers(volume, datasets)
    assert inside(volume).all()
    assert item.shape == volume.shape
    extent = volume.spacing[0] * (volume.shape[0] - 1)
    assert abs(extent - offsets[-1]) <= volume.spacing[0] / 2 + 1e-6
    np.testing.assert_allclose(volume.affine[:3, 0] / volume.spacing[0], (0, 0, 1), atol=1e-9)
    positions = np.array(volume.provenance.stored_positions)
    np.testing.assert_allclose(positions, T.positions(datasets), atol=1e-6)
    raw = read(item, as_stored=True)
    assert raw.shape[0] == len(offsets)
    stored = np.stack([T.stored(d) - 1024 for d in datasets])
    np.testing.assert_array_equal(raw.voxels, stored)


@pytest.mark.parametrize("degrees", [-25.0, -3.0, 12.0, 30.0])
def test_a_tilted_gantry_is_straightened(tmp_path, degrees):
    datasets = T.tilted(degrees)
    item, volume = single(T.save(datasets, tmp_path / "s"))
    assert item.verdict == "tilted"
    said(item, rf"{abs(degrees):.1f}|{abs(degrees):.0f} degrees")
    holds_the_field(volume)
    covers(volume, datasets)
    _, directions, _ = _parts(volume.affine)
    np.testing.assert_allclose(directions, T.AXIAL, atol=1e-6)  # upright, not merely regular
    assert item.shape == volume.shape
    # What was measured is inside: the middle pixel of each slice but the ends.
    middles = np.array([
        np.array(d.ImagePositionPatient, float)
        + np.array(d.ImageOrientationPatient[:3], float) * 3 * 9
        + np.array(d.ImageOrientationPatient[3:], float) * 3 * 15
        for d in datasets[1:-1]
    ])  # fmt: skip
    index = np.rint(apply(np.linalg.inv(volume.affine), middles)).astype(int)
    assert inside(volume)[tuple(index.T)].all()
    assert len(volume.provenance.stored_positions) == len(datasets)
    raw = read(item, as_stored=True)
    np.testing.assert_array_equal(raw.voxels, np.stack([T.stored(d) - 1024 for d in datasets]))


def _parts(affine):
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return affine[:3, 3], affine[:3, :3] / spacing, spacing


def test_slices_that_jump_sideways_are_not_one_volume(tmp_path):
    datasets = base()
    for d in datasets[12:]:
        x, y, z = d.ImagePositionPatient
        d.ImagePositionPatient = [float(x) + 37, y, z]
    T.save(datasets, tmp_path / "s")
    for item in find(tmp_path / "s").items:
        assert item.verdict != "regular" or len(find(tmp_path / "s").items) > 1
        assert item.warnings


def test_a_wrong_thickness_changes_nothing(tmp_path):
    datasets = base()
    for d in datasets:
        d.SliceThickness = "1.25"
    item, volume = single(T.save(datasets, tmp_path / "s"))
    settled(item, volume)
    said(item, "thick")


def test_a_single_slice(tmp_path):
    folder = T.save(base()[7:8], tmp_path / "s")
    item, volume = single(folder)
    assert (item.verdict, volume.shape) == ("regular", (1, 48, 48))
    np.testing.assert_array_equal(volume.voxels[0], T.scan().voxels[7])
    np.testing.assert_allclose(volume.spacing, T.SPACING)
    np.testing.assert_allclose(volume.origin, T.positions(base())[7])
    np.testing.assert_array_equal(read(folder / "0000.dcm").voxels, volume.voxels)

"""Troubled series: what each is called, what is said about it, and where its voxels come to lie."""

from __future__ import annotations

import json
import logging
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
import torture as T
from io_cases import same_in_space

from tomochrome.cli import main
from tomochrome.errors import GeometryError, InputError, TomochromeError
from tomochrome.geometry.affine import apply, compose
from tomochrome.io import find, read
from tomochrome.volume import Volume

AIR = -1024


def base() -> list[pydicom.Dataset]:
    return T.slices(T.scan())


def single(path, series=None):
    """Return the only item at a path that is CT, and its volume."""
    items = [item for item in find(path).items if item.verdict != "not-ct"]
    assert len(items) == 1, items
    return items[0], read(items[0])


def said(item, *words: str) -> None:
    """Hold that the warnings speak of something, each in one sentence."""
    text = " | ".join(item.warnings)
    assert item.warnings, "nothing was said"
    assert all("\n" not in w for w in item.warnings)
    assert any(re.search(word, text, re.IGNORECASE) for word in words), text


def settled(item, volume, expected=None) -> None:
    """Hold that the item is regular and that every voxel is at its place."""
    expected = T.scan() if expected is None else expected
    assert item.verdict == "regular"
    assert item.unit == volume.unit == "HU"
    assert volume.voxels.dtype == np.int16
    assert same_in_space(expected, volume)
    assert item.shape == volume.shape
    np.testing.assert_allclose(item.affine, volume.affine)


def at(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Return the indices of LPS points, which must be voxel centres."""
    index = apply(np.linalg.inv(volume.affine), points)
    rounded = np.rint(index).astype(int)
    assert np.abs(index - rounded).max() < 1e-3
    return rounded


def inside(volume: Volume) -> np.ndarray:
    return np.ones(volume.shape, bool) if volume.outside is None else ~volume.outside


def holds_the_field(volume: Volume) -> None:
    """Hold that every voxel inside the scan measures the linear field, to rounding."""
    expected = T.ramp(volume.affine, volume.shape)
    kept = inside(volume)
    assert np.abs(volume.voxels - expected)[kept].max() <= 1.01
    if volume.outside is not None:
        assert (volume.voxels[volume.outside] == AIR).all()


def covers(volume: Volume, datasets: list[pydicom.Dataset]) -> None:
    """Hold that no pixel of any slice lies outside the volume's grid."""
    for d in datasets:
        row, column = np.array(d.ImageOrientationPatient, float).reshape(2, 3)
        down, across = map(float, d.PixelSpacing)
        corners = [
            np.array(d.ImagePositionPatient, float) + row * across * x + column * down * y
            for x in (0, d.Columns - 1)
            for y in (0, d.Rows - 1)
        ]
        index = apply(np.linalg.inv(volume.affine), np.array(corners))
        assert (index > -0.6).all()
        assert (index < np.array(volume.shape) - 0.4).all()


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


# --- several volumes in one series -------------------------------------------------------------


def phases(count: int, shift: float = 0.0) -> tuple[list[list[pydicom.Dataset]], list[Volume]]:
    """Return acquisitions of one series, each brighter than the last and shifted along z."""
    volumes, sets = [], []
    first = base()[0]
    for k in range(count):
        affine = T.scan().affine.copy()
        affine[2, 3] += shift * k
        volumes.append(Volume(T.scan().voxels + np.int16(25 * k), affine, "HU"))
        sets.append(T.slices(volumes[-1]))
        T.same_series(sets[-1], first)
    return sets, volumes


def each_is_one(folder, volumes) -> None:
    """Hold that the items are the volumes, one each, named as phases."""
    found = find(folder)
    items = [item for item in found.items if not item.refusal]
    assert len(items) == len(volumes) == len(found.items)
    left = list(volumes)
    for item in items:
        volume = read(item)
        match = [v for v in left if same_in_space(v, volume)]
        assert len(match) == 1
        left.remove(match[0])
        assert item.verdict == "regular"
        assert item.warnings
    assert len({item.name for item in items}) == len(items)
    for item in items:  # and each can be asked for by its name
        np.testing.assert_array_equal(read(folder, series=item.name).voxels, read(item).voxels)
    with pytest.raises(InputError, match=f"holds {len(items)}"):
        read(folder)


TELLING = {
    "AcquisitionNumber": lambda k, i: k + 1,
    "TemporalPositionIdentifier": lambda k, i: k + 1,
    "NominalPercentageOfCardiacPhase": lambda k, i: 10 * k,
    "KVP": lambda k, i: str(80 + 60 * k),
    "ConvolutionKernel": lambda k, i: f"B{30 + 40 * k}f",
    "AcquisitionTime": lambda k, i: f"12{30 + 2 * k:02d}{i:02d}.000000",
    "TriggerTime": lambda k, i: str(300 * k),
}


@pytest.mark.parametrize("shift", [0.0, 2.5], ids=["same positions", "between"])
@pytest.mark.parametrize("keyword", TELLING)
def test_interleaved_phases_are_told_apart(tmp_path, keyword, shift):
    sets, volumes = phases(2, shift)
    for k, datasets in enumerate(sets):
        for i, d in enumerate(datasets):
            setattr(d, keyword, TELLING[keyword](k, i))
    mixed = [d for pair in zip(*sets, strict=True) for d in pair]
    each_is_one(T.save(mixed, tmp_path / "s"), volumes)


def test_a_perfusion_scan_is_one_item_a_time_point(tmp_path):
    sets, volumes = phases(3)
    for k, datasets in enumerate(sets):
        for i, d in enumerate(datasets):
            d.TemporalPositionIdentifier, d.NumberOfTemporalPositions = k + 1, 3
            d.AcquisitionNumber = 24 * k + i + 1  # as many scanners count
    T.save([d for datasets in sets for d in datasets], tmp_path / "s")
    each_is_one(tmp_path / "s", volumes)
    assert sorted(item.phase for item in find(tmp_path / "s").items) == [
        "1 of 3", "2 of 3", "3 of 3",
    ]  # fmt: skip


def test_phases_that_nothing_tells_apart_are_not_guessed(tmp_path):
    sets, volumes = phases(2)
    T.save([d for datasets in sets for d in datasets], tmp_path / "s")
    for item in find(tmp_path / "s").items:
        assert item.warnings
        if item.refusal:
            with pytest.raises(GeometryError, match=r"position|phase"):
                read(item)
        else:
            assert any(same_in_space(v, read(item)) for v in volumes)


def test_orientation_that_changes_in_mid_series(tmp_path):
    coronal = Volume(T.scan().voxels[:10], compose((-90, 0, 640), T.CORONAL, T.SPACING), "HU")
    datasets, others = base(), T.slices(coronal)
    T.same_series(others, datasets[0])
    T.save(datasets + others, tmp_path / "s")
    each_is_one(tmp_path / "s", [T.scan(), coronal])
    said(find(tmp_path / "s").items[0], "orientation")


@pytest.mark.parametrize("what", ["matrix", "pixel spacing"])
def test_matrix_or_spacing_that_changes_in_mid_series(tmp_path, what):
    side, pixel = (40, 4.0) if what == "matrix" else (48, 2.0)
    affine = compose((-96, -102.5, 700), T.AXIAL, (5, pixel, pixel))
    other = Volume(T.scan().voxels[:6, :side, :side], affine, "HU")
    datasets, others = base(), T.slices(other)
    T.same_series(others, datasets[0])
    T.save(datasets + others, tmp_path / "s")
    each_is_one(tmp_path / "s", [T.scan(), other])
    said(find(tmp_path / "s").items[0], what)


@pytest.mark.parametrize(
    "image_type",
    [
        ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ["DERIVED", "SECONDARY", "PROJECTION IMAGE", "MIP"],
        ["DERIVED", "SECONDARY", "REFORMATTED", "MAX_IP"],
        ["DERIVED", "PRIMARY", "AXIAL", "MIP"],
    ],
    ids=["localizer", "MIP", "MAX_IP", "axial MIP"],
)
def test_localizers_and_projections_stand_apart(tmp_path, image_type):
    datasets = base()
    turned = image_type[2] != "AXIAL"
    directions = T.CORONAL if turned else T.AXIAL
    extra = T.one_slice(
        T.scan().voxels.max(1)[:, ::-1] if turned else T.scan().voxels.max(0),
        T.ORIGIN, directions, T.SPACING, ImageType=image_type,
    )  # fmt: skip
    T.same_series([extra], datasets[0])
    T.save([extra, *datasets], tmp_path / "s")
    found = find(tmp_path / "s")
    assert len(found.items) == 2
    main_item = max(found.items, key=lambda i: (i.shape or (0,))[0])
    settled(main_item, read(main_item))
    settled(main_item, read(tmp_path / "s", series=main_item.name))
    if image_type[2] == "LOCALIZER":
        other = next(i for i in found.items if i is not main_item)
        assert other.verdict == "not-ct"
        said(other, "localizer", "scout")
        settled(main_item, read(tmp_path / "s"))  # and it needs no choosing


def test_what_lies_beside_the_images_is_skipped_with_the_reason(tmp_path):
    datasets = base()
    folder = T.save(datasets, tmp_path / "s")
    for kind in T.BESIDE:
        T.save_one(T.beside(kind, datasets[0]), folder / kind.replace(" ", "-"))
    found = find(folder)
    assert len(found.items) == 1
    settled(found.items[0], read(folder))
    reasons = {s.path.rsplit("/", 1)[1]: s.reason for s in found.skipped}
    assert set(reasons) == {kind.replace(" ", "-") for kind in T.BESIDE}
    for kind, words in {
        "SR": "report", "dose-report": "report", "KO": "KO|key", "PR": "presentation",
        "SEG": "SEG|segmentation", "RTSTRUCT": "RTSTRUCT|structure",
    }.items():  # fmt: skip
        assert re.search(words, reasons[kind], re.IGNORECASE), reasons[kind]


def test_modalities_are_called_what_they_are(tmp_path):
    for modality in ("MR", "PT", "NM"):
        datasets = T.slices(T.scan(), Modality=modality)
        for d in datasets:
            d.RescaleType = "US"
        (item,) = find(T.save(datasets, tmp_path / modality)).items
        assert (item.verdict, item.unit, item.modality) == ("not-ct", "unknown", modality)
        said(item, modality)
        volume = read(item)
        assert volume.unit == "unknown"
        assert same_in_space(T.scan(), volume)


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", T.SYNTAXES)
def test_every_way_of_storing_gives_the_same_voxels(tmp_path, syntax):
    settled(*single(T.save(base()[:4], tmp_path / "s", syntax=T.SYNTAXES[syntax])),
            Volume(T.scan().voxels[:4], T.scan().affine, "HU"))  # fmt: skip


def test_ways_of_storing_mixed_within_a_series(tmp_path):
    datasets = base()
    for i, syntax in enumerate(T.SYNTAXES.values()):
        T.save(datasets[3 * i : 3 * i + 3], tmp_path / "s", syntax=syntax, start=3 * i)
    T.save(datasets[21:], tmp_path / "s", start=21)
    settled(*single(tmp_path / "s"))


def test_slope_and_intercept_that_change(tmp_path):
    datasets = base()
    for i, d in enumerate(datasets):
        hu = T.stored(d) - 1024
        slope = 1 if i % 2 else 2
        even = hu - hu % 2
        d.RescaleSlope, d.RescaleIntercept = str(slope), str(-1000 - 2 * i)
        T.put(d, (even + 1000 + 2 * i) // slope)
    item, volume = single(T.save(datasets, tmp_path / "s"))
    voxels = T.scan().voxels
    settled(item, volume, Volume(voxels - voxels % 2, T.scan().affine, "HU"))


def test_a_slope_that_is_no_whole_number(tmp_path):
    datasets = T.slices(T.scan())
    expected = np.empty(T.SHAPE)
    for i, d in enumerate(datasets):
        d.RescaleSlope, d.RescaleIntercept = "0.37", "-1024.5"
        expected[i] = T.stored(d) * 0.37 - 1024.5
    item, volume = single(T.save(datasets, tmp_path / "s"))
    assert (item.unit, item.verdict) == ("HU", "regular")
    assert volume.voxels.dtype == np.float32
    np.testing.assert_allclose(volume.voxels, expected, atol=1e-3)


def test_monochrome1_keeps_its_hounsfield_units(tmp_path):
    """PS3.3 C.7.6.3.1.2: it says how a value is shown, not what was measured."""
    datasets = T.slices(T.scan(), PhotometricInterpretation="MONOCHROME1")
    item, volume = single(T.save(datasets, tmp_path / "s"))
    settled(item, volume)


def test_padding_and_its_range_become_air_and_are_marked(tmp_path):
    datasets = base()
    mask = np.zeros(T.SHAPE, bool)
    mask[:, :5] = True
    mask[:, :, -2:] = True
    rng = np.random.default_rng(0)
    for i, d in enumerate(datasets):
        stored = T.stored(d)
        stored[mask[i]] = rng.integers(-2010, -1999, mask[i].sum())
        T.put(d, stored)
        d.add_new("PixelPaddingValue", "SS", -2000)
        d.add_new("PixelPaddingRangeLimit", "SS", -2010)
    item, volume = single(T.save(datasets, tmp_path / "s"))
    assert volume.voxels.dtype == np.int16
    np.testing.assert_array_equal(volume.outside, mask)
    assert (volume.voxels[mask] == AIR).all()
    np.testing.assert_array_equal(volume.voxels[~mask], T.scan().voxels[~mask])
    assert item.verdict == "regular"


@pytest.mark.parametrize("value", [-2000, -2048 + 1024, -3024])
def test_what_lies_out_of_the_round_field_becomes_air_and_is_marked(tmp_path, value):
    """A padding that is not declared: the corners round the circle hold one value below air."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    corners = np.hypot(y, x) > 1.02
    datasets = base()
    for d in datasets:
        stored = T.stored(d)
        stored[corners] = value + 0  # as the scanner stores it, far below -1024 HU
        T.put(d, stored)
    _, volume = single(T.save(datasets, tmp_path / "s"))
    mask = np.broadcast_to(corners, T.SHAPE)
    assert volume.outside is not None
    np.testing.assert_array_equal(volume.outside, mask)
    assert (volume.voxels[mask] == AIR).all()
    np.testing.assert_array_equal(volume.voxels[~mask], T.scan().voxels[~mask])


def test_without_rescale_there_are_no_hounsfield_units(tmp_path):
    datasets = base()
    for d in datasets:
        del d.RescaleSlope, d.RescaleIntercept, d.RescaleType
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert (item.unit, item.verdict) == ("unknown", "not-ct")
    said(item, "rescale", "Hounsfield")
    np.testing.assert_array_equal(read(item).voxels, T.scan().voxels + 1024)


# --- containers --------------------------------------------------------------------------------


def test_a_dicomdir_lists_its_series_and_one_is_read(tmp_path):
    small = Volume(T.scan().voxels[:5], compose((0, 0, 0), T.AXIAL, (3, 2, 2)), "HU")
    path = T.dicomdir([*base(), *T.slices(small)], tmp_path / "cd")
    for way in (path, path.parent):
        items = find(way).items
        assert sorted(item.shape[0] for item in items) == [5, 24]
        for item in items:
            settled(item, read(item), small if item.shape[0] == 5 else None)
            settled(item, read(way, series=item.name), small if item.shape[0] == 5 else None)


def test_a_dicomdir_that_names_a_file_that_is_gone(tmp_path):
    path = T.dicomdir(base(), tmp_path / "cd")
    victims = sorted(p for p in path.parent.rglob("*") if p.is_file() and p != path)
    positions = {
        p: pydicom.dcmread(p, stop_before_pixels=True).ImagePositionPatient[2] for p in victims
    }
    inner = sorted(victims, key=positions.__getitem__)[10]
    inner.unlink()
    found = find(path)
    (item,) = found.items
    assert item.verdict == "incomplete"
    text = " ".join([*item.warnings, *(s.reason for s in found.skipped)])
    assert "missing" in text or "not there" in text or "does not exist" in text


def test_a_zip_from_a_cd(tmp_path):
    datasets = base()
    folder = T.save(datasets, tmp_path / "s" / "DICOM")
    (tmp_path / "s" / "README.TXT").write_text("viewer inside")
    path = T.zipped(tmp_path / "s", tmp_path / "cd.zip")
    item, volume = single(path)
    settled(item, volume)
    settled(item, read(path))
    settled(item, read(path, series=item.name))
    assert str(path) in item.path
    assert same_in_space(read(folder), volume)
    disc = T.dicomdir(datasets, tmp_path / "cd").parent
    settled(*single(T.zipped(disc, tmp_path / "disc.zip", top="")))


def test_a_nifti_in_four_dimensions(tmp_path):
    moments = np.stack([T.scan().voxels.T + 20 * k for k in range(3)], -1).astype(np.int16)
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    nib.save(nib.Nifti1Image(moments, affine), tmp_path / "a.nii.gz")
    items = find(tmp_path / "a.nii.gz").items
    assert len(items) == 3
    assert sorted(item.phase for item in items) == ["1 of 3", "2 of 3", "3 of 3"]
    for k, item in enumerate(sorted(items, key=lambda i: i.phase)):
        np.testing.assert_array_equal(read(item).voxels, moments[..., k].T)
        named = read(tmp_path / "a.nii.gz", series=item.name)
        np.testing.assert_array_equal(named.voxels, moments[..., k].T)
    with pytest.raises(InputError):
        read(tmp_path / "a.nii.gz")


def test_nifti_forms_that_disagree(tmp_path):
    image = nib.Nifti1Image(T.scan().voxels.T, None)
    image.set_sform(np.diag([-4.0, 4, 5, 1]), 2)
    image.set_qform(np.diag([4.0, 4, 5, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    (item,) = find(tmp_path / "a.nii").items
    said(item, "sform.*qform|qform.*sform")
    expected = np.diag([-1.0, -1, 1, 1]) @ nib.load(tmp_path / "a.nii").affine
    np.testing.assert_allclose(read(item).affine, expected[:, [2, 1, 0, 3]], atol=1e-6)


def test_a_nrrd_that_does_not_say_where_it_is(tmp_path):
    image = SimpleITK.GetImageFromArray(T.scan().voxels)
    image.SetSpacing((4.0, 4.0, 5.0))
    SimpleITK.WriteImage(image, str(tmp_path / "b.nrrd"))
    raw = (tmp_path / "b.nrrd").read_bytes()
    head, data = raw.split(b"\n\n", 1)
    lines = [line for line in head.split(b"\n") if not line.startswith(b"space")]
    lines.append(b"spacings: 4 4 5")
    (tmp_path / "a.nrrd").write_bytes(b"\n".join(lines) + b"\n\n" + data)
    (item,) = find(tmp_path / "a.nrrd").items
    said(item, "orientation", "space", "left and right")
    volume = read(item)
    np.testing.assert_array_equal(volume.voxels, T.scan().voxels)
    np.testing.assert_allclose(volume.spacing, T.SPACING)


# --- identity ----------------------------------------------------------------------------------


def secret_series(tmp_path):
    folder = tmp_path / "export" / "Musterfrau_Erika_19640812"
    return T.save(T.with_secrets(base()), folder)


def free_of_identity(text: str) -> None:
    for part in T.PARTS:
        assert part not in text


def without_path(text: str, folder) -> str:
    """Return a text without the path that the user typed: that she knows already."""
    return text.replace(str(folder), "PATH")


def test_identity_is_not_in_what_is_listed(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    folder = secret_series(tmp_path)
    found = find(folder)
    volume = read(folder)
    assert same_in_space(T.scan(), volume)
    told = json.dumps(found.to_json()) + repr(found) + repr(volume.provenance) + repr(volume)
    free_of_identity(without_path(told, folder))
    free_of_identity(without_path(caplog.text, folder))
    assert found.items[0].identity is None


def test_identity_is_not_in_refusals(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    datasets = T.with_secrets(base())
    for d in datasets:
        del d.ImagePositionPatient
    folder = T.save(datasets, tmp_path / "s")
    with pytest.raises(TomochromeError) as caught:
        read(folder)
    free_of_identity(str(caught.value) + caplog.text + repr(find(folder)))


def test_identity_in_a_malformed_header_is_not_logged(tmp_path, caplog):
    """The DICOM library would log the value that it complains about."""
    caplog.set_level(logging.DEBUG)
    datasets = T.slices(T.scan(), KVP="100000000000", ContentTime="111111.11111")
    folder = T.save(datasets, tmp_path / "s")
    for file in folder.iterdir():
        body = file.read_bytes()
        for text in ("1.2.826.0.1.3680043.8.498.", "100000000000", "111111.11111", "96 "):
            name = ("Musterfrau^Erika " * 2)[: len(text)].encode()
            body = body.replace(text.encode(), name)
        file.write_bytes(body)
    caplog.clear()
    found = find(folder)
    told = repr(found) + json.dumps(found.to_json())
    for item in found.items:
        try:
            told += repr(read(item).provenance)
        except TomochromeError as error:
            told += str(error)
    free_of_identity(told + caplog.text)


def test_identity_is_not_printed_unless_asked(tmp_path, capsys):
    folder = secret_series(tmp_path)
    assert main(["info", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    free_of_identity(without_path(out + err, folder))
    assert main(["info", str(folder)]) == 0
    out, err = capsys.readouterr()
    free_of_identity(without_path(out + err, folder))
    assert main(["info", str(folder), "--with-identity"]) == 0
    out, err = capsys.readouterr()
    for secret in ("Musterfrau", "4711-0815", "9988776"):
        assert secret in out.replace(str(folder), "")
    assert "1964" in out.replace(str(folder), "")


def test_identity_is_not_in_a_dicomdir_or_a_zip(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    path = T.dicomdir(list(T.with_secrets(base())), tmp_path / "cd")
    archive = T.zipped(path.parent, tmp_path / "cd.zip")
    for way in (path, archive):
        found = find(way)
        assert found.items
        told = json.dumps(found.to_json()) + repr(found) + repr(read(way).provenance)
        free_of_identity(told + caplog.text)


def test_a_description_without_the_patient_is_kept(tmp_path):
    datasets = T.slices(T.scan(), SeriesDescription="Head 5.0 H31s", PatientName="Musterfrau^Erika")
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert item.title == "Head 5.0 H31s"
    assert read(item).provenance.title == "Head 5.0 H31s"


@pytest.mark.parametrize(
    "description",
    ["MUSTERFRAU E. HEAD", "Kopf 12.08.1964", "Head 08/12/1964", "Head 4711 0815", "Muster-Frau",
     "Head ACC9988776", "MUSTERFRAU_ERIKA_CT"],
)  # fmt: skip
def test_a_description_with_something_of_the_patient_is_not(tmp_path, description):
    datasets = T.slices(T.scan(), SeriesDescription=description, **T.SECRETS)[:2]
    (item,) = find(T.save(datasets, tmp_path / "s")).items
    assert item.title == ""
    assert description not in repr(item) + repr(read(item).provenance)

"""Several volumes in one series, and what lies beside them: each apart, or left with a reason."""

from __future__ import annotations

import re

import numpy as np
import pydicom
import pytest
import torture as T
from io_cases import same_in_space
from torture_cases import base, said, settled

from tomochrome.errors import GeometryError, InputError
from tomochrome.geometry.affine import compose
from tomochrome.io import find, read
from tomochrome.volume import Volume


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

"""Listing: several series, what is left aside, what is never told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from io_cases import change, ct, series
from PIL import Image

import tomochrome
from said import without_chance
from tomochrome.errors import Cancelled, InputError
from tomochrome.io import find, read, write
from tomochrome.runtime import Task, running


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    series(folder / "a", ct(seed=1), series_uid="1.2.3.1")
    series(folder / "b", ct((5, 24, 20), seed=2), series_uid="1.2.3.2")
    series(folder / "mr", ct((4, 24, 20), seed=3), series_uid="1.2.3.3", modality="MR")
    (folder / "notes.txt").write_text("nothing")
    (folder / "empty").write_bytes(b"")
    Image.new("L", (4, 4)).save(folder / "key.png")
    return folder


def test_items_and_skipped(study):
    found = find(study)
    by_uid = {item.series_uid: item for item in found.items}
    assert {uid: item.shape[0] for uid, item in by_uid.items()} == {
        "1.2.3.1": 7, "1.2.3.2": 5, "1.2.3.3": 4,
    }  # fmt: skip
    assert by_uid["1.2.3.3"].verdict == "not-ct"
    assert by_uid["1.2.3.3"].unit == "unknown"
    reasons = {Path(s.path).name: s.reason for s in found.skipped}
    assert set(reasons) == {"notes.txt", "empty", "key.png"}
    assert "2D image" in reasons["key.png"]


def test_json_has_the_contracts_keys(study):
    whole = json.loads(json.dumps(find(study).to_json()))
    assert set(whole) == {"items", "skipped"}
    assert set(whole["skipped"][0]) == {"path", "reason"}
    item = whole["items"][0]
    assert list(item) == [
        "path", "kind", "series_uid", "modality", "shape", "spacing_mm", "affine",
        "value_range", "unit", "windows", "verdict", "warnings",
    ]  # fmt: skip
    assert item["kind"] == "dicom-series"
    assert item["value_range"] is None
    assert item["windows"][0] == {"name": "SOFT TISSUE", "center": 50.0, "width": 400.0}
    volume = read(study, series="1.2.3.1")
    np.testing.assert_allclose(item["affine"], volume.affine)
    np.testing.assert_allclose(item["spacing_mm"], volume.spacing)
    assert item["shape"] == list(volume.shape)


def test_pixels_on_request(study):
    item = find(study / "a", pixels=True).items[0]
    voxels = read(study / "a").voxels
    assert item.value_range == (voxels.min(), voxels.max())


def test_an_empty_path_is_not_the_current_folder(study, monkeypatch):
    monkeypatch.chdir(study)
    assert find(".").items
    for work in (find, read):
        with pytest.raises(InputError, match="the path is empty"):
            work("")


def test_choosing_a_series(study):
    with pytest.raises(InputError, match=r"holds 2 series; choose one.*1\.2\.3\.1 \(CT, 7 slices"):
        read(study)
    assert read(study, series="1.2.3.2").shape[0] == 5
    assert read(study, series="1.2.3.3").unit == "unknown"
    with pytest.raises(InputError, match=r"contains no series '9'; it contains 1\.2\.3\.1"):
        read(study, series="9")
    with pytest.raises(InputError, match="contains no series '9'; it contains"):
        read(study, series=9)
    item = find(study).items[1]
    assert read(item).provenance.series_uid == item.series_uid


def test_the_only_ct_series_is_chosen_beside_mr(tmp_path):
    (tmp_path / "x").mkdir()
    series(tmp_path / "x" / "ct", ct((5, 24, 20)))
    series(tmp_path / "x" / "mr", modality="MR")
    assert read(tmp_path / "x").shape[0] == 5


def test_a_localizer_in_the_series_stands_apart(tmp_path):
    folder = series(tmp_path / "s", series_uid="1.2.3")

    def scout(dataset, i):
        if i == 6:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    change(folder, scout)
    items = find(folder).items
    assert sorted(item.verdict for item in items) == ["not-ct", "regular"]
    assert read(folder).shape[0] == 6
    assert read(folder, series="1.2.3").shape[0] == 6


def test_a_study_folder_as_it_comes_from_the_archive(tmp_path):
    study = tmp_path / "study"
    series(study, ct((6, 24, 20)), series_uid="1.2.3")
    scout = change(series(tmp_path / "scout", ct((1, 24, 20)), series_uid="1.2.4"), lambda d, i:
                   setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))  # fmt: skip

    def dose_page(dataset, i):  # a grey picture of text, said to be CT
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        for keyword in ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept"):
            delattr(dataset, keyword)

    def segmentation(dataset, i):
        dataset.Modality = "SEG"

    page = change(series(tmp_path / "page", ct((1, 24, 20))), dose_page)
    mask = change(series(tmp_path / "mask", ct((1, 24, 20))), segmentation)
    for i, folder in enumerate((scout, page, mask)):
        (folder / "0001.dcm").rename(study / f"other{i}")
    found = find(study)
    assert sorted(item.verdict for item in found.items) == ["not-ct", "not-ct", "regular"]
    assert len(found.skipped) == 1
    volume = read(study)
    assert volume.shape == (6, 24, 20)
    assert volume.provenance.series_uid == "1.2.3"


def test_segmentations_are_left_aside(shared_data):
    found = find(shared_data / "dicom" / "ct_with_seg")
    assert len(found.items) == 1
    assert [s.reason for s in found.skipped] == [
        "a segmentation: labels drawn on a scan, not the scan itself"
    ] * 2
    assert read(shared_data / "dicom" / "ct_with_seg").shape == (1, 128, 128)


def test_identity_is_never_told_unasked(tmp_path):
    folder = series(tmp_path / "s")

    def name(dataset, i):
        dataset.PatientName, dataset.PatientID = "Muster^Erika", "4711-0815"
        dataset.PatientBirthDate = "19640812"

    change(folder, name)
    found = find(folder)
    assert found.items[0].identity is None
    told = repr(found) + json.dumps(found.to_json()) + repr(read(folder).provenance)
    asked = find(folder, with_identity=True).items[0]
    assert asked.identity["PatientName"] == "Muster^Erika"
    told += repr(asked) + json.dumps(asked.to_json()) + repr(read(asked).provenance)
    for secret in ("Muster", "4711", "19640812"):
        assert secret not in without_chance(told)


def test_a_name_in_the_wrong_place_is_not_told_either(tmp_path):
    folder = series(tmp_path / "s")

    def misplace(dataset, i):
        dataset.add_new("Modality", "LO", "CT\0 PN Muster^Erika")
        dataset.add_new("SeriesInstanceUID", "LO", "Muster^Erika")
        dataset.add_new("RescaleType", "LO", "Muster^Erika")

    change(folder, misplace)
    item = find(folder).items[0]
    assert (item.modality, item.series_uid) == ("unknown", "")
    assert "Muster" not in repr(item) + json.dumps(item.to_json())


def test_cancel(study):
    token = Task()
    token.cancel()
    with running(token), pytest.raises(Cancelled):
        find(study)


def test_bad_input_is_one_sentence(tmp_path, shared_data):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    (tmp_path / "texts" / "b.txt").write_text("hello")
    fake = tmp_path / "fake.dcm"
    fake.write_text("this is no DICOM file " * 20)
    zipped = tmp_path / "cd.zip"
    zipped.write_bytes(b"PK\x03\x04" + b"\0" * 50)
    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(picture)
    nifti = tmp_path / "cut.nii.gz"
    write(ct(), nifti)
    nifti.write_bytes(nifti.read_bytes()[:-200])
    nrrd = tmp_path / "cut.nrrd"
    write(ct(), nrrd)
    nrrd.write_bytes(nrrd.read_bytes()[:-2000])
    header = tmp_path / "cut.dcm"
    header.write_bytes((shared_data / "dicom/odd/CT_small.dcm").read_bytes()[:300])
    cases = {
        tmp_path / "nowhere": "does not exist",
        tmp_path / "empty": "is empty",
        tmp_path / "texts": r"no image that can be read \(2 files skipped: ",
        fake: "not in a format",
        zipped: "zip archive",
        picture: "2D image",
        nifti: "damaged, truncated",
        nrrd: "damaged, truncated",
        header: "without an image|damaged",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        message = str(caught.value)
        assert "\n" not in message
        assert str(path) in message


def test_strange_things_in_a_folder(tmp_path):
    folder = series(tmp_path / "s")
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "dangling").symlink_to(folder / "nothing")
    found = find(folder)
    assert found.items[0].shape[0] == 7
    reasons = {Path(s.path).name: s.reason for s in found.skipped}
    assert set(reasons) == {"pipe", "dangling", "loop"}
    assert "pipe" in reasons["pipe"]
    assert "broken link" in reasons["dangling"]
    assert "not followed" in reasons["loop"]


@pytest.mark.parametrize("kind", ["dcm", "j2k", "nii", "nii.gz", "nrrd"])
def test_flipped_bytes_end_in_a_volume_or_a_sentence(tmp_path, kind):
    whole = damage_this(tmp_path, kind)
    rng = np.random.default_rng(11)
    victim = tmp_path / f"victim.{kind}"
    outcomes = set()
    for _ in range(60):
        broken = bytearray(whole)
        for where in rng.integers(0, len(broken), rng.integers(1, 6)):
            broken[where] = rng.integers(0, 256)
        cut = rng.integers(1, len(broken) + 1) if rng.random() < 0.3 else None
        victim.write_bytes(bytes(broken[:cut]))
        try:
            outcomes.add(type(read(victim)))
        except tomochrome.TomochromeError as error:
            outcomes.add(type(error))
    assert any(issubclass(outcome, InputError) for outcome in outcomes)


def damage_this(folder, kind):
    volume = ct((1, 40, 40))
    if kind in ("dcm", "j2k"):
        compress = "j2k" if kind == "j2k" else None
        return (series(folder / "s", volume, compress=compress) / "0001.dcm").read_bytes()
    write(volume, folder / f"v.{kind}")
    return (folder / f"v.{kind}").read_bytes()


def test_a_file_without_preamble(tmp_path):
    path = series(tmp_path / "s", ct((1, 8, 8))) / "0001.dcm"
    dataset = pydicom.dcmread(path)
    expected = read(path).voxels
    bare = tmp_path / "bare"
    plain = pydicom.Dataset(dataset)
    plain.save_as(bare, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read(bare).voxels, expected)

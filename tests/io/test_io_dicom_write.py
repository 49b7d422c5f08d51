"""What `write_series` writes: any right-angled axes, valid by the standard, nobody's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ORIENTATIONS, ct, same_in_space
from pydicom import config
from scipy.spatial.transform import Rotation

from tomochrome.errors import OutputError
from tomochrome.geometry.affine import apply, compose
from tomochrome.io import read, write
from tomochrome.io.dicom import write_series
from tomochrome.volume import Provenance, ScannerWindow, Volume

# Modules of the CT Image IOD (PS3.3 A.3.3): elements that must have a value, and those that must
# be there though they may be empty.
TYPE_1 = {
    "SOP Common": "SOPClassUID SOPInstanceUID SpecificCharacterSet",
    "General Study": "StudyInstanceUID",
    "General Series": "Modality SeriesInstanceUID",
    "Frame of Reference": "FrameOfReferenceUID",
    "General Image": "ImageType",
    "Image Plane": "PixelSpacing ImageOrientationPatient ImagePositionPatient",
    "Image Pixel": "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated "
    "BitsStored HighBit PixelRepresentation PixelData",
    "CT Image": "RescaleIntercept RescaleSlope RescaleType",
}
TYPE_2 = {
    "Patient": "PatientName PatientID PatientBirthDate PatientSex",
    "General Study": "StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber",
    "General Series": "SeriesNumber PatientPosition",
    "Frame of Reference": "PositionReferenceIndicator",
    "General Equipment": "Manufacturer",
    "General Image": "InstanceNumber",
    "Image Plane": "SliceThickness",
    "CT Image": "KVP AcquisitionNumber",
}


def written(folder) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("compress", [None, "j2k"])
def test_every_module_of_a_ct_image_is_complete(tmp_path, orientation, compress, monkeypatch):
    volume = ct((3, 40, 36), orientation)
    folder = write_series(volume, tmp_path / "s", compress=compress, patient_position="FFP")
    monkeypatch.setattr(config.settings, "_reading_validation_mode", config.RAISE)
    for dataset in written(folder):
        for module, keywords in TYPE_1.items():
            for keyword in keywords.split():
                assert dataset.get(keyword) not in (None, ""), (module, keyword)
        for module, keywords in TYPE_2.items():
            for keyword in keywords.split():
                assert keyword in dataset, (module, keyword)
        for element in dataset.iterall():  # raises where a value breaks its representation
            assert element.VR != "UN"
        assert list(dataset.ImageType)[2] == "AXIAL"
        assert dataset.PatientPosition == "FFP"
        assert dataset.SliceThickness == dataset.SpacingBetweenSlices == pytest.approx(2.5)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.pixel_array.shape == (40, 36)


def test_uids_are_unique_and_patients_are_nobody(tmp_path):
    volume = replace(
        ct(), provenance=Provenance(source="/home/doe^jane/19500704", title="Jane's thorax")
    )
    folders = [write_series(volume, tmp_path / name, description="thorax") for name in "ab"]
    series = [written(folder) for folder in folders]
    instances = [d.SOPInstanceUID for datasets in series for d in datasets]
    assert len(set(instances)) == 14
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert [len({d[keyword].value for d in datasets}) for datasets in series] == [1, 1]
        assert len({datasets[0][keyword].value for datasets in series}) == 2
    assert all(uid.is_valid for uid in instances)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "a").iterdir()).lower()
    assert b"doe" not in raw
    assert b"jane" not in raw
    # whole: the digits of random UIDs may hold any year
    assert b"19500704" not in raw
    for datasets in series:
        assert datasets[0].PatientIdentityRemoved == "YES"
        assert [d.InstanceNumber for d in datasets] == list(range(1, 8))


@settings(deadline=None, max_examples=25)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    flips=st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    order=st.permutations(range(3)),
)
def test_any_axes_at_right_angles_come_back_in_place(
    tmp_path_factory, angles, flips, spacing, origin, order
):
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine = compose(origin, (turned * flips)[:, order], spacing)
    voxels = np.arange(4 * 6 * 5, dtype=np.int16).reshape(4, 6, 5)
    volume = Volume(voxels, affine)
    back = read(write_series(volume, tmp_path_factory.mktemp("w") / "s"))
    assert back.provenance.verdict == "regular"
    assert back.provenance.warnings == ()
    assert same_in_space(volume, back)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_simpleitk_finds_every_voxel_where_it_was(tmp_path, orientation):
    volume = ct(orientation=orientation)
    folder = write_series(volume, tmp_path / "s")
    for z, path in enumerate(sorted(folder.iterdir())):
        image = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image)[0], volume.voxels[z])
        for y, x in ((0, 0), (23, 0), (5, 19)):
            there = image.TransformIndexToPhysicalPoint((x, y, 0))
            np.testing.assert_allclose(there, apply(volume.affine, (z, y, x)), atol=1e-4)


def test_a_single_slice_keeps_its_place(tmp_path):
    volume = ct((1, 24, 20), "coronal")
    back = read(write_series(volume, tmp_path / "s"))
    assert back.shape == (1, 24, 20)
    np.testing.assert_allclose(back.origin, volume.origin, atol=1e-6)
    np.testing.assert_allclose(back.spacing, volume.spacing)


WINDOWS = (
    ScannerWindow("BRAIN \\ native", 40.0, 80.5),
    ScannerWindow("", -600.0, 1500.0),
    ScannerWindow("other function", 0.0, 100.0, "SIGMOID"),
    ScannerWindow("too narrow", 0.0, 0.5),
    ScannerWindow("no number", float("nan"), 100.0),
)


def test_the_scanners_windows_stay(tmp_path):
    volume = replace(ct(), provenance=Provenance(windows=WINDOWS))
    back = read(write_series(volume, tmp_path / "s"))
    assert back.provenance.windows == (
        ScannerWindow("BRAIN   native", 40.0, 80.5),
        ScannerWindow("-600/1500", -600.0, 1500.0),
    )
    exact = replace(
        ct(), provenance=Provenance(windows=(ScannerWindow("x", 1.0, 0.5, "LINEAR_EXACT"),))
    )
    back = read(write_series(exact, tmp_path / "exact"))
    assert back.provenance.windows == exact.provenance.windows
    plain = read(write_series(ct(), tmp_path / "plain"))
    assert [w[:3] for w in plain.provenance.windows] == [
        ("SOFT TISSUE", 50, 400), ("LUNG", -600, 1500),
    ]  # fmt: skip


@pytest.mark.parametrize("least", [-1024, -2000, -3024])
def test_what_lies_outside_the_scan_is_written_as_padding(tmp_path, least):
    volume = ct()
    voxels, outside = volume.voxels.copy(), np.zeros(volume.shape, bool)
    outside[:, :4], outside[2, 10:] = True, True
    voxels[outside] = -1024
    voxels[1, 12, 12] = least  # the value that padding would take, inside the scan
    volume = replace(volume, voxels=voxels, outside=outside)
    folder = write_series(volume, tmp_path / "s")
    padding = {d.PixelPaddingValue for d in written(folder)}
    assert padding == {-2000 if least == -1024 else -32768}
    stored = written(folder)[2].pixel_array
    np.testing.assert_array_equal(stored == padding.pop(), outside[2])
    back = read(folder)
    np.testing.assert_array_equal(back.voxels, voxels)
    np.testing.assert_array_equal(back.outside, outside)


def test_without_a_value_to_spare_nothing_is_padding(tmp_path):
    volume = ct()
    voxels, outside = volume.voxels.copy(), np.zeros(volume.shape, bool)
    outside[:, :4] = True
    voxels[1, 12, 12], voxels[1, 13, 13] = -2000, -32768
    folder = write_series(replace(volume, voxels=voxels, outside=outside), tmp_path / "s")
    assert all("PixelPaddingValue" not in d for d in written(folder))
    np.testing.assert_array_equal(read(folder).voxels, voxels)


def test_descriptions_fit_their_element(tmp_path):
    folder = write_series(ct(), tmp_path / "s", description="a\\b\nc " + "x" * 80)
    assert written(folder)[0].SeriesDescription == ("a b c " + "x" * 80)[:64]
    folder = write_series(ct(), tmp_path / "t", description="Übersicht, 頭部")
    assert written(folder)[0].SeriesDescription == "Übersicht, 頭部"


@pytest.mark.parametrize(
    ("volume", "options", "words"),
    [
        (ct(), {"series_uid": "not a uid"}, "not a DICOM UID"),
        (Volume(np.zeros((1, 70000, 1), np.int16)), {}, "larger than a DICOM image"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, volume, options, words):
    with pytest.raises(OutputError, match=words):
        write_series(volume, tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def no_room(limit: int) -> Iterator[None]:
    """Let the system refuse to write more than some bytes to a file."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def slices_without_room(tmp_path, compress):
    write_series(ct((3, 40, 36)), tmp_path / "s", compress=compress, force=True)


def color_without_room(tmp_path, compress):
    colors = np.zeros((3, 40, 36, 4), np.uint8)
    write(Volume(colors, unit="RGBA"), f"{tmp_path / 's'}/", force=True)


@pytest.mark.parametrize("limit", [200, 1500])  # in the header, and in the pixels
@pytest.mark.parametrize("compress", [None, "j2k"])
@pytest.mark.parametrize("work", [slices_without_room, color_without_room])
def test_a_full_disk_is_told_in_one_sentence(tmp_path, work, compress, limit):
    """pydicom puts its traceback into the message of the error."""
    expected = f"cannot write '{tmp_path / 's'}': File too large"
    with no_room(limit), pytest.raises(OutputError) as caught:
        work(tmp_path, compress)
    assert str(caught.value) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_keeps_the_earlier_series(tmp_path, monkeypatch, number):
    old = write_series(ct((2, 40, 36)), tmp_path / "s")
    before = sorted(path.read_bytes() for path in old.iterdir())
    save, saved = pydicom.Dataset.save_as, []

    def full(dataset, path, **options):
        saved.append(path)
        if len(saved) < 4:
            return save(dataset, path, **options)
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:  # as pydicom does
            raise OSError(f"With tag ... got exception: {error}\nTraceback (most ...") from error

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(OutputError) as caught:
        write_series(ct((6, 40, 36)), tmp_path / "s", force=True)
    assert str(caught.value) == f"cannot write '{tmp_path / 's'}': {os.strerror(number)}"
    assert sorted(path.read_bytes() for path in old.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["s"]

"""Reading DICOM series, with SimpleITK's own series reader as the judge."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK
from io_cases import ORIENTATIONS, change, ct, same_in_space, series, shuffle_names

from tomochrome.errors import Cancelled
from tomochrome.geometry import from_sitk, same_grid
from tomochrome.io import read
from tomochrome.runtime import Task, running


def simpleitk(folder) -> SimpleITK.Image:
    names = [str(p) for p in folder.iterdir()]
    names.sort(key=lambda n: _along(n))
    return SimpleITK.ReadImage(names)


def _along(name: str) -> float:
    header = pydicom.dcmread(name, stop_before_pixels=True)
    cosines = np.array(header.ImageOrientationPatient, dtype=float)
    return float(np.cross(cosines[:3], cosines[3:]) @ np.array(header.ImagePositionPatient, float))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("compress", [None, "j2k"])
def test_written_series_reads_back_in_place(tmp_path, orientation, compress):
    volume = ct((7, 40, 36), orientation=orientation)
    folder = shuffle_names(series(tmp_path / "s", volume, compress=compress))
    back = read(folder)
    assert back.unit == "HU"
    assert back.voxels.dtype == np.int16
    assert back.provenance.verdict == "regular"
    assert same_in_space(volume, back)
    oracle = from_sitk(simpleitk(folder))
    assert same_grid(back, oracle, tolerance_mm=1e-4)
    np.testing.assert_array_equal(back.voxels, oracle.voxels)


def test_the_real_jpeg2000_series_equals_simpleitk(shared_data):
    folder = shared_data / "dicom" / "abdomen_contrast_j2k"
    volume = read(folder)
    oracle = from_sitk(simpleitk(folder))
    assert volume.shape == (20, 512, 512)
    assert volume.unit == "HU"
    assert volume.voxels.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, (2.0, 0.9765625, 0.9765625))
    assert same_grid(volume, oracle, tolerance_mm=1e-4)
    np.testing.assert_array_equal(volume.voxels, oracle.voxels)
    assert [w[1:3] for w in volume.provenance.windows] == [(40, 300), (300, 1500)]
    assert volume.provenance.warnings == ()


SYNTAXES = {
    # file: shape (y, x), least and greatest HU, unit
    "693_UNCI.dcm": ((512, 512), None, "HU"),
    "693_UNCR.dcm": ((512, 512), (-1024, 1468), "HU"),
    "693_J2KR.dcm": ((512, 512), (-1024, 1468), "HU"),
    "ELSCINT1_JP2vsJ2K.dcm": ((512, 512), (-1000, 3095), "HU"),
    "CT1_JLSN.dcm": ((512, 512), (-1024, 1254), "HU"),
    "bad_sequence.dcm": ((512, 512), (-1011, 1243), "HU"),
    "TOSHIBA_J2K_SIZ0_PixRep1.dcm": ((512, 512), (-2048, 1717), "HU"),
    "MR_small_RLE.dcm": ((64, 64), (127, 2145), "unknown"),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64), (127, 2145), "unknown"),
    "MR_small_bigendian.dcm": ((64, 64), (127, 2145), "unknown"),
}


@pytest.mark.parametrize("name", SYNTAXES)
def test_transfer_syntaxes(shared_data, name):
    shape, value_range, unit = SYNTAXES[name]
    volume = read(shared_data / "dicom" / "syntaxes" / name)
    assert volume.shape == (1, *shape)
    assert volume.voxels.dtype == np.int16
    assert volume.unit == unit
    assert volume.provenance.verdict == ("regular" if unit == "HU" else "not-ct")
    if value_range:
        assert (volume.voxels.min(), volume.voxels.max()) == value_range


def test_jpeg2000_equals_uncompressed(shared_data):
    syntaxes = shared_data / "dicom" / "syntaxes"
    np.testing.assert_array_equal(
        read(syntaxes / "693_J2KR.dcm").voxels, read(syntaxes / "693_UNCR.dcm").voxels
    )


def test_the_order_of_slices_comes_from_positions(tmp_path):
    volume = ct()

    def mislead(dataset, i):
        dataset.InstanceNumber = 100 - i
        dataset.SliceThickness = "7"
        dataset.SeriesInstanceUID = dataset.SOPClassUID = ""

    folder = shuffle_names(change(series(tmp_path / "s", volume), mislead))
    back = read(folder)
    assert same_in_space(volume, back)
    np.testing.assert_allclose(back.spacing, volume.spacing)


def test_a_single_file_and_a_series_of_one(tmp_path):
    folder = series(tmp_path / "s")
    one = sorted(folder.iterdir())[3]
    volume = read(one)
    assert volume.shape == (1, 24, 20)
    assert volume.spacing[0] == 2.5
    assert volume.provenance.kind == "dicom-file"
    np.testing.assert_array_equal(volume.voxels[0], read(folder).voxels[3])


def test_cancel_and_progress(tmp_path):
    folder = series(tmp_path / "s")
    told = []
    with running(Task(lambda done, total, stage: told.append((stage, done, total)))):
        read(folder)
    assert ("examining files", 7, 7) in told
    assert told[-1] == ("reading slices", 7, 7)

    def stop(done, total, stage):
        if stage == "reading slices":
            token.cancel()

    token = Task(stop)
    with running(token), pytest.raises(Cancelled):
        read(folder)


def test_gaps_between_thin_slices_are_said(tmp_path):
    def thin(dataset, i):
        dataset.SliceThickness = 1.25  # 2.5 mm apart

    folder = change(series(tmp_path / "s"), thin)
    (warning,) = read(folder).provenance.warnings
    assert warning.text.startswith("the slices are 1.25 mm thick but 2.5 mm apart")
    assert read(series(tmp_path / "whole")).provenance.warnings == ()


def test_small_errors_of_positions_are_no_gap(tmp_path):
    rng = np.random.default_rng(3)

    def jitter(dataset, i):
        position = [float(v) for v in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [*position[:2], round(position[2] + rng.normal(0, 0.01), 2)]

    volume = read(change(series(tmp_path / "s"), jitter))
    assert volume.provenance.verdict == "regular"


def test_several_frames_of_reference_are_said(tmp_path):
    def move(dataset, i):
        dataset.FrameOfReferenceUID = f"1.2.{i // 4 + 1}"

    volume = read(change(series(tmp_path / "s"), move))
    assert "different frames of reference" in volume.provenance.warnings[0].text


def test_one_sop_instance_uid_for_all_slices_loses_none(tmp_path):
    def anonymize(dataset, i):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    folder = change(series(tmp_path / "s"), anonymize)
    assert read(folder).shape == (7, 24, 20)


def test_copied_files_count_once(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "copy of 1").write_bytes((folder / "0001.dcm").read_bytes())
    volume = read(folder)
    assert volume.shape == (7, 24, 20)
    assert "left out: 1" in volume.provenance.warnings[0].text

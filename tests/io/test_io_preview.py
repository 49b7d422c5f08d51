"""A preview is the middle slice, upright, with true proportions, in the scanner's window."""

from __future__ import annotations

import numpy as np
import pytest

from tomochrome import io
from tomochrome.errors import Cancelled, InputError
from tomochrome.geometry.orient import reorient
from tomochrome.io.dicom import write_series
from tomochrome.io.preview import preview
from tomochrome.runtime import Task, running
from tomochrome.volume import Volume, default_affine


@pytest.fixture
def marked():
    """Water in air with bright marks toward the right, the front and the top."""
    voxels = np.full((21, 41, 41), -1000, np.int16)
    voxels[2:-2, 6:-6, 6:-6] = 40
    voxels[8:13, 18:23, 6:12] = 2000  # right: low x
    voxels[8:13, 6:12, 18:23] = 2000  # front: low y
    voxels[15:19, 18:23, 18:23] = 2000  # top: high z
    return Volume(voxels, default_affine((2.0, 1.0, 1.0)))


def bright(picture):
    """Mean place (row, column) of white pixels, as a share of the picture."""
    return np.argwhere(picture > 250).mean(axis=0) / (len(picture) - 1)


def item_of(volume, folder):
    write_series(volume, folder)
    (item,) = io.find(folder).items
    return item


def test_axial_slices_have_right_on_the_left_and_the_front_on_top(tmp_path, marked):
    picture = preview(item_of(marked, tmp_path / "a"), 96)
    assert picture.shape == (96, 96)
    assert picture.dtype == np.uint8
    row, column = bright(picture)
    assert row < 0.45
    assert column < 0.45
    assert picture[2, 2] == 0


@pytest.mark.parametrize("flips", [(False, True, False), (True, False, True)])
def test_coronal_slices_have_the_top_on_top_however_they_were_stored(tmp_path, marked, flips):
    picture = preview(item_of(reorient(marked, (1, 0, 2), flips), tmp_path / "c"), 96)
    row, column = bright(picture)
    assert row < 0.45  # the mark at the top outweighs the one in the middle of the height
    assert column < 0.5


@pytest.mark.parametrize("flips", [(False, True, False), (True, False, True)])
def test_sagittal_slices_face_left(tmp_path, marked, flips):
    picture = preview(item_of(reorient(marked, (2, 0, 1), flips), tmp_path / "s"), 96)
    row, column = bright(picture)
    assert row < 0.5
    assert column < 0.45


def test_proportions_are_true(tmp_path):
    voxels = np.full((3, 50, 25), 40, np.int16)
    flat = Volume(voxels, default_affine((5.0, 0.5, 2.0)))  # 25 mm high, 50 mm wide
    picture = preview(item_of(flat, tmp_path / "f"), 80)
    rows, columns = np.nonzero(picture)
    assert np.ptp(columns) + 1 == 80
    assert np.ptp(rows) + 1 == 40


def test_only_the_middle_slice_is_decoded(tmp_path, marked):
    item = item_of(marked, tmp_path / "m")
    headers = item.source.headers
    for number, header in enumerate(headers):
        if number != len(headers) // 2:
            header.path.unlink()
    assert bright(preview(item, 96))[1] < 0.45


def test_the_scanners_first_window_is_used(tmp_path):
    voxels = np.full((3, 32, 32), 50, np.int16)  # the center of the first window that is written
    picture = preview(item_of(Volume(voxels, default_affine((1.0, 1.0, 1.0))), tmp_path / "w"), 32)
    assert abs(int(picture[16, 16]) - 128) <= 1


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_other_formats_show_their_middle_slice(tmp_path, marked, ending):
    if ending == ".mha":
        import SimpleITK

        from tomochrome.geometry.sitk import to_sitk

        SimpleITK.WriteImage(to_sitk(marked), str(tmp_path / "v.mha"))
    else:
        io.write(marked, tmp_path / f"v{ending}")
    (item,) = io.find(tmp_path / f"v{ending}").items
    row, column = bright(preview(item, 96))
    assert row < 0.45
    assert column < 0.45


def test_values_without_a_unit_show_nearly_their_whole_range(tmp_path):
    ramp = np.linspace(0, 1, 32, dtype=np.float32)
    voxels = np.broadcast_to(ramp, (3, 32, 32)).copy()
    voxels[1, 0, 0] = np.nan
    path = tmp_path / "ramp.nrrd"
    io.write(Volume(voxels, default_affine((1.0, 1.0, 1.0)), "unknown"), path)
    (item,) = io.find(path).items
    line = preview(item, 32)[16]
    assert (np.diff(line.astype(int)) >= 0).all()
    assert line[0] < 8
    assert line[-1] > 247


def test_colors_are_shown_grey(tmp_path, marked):
    rgba = np.full((*marked.shape, 4), 255, np.uint8)
    rgba[..., 1] = 0
    io.write(marked.with_voxels(rgba, unit="RGBA"), tmp_path / "c.nii.gz")
    (item,) = io.find(tmp_path / "c.nii.gz").items
    assert preview(item, 32)[16, 16] == 170


def test_a_damaged_slice_is_a_sentence_and_a_cancel_is_heard(tmp_path, marked):
    item = item_of(marked, tmp_path / "d")
    token = Task()
    token.cancel()
    with running(token), pytest.raises(Cancelled):
        preview(item, 32)
    path = item.source.headers[len(item.source.headers) // 2].path
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(InputError):
        preview(item, 32)


def test_every_shared_series_has_a_preview_or_a_sentence(shared_data):
    for folder in ("dicom/abdomen_contrast_j2k", "dicom/head_gantry_tilt", "dicom/enhanced"):
        for item in io.find(shared_data / folder).items:
            picture = preview(item, 64)
            assert picture.shape == (64, 64)
            assert picture.std() > 20

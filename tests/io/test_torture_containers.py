"""Volumes in a DICOMDIR, a zip, a NIfTI of several volumes, or a NRRD without a place."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
import torture as T
from io_cases import same_in_space
from torture_cases import base, said, settled, single

from tomochrome.errors import InputError
from tomochrome.geometry.affine import compose
from tomochrome.io import find, read
from tomochrome.notices import texts
from tomochrome.volume import Volume


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
    text = " ".join([*texts(item.warnings), *(s.reason for s in found.skipped)])
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

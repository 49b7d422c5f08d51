"""NIfTI against nibabel, NRRD and MetaImage against SimpleITK, and the rule for HU."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from io_cases import ct

from tomochrome.colorization import colorize
from tomochrome.errors import InputError, NotCTError
from tomochrome.geometry import same_grid, to_nifti_affine, to_sitk
from tomochrome.io import find, read
from tomochrome.io.image_values import rescaled
from tomochrome.io.units import infer_unit, looks_like_hounsfield, unit_of, why_not_hu
from tomochrome.volume import Provenance, Volume


def nifti(path, voxels, affine=None, **header):
    image = nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def assert_equals_nibabel(path, exact=True):
    volume, image = read(path), nib.load(path)
    expected = np.asanyarray(image.dataobj).reshape(image.shape[:3]).T
    (np.testing.assert_array_equal if exact else np.testing.assert_allclose)(
        volume.voxels, expected
    )
    np.testing.assert_allclose(to_nifti_affine(volume.affine), image.affine, atol=1e-9)
    return volume


REAL = {
    "ct/head_female_1mm.nii.gz": ("HU", (234, 512, 512)),
    "ct/abdomen_3mm.nii.gz": ("HU", (112, 101, 122)),
    "ct/thorax_cta_1p5mm.nii.gz": ("HU", (112, 102, 122)),
    "ct/abdomen_3mm_labels.nii.gz": ("unknown", (112, 101, 122)),
    "nifti/oblique_uint8.nii.gz": ("unknown", (58, 248, 175)),
    "registration/brain_a.nii.gz": ("unknown", (224, 192, 160)),
}


@pytest.mark.parametrize("name", REAL)
def test_real_nifti(shared_data, name):
    unit, shape = REAL[name]
    volume = assert_equals_nibabel(shared_data / name)
    assert (volume.unit, volume.shape) == (unit, shape)
    assert volume.provenance.verdict == ("regular" if unit == "HU" else "not-ct")
    assert "Hounsfield" in volume.provenance.warnings[-1].text


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "<i4", "<f4", "<f8", "u1"])
def test_stored_types(tmp_path, dtype):
    values = np.arange(60).reshape(3, 4, 5).astype(dtype)
    assert_equals_nibabel(nifti(tmp_path / "a.nii", values))


def test_scaled_values(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([1, 2, 3, 1]))
    hu = (ct((5, 4, 3)).voxels.T).astype(np.float64)
    image = nib.Nifti1Image(hu, image.affine)
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = assert_equals_nibabel(tmp_path / "a.nii.gz")
    assert volume.voxels.dtype == np.int16
    image.header.set_slope_inter(0.37, -1024)
    nib.save(image, tmp_path / "b.nii.gz")
    volume = assert_equals_nibabel(tmp_path / "b.nii.gz", exact=False)
    assert volume.voxels.dtype == np.float32


def test_floats_that_hold_whole_numbers_become_int16(tmp_path):
    hu = ct().voxels.T
    volume = read(nifti(tmp_path / "a.nii.gz", hu.astype(np.float64)))
    assert volume.unit == "HU"
    assert volume.voxels.dtype == np.int16


def test_one_volume_in_four_dimensions_and_several(tmp_path):
    read(nifti(tmp_path / "one.nii", np.zeros((3, 4, 5, 1), np.int16)))
    assert read(nifti(tmp_path / "flat.nii", np.zeros((3, 4), np.int16))).shape == (1, 4, 3)
    with pytest.raises(InputError, match="3 volumes in one file"):
        read(nifti(tmp_path / "many.nii", np.zeros((3, 4, 5, 3), np.int16)))
    with pytest.raises(InputError, match="not a single numeric type"):
        read(nifti(tmp_path / "complex.nii", np.zeros((3, 4, 5), np.complex64)))
    broken = np.zeros((3, 4, 5), np.float32)
    broken[1, 1, 1] = np.nan
    holed = read(nifti(tmp_path / "nan.nii", broken))
    assert holed.outside is not None
    assert holed.outside.sum() == 1
    broken[:] = np.inf
    with pytest.raises(InputError, match="has no finite value in any voxel"):
        read(nifti(tmp_path / "inf.nii", broken))


def test_disagreeing_or_missing_orientation_is_said(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([1, 1, 2, 1]))
    image.set_sform(np.diag([1, 1, 2, 1]), 1)
    image.set_qform(np.diag([1, 1, 3, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    volume = read(tmp_path / "a.nii")
    assert volume.spacing == (2, 1, 1)
    assert "the sform was used" in volume.provenance.warnings[0].text
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "b.nii")
    assert "no orientation" in read(tmp_path / "b.nii").provenance.warnings[0].text
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([1e-3, 1e-3, 2e-3, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    np.testing.assert_allclose(read(tmp_path / "m.nii").spacing, (2, 1, 1), rtol=1e-6)
    assert "converted to mm" in read(tmp_path / "m.nii").provenance.warnings[0].text


def test_a_singular_affine_is_refused(tmp_path):
    affine = np.diag([1.0, 1.0, 0.0, 1.0])
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    image.header.set_sform(affine, 1)
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "a.nii")
    with pytest.raises(InputError, match="unusable geometry"):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_itk_formats(tmp_path, ending):
    volume = ct(orientation="oblique")
    path = tmp_path / f"v{ending}"
    SimpleITK.WriteImage(to_sitk(volume), str(path))
    back = read(path)
    assert back.unit == "HU"
    assert back.voxels.dtype == np.int16
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert same_grid(back, volume, tolerance_mm=1e-4)
    assert back.provenance.kind == ("metaimage" if ending.startswith(".m") else "nrrd")
    assert len(find(tmp_path).items) == 1


def test_itk_files_that_are_no_volume(tmp_path):
    flat = SimpleITK.Image(4, 4, SimpleITK.sitkInt16)
    SimpleITK.WriteImage(flat, str(tmp_path / "flat.nrrd"))
    with pytest.raises(InputError, match="2 dimensions"):
        read(tmp_path / "flat.nrrd")
    field = SimpleITK.Image([4, 4, 4], SimpleITK.sitkVectorFloat32, 3)
    SimpleITK.WriteImage(field, str(tmp_path / "field.mha"))
    with pytest.raises(InputError, match="3 values in each voxel"):
        read(tmp_path / "field.mha")
    SimpleITK.WriteImage(to_sitk(ct()), str(tmp_path / "v.mhd"))
    (tmp_path / "v.raw").unlink(missing_ok=True)
    (tmp_path / "v.zraw").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"the data file .* is missing"):
        read(tmp_path / "v.mhd")


def test_what_can_be_hounsfield_units():
    hu = ct().voxels
    assert infer_unit(hu)[0] == "HU"
    assert infer_unit(hu.astype(np.float32) + 0.25)[0] == "HU"
    no = {
        "smallest value is 0": [hu % 200, np.clip(hu, 0, 1).astype(np.uint8)],
        "smallest value is -1": [np.clip(hu / 1024, -1, 1)],
        "hardly any voxel is air": [np.where(hu < -300, 0, hu) - (np.arange(hu.size) == 9).reshape(
            hu.shape) * 500],
        "hardly any voxel is soft tissue": [np.where(hu > -850, -1000, hu)],
        "beyond 16 bits": [hu.astype(np.int32) * 100],
        "not finite": [np.array([[[np.inf, -1000.0, 0.0]]])],
    }  # fmt: skip
    for words, many in no.items():
        for values in many:
            fits, reason = looks_like_hounsfield(values)
            assert not fits
            assert words in reason


def test_ct_values_without_negative_numbers_are_recognized_but_not_taken_for_hu():
    hu = ct().voxels
    for shifted in ((hu + 1024).astype(np.uint16), (hu + 1024).astype(np.float32)):
        unit, reason = unit_of(shifted)
        assert unit == "unknown"
        assert "CT shifted by 1024" in reason
    rng = np.random.default_rng(0)  # MR: no gap between dark and bright tissue
    mr = np.abs(rng.normal(0, 60, hu.shape)) + rng.uniform(0, 1500, hu.shape) * (hu > -500)
    assert "shifted" not in unit_of(mr.astype(np.int16))[1]


def test_the_unit_of_volumes_and_of_what_is_no_measurement():
    assert unit_of(ct()) == ("HU", "the file says so")
    assert unit_of(Volume(ct().voxels, unit="unknown"))[0] == "HU"
    assert unit_of(Volume(np.zeros((2, 2, 2, 4), np.uint8), unit="RGBA"))[0] == "RGBA"
    for none in (np.zeros((2, 2), bool), np.zeros((2, 2), complex), np.zeros((0, 2), np.int16)):
        assert unit_of(none)[0] == "unknown"


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (
            Volume(ct().voxels, unit="unknown", provenance=Provenance(modality="MR")),
            "it is magnetic",
        ),
        (Volume(ct().voxels + 1024, unit="unknown"), "shifted by 1024"),
        (Volume(ct().voxels, unit="unknown"), "labels or statistics"),
        (Volume(ct().voxels, unit="fraction"), "its values are fraction"),
        (Volume(np.zeros((2, 2, 2, 4), np.uint8), unit="RGBA"), "its values are RGBA"),
    ],
)
def test_what_is_no_ct_is_described(volume, words):
    assert words in why_not_hu(volume)
    if not volume.is_rgba:
        with pytest.raises(NotCTError, match=words):
            colorize(volume)


def test_paths_that_lead_to_nothing_readable(tmp_path):
    cases = {
        "": "the path is empty",
        str(tmp_path / "none"): "does not exist",
        str(tmp_path / "a\0b"): "cannot be opened",
        os.devnull: "device, pipe or socket",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        cases[str(tmp_path / "pipe")] = "device, pipe or socket"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    cases[str(loop)] = "cannot be opened"
    if os.name == "posix" and os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0)
        cases[str(closed)] = "cannot be opened"
        cases[str(closed / "file")] = "cannot be opened"
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-40000, 40000, width=32), min_size=1, max_size=20),
    st.booleans(),
    st.sampled_from(["float32", "float64", "int32", "uint16", "uint8", "int8", ">i2", ">f4"]),
)
def test_values_are_kept(values, whole, dtype):
    numbers = np.array(values, np.float64)
    numbers = np.rint(numbers) if whole or "f" not in dtype else numbers
    limits = (-40000, 40000) if "f" in dtype else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.clip(numbers, *limits).astype(dtype).reshape(-1, 1, 1)
    small = rescaled(array.copy(), array.shape, array.dtype, "x").voxels
    assert small.dtype in (np.int16, np.float32, np.uint8)
    assert small.dtype.isnative
    np.testing.assert_array_equal(small, array.astype(np.float32))
    if whole and np.abs(array.astype(float)).max() < 32768:
        assert small.dtype in (np.int16, np.uint8)


def test_volumes_stay_as_stored(tmp_path):
    affine = np.array([[0, -1.0, 0, 5], [0, 0, 2.0, 6], [-1.5, 0, 0, 7], [0, 0, 0, 1]])
    volume = assert_equals_nibabel(
        nifti(tmp_path / "a.nii", np.arange(24).reshape(2, 3, 4).astype(np.int16), affine)
    )
    assert isinstance(volume, Volume)
    assert volume.shape == (4, 3, 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_file_that_is_no_file_any_more(tmp_path):
    path = tmp_path / "ct.nrrd"
    SimpleITK.WriteImage(to_sitk(ct()), path)
    (item,) = find(path).items
    path.unlink()
    with pytest.raises(InputError, match=r"^'.*ct\.nrrd' does not exist; check the path$"):
        read(item)
    os.mkfifo(path)  # is not waited for
    with pytest.raises(InputError, match="is a device, pipe or socket"):
        read(item)

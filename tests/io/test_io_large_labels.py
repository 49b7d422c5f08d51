"""Label maps with numbers that 32-bit floats run together: as NIfTI, NRRD and MetaImage."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from tomochrome.io import read, write
from tomochrome.io.image_values import rescaled

LARGE = {
    "int32": [16_777_217, 16_777_216, -2_147_483_647, 614_454_277],
    "uint32": [16_777_217, 16_777_216, 4_294_967_295, 614_454_277],
    "int64": [16_777_217, 16_777_216, -(2**62) - 1, 2**62 + 1],
    "uint64": [16_777_217, 16_777_216, 2**64 - 1, 2**63 + 1],
}


def labels(dtype):
    """A map whose first slice is small, whose second needs floats, and whose third more."""
    voxels = np.zeros((4, 3, 5), dtype)
    voxels[0, 1] = 7
    voxels[1, 1] = 70_001
    voxels[2, 1, 1:] = LARGE[dtype]
    return voxels


@pytest.mark.parametrize("dtype", LARGE)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_every_label_is_kept(tmp_path, dtype, ending):
    path = tmp_path / f"labels{ending}"
    stored = labels(dtype)
    if ending.startswith(".nii"):
        nib.save(nib.Nifti1Image(stored.T, np.diag([2.0, 2.0, 3.0, 1.0]), dtype=dtype), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(stored), str(path))
    volume = read(path)
    assert volume.unit == "unknown"
    assert volume.voxels.dtype.kind in "iu" and volume.voxels.dtype.isnative
    np.testing.assert_array_equal(volume.voxels, stored)
    for back in ("back.nii.gz", "back.nrrd"):
        write(volume, tmp_path / back)
        np.testing.assert_array_equal(read(tmp_path / back).voxels, stored)
    written = np.asarray(nib.load(tmp_path / "back.nii.gz").dataobj)
    assert set(written.ravel().tolist()) == set(stored.ravel().tolist())


def test_whole_numbers_that_floats_hold_stay_floats():
    values = np.array([[[-(2**24), 2**24, 70_000]]], np.int64)
    for raw in (values, planes(values)):
        found = rescaled(raw, values.shape, values.dtype, "x").voxels
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)


def test_scaled_numbers_are_measurements():
    whole = labels("int32")
    found = rescaled(planes(whole), whole.shape, whole.dtype, "x", slope=0.5).voxels
    assert found.dtype == np.float32


def planes(array):
    """Give an array slice by slice, in the other byte order."""
    return iter(array.astype(array.dtype.newbyteorder("S")))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=12),
    st.sampled_from(["int32", "uint32", "int64", "uint64"]),
)
def test_no_whole_number_is_changed(values, dtype):
    limits = np.iinfo(dtype)
    whole = np.clip(np.array(values, np.int64), limits.min, min(limits.max, 2**62)).astype(dtype)
    stored = whole.reshape(-1, 1, 1)
    for raw in (stored, planes(stored)):
        found = rescaled(raw, stored.shape, stored.dtype, "x").voxels
        assert [int(v) for v in found.ravel()] == [int(v) for v in stored.ravel()]

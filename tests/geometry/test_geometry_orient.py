"""Lossless reorientation against nibabel, and there and back."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from geometry_cases import volumes
from hypothesis import given, settings

from tomochrome.errors import GeometryError
from tomochrome.geometry import closest_axial, reorient_like, same_grid, to_nifti_affine
from tomochrome.geometry.affine import apply
from tomochrome.volume import Volume

quick = settings(max_examples=60, deadline=None)


def places(volume: Volume) -> dict[tuple[float, ...], list[float]]:
    """Every voxel's value by its place in space, rounded to a micrometre."""
    index = np.indices(volume.shape).reshape(3, -1).T
    values = np.asarray(volume.voxels).reshape(len(index), -1)
    points = np.round(apply(volume.affine, index), 3) + 0.0
    return {tuple(p): v.tolist() for p, v in zip(points, values, strict=True)}


@quick
@given(volumes())
def test_voxels_stay_at_their_places(volume):
    upright = closest_axial(volume)
    before, after = places(volume), places(upright)
    assert len(before) == len(after)
    points_before = np.array(sorted(before))
    np.testing.assert_allclose(points_before, np.array(sorted(after)), atol=2e-3)
    values_before = sorted(map(tuple, before.values()))
    assert values_before == sorted(map(tuple, after.values()))


@quick
@given(volumes())
def test_there_and_back_is_lossless(volume):
    back = reorient_like(closest_axial(volume), volume)
    assert same_grid(back, volume)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    assert back.unit == volume.unit
    if volume.outside is None:
        assert back.outside is None
    else:
        np.testing.assert_array_equal(back.outside, volume.outside)
    np.testing.assert_array_equal(back.restored, volume.restored)


@quick
@given(volumes(rgba=False))
def test_voxels_outside_the_scan_stay_outside(volume):
    upright = closest_axial(volume)
    if volume.outside is None:
        assert upright.outside is None
    else:  # the values are distinct
        assert set(upright.voxels[upright.outside]) == set(volume.voxels[volume.outside])
        assert upright.outside.flags.c_contiguous


@quick
@given(volumes(rgba=False))
def test_restored_voxels_stay_marked(volume):
    upright = closest_axial(volume)
    if volume.restored is None:
        assert upright.restored is None
    else:  # the values are distinct
        assert set(upright.voxels[upright.restored]) == set(volume.voxels[volume.restored])


@quick
@given(volumes(shear=False, rgba=False))
def test_agrees_with_nibabel_where_axes_are_not_torn_between_two_directions(volume):
    directions = np.abs(volume.affine[:3, :3] / volume.spacing)
    if np.sort(directions, axis=0)[-1].min() < 0.8:
        return  # both ways of naming such an axis are right
    image = nib.Nifti1Image(np.asarray(volume.voxels).T, to_nifti_affine(volume.affine))
    canonical = nib.as_closest_canonical(image)  # RAS; ours is LPS
    upright = closest_axial(volume)
    expected = np.asarray(canonical.dataobj).T[:, ::-1, ::-1]
    np.testing.assert_array_equal(upright.voxels, expected)
    assert nib.aff2axcodes(to_nifti_affine(upright.affine)) == ("L", "P", "S")


def test_a_volume_on_another_grid_is_not_forced_back():
    a = Volume(np.zeros((2, 3, 4), np.int16))
    b = Volume(np.zeros((3, 3, 4), np.int16))
    with pytest.raises(GeometryError, match="resample it onto the original"):
        reorient_like(b, a)

"""Affines against nibabel, and round trips."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from geometry_cases import affines, shapes
from hypothesis import given, settings

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import (
    LPS_FROM_RAS,
    apply,
    compose,
    corners,
    decompose,
    from_nifti_affine,
    is_orthogonal,
    lps_to_ras,
    ras_to_lps,
    require_same_grid,
    same_grid,
    to_nifti_affine,
)
from tomochrome.volume import Volume, default_affine

quick = settings(max_examples=60, deadline=None)


@quick
@given(affines())
def test_nifti_affine_round_trip(affine):
    np.testing.assert_allclose(from_nifti_affine(to_nifti_affine(affine)), affine, atol=1e-9)
    np.testing.assert_allclose(ras_to_lps(lps_to_ras(affine)), affine, atol=1e-9)


@quick
@given(affines(), shapes)
def test_nifti_affine_puts_voxels_where_nibabel_does(affine, shape):
    index = np.array(shape) - 1
    here = apply(affine, index)
    there = nib.affines.apply_affine(to_nifti_affine(affine), index[::-1])
    np.testing.assert_allclose(here * [-1, -1, 1], there, atol=1e-6)


@quick
@given(affines())
def test_compose_undoes_decompose(affine):
    np.testing.assert_allclose(compose(*decompose(affine)), affine, atol=1e-9)


def test_the_upright_affine_is_identity_like_in_nifti():
    nifti = to_nifti_affine(default_affine((3.0, 2.0, 1.0), (10.0, 20.0, 30.0)))
    np.testing.assert_array_equal(nib.aff2axcodes(nifti), ("L", "P", "S"))
    np.testing.assert_array_equal(nifti[:3, 3], (-10.0, -20.0, 30.0))
    assert not LPS_FROM_RAS.flags.writeable


def test_shear_is_seen():
    upright = default_affine((1.0, 1.0, 1.0))
    tilted = upright.copy()
    tilted[1, 0] = 0.3
    assert is_orthogonal(upright)
    assert not is_orthogonal(tilted)


def test_same_grid_looks_at_shape_and_place():
    a = Volume(np.zeros((3, 4, 5), np.int16))
    moved = a.affine.copy()
    moved[0, 3] += 0.01
    scaled = a.affine.copy()
    scaled[:3, 2] *= 1.01
    assert same_grid(a, Volume(np.ones((3, 4, 5)), a.affine + 0.0))
    assert not same_grid(a, Volume(a.voxels, moved))
    assert same_grid(a, Volume(a.voxels, moved), tolerance_mm=0.1)
    assert not same_grid(a, Volume(a.voxels, scaled))
    assert not same_grid(a, Volume(np.zeros((4, 4, 5)), a.affine))
    assert corners((3, 4, 5), a.affine).max(axis=0).tolist() == [4.0, 3.0, 2.0]
    with pytest.raises(GeometryError, match="CT and map are not on the same voxel grid"):
        require_same_grid(a, Volume(a.voxels, moved), "CT and map")

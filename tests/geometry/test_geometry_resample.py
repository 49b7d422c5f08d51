"""Resampling against SimpleITK in physical space, and images there and back."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from geometry_cases import volumes
from hypothesis import example, given, settings
from scipy.ndimage import map_coordinates

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry import from_sitk, resample, same_grid, to_sitk, to_spacing
from tomochrome.geometry.affine import apply
from tomochrome.geometry.resample import restored_on
from tomochrome.volume import Volume, default_affine

quick = settings(max_examples=40, deadline=None)


@quick
@given(volumes(shear=False))
def test_to_sitk_and_back(volume):
    back = from_sitk(to_sitk(volume), volume.unit, volume.provenance)
    assert same_grid(back, volume)
    np.testing.assert_array_equal(back.voxels, volume.voxels)


@quick
@given(volumes(shear=False, rgba=False), volumes(shear=False, rgba=False))
def test_resampling_equals_simpleitk_in_physical_space(volume, like):
    near = Volume(like.voxels, like.affine.copy() * 1.0)
    affine = near.affine.copy()
    affine[:3, 3] = volume.affine[:3, 3] + 0.1
    near = Volume(like.voxels, affine)
    ours = resample(volume, near, order="nearest", fill=-5)
    theirs = SimpleITK.Resample(
        to_sitk(volume), to_sitk(near), SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor, -5.0
    )
    assert same_grid(ours, near)
    index = np.moveaxis(np.indices(near.shape), 0, -1)
    there = apply(np.linalg.inv(volume.affine), apply(near.affine, index))
    torn = (np.abs(there - np.floor(there) - 0.5) < 1e-6).any(axis=-1)  # both ways are nearest
    outside = np.zeros(near.shape, bool) if ours.outside is None else ours.outside
    assert (ours.voxels[outside] == -5).all()  # also where the volume has a hole
    theirs = SimpleITK.GetArrayFromImage(theirs)
    np.testing.assert_array_equal(ours.voxels[~torn & ~outside], theirs[~torn & ~outside])


def test_linear_resampling_equals_scipy_on_a_tilted_volume():
    rng = np.random.default_rng(1)
    affine = default_affine((2.0, 1.0, 1.0))
    affine[1, 0] = 0.7  # a tilted gantry: slices slide
    volume = Volume(rng.normal(size=(6, 12, 10)).astype(np.float32), affine)
    like = Volume(np.zeros((7, 9, 8), np.uint8), default_affine((1.5, 1.2, 1.1), (0.3, 2.0, 0.4)))
    ours = resample(volume, like, fill=0)
    index = np.indices(like.shape).reshape(3, -1)
    to_volume = np.linalg.inv(volume.affine) @ like.affine
    where = to_volume[:3, :3] @ index + to_volume[:3, 3:]
    expected = map_coordinates(volume.voxels, where, order=1, mode="constant", cval=np.nan)
    inside = ~np.isnan(expected)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours.voxels.ravel()[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.int32, np.float32])
def test_whole_numbers_are_rounded_to_nearest_and_not_towards_0(dtype):
    row = np.array([0, 10, 3, 7] if dtype == np.uint8 else [0, 10, -10, 7])
    volume = Volume(np.broadcast_to(row, (3, 3, 4)).astype(dtype))
    like = Volume(np.zeros((3, 3, 3), np.uint8), default_affine((1, 1, 1), (0.26, 0, 0)))
    exact = 0.74 * row[:3] + 0.26 * row[1:]
    ours = resample(volume, like).voxels[1, 1]
    assert ours.dtype == dtype
    whole = np.issubdtype(dtype, np.integer)
    np.testing.assert_allclose(ours, np.rint(exact) if whole else exact, atol=1e-5)


def test_the_same_grid_costs_nothing_and_fill_depends_on_the_unit():
    volume = Volume(np.zeros((2, 2, 2), np.int16))
    assert resample(volume, volume) is volume
    far = Volume(np.zeros((2, 2, 2), np.int16), default_affine((1, 1, 1), (100, 0, 0)))
    assert (resample(volume, far).voxels == -1024).all()
    labels = Volume(np.ones((2, 2, 2), np.uint8), unit="tissue")
    assert (resample(labels, far, order="nearest").voxels == 0).all()
    color = Volume(np.full((2, 2, 2, 4), 9, np.uint8), unit="RGBA")
    assert (resample(color, far).voxels == 0).all()
    with pytest.raises(OptionError, match="choose linear or nearest"):
        resample(volume, far, order="cubic")  # type: ignore[arg-type]
    mask = Volume(np.ones((2, 2, 2), bool))  # the unit of a volume is HU if none is given
    for order in ("nearest", "linear"):
        for fill, expected in ((None, False), (-5.0, False), (7.0, True)):
            assert (resample(mask, far, order=order, fill=fill).voxels == expected).all()
    with pytest.raises(InputError, match="the grid of the result must be a Volume"):
        resample(volume, far.shape)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="what is resampled must be a Volume"):
        to_spacing(volume.voxels, (1.0, 1.0, 1.0))  # type: ignore[arg-type]


def test_to_spacing_keeps_the_field_of_view():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (4, 6, 8)).copy()
    volume = Volume(ramp, default_affine((2.0, 1.0, 1.0), (5.0, 6.0, 7.0)))
    half = to_spacing(volume, (4.0, 2.0, 2.0))
    assert half.shape == (2, 3, 4)
    np.testing.assert_allclose(half.spacing, (4, 2, 2))
    np.testing.assert_allclose(half.origin, (5.5, 6.5, 8.0))
    np.testing.assert_allclose(half.voxels[0, 0], [0.5, 2.5, 4.5, 6.5])
    fine = to_spacing(volume, (1.0, 0.5, 0.5))
    assert fine.shape == (8, 12, 16)
    assert fine.voxels.min() == 0
    with pytest.raises(OptionError, match="three positive numbers"):
        to_spacing(volume, (0.0, 1.0, 1.0))


def test_sheared_volumes_are_no_itk_images():
    affine = default_affine((2.0, 1.0, 1.0))
    affine[1, 0] = 0.7
    with pytest.raises(GeometryError, match="not orthogonal"):
        to_sitk(Volume(np.zeros((2, 2, 2), np.int16), affine))
    with pytest.raises(GeometryError, match="2 dimensions"):
        from_sitk(SimpleITK.Image(3, 3, SimpleITK.sitkInt16))


@pytest.mark.parametrize("dtype", [">i2", ">u4", ">f4", ">f8"])
def test_the_byte_order_does_not_matter_to_itk(dtype):
    voxels = np.arange(24).reshape(2, 3, 4)
    image = to_sitk(Volume(voxels.astype(dtype), unit="unknown"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), voxels)


def test_half_floats_and_booleans_become_what_itk_knows():
    image = to_sitk(Volume(np.ones((2, 2, 2), bool)))
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    image = to_sitk(Volume(np.ones((2, 2, 2), np.float16)))
    assert image.GetPixelID() == SimpleITK.sitkFloat32


def row_of(axis, count):
    """Voxels 0.2 mm apart along one axis: 0.1 mm further on lies exactly half-way."""
    spacing, shape = [5.0] * 3, [1] * 3
    spacing[axis], shape[axis] = 0.2, count
    voxels = np.arange(count, dtype=np.int16).reshape(shape) - 1000
    return Volume(voxels, default_affine(tuple(spacing)), "HU")


@quick
@given(volumes(rgba=False), volumes(rgba=False))
@example(row_of(0, 1), row_of(0, 1))
@example(row_of(1, 1), row_of(1, 1))
@example(row_of(2, 1), row_of(2, 1))
def test_the_mask_is_resampled_with_the_voxels(volume, like):
    affine = like.affine.copy()
    affine[:3, 3] = volume.affine[:3, 3] + 0.1
    near = Volume(like.voxels, affine)
    ours = resample(volume, near, order="nearest", fill=-30000)
    outside = np.zeros(near.shape, bool) if ours.outside is None else ours.outside
    beyond = ours.voxels == -30000
    assert (outside | ~beyond).all()  # where nothing is known, nothing was measured
    if volume.outside is not None:
        measured = set(volume.voxels[~volume.outside])
        assert set(ours.voxels[~outside]) <= measured
        assert not set(ours.voxels[outside & ~beyond]) & measured
    else:
        np.testing.assert_array_equal(outside, beyond)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("order", ["nearest", "linear"])
@pytest.mark.parametrize("step", [0.1, -0.1])
def test_on_the_very_edge_voxels_and_mask_agree(axis, count, order, step):
    volume = row_of(axis, count)
    affine = volume.affine.copy()
    affine[:3, 3] += step
    found = resample(volume, Volume(volume.voxels, affine), order=order, fill=-30000)
    outside = np.zeros(found.shape, bool) if found.outside is None else found.outside
    np.testing.assert_array_equal(outside, found.voxels == -30000)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_what_was_not_measured_is_never_blended_with_tissue(dtype):
    rng = np.random.default_rng(4)
    outside = rng.random((6, 9, 8)) < 0.2
    outside[:, :3] = True
    voxels = np.where(outside, -1024, 40).astype(dtype)
    volume = Volume(voxels, default_affine((2.0, 1.0, 1.0)), outside=outside)
    fine = to_spacing(volume, (0.7, 0.6, 0.45))
    assert fine.voxels.dtype == dtype
    assert set(np.unique(fine.voxels[~fine.outside].round(3))) == {40}
    assert (fine.voxels[fine.outside] == -1024).all()
    assert fine.outside[:, :4].all()
    assert fine.outside[:, 6:].mean() < 0.3
    whole = Volume(voxels, volume.affine, outside=np.zeros_like(outside))
    assert to_spacing(whole, (2.5, 1.2, 1.2)).outside is None


def test_whole_volumes_have_no_mask_until_they_do_not_reach():
    volume = Volume(np.zeros((4, 4, 4), np.int16))
    assert to_spacing(volume, (2.0, 2.0, 2.0)).outside is None
    moved = Volume(np.zeros((4, 4, 4), np.uint8), default_affine((1, 1, 1), (2.0, 0, 0)))
    assert resample(volume, moved).outside.sum() == 2 * 16
    labels = Volume(np.ones((4, 4, 4), np.uint8), unit="tissue")
    assert resample(labels, moved, order="nearest").outside is None


def test_the_hidden_color_of_a_clear_voxel_tinges_nothing() -> None:
    voxels = np.zeros((1, 1, 4, 4), np.uint8)
    voxels[0, 0, :2] = (200, 100, 50, 255)
    voxels[0, 0, 2:] = (0, 255, 0, 0)  # clear, green where nobody sees it
    color = Volume(voxels, unit="RGBA")
    shift = np.eye(4)
    shift[0, 3] = 0.5  # half a voxel along x, the first of LPS
    like = Volume(np.zeros((1, 1, 3), np.uint8), shift @ color.affine, "label")
    found = np.asarray(resample(color, like).voxels)[0, 0]
    np.testing.assert_array_equal(found[0], (200, 100, 50, 255))
    np.testing.assert_array_equal(found[1], (200, 100, 50, 128))
    assert found[2, 3] == 0


@pytest.mark.parametrize(("kind", "least"), [(np.uint16, 0), (np.int16, -1024), (np.int8, -128)])
def test_air_beyond_a_scan_is_a_value_that_its_type_holds(kind: type, least: int) -> None:
    volume = Volume(np.full((3, 3, 3), 7, kind), unit="HU")
    far = volume.affine.copy()
    far[:3, 3] += 100
    found = resample(volume, Volume(volume.voxels, far, "HU"))
    assert found.voxels.dtype == kind
    assert (np.asarray(found.voxels) == least).all()


def test_every_voxel_with_a_share_of_a_restored_one_is_marked():
    """One restored value that nothing else has, in a volume of zeros, shows where it goes."""
    voxels = np.zeros((5, 6, 7), np.float32)
    voxels[2, 3, 1] = voxels[4, 0, 6] = 1000
    volume = Volume(voxels, default_affine((2.0, 1.0, 1.0)), restored=voxels > 0)
    like = Volume(np.zeros((9, 8, 8), np.uint8), default_affine((1.1, 0.7, 0.9), (0.3, 0.2, 0.1)))
    moved = resample(volume, like, fill=0)
    np.testing.assert_array_equal(moved.restored, moved.voxels > 0.1)
    np.testing.assert_array_equal(restored_on(volume, like), moved.restored)
    np.testing.assert_array_equal(restored_on(volume, volume), volume.restored)
    none = Volume(voxels, volume.affine)
    assert resample(none, like).restored is None
    assert restored_on(none, like) is None

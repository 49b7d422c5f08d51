"""Exchanging fixed and moving exchanges the transforms, on any grids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from registration_cases import scans
from transform_cases import grid, smooth_field, turned

import tomochrome as tc
from tomochrome.phantom import make_patient
from tomochrome.registration.checked_input import is_swapped
from tomochrome.registration.working_pair import make_pair
from tomochrome.transform import Transform
from tomochrome.volume import Volume


@pytest.fixture(scope="module")
def scan() -> Volume:
    return make_patient(3, "abdomen", (9.0, 9.0, 9.0), noise=0.3).ct


@pytest.fixture(scope="module")
def coarse() -> Volume:
    """A coarse volume for repeated complete registrations."""
    return make_patient(3, "abdomen", (15.0, 15.0, 15.0), noise=0.3).ct


def deformed(scan: Volume, like: Volume) -> Volume:
    field = smooth_field(scan.shape, scan.affine, 8.0, seed=1)
    return replace(Transform.from_fields(field).apply(scan, like), outside=None)


def other_grid(scan: Volume) -> Volume:
    """A rotated, coarser grid, shorter along z."""
    shape = (scan.shape[0] - 4, scan.shape[1] - 6, scan.shape[2] - 5)
    middle = scan.affine @ np.append((np.array(scan.shape) - 1) / 2, 1)
    spacing = tuple(np.multiply(scan.spacing, (1.06, 1.11, 1.17)))
    affine = turned(0.1, (0.0, 0.0, 0.0)) @ grid(shape, spacing)
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Volume(np.zeros(shape, np.uint8), affine, "unknown")


@pytest.mark.parametrize("like", ["same grid", "another grid"])
def test_exchanging_the_volumes_exchanges_the_transforms(coarse: Volume, like: str) -> None:
    moving = deformed(coarse, coarse if like == "same grid" else other_grid(coarse))
    one = tc.register(coarse, moving, refine=4)
    two = tc.register(moving, coarse, refine=4)
    index = np.random.default_rng(0).uniform(0.2, 0.8, (200, 3)) * np.array(coarse.shape)
    points = index @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]
    np.testing.assert_allclose(one.forward.points(points), two.inverse.points(points), atol=1e-6)
    np.testing.assert_allclose(one.inverse.points(points), two.forward.points(points), atol=1e-6)
    affine, back = one.report["affine"], np.linalg.inv(two.report["affine"])
    np.testing.assert_allclose(affine, back, rtol=1e-6, atol=1e-6)
    assert one.moved.shape == coarse.shape and two.moved.shape == moving.shape


def test_the_order_is_one_of_two_and_never_of_names(scan: Volume) -> None:
    louder = replace(scan, voxels=np.asarray(scan.voxels) + 1)
    smaller = replace(scan, voxels=np.asarray(scan.voxels)[2:])
    for other in (louder, smaller, other_grid(scan)):
        assert is_swapped(scan, other) != is_swapped(other, scan)
    assert is_swapped(scan, smaller)  # the smaller field of view comes first
    assert not is_swapped(scan, replace(scan))


def test_the_working_grid_has_room_where_the_moving_volume_goes_on(scan: Volume) -> None:
    part = replace(scan, voxels=np.ascontiguousarray(np.asarray(scan.voxels)[6:-6]))
    shifted = np.array(scan.affine)
    shifted[:3, 3] += 6 * shifted[:3, 0]
    part = replace(part, affine=shifted)
    pair = make_pair(*scans(part, scan))
    assert pair.shape == (part.shape[0] + 6, *part.shape[1:])  # 25 mm are three voxels of 9
    assert pair.masks is not None
    assert not pair.masks[0, 0, :3].any() and pair.masks[1].all()
    first = pair.affine @ (3, 0, 0, 1)
    np.testing.assert_allclose(first, part.affine[:, 3], atol=1e-9)
    assert make_pair(*scans(scan, scan)).shape == scan.shape

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from registration_cases import scans

from tomochrome.errors import GeometryError, InputError
from tomochrome.registration.checked_input import check_volume
from tomochrome.registration.working_pair import MAX_VOXELS, make_pair, working_grid
from tomochrome.volume import Volume, default_affine


def ball(
    shape: tuple[int, int, int] = (20, 24, 28),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    at: tuple[float, float, float] = (28.0, 24.0, 20.0),
) -> Volume:
    """A sphere of water in air, in LPS mm."""
    affine = default_affine(spacing, origin)
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    distance = np.linalg.norm((index @ affine.T)[..., :3] - at, axis=-1)
    return Volume(np.where(distance < 14, 0, -1000).astype(np.int16), affine)


def test_other_grids_and_orientations_come_to_the_same_place() -> None:
    fixed = ball()
    other = ball((30, 50, 40), (1.5, 1.0, 1.6), (-4.0, -3.0, -2.0))
    flipped = replace(
        other,
        voxels=np.ascontiguousarray(other.voxels[::-1, :, ::-1]),
        affine=other.affine @ _flip(other.shape, (0, 2)),
    )
    pair = make_pair(*scans(fixed, flipped))
    assert pair.shape == (22, 26, 33)  # with a margin where the other field of view is larger
    assert pair.like.shape == pair.shape
    assert np.allclose(pair.spacing, 2.0)
    inner = (0, 0, slice(2, -2), slice(2, -2), slice(2, -2))
    assert float((pair.fixed - pair.moving)[inner].abs().mean()) < 0.03
    assert float(pair.fixed.min()) >= 0.0 and float(pair.fixed.max()) <= 1.0


def _flip(shape: tuple[int, int, int], axes: tuple[int, ...]) -> np.ndarray:
    matrix = np.eye(4)
    for axis in axes:
        matrix[axis, axis], matrix[axis, 3] = -1.0, shape[axis] - 1
    return matrix


def test_the_initial_transform_takes_fixed_points_to_moving_points() -> None:
    moved = ball(at=(28.0 + 6.0, 24.0 - 4.0, 20.0))
    transform = np.eye(4)
    transform[:3, 3] = (6.0, -4.0, 0.0)
    pair = make_pair(*scans(ball(), moved), transform=transform)
    plain = make_pair(*scans(ball(), moved))
    difference = (pair.fixed - pair.moving)[..., 3:-4].abs().mean()
    assert float(difference) < 0.01
    assert float((plain.fixed - plain.moving).abs().mean()) > 0.03
    assert pair.masks is not None  # voxels outside the moving volume are not used
    assert float(pair.masks[1, 0, 0, 0, -1]) == 0.0


def test_masks_and_unmeasured_voxels_do_not_count() -> None:
    fixed = ball()
    outside = np.zeros(fixed.shape, bool)
    outside[:4] = True
    mask = fixed.with_voxels((np.indices(fixed.shape)[2] < 10).astype(np.uint8), unit="unknown")
    pair = make_pair(*scans(replace(fixed, outside=outside), ball(), moving_mask=mask))
    assert pair.masks is not None
    assert pair.masks[0, 0, :, 0, 0].tolist() == [0.0] * 4 + [1.0] * 16
    assert pair.masks[1, 0, 0, 0].tolist() == [1.0] * 10 + [0.0] * 18
    assert make_pair(*scans(fixed, fixed)).masks is None


def test_large_and_thick_volumes_get_a_grid_that_fits() -> None:
    large = Volume(np.broadcast_to(np.int16(0), (600, 512, 512)), default_affine((1.0, 0.7, 0.7)))
    shape, affine = working_grid(large)
    assert np.prod(shape) <= MAX_VOXELS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    assert spacing.max() < 1.1 * spacing.min()
    slab = Volume(np.broadcast_to(np.int16(0), (12, 256, 256)), default_affine((8.0, 1.0, 1.0)))
    assert working_grid(slab)[0][0] >= 12
    brain = Volume(np.broadcast_to(np.int16(0), (160, 192, 224)))
    assert working_grid(brain)[0] == brain.shape


def test_values_that_are_no_hu_are_scaled_by_their_percentiles() -> None:
    rng = np.random.default_rng(0)
    one = replace(ball(), voxels=rng.normal(500, 100, (20, 24, 28)), unit="unknown")
    pair = make_pair(*scans(one, replace(one, voxels=one.voxels * 40 - 3)))
    assert float((pair.fixed - pair.moving).abs().max()) < 1e-4
    assert 0.4 < float(pair.fixed.mean()) < 0.6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"voxels": np.zeros((20, 24, 28), np.int16)}, "constant"),
        ({"voxels": np.full((20, 24, 28), np.nan)}, "NaN"),
        ({"voxels": np.zeros((20, 24, 28, 4), np.uint8), "unit": "RGBA"}, "in color"),
        ({"voxels": np.zeros((1, 24, 28), np.int16)}, "flat"),
        ({"affine": default_affine((900.0, 1.0, 1.0))}, "implausible spacing"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_a_sentence(
    change: dict[str, object], words: str
) -> None:
    volume = replace(ball(), **change)  # type: ignore[arg-type]
    with pytest.raises((InputError, GeometryError), match=words):
        check_volume(volume, "moving")
    with pytest.raises((InputError, GeometryError), match="the moving volume"):
        make_pair(*scans(ball(), volume))


def test_volumes_that_do_not_meet_are_refused() -> None:
    with pytest.raises(GeometryError, match="do not overlap"):
        make_pair(*scans(ball(), ball(origin=(900.0, 0.0, 0.0), at=(928.0, 24.0, 20.0))))

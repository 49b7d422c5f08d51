"""Jacobians against closed forms and SimpleITK, folds that hide, the way back, landmarks."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import Cancelled, InputError
from tomochrome.evaluate import (
    inverse_consistency,
    jacobian_measures,
    landmark_errors,
    transform_measures,
)
from tomochrome.geometry.affine import apply
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform, jacobian_map
from tomochrome.transform import jacobian_determinant as jacobian_module
from tomochrome.volume import Volume, default_affine

SHAPE = (11, 13, 12)


def like(
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = (3.0, 1.5, 2.0),
    angle: float = 0.0,
) -> Volume:
    """An empty grid about the origin, turned about z."""
    affine = default_affine(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Volume(np.broadcast_to(np.uint8(0), shape), turn @ affine, "unknown")


def places(grid: Volume) -> NDArray[np.float64]:
    return apply(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def smooth(grid: Volume, size: float = 2.0, seed: int = 0) -> DisplacementField:
    random = np.random.default_rng(seed)
    vectors = ndimage.gaussian_filter(random.normal(size=(*grid.shape, 3)), (2, 2, 2, 0))
    vectors *= size / np.abs(vectors).max()
    return DisplacementField(vectors.astype(np.float32), grid.affine)


@given(entries=st.lists(st.floats(-0.3, 0.3), min_size=9, max_size=9), angle=st.floats(-1.0, 1.0))
@settings(max_examples=20, deadline=None)
def test_jacobian_of_a_linear_map_is_its_determinant(entries: list[float], angle: float) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] += np.reshape(entries, (3, 3))
    truth = np.linalg.det(matrix[:3, :3])
    grid = like(angle=angle)
    assert np.allclose(jacobian_map(Transform.from_affine(matrix), grid).voxels, truth)
    linear = DisplacementField(
        (places(grid) @ (matrix[:3, :3] - np.eye(3)).T).astype(np.float32), grid.affine
    )
    found = jacobian_map(Transform.from_fields(linear), grid).voxels
    if truth > 0:
        assert np.allclose(found, truth, atol=2e-5)
    else:
        assert (found < 1e-5).all()


def test_jacobian_of_a_radial_stretch() -> None:
    """``p -> p (1 + a |p|^2)`` has the determinant ``(1 + a r^2)^2 (1 + 3 a r^2)``."""
    grid = like((41, 41, 41), (0.5, 0.5, 0.5), angle=0.3)
    p = places(grid)
    square = (p**2).sum(-1, keepdims=True)
    for a in (1e-3, -1e-3):
        field = DisplacementField((p * a * square).astype(np.float32), grid.affine)
        found = jacobian_map(Transform.from_fields(field), grid).voxels
        s = a * square[..., 0]
        truth = (1 + s) ** 2 * (1 + 3 * s)
        inner = (slice(1, -1),) * 3
        assert np.abs(found - truth)[inner].max() < 2e-3
        mask = np.zeros(grid.shape, bool)
        mask[inner] = True
        measured = jacobian_measures(Volume(found, grid.affine, "unknown"), mask)
        assert measured["folded_percent"] == 0.0
        assert measured["sd_log"] == pytest.approx(np.log(truth[inner]).std(), abs=2e-3)


def test_jacobian_is_that_of_simpleitk() -> None:
    grid = like()
    field = smooth(grid)
    image = SimpleITK.Cast(field.to_sitk(), SimpleITK.sitkVectorFloat64)
    oracle = SimpleITK.GetArrayFromImage(SimpleITK.DisplacementFieldJacobianDeterminant(image))
    inner = (slice(1, -1),) * 3
    found = jacobian_map(Transform.from_fields(field), grid).voxels
    assert found.min() > 0
    assert np.allclose(found[inner], oracle[inner], atol=1e-4)


def test_the_affine_part_counts() -> None:
    grid = like()
    field = smooth(grid)
    matrix = np.diag([1.2, 0.9, 1.1, 1.0])
    alone = jacobian_map(Transform.from_fields(field), grid).voxels
    after = jacobian_map(Transform.from_fields(field, affine=matrix), grid).voxels
    assert np.allclose(after, alone * np.linalg.det(matrix), rtol=1e-5)
    mirror = jacobian_map(Transform.from_fields(field, affine=np.diag([-1.0, 1, 1, 1])), grid)
    assert jacobian_measures(mirror)["folded_percent"] == 100.0
    turned = Transform.from_affine(like(angle=0.2).affine @ np.linalg.inv(grid.affine))
    before = turned.then(Transform.from_fields(field))
    assert jacobian_map(before, grid).voxels.mean() == pytest.approx(alone.mean(), abs=0.02)


def test_a_fold_of_one_voxel_is_seen() -> None:
    """Every second voxel jumps over its neighbour: central differences see the identity."""
    grid = like(spacing=(1.0, 1.0, 1.0))
    vectors = np.zeros((*SHAPE, 3), np.float32)
    vectors[:, :, ::2, 0] = 1.5
    field = DisplacementField(vectors, grid.affine)
    central = 1 + np.gradient(vectors[..., 0], axis=2)[:, :, 1:-1]
    assert central.min() > 0
    found = jacobian_map(Transform.from_fields(field), grid)
    assert jacobian_measures(found)["folded_percent"] == 100.0
    lone = np.zeros((*SHAPE, 3), np.float32)
    lone[5, 6, 6, 0] = 1.5
    found = jacobian_map(Transform.from_fields(DisplacementField(lone, grid.affine)), grid)
    assert set(map(tuple, np.argwhere(found.voxels <= 0))) == {(5, 6, 6), (5, 6, 7)}


def test_folds_of_a_finer_field_are_not_missed() -> None:
    fine = like((20, 20, 20), (1.0, 1.0, 1.0))
    coarse = like((5, 5, 5), (4.0, 4.0, 4.0))
    vectors = np.zeros((20, 20, 20, 3), np.float32)
    vectors[10, 10, 8, 0] = 3.0
    forward = Transform.from_fields(DisplacementField(vectors, fine.affine))
    for transform in (forward, Transform.from_affine(np.eye(4) * [1, 1, 1, 1]).then(forward)):
        found = jacobian_map(transform, coarse)
        folded = apply(coarse.affine, np.argwhere(found.voxels <= 0))
        truth = apply(fine.affine, (10, 10, 8))
        assert len(folded) in (1, 2)
        assert np.abs(folded - truth).max() <= 4.0


def test_slabs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    transform = Transform.from_fields(smooth(like()), affine=np.diag([1.1, 1.0, 1.0, 1.0]))
    grid = like((9, 8, 7), (2.0, 2.0, 2.0), angle=0.5)
    own, other = jacobian_map(transform, like()).voxels, jacobian_map(transform, grid).voxels
    monkeypatch.setattr(jacobian_module, "_SLAB", 2 * 13 * 12)
    assert np.array_equal(jacobian_map(transform, like()).voxels, own)
    assert np.allclose(jacobian_map(transform, grid).voxels, other, atol=1e-5)


def test_where_the_field_is_not_known_nothing_is_said() -> None:
    small = like((7, 7, 7), (2.0, 2.0, 2.0))
    vectors = np.full((7, 7, 7, 3), 5.0, np.float32)
    transform = Transform.from_fields(DisplacementField(vectors, small.affine))
    found = jacobian_map(transform, like((11, 11, 11), (2.0, 2.0, 2.0)))
    assert found.outside is not None
    assert found.outside.sum() == 11**3 - 5**3
    assert jacobian_measures(found) == {"folded_percent": 0.0, "sd_log": pytest.approx(0, abs=1e-6)}
    far = Volume(np.zeros((3, 3, 3)), default_affine((1, 1, 1), (500, 0, 0)), "unknown")
    with pytest.raises(InputError, match="not defined anywhere"):
        jacobian_measures(jacobian_map(transform, far))


def test_jacobian_measures_under_a_mask() -> None:
    values = np.ones(SHAPE, np.float32)
    values[0], values[1] = -1.0, np.e
    jacobian = Volume(values, like().affine, "unknown")
    assert jacobian_measures(jacobian)["folded_percent"] == pytest.approx(100 / 11)
    mask = np.zeros(SHAPE, bool)
    mask[1:3] = True
    assert jacobian_measures(jacobian, mask) == {
        "folded_percent": 0.0,
        "sd_log": pytest.approx(0.5),
    }
    assert jacobian_measures(jacobian.with_voxels(-np.abs(values))) == {
        "folded_percent": 100.0,
        "sd_log": 0.0,
    }


def test_thin_grids_have_a_jacobian_too() -> None:
    grid = like((1, 9, 9))
    field = DisplacementField(np.zeros((1, 9, 9, 3)), grid.affine)
    assert np.allclose(jacobian_map(Transform.from_fields(field), grid).voxels, 1.0)


def test_the_way_back_of_a_shift_and_of_a_lie() -> None:
    grid = like()
    matrix = np.eye(4)
    matrix[:3, 3] = 3, 4, 12
    forward = Transform.from_affine(matrix)
    exact = inverse_consistency(forward, forward.inverse(), grid)
    assert exact == {"mean": 0.0, "max": 0.0, "p99": 0.0}
    lie = inverse_consistency(forward, Transform.identity(), grid)
    assert lie == {key: pytest.approx(13.0) for key in ("mean", "max", "p99")}


def test_points_that_leave_the_field_do_not_count() -> None:
    grid = like((9, 9, 9), (1.0, 1.0, 1.0))
    vectors = np.zeros((9, 9, 9, 3), np.float32)
    vectors[..., 0] = 4.0
    there = DisplacementField(vectors, grid.affine)
    back = DisplacementField(-vectors, grid.affine)
    found = inverse_consistency(Transform.from_fields(there), Transform.from_fields(back), grid)
    assert found["max"] == 0.0
    vectors = np.full((9, 9, 9, 3), 100.0, np.float32)
    there = DisplacementField(vectors, grid.affine)
    assert (
        inverse_consistency(Transform.from_fields(there), Transform.from_fields(back), grid) == {}
    )


def test_where_a_one_way_field_has_no_way_back_nothing_is_said() -> None:
    affine = default_affine((2.0, 2.0, 2.0))
    like = Volume(np.zeros((6, 6, 20), np.uint8), affine, "unknown")
    shift = np.full((6, 6, 20, 3), (10.0, 0.0, 0.0), np.float32)
    back = Transform.from_fields(DisplacementField(shift, affine)).inverse()
    found = inverse_consistency(back, back.inverse(), like)
    assert found["max"] < 2e-3  # from the first five columns no point of the field was taken
    jacobian = jacobian_map(back, like)
    assert jacobian.outside is not None
    assert jacobian.outside[..., :4].all()
    assert not jacobian.outside[..., 6:].any()
    assert (np.asarray(jacobian.voxels)[jacobian.outside] > 0).all()
    np.testing.assert_allclose(np.asarray(jacobian.voxels)[..., 6:], 1.0, atol=1e-3)


def test_the_way_back_by_the_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = like()
    there, back = smooth(grid), smooth(grid, seed=1)
    forward, inverse = Transform.from_fields(there), Transform.from_fields(back)
    points = places(grid).reshape(-1, 3)
    at = forward.points(points)
    kept = back.covers(at)
    truth = np.linalg.norm(inverse.points(at) - points, axis=1)[kept]
    found = inverse_consistency(forward, inverse, grid)
    assert found["mean"] == pytest.approx(truth.mean(), rel=1e-5)
    assert found["max"] == pytest.approx(truth.max(), rel=1e-5)
    assert found["p99"] == pytest.approx(np.percentile(truth, 99), rel=1e-5)
    monkeypatch.setattr(transform_measures, "_MAX_POINTS", 300)  # every second voxel
    thinned = np.linalg.norm(inverse.points(at) - points, axis=1)
    thinned[~kept] = np.nan
    coarse = thinned.reshape(SHAPE)[::2, ::2, ::2]
    found = inverse_consistency(forward, inverse, grid)
    assert found["mean"] == pytest.approx(np.nanmean(coarse), rel=1e-5)
    monkeypatch.undo()
    mask = np.zeros(SHAPE, bool)
    mask[5, 6, 6] = True
    one = np.linalg.norm(inverse.points(forward.points(p := places(grid)[5, 6, 6])) - p)
    assert inverse_consistency(forward, inverse, grid, mask)["max"] == pytest.approx(one, rel=1e-5)


def test_landmarks() -> None:
    rng = np.random.default_rng(4)
    fixed = rng.normal(size=(7, 3)) * 40
    shift = np.eye(4)
    shift[:3, 3] = 2.0, 3.0, 6.0
    transform = Transform.from_affine(shift)
    moving = fixed + np.array([2.0, 3.0, 6.0])
    moving[0] += [0.0, 0.7, 0.0]
    before, after = landmark_errors(fixed, moving), landmark_errors(fixed, moving, transform)
    assert before["median"] == pytest.approx(7.0)
    assert after == {
        "mean": pytest.approx(0.1),
        "median": pytest.approx(0.0, abs=1e-9),
        "max": pytest.approx(0.7),
        "count": 7,
    }


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (np.zeros((3, 3)), np.zeros((2, 3)), "3 in the fixed image and 2"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "not a list"),
        (np.zeros((3, 2)), np.zeros((3, 3)), "fixed landmarks"),
        (np.zeros((1, 3)), np.full((1, 3), np.nan), "moving landmarks"),
    ],
)
def test_landmarks_that_do_not_pair_up(fixed: NDArray, moving: NDArray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        landmark_errors(fixed, moving)


def test_cancels_are_heard() -> None:
    cancel = Task()
    cancel.cancel()
    grid = like()
    transform = Transform.from_fields(smooth(grid))
    with running(cancel), pytest.raises(Cancelled):
        jacobian_map(transform, grid)
    with running(cancel), pytest.raises(Cancelled):
        inverse_consistency(transform, transform.inverse(), grid)

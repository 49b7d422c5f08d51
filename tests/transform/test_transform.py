from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transform_cases import grid, smooth_field, texture, turned

from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError, OutputError
from tomochrome.geometry import same_grid, to_sitk
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import Order
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform, Warp
from tomochrome.volume import Volume

SHAPE = (14, 18, 20)
AFFINE = grid(SHAPE, (3.0, 2.0, 2.5), oblique=0.2)


@pytest.fixture(scope="module")
def chain() -> Transform:
    """A field, then an affine map, as registration gives it."""
    field = smooth_field(SHAPE, AFFINE, 4.0)
    return Transform.from_fields(field, affine=turned(0.15, (3.0, -2.0, 4.0)))


def itk(transform: Transform) -> SimpleITK.CompositeTransform:
    """The same, put together by hand."""
    whole = SimpleITK.CompositeTransform(3)
    for step in reversed(transform.steps):
        if isinstance(step, Warp):
            image = SimpleITK.Cast(step.forward.to_sitk(), SimpleITK.sitkVectorFloat64)
            whole.AddTransform(SimpleITK.DisplacementFieldTransform(image))
        else:
            assert isinstance(step, np.ndarray)
            affine = SimpleITK.AffineTransform(3)
            affine.SetMatrix(step[:3, :3].ravel().tolist())
            affine.SetTranslation(step[:3, 3].tolist())
            whole.AddTransform(affine)
    return whole


def some_points(count: int = 200, reach: float = 30.0) -> NDArray[np.float64]:
    return np.random.default_rng(5).uniform(-reach, reach, (count, 3))


def test_points_go_where_itk_takes_them(chain: Transform) -> None:
    points = some_points()
    theirs = np.array([itk(chain).TransformPoint(p.tolist()) for p in points])
    np.testing.assert_allclose(chain.points(points), theirs, atol=1e-5)
    np.testing.assert_allclose(chain.points(points[0]), theirs[0], atol=1e-5)


def test_images_and_labels_equal_those_of_simpleitk(chain: Transform) -> None:
    moving = texture((20, 22, 24), grid((20, 22, 24), (2.5, 2.0, 2.0), oblique=-0.3))
    like = texture(SHAPE, AFFINE)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            to_sitk(moving), to_sitk(like), itk(chain), SimpleITK.sitkLinear, -1024.0
        )
    )
    ours = chain.apply(moving, like)
    assert same_grid(ours, like)
    # a point on the very rim may fall to either side
    assert (np.abs(ours.voxels - theirs) < 0.02).mean() > 0.9995
    assert ours.outside is not None
    assert (ours.outside == (theirs == -1024)).mean() > 0.9995
    labels = moving.with_voxels((moving.voxels // 50).astype(np.int16), unit="unknown")
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(
            to_sitk(labels), to_sitk(like), itk(chain), SimpleITK.sitkNearestNeighbor, 0
        )
    )
    nearest = chain.apply(labels, like, order="nearest")
    assert nearest.voxels.dtype == np.int16
    assert (nearest.voxels == theirs).mean() > 0.999


def test_the_whole_as_one_field(chain: Transform) -> None:
    like = texture(SHAPE, AFFINE)
    field = chain.displacement(like)
    index = np.array([[3, 4, 5], [10, 12, 7]])
    points = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    there = points + field.vectors[tuple(index.T)]
    np.testing.assert_allclose(there, chain.points(points), atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(
    angle=st.floats(-3.0, 3.0),
    shift=st.tuples(*[st.floats(-100, 100)] * 3),
    point=st.tuples(*[st.floats(-200, 200)] * 3),
)
def test_an_affine_inverse_leads_back(
    angle: float, shift: tuple[float, float, float], point: tuple[float, float, float]
) -> None:
    there = Transform.from_affine(turned(angle, shift))
    np.testing.assert_allclose(there.inverse().points(there.points(point)), point, atol=1e-9)
    assert there.inverse().is_affine


def test_a_field_is_followed_back_by_iteration(chain: Transform) -> None:
    points = some_points(300, 10.0)
    back = chain.inverse()
    np.testing.assert_allclose(back.points(chain.points(points)), points, atol=5e-3)
    np.testing.assert_allclose(back.inverse().points(points), chain.points(points), atol=1e-6)
    # as stored vectors: to the error of interpolation
    dense = back.dense()
    assert all(isinstance(s, Warp | np.ndarray) for s in dense.steps)
    assert np.abs(dense.points(chain.points(points)) - points).mean() < 0.15


def test_backwards_is_known_only_where_there_is_a_way_back() -> None:
    shift = np.full((*SHAPE, 3), (20.0, 0.0, 0.0), np.float32)  # of a grid 50 mm wide
    upright = grid(SHAPE, (3.0, 2.0, 2.5))
    back = Transform.from_fields(DisplacementField(shift, upright)).inverse()
    points = np.array([[-20.0, 0, 0], [-2.0, 0, 0], [20.0, 0, 0], [40.0, 0, 0]])
    # from -20 and beyond the grid no point of the field was taken there
    assert back.covers(points).tolist() == [False, True, True, False]
    np.testing.assert_allclose(back.points(points[1:3]), points[1:3] - (20, 0, 0), atol=1e-3)


def test_a_stored_inverse_is_used() -> None:
    forward, inverse = smooth_field(SHAPE, AFFINE), smooth_field(SHAPE, AFFINE, seed=9)
    back = Transform.from_fields(forward, inverse).inverse()
    assert back.fields == (inverse,)
    assert back.inverse().fields == (forward,)


def test_composition_is_one_after_the_other(chain: Transform) -> None:
    other = Transform.from_affine(turned(-0.4, (1.0, 2.0, 3.0)))
    points = some_points(50)
    both = chain.then(other)
    np.testing.assert_allclose(both.points(points), other.points(chain.points(points)), atol=1e-9)
    assert len(both.steps) == 2  # neighbouring matrices become one
    assert Transform.identity().then(Transform.identity()).steps == ()


def test_the_identity_gives_the_volume_back() -> None:
    volume = texture(SHAPE, AFFINE)
    assert Transform.identity().apply(volume).voxels is volume.voxels
    np.testing.assert_array_equal(Transform.from_affine(np.eye(4)).points((1, 2, 3)), (1, 2, 3))


def test_a_shift_of_whole_voxels_moves_bytes_unchanged() -> None:
    volume = texture(SHAPE, grid(SHAPE, (2.0, 2.0, 2.0)))
    whole = volume.with_voxels(np.rint(volume.voxels).astype(np.int16))
    shift = np.eye(4)
    shift[0, 3] = 4.0  # fixed points lie 4 mm to the right of moving points
    moved = Transform.from_affine(shift).apply(whole)
    np.testing.assert_array_equal(moved.voxels[..., :-2], whole.voxels[..., 2:])
    assert (moved.voxels[..., -2:] == -1024).all()
    assert moved.outside is not None
    assert moved.outside[..., -2:].all()
    assert not moved.outside[..., :-2].any()


def test_colors_are_weighted_by_their_opacity() -> None:
    voxels = np.zeros((4, 4, 4, 4), np.uint8)
    voxels[..., :2, :] = (200, 100, 50, 255)
    voxels[..., 2:, :] = (0, 255, 0, 0)  # green that cannot be seen
    volume = Volume(voxels, grid((4, 4, 4), (1, 1, 1)), "RGBA")
    shift = np.eye(4)
    shift[0, 3] = 0.5
    moved = Transform.from_affine(shift).apply(volume).voxels
    assert moved[1, 1, 1].tolist() == [200, 100, 50, 128]
    assert moved[1, 1, 2].tolist() == [0, 0, 0, 0]


def test_what_was_not_measured_is_not_blended_in() -> None:
    affine = grid((6, 6, 6), (1, 1, 1))
    voxels = np.full((6, 6, 6), 40, np.int16)
    outside = np.zeros((6, 6, 6), bool)
    outside[:, :, 3:] = True
    voxels[outside] = -3000
    shift = np.eye(4)
    shift[0, 3] = 0.3
    volume = Volume(voxels, affine, "HU", outside=outside)
    moved = Transform.from_affine(shift).apply(volume)
    assert set(np.unique(moved.voxels)) == {-1024, 40}
    assert moved.outside is not None
    assert moved.outside[:, :, 3:].all()
    nearest = Transform.from_affine(shift).apply(volume, order="nearest")
    assert set(np.unique(nearest.voxels)) == {-1024, 40}


@pytest.mark.parametrize("order", ["linear", "nearest"])
@pytest.mark.parametrize(("dtype", "air"), [("uint16", 0), ("int8", -128), ("int16", -1024)])
def test_air_beyond_the_volume_is_the_darkest_that_its_type_holds(
    dtype: str, air: int, order: Order
) -> None:
    shift = np.eye(4)
    shift[0, 3] = 2.0
    volume = Volume(np.full((4, 4, 4), 50, dtype), grid((4, 4, 4), (1, 1, 1)), "HU")
    moved = Transform.from_affine(shift).apply(volume, order=order)
    assert moved.voxels.dtype == dtype
    assert set(np.unique(moved.voxels)) == {50, air}


def test_booleans_stay_booleans_and_tissues_are_taken_as_they_are() -> None:
    affine = grid((6, 6, 6), (1, 1, 1))
    mask = Volume(np.ones((6, 6, 6), bool), affine, "unknown")
    assert Transform.from_affine(turned(0.3)).apply(mask).voxels.dtype == bool
    tissue = np.random.default_rng(0).choice(np.array([3, 20], np.uint8), (6, 6, 6))
    moved = Transform.from_affine(turned(0.3)).apply(Volume(tissue, affine, "tissue"))
    assert set(np.unique(moved.voxels)) <= {0, 3, 20}


def test_beyond_the_field_points_stay(chain: Transform) -> None:
    field = chain.fields[0]
    far = np.array([[1000.0, 0, 0], [0, 0, 0]])
    warp = Transform.from_fields(field)
    np.testing.assert_array_equal(warp.points(far)[0], far[0])
    assert warp.covers(far).tolist() == [False, True]


def test_a_cancel_is_noticed_and_progress_told(chain: Transform) -> None:
    cancel = Task()
    cancel.cancel()
    volume = texture(SHAPE, AFFINE)
    with running(cancel), pytest.raises(Cancelled):
        chain.apply(volume)
    told: list[tuple[int, int]] = []
    with running(Task(lambda done, total, stage: told.append((done, total)))):
        chain.apply(volume)
    assert told[-1] == (SHAPE[0], SHAPE[0])


@pytest.mark.parametrize(
    ("name", "at"), [("t.h5", 1), ("t.nrrd", 1), ("t.nii", 3), ("t.nii.gz", 9)]
)
def test_a_cancelled_file_is_not_there(chain: Transform, name: str, at: int, tmp_path) -> None:
    class Later(Task):
        looks = 0

        @property
        def cancelled(self) -> bool:
            self.looks += 1
            return self.looks >= at

    like = texture((40, 30, 30), AFFINE)
    back = chain.inverse()  # followed by iteration: to be sampled before it is written
    with running(Later()), pytest.raises(Cancelled):
        chain.then(back).save(tmp_path / name, like=like)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Transform.from_affine(np.zeros((4, 4))),
        lambda: Transform.from_affine(np.eye(3)),
        lambda: Transform.from_affine(np.full((4, 4), np.nan)),
        lambda: Transform.from_affine(np.diag([1.0, 1.0, 0.0, 1.0])),
        lambda: DisplacementField(np.zeros((3, 3, 3), np.float32), np.eye(4)),
        lambda: DisplacementField(np.full((3, 3, 3, 3), np.nan, np.float32), np.eye(4)),
    ],
)
def test_what_is_no_transform_is_refused(make: object) -> None:
    with pytest.raises(GeometryError):
        make()  # type: ignore[operator]


def test_bad_points_and_orders_are_refused() -> None:
    for work in (Transform.identity().points, Transform.identity().covers):
        for bad in (np.zeros((3, 2)), [np.nan, 0, 0], np.zeros((2, 2, 3))):
            with pytest.raises(InputError, match="three finite coordinates"):
                work(bad)
        for wrong in ("a", [["1", "b", "3"]], [[1, 2, 3], [4, 5]]):
            with pytest.raises(InputError, match="three coordinates each"):
                work(wrong)
    for bare in (np.zeros(SHAPE), "fixed.nii.gz"):
        with pytest.raises(InputError, match="what is to be moved must be a Volume"):
            Transform.identity().apply(bare)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="grid of the result must be a Volume"):
            Transform.identity().apply(texture(SHAPE, AFFINE), bare)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="linear or nearest"):
        Transform.identity().apply(texture(SHAPE, AFFINE), order="cubic")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="has no grid for a displacement field"):
        Transform.identity().save("somewhere.nii.gz")
    with pytest.raises(OutputError, match="extension"):
        Transform.identity().save("somewhere.png")

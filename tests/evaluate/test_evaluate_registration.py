"""All measures in one go, and validation by a known deformation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError
from tomochrome.evaluate import (
    landmark_errors,
    make_synthetic,
    measure_registration,
    overlap,
    similarity_measures,
    validate_synthetic,
)
from tomochrome.evaluate.synthetic import body_of
from tomochrome.geometry import to_sitk
from tomochrome.geometry.affine import apply
from tomochrome.registration.transform import Transform
from tomochrome.runtime import CancelToken
from tomochrome.volume import Unit, Volume, default_affine

SHAPE = (20, 24, 22)
AFFINE = default_affine((4.0, 4.0, 4.0), (-44.0, -48.0, -40.0))


def patient(unit: Unit = "HU", shape: tuple[int, int, int] = SHAPE) -> tuple[Volume, Volume]:
    """An ellipsoid with texture and two organs, in air; and its labels."""
    index = np.moveaxis(np.indices(shape), 0, -1) / (np.array(shape) - 1) * 2 - 1
    rng = np.random.default_rng(0)
    body = (index**2).sum(-1) < 0.8
    hu = np.where(body, 40.0, -1000.0)
    hu += body * 400 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    labels = np.zeros(shape, np.uint8)
    labels[np.linalg.norm(index - (0.1, 0.2, 0.2), axis=-1) < 0.5] = 2
    labels[np.linalg.norm(index - (-0.1, -0.1, -0.4), axis=-1) < 0.15] = 9
    hu[labels == 2] += 120
    voxels = hu.astype(np.float32) if unit == "HU" else (hu + 1000).clip(0).astype(np.float32)
    return Volume(voxels, AFFINE, unit), Volume(labels, AFFINE, "unknown")


def shifted(mm: tuple[float, float, float]) -> Transform:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return Transform.from_affine(matrix)


@pytest.mark.parametrize("unit", ["HU", "unknown"])
@pytest.mark.parametrize("given_moved", [False, True])
def test_an_exact_registration_is_perfect(unit: Unit, given_moved: bool) -> None:
    fixed, labels = patient(unit)
    there = shifted((8.0, -4.0, 4.0))
    moving = replace(fixed, affine=there.affine @ fixed.affine)
    moving_labels = replace(labels, affine=there.affine @ labels.affine)
    points = apply(fixed.affine, [[5.0, 6, 7], [10, 10, 10]])
    found = measure_registration(
        fixed,
        moving,
        there,
        there.inverse(),
        fixed_labels=labels,
        moving_labels=moving_labels,
        fixed_points=points,
        moving_points=there.points(points),
        moved=there.apply(moving, fixed) if given_moved else None,
    )
    after, before = found["after"], found["before"]
    assert after["ncc"] == pytest.approx(1.0)
    assert before["ncc"] < 0.95
    assert after["dice"] == {"2": 1.0, "9": 1.0}
    assert after["hausdorff95_mm"] == {"2": 0.0, "9": 0.0}
    assert before["dice_mean"] < 0.7
    assert before["tre_mm"]["mean"] == pytest.approx(np.sqrt(96))
    assert after["tre_mm"] == {"mean": 0.0, "median": 0.0, "max": 0.0, "count": 2}
    assert found["jacobian"] == {"folded_percent": 0.0, "sd_log": 0.0}
    assert found["inverse_consistency_mm"] == {"mean": 0.0, "max": 0.0, "p99": 0.0}


def test_before_is_how_the_two_lie_in_space() -> None:
    fixed, labels = patient("unknown")
    moving = replace(fixed, affine=shifted((12.0, 0.0, 0.0)).affine @ fixed.affine)
    moving_labels = replace(labels, affine=moving.affine)
    found = measure_registration(
        fixed, moving, Transform.identity(), fixed_labels=labels, moving_labels=moving_labels
    )
    assert found["before"] == found["after"]
    rolled = [np.roll(v.voxels, 3, axis=2) for v in (fixed, labels)]
    assert found["after"]["dice"] == overlap(labels, labels.with_voxels(rolled[1]))["dice"]
    common = np.ones(SHAPE, bool)
    common[:, :, :3] = False  # beyond the moving field, not black
    truth = similarity_measures(fixed, fixed.with_voxels(rolled[0]), common)
    assert found["after"]["ncc"] == pytest.approx(truth["ncc"])
    assert "inverse_consistency_mm" not in found


def test_keys_without_data_are_absent() -> None:
    fixed, _ = patient()
    found = measure_registration(fixed, fixed, None, moved=fixed)
    assert set(found) == {"before", "after"}
    assert set(found["after"]) == {"ncc", "local_ncc", "mutual_information"}
    far = replace(fixed, affine=shifted((500.0, 0.0, 0.0)).affine @ fixed.affine)
    found = measure_registration(fixed, far, Transform.identity(), Transform.identity())
    assert found["before"] == found["after"] == {}
    assert found["inverse_consistency_mm"]["max"] == 0.0


def test_labels_on_other_grids_are_compared_on_the_fixed_one() -> None:
    fixed, labels = patient()
    fine = np.kron(labels.voxels, np.ones((2, 2, 2), np.uint8))
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= 1.0
    finer = Volume(fine, affine, "unknown")
    found = measure_registration(
        fixed, fixed, Transform.identity(), fixed_labels=finer, moving_labels=finer
    )
    assert found["after"]["dice"] == {"2": 1.0, "9": 1.0}


def test_what_cannot_be_measured_is_refused() -> None:
    fixed, labels = patient()
    same = Transform.identity()
    lone: list[dict[str, Any]] = [{"fixed_labels": labels}, {"fixed_points": np.zeros((1, 3))}]
    for extra in lone:
        with pytest.raises(OptionError, match="both"):
            measure_registration(fixed, fixed, same, **extra)
    with pytest.raises(OptionError, match="transform"):
        measure_registration(fixed, fixed, None)
    far = replace(labels, affine=shifted((500.0, 0.0, 0.0)).affine @ labels.affine)
    with pytest.raises(GeometryError, match="moving labels"):
        measure_registration(fixed, fixed, same, fixed_labels=labels, moving_labels=far)
    empty = Volume(np.zeros((4, 4, 4), np.uint8), AFFINE, "unknown")
    with pytest.raises(GeometryError, match="no fixed label"):
        measure_registration(fixed, fixed, same, fixed_labels=empty, moving_labels=labels)
    with pytest.raises(InputError, match="2 in the fixed"):
        points: dict[str, Any] = {"fixed_points": np.ones((2, 3)), "moving_points": np.ones((3, 3))}
        measure_registration(fixed, fixed, same, **points)
    with pytest.raises(GeometryError, match="grid"):
        measure_registration(fixed, fixed, same, moved=empty)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        measure_registration(fixed, fixed, same, cancel=cancel)


@pytest.mark.parametrize("unit", ["HU", "unknown"])
def test_a_synthetic_pair_is_what_it_says(unit: Unit) -> None:
    volume, labels = patient(unit)
    case = make_synthetic(volume, labels=labels, mean_mm=5.0, noise=0.0, seed=3)
    assert case.moving_labels is not None
    seen = np.asarray(volume.voxels) > (-500 if unit == "HU" else 500)
    assert (case.body & seen).sum() / (case.body | seen).sum() > 0.85
    index = np.argwhere(case.body)
    points = apply(volume.affine, index)
    apart = np.linalg.norm(case.truth.points(points) - points, axis=1)
    assert apart.mean() == pytest.approx(5.0, rel=0.1)
    undone = case.truth.apply(case.moving, volume)
    before = similarity_measures(volume, case.moving)["ncc"]
    assert similarity_measures(volume, undone)["ncc"] > max(0.97, before)
    back = case.truth.apply(case.moving_labels, volume, order="nearest")
    assert overlap(labels, back)["dice_mean"] > 0.75
    again = make_synthetic(volume, labels=labels, mean_mm=5.0, noise=0.0, seed=3)
    assert np.array_equal(again.moving.voxels, case.moving.voxels)


def test_noise_and_contrast_are_those_asked_for() -> None:
    volume, labels = patient()
    quiet = make_synthetic(volume, labels=labels, mean_mm=3.0, noise=0.0)
    noisy = make_synthetic(volume, labels=labels, mean_mm=3.0, noise=20.0)
    inside = np.ones(SHAPE, bool) if quiet.moving.outside is None else ~quiet.moving.outside
    added = (noisy.moving.voxels - quiet.moving.voxels)[inside]
    assert added.std() == pytest.approx(20.0, rel=0.05)
    bright = make_synthetic(volume, labels=labels, mean_mm=3.0, noise=0.0, contrast={2: 150.0})
    assert bright.moving_labels is not None
    core = ndimage.binary_erosion(bright.moving_labels.voxels == 2, iterations=2)
    change = bright.moving.voxels - quiet.moving.voxels
    assert change[core].mean() == pytest.approx(150.0, rel=0.1)
    assert abs(change[~ndimage.binary_dilation(core, iterations=6)]).mean() < 2


def perfect(case: dict[str, Any]) -> Any:
    """A registration that knows the answer."""

    def register(fixed: Volume, moving: Volume, **told: Any) -> Any:
        case.update(told, fixed=fixed, moving=moving)
        forward = case["answer"]
        measured = measure_registration(
            fixed,
            moving,
            forward,
            forward.inverse(),
            fixed_labels=told["fixed_labels"],
            moving_labels=told["moving_labels"],
        )
        report = {**measured, "seconds": {"total": 1.0}, "model": "oracle", "warnings": []}
        return SimpleNamespace(forward=forward, report=report)

    return register


def test_validation_of_one_who_knows_and_one_who_does_nothing() -> None:
    volume, labels = patient()
    truth = make_synthetic(volume, labels=labels, mean_mm=6.0, seed=1).truth
    told: dict[str, Any] = {"answer": truth}
    found = validate_synthetic(
        volume, labels=labels, mean_mm=6.0, seed=1, register=perfect(told), options={"refine": 5}
    )
    assert found["error_mm"]["after"]["max"] == pytest.approx(0.0, abs=1e-6)
    assert found["error_mm"]["percent"] == pytest.approx(0.0, abs=1e-6)
    assert (told["init"], told["refine"]) == ("none", 5)
    assert found["deformation"]["seed"] == 1
    assert found["deformation"]["noise"] == 15.0
    assert found["after"]["dice_mean_large"] == found["after"]["dice"]["2"]  # 9 is small
    assert found["model"] == "oracle"
    told["answer"] = Transform.identity()
    found = validate_synthetic(volume, labels=labels, mean_mm=6.0, register=perfect(told))
    assert found["error_mm"]["before"] == found["error_mm"]["after"]
    assert found["error_mm"]["percent"] == pytest.approx(100.0)


def test_validation_of_our_own_registration() -> None:
    volume, labels = patient()
    found = validate_synthetic(
        volume, labels=labels, mean_mm=5.0, options={"model": "none", "refine": 30, "threads": 1}
    )
    assert found["error_mm"]["percent"] < 90
    assert found["after"]["ncc"] > found["before"]["ncc"]
    assert found["jacobian"]["folded_percent"] == 0.0


def test_the_truth_is_what_the_moving_volume_was_made_by() -> None:
    """SimpleITK makes the moving volume again by the field of the case; the truth undoes it."""
    volume, _ = patient("unknown")
    case = make_synthetic(volume, mean_mm=5.0, noise=0.0, seed=3)
    (made_by,) = case.truth.inverse().fields
    image = SimpleITK.Cast(made_by.to_sitk(), SimpleITK.sitkVectorFloat64)
    fixed = to_sitk(volume.with_voxels(np.asarray(volume.voxels, np.float32)))
    field = SimpleITK.DisplacementFieldTransform(image)
    again = SimpleITK.GetArrayFromImage(SimpleITK.Resample(fixed, fixed, field))
    assert np.quantile(np.abs(again - case.moving.voxels), 0.999) < 0.05
    points = apply(volume.affine, np.argwhere(case.body))
    there = case.truth.points(points)
    home = np.array([field.TransformPoint(p.tolist()) for p in there])
    known = case.truth.covers(points)
    assert known.mean() > 0.9
    assert np.linalg.norm(home - points, axis=1)[known].max() < 2e-3


def test_lost_values_are_refused_before_the_work() -> None:
    volume, _ = patient()
    lost = replace(volume, provenance=volume.provenance.add("read", "3 voxels hold no number"))
    with pytest.raises(InputError, match="the given volume has values that are not numbers"):
        make_synthetic(lost)


def test_what_folds_is_no_known_deformation() -> None:
    with pytest.raises(OptionError, match="folds"):
        make_synthetic(patient()[0], mean_mm=20.0, smooth_mm=10.0)


def test_a_small_field_of_view_is_not_passed_over() -> None:
    volume, labels = patient()
    part = np.s_[6:11, 6:12, 6:14]
    affine = volume.affine.copy()
    affine[:3, 3] = apply(affine, [[6.0, 6, 6]])[0]
    small = Volume(np.asarray(volume.voxels)[part], affine, "HU")
    answer: dict[str, Any] = {"answer": Transform.identity()}
    blank = Volume(np.asarray(labels.voxels)[part], affine, "unknown")
    found = validate_synthetic(small, labels=blank, mean_mm=7.0, register=perfect(answer))
    error = found["error_mm"]
    assert 0 < error["measured_percent"] < 80
    assert "of the body stay" in found["warnings"][-1]
    whole = validate_synthetic(volume, labels=labels, mean_mm=4.0, register=perfect(answer))
    assert whole["error_mm"]["measured_percent"] > 80
    assert whole["warnings"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean_mm": 0.0}, "mean"),
        ({"mean_mm": float("nan")}, "mean"),
        ({"smooth_mm": 1.0}, "smoothness"),
        ({"noise": -1.0}, "noise"),
        ({"contrast": {2: 100.0}}, "labels"),
    ],
)
def test_impossible_deformations_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        make_synthetic(patient()[0], **options)


def test_synthetic_refuses_what_does_not_fit() -> None:
    volume, labels = patient()
    with pytest.raises(InputError, match="label 5"):
        make_synthetic(volume, labels=labels, contrast={5: 100.0})
    other = replace(labels, affine=default_affine((1.0, 1.0, 1.0)))
    with pytest.raises(GeometryError, match="grid"):
        make_synthetic(volume, labels=other)
    with pytest.raises(InputError, match="constant"):
        make_synthetic(volume.with_voxels(np.zeros(SHAPE, np.float32)))
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        make_synthetic(volume, cancel=cancel)


def test_a_volume_without_a_body_is_all_body() -> None:
    air = Volume(np.full(SHAPE, -1000.0, np.float32), AFFINE, "HU")
    assert np.asarray(body_of(air).voxels).all()


def test_landmarks_of_the_truth_are_exact() -> None:
    volume, _ = patient()
    case = make_synthetic(volume, mean_mm=4.0)
    points: NDArray[np.float64] = apply(volume.affine, [[8.0, 9, 10], [11, 12, 9]])
    moved = case.truth.points(points)
    assert landmark_errors(points, moved, case.truth)["max"] == 0.0

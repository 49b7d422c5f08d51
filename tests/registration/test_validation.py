"""Validation with a known deformation."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from patient_cases import AFFINE, SHAPE, patient
from scipy import ndimage

from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError
from tomochrome.evaluate import (
    landmark_errors,
    measure_registration,
    overlap,
    similarity_measures,
)
from tomochrome.geometry import to_sitk
from tomochrome.geometry.affine import apply
from tomochrome.notices import Notice
from tomochrome.registration.report import find_body_mask
from tomochrome.registration.validation import make_synthetic, validate_synthetic
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform
from tomochrome.volume import Unit, Volume, default_affine


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
    """A registration that returns the true transform."""

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
    case = make_synthetic(volume, labels=labels, mean_mm=6.0, seed=1)
    found = validate_synthetic(case, register=perfect(told), options={"refine": 5})
    assert found["error_mm"]["after"]["max"] == pytest.approx(0.0, abs=1e-6)
    assert found["error_mm"]["percent"] == pytest.approx(0.0, abs=1e-6)
    assert (told["init"], told["refine"]) == ("none", 5)
    assert found["deformation"]["seed"] == 1
    assert found["deformation"]["noise"] == 15.0
    assert found["after"]["dice_mean_large"] == found["after"]["dice"]["2"]  # 9 is small
    assert found["model"] == "oracle"
    told["answer"] = Transform.identity()
    case = make_synthetic(volume, labels=labels, mean_mm=6.0)
    found = validate_synthetic(case, register=perfect(told))
    assert found["error_mm"]["before"] == found["error_mm"]["after"]
    assert found["error_mm"]["percent"] == pytest.approx(100.0)


def test_validation_of_our_own_registration() -> None:
    volume, labels = patient()
    case = make_synthetic(volume, labels=labels, mean_mm=5.0)
    found = validate_synthetic(case, options={"model": "none", "refine": 30, "threads": 1})
    assert found["error_mm"]["percent"] < 90
    assert found["after"]["ncc"] > found["before"]["ncc"]
    assert found["jacobian"]["folded_percent"] == 0.0


def test_the_truth_is_what_the_moving_volume_was_made_by() -> None:
    """SimpleITK reproduces the moving volume from the field; the true transform inverts it."""
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
    notice = Notice("no-number", "warning", "3 voxels hold no number")
    lost = replace(volume, provenance=volume.provenance.add("read", notice))
    with pytest.raises(InputError, match="the given volume has NaN or infinite values"):
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
    case = make_synthetic(small, labels=blank, mean_mm=7.0)
    found = validate_synthetic(case, register=perfect(answer))
    error = found["error_mm"]
    assert 0 < error["measured_percent"] < 80
    assert "of the body remain" in found["warnings"][-1]
    case = make_synthetic(volume, labels=labels, mean_mm=4.0)
    whole = validate_synthetic(case, register=perfect(answer))
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
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        make_synthetic(volume)


def test_a_volume_without_a_body_is_all_body() -> None:
    air = Volume(np.full(SHAPE, -1000.0, np.float32), AFFINE, "HU")
    assert np.asarray(find_body_mask(air).voxels).all()


def test_landmarks_of_the_truth_are_exact() -> None:
    volume, _ = patient()
    case = make_synthetic(volume, mean_mm=4.0)
    points: NDArray[np.float64] = apply(volume.affine, [[8.0, 9, 10], [11, 12, 9]])
    moved = case.truth.points(points)
    assert landmark_errors(points, moved, case.truth)["max"] == 0.0

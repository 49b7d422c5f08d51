"""All measures of a registration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from patient_cases import AFFINE, SHAPE, patient

from tomochrome.errors import Cancelled, GeometryError, InputError, OptionError
from tomochrome.evaluate import (
    measure_registration,
    overlap,
    similarity_measures,
)
from tomochrome.geometry.affine import apply
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform
from tomochrome.volume import Unit, Volume


def shifted(mm: tuple[float, float, float]) -> Transform:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return Transform.from_affine(matrix)


@pytest.mark.parametrize("unit", ["HU", "unknown"])
@pytest.mark.parametrize("given_moved", [False, True])
def test_an_exact_registration_has_no_error(unit: Unit, given_moved: bool) -> None:
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


def test_before_uses_the_identity_transform() -> None:
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


def test_labels_on_other_grids_are_resampled_to_the_fixed_grid() -> None:
    fixed, labels = patient()
    fine = np.kron(labels.voxels, np.ones((2, 2, 2), np.uint8))
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= 1.0
    finer = Volume(fine, affine, "unknown")
    found = measure_registration(
        fixed, fixed, Transform.identity(), fixed_labels=finer, moving_labels=finer
    )
    assert found["after"]["dice"] == {"2": 1.0, "9": 1.0}


def test_invalid_arguments_are_rejected() -> None:
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
    cancel = Task()
    cancel.cancel()
    with running(cancel), pytest.raises(Cancelled):
        measure_registration(fixed, fixed, same)

"""`register`: from volumes to transforms and a report, with progress and cancellation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from registration_cases import AFFINE, SHAPE, blobs, labels_of
from transform_cases import grid, smooth_field, turned

import tomochrome as tc
from tomochrome.errors import Cancelled, InputError
from tomochrome.geometry import to_sitk
from tomochrome.geometry.orient import closest_axial
from tomochrome.registration.pairwise import Registration, evaluate_transform, register
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform
from tomochrome.volume import Volume


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume, Transform]:
    """A body, a deformed and rotated copy on an oblique grid, and the true transform."""
    fixed = blobs()
    field = smooth_field(SHAPE, AFFINE, 9.0, seed=5)
    truth = Transform.from_fields(field, affine=turned(0.12, (12.0, -9.0, 6.0)))
    like = Volume(
        np.zeros((25, 26, 22), np.uint8),
        turned(0.12, (12.0, -9.0, 6.0)) @ grid((25, 26, 22), (4.4, 4.8, 6.0)),
        "unknown",
    )
    moving = truth.inverse().apply(fixed, like)
    return fixed, replace(moving, outside=None), truth


@pytest.fixture(scope="module")
def result(pair) -> Registration:
    fixed, moving, truth = pair
    points = np.random.default_rng(3).uniform(-30, 30, (20, 3))
    return register(
        fixed,
        moving,
        model=None,
        refine=30,
        fixed_labels=labels_of(fixed),
        moving_labels=labels_of(moving),
        fixed_points=points,
        moving_points=truth.points(points),
        device="cpu",
    )


def test_the_result_lies_on_the_fixed_grid_and_is_better(pair, result) -> None:
    fixed, moving, _ = pair
    assert result.moved.shape == fixed.shape
    np.testing.assert_array_equal(result.moved.affine, fixed.affine)
    assert result.moved.voxels.dtype == moving.voxels.dtype
    assert result.moved.unit == "HU"
    assert result.moved_inverse.shape == moving.shape
    np.testing.assert_array_equal(result.moved_inverse.affine, moving.affine)
    assert result.jacobian.shape == fixed.shape
    assert result.jacobian.voxels.dtype == np.float32
    report = result.report
    before, after = report["before"], report["after"]
    assert after["ncc"] > max(0.95, before["ncc"])
    assert after["mutual_information"] > before["mutual_information"]
    assert after["dice_mean"] > before["dice_mean"]
    assert after["tre_mm"]["mean"] < 0.3 * before["tre_mm"]["mean"]
    assert report["jacobian"]["folded_percent"] == 0
    assert report["inverse_consistency_mm"]["mean"] < 0.4
    assert result.warnings == ()


def test_a_transform_of_any_tool_is_measured_like_a_registration(pair, result) -> None:
    fixed, moving, _ = pair
    labels = {"fixed_labels": labels_of(fixed), "moving_labels": labels_of(moving)}
    again = evaluate_transform(fixed, moving, result.forward, **labels)
    np.testing.assert_array_equal(again.moved.voxels, result.moved.voxels)
    np.testing.assert_array_equal(again.jacobian.voxels, result.jacobian.voxels)
    for part in ("before", "after"):
        assert again.report[part]["ncc"] == result.report[part]["ncc"]
        assert again.report[part]["dice"] == result.report[part]["dice"]
    assert again.report["loaded"]
    assert again.verdict.grade == result.verdict.grade
    elsewhere = np.eye(4)
    elsewhere[0, 3] = 9000.0
    with pytest.raises(InputError, match="entirely outside the moving one"):
        evaluate_transform(fixed, moving, Transform.from_affine(elsewhere))


def test_the_report_is_strict_json_in_the_contracts_layout(result) -> None:
    report = json.loads(json.dumps(result.report, allow_nan=False))
    assert {
        "seconds", "before", "after", "jacobian", "inverse_consistency_mm", "device", "model",
        "warnings",
    } <= set(report)  # fmt: skip
    for part in ("before", "after"):
        assert {"ncc", "mutual_information", "dice", "dice_mean", "tre_mm"} <= set(report[part])
        assert set(report[part]["dice"]) == {"1", "2", "3", "4"}
    assert {"folded_percent", "sd_log"} <= set(report["jacobian"])
    assert {"mean", "max"} <= set(report["inverse_consistency_mm"])
    assert report["model"] == "none"
    assert report["device"] == "cpu"
    assert {"initialize", "refinement", "integration", "apply", "measure", "total"} <= set(
        report["seconds"]
    )
    assert np.shape(report["affine"]) == (4, 4)
    values = [value for _, value in report["curve"]]
    assert 0 < len(values) <= 30


@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_the_saved_file_applied_by_simpleitk_alone_gives_our_image(
    pair, result, tmp_path: Path, way: str
) -> None:
    fixed, moving, _ = pair
    path = tmp_path / f"{way}.h5"
    getattr(result, way).save(path)
    onto, source = (fixed, moving) if way == "forward" else (moving, fixed)
    ours = result.moved if way == "forward" else result.moved_inverse
    grids = to_sitk(source), to_sitk(onto), SimpleITK.ReadTransform(str(path))
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(*grids, SimpleITK.sitkLinear, -1024.0, SimpleITK.sitkFloat32)
    )
    apart = np.abs(np.asarray(ours.voxels) - theirs).mean()
    assert apart < 0.005 * np.ptp(np.asarray(source.voxels))
    labels = labels_of(source)
    mine = getattr(result, way).apply(labels, onto, order="nearest", fill=0)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(to_sitk(labels), *grids[1:], SimpleITK.sitkNearestNeighbor, 0)
    )
    assert (np.asarray(mine.voxels) == theirs).mean() > 0.999


def other_grids(fixed: Volume) -> dict[str, Volume]:
    """The same body stored otherwise."""
    flipped = fixed.affine @ np.diag([-1.0, 1.0, -1.0, 1.0])
    flipped[:3, 3] = (fixed.affine @ [SHAPE[0] - 1, 0, SHAPE[2] - 1, 1])[:3]
    coronal = fixed.affine[:, [1, 0, 2, 3]]
    thick = Transform.identity().apply(
        fixed, Volume(np.zeros((11, 40, 23), np.uint8), grid((11, 40, 23), (10, 3, 5.5)), "unknown")
    )
    sheared = fixed.affine.copy()
    sheared[1, 0] = 0.9
    tilted = Transform.identity().apply(fixed, replace(fixed, affine=sheared))
    return {
        "flipped": replace(fixed, voxels=fixed.voxels[::-1, :, ::-1].copy(), affine=flipped),
        "coronal": replace(fixed, voxels=fixed.voxels.transpose(1, 0, 2).copy(), affine=coronal),
        "thick slices": replace(thick, outside=None),
        "tilted gantry": replace(tilted, outside=None),
    }


@pytest.mark.parametrize("name", ["flipped", "coronal", "thick slices", "tilted gantry"])
def test_grids_and_orientations_do_not_matter(pair, name: str, tmp_path: Path) -> None:
    _, moving, truth = pair
    fixed = other_grids(blobs())[name]
    found = register(fixed, moving, model="none", refine=16, device="cpu", init="rigid")
    np.testing.assert_array_equal(found.moved.affine, fixed.affine)
    assert found.report["after"]["ncc"] > 0.93
    near = np.random.default_rng(3).uniform(-30, 30, (40, 3))
    off = np.linalg.norm(found.forward.points(near) - truth.points(near), axis=1)
    assert off.mean() < 5.5
    found.forward.save(tmp_path / "forward.h5")
    again = Transform.load(tmp_path / "forward.h5").points(near)
    np.testing.assert_allclose(again, found.forward.points(near), atol=0.02)
    upright = closest_axial(fixed)
    moved = found.forward.apply(moving, upright)
    np.testing.assert_allclose(
        np.asarray(closest_axial(found.moved).voxels), np.asarray(moved.voxels), atol=1
    )


def test_the_shipped_network_is_asked_by_default(pair) -> None:
    fixed, moving, _ = pair
    found = tc.register(fixed, moving, refine=0, device="cpu", init="center")
    assert found.report["model"] == "symnet"
    assert found.report["seconds"]["network"] > 0
    assert not found.forward.is_affine


def test_without_network_and_refinement_only_the_affine_part_is_left(pair) -> None:
    fixed, moving, _ = pair
    found = register(fixed, moving, model="none", refine=0)
    assert found.forward.is_affine
    np.testing.assert_allclose(found.inverse.affine, np.linalg.inv(found.forward.affine))
    assert found.report["curve"] == []
    assert "without deformation" in found.warnings[0].text
    np.testing.assert_allclose(found.jacobian.voxels, np.linalg.det(found.forward.affine[:3, :3]))


def test_metric_and_progress_are_told(pair) -> None:
    fixed, moving, _ = pair
    curve: list[tuple[str, int, float]] = []
    stages: list[str] = []
    with running(
        Task(lambda done, total, stage: stages.append(stage) if 0 <= done <= total else None)
    ):
        found = register(
            fixed, moving, model=None, refine=6, init="center", device="cpu",
            metric=lambda stage, k, value: curve.append((stage, k, value)),
        )  # fmt: skip
    assert [k for _, k, _ in curve] == sorted({k for _, k, _ in curve})
    np.testing.assert_allclose([c[2] for c in curve], [v for _, v in found.report["curve"]], 1e-3)
    for wanted in ("initial alignment", "refining", "applying the transform", "measuring"):
        assert wanted in stages


@pytest.mark.parametrize("stage", ["initial alignment", "preparing", "refining", "measuring"])
def test_it_stops_in_every_stage(pair, stage: str) -> None:
    fixed, moving, _ = pair
    init = "rigid" if stage == "initial alignment" else "center"

    def progress(done: int, total: int, now: str) -> None:
        if now == stage:
            cancel.cancel()

    cancel = Task(progress)
    with running(cancel), pytest.raises(Cancelled):
        register(
            fixed, moving, model=None, refine=6, init=init,
            fixed_labels=labels_of(fixed), moving_labels=labels_of(moving),
        )  # fmt: skip


def test_the_network_is_stopped_between_its_layers(pair) -> None:
    fixed, moving, _ = pair
    stages: list[str] = []

    def progress(done: int, total: int, now: str) -> None:
        stages.append(now)
        if now == "network":
            cancel.cancel()

    cancel = Task(progress)
    with running(cancel), pytest.raises(Cancelled):
        register(fixed, moving, refine=2, init="none")
    assert stages.count("network") == 1  # its end was never reported


def test_a_gpu_without_memory_is_said_and_the_answer_the_same(pair, monkeypatch) -> None:
    import torch

    from tomochrome.registration import align as dense
    from tomochrome.registration import pairwise as module

    fixed, moving, _ = pair
    how = {"model": None, "refine": 1, "init": "center"}
    plain = register(fixed, moving, device="cpu", **how)
    real = dense.align

    def fails_elsewhere(there, *given, **further):
        if there.fixed.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(there, *given, **further)

    monkeypatch.setattr(dense, "align", fails_elsewhere)
    monkeypatch.setattr(module, "choose_device", lambda _: torch.device("meta"))
    found = register(fixed, moving, **how)
    assert found.report["device"] == "cpu"
    assert any("ran out of memory" in warning.text for warning in found.warnings)
    # the last bits of a convolution depend on the memory alignment of the images
    np.testing.assert_allclose(found.moved.voxels, plain.moved.voxels, rtol=0, atol=1.0)  # HU

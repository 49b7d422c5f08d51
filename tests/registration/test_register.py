"""`register`: from volumes to transforms and a report, and everything it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from transform_cases import grid, smooth_field, texture, turned

import tomochrome as tc
from tomochrome.errors import (
    Cancelled,
    GeometryError,
    InputError,
    ModelError,
    OptionError,
    TomochromeError,
)
from tomochrome.geometry import to_sitk
from tomochrome.geometry.orient import closest_axial
from tomochrome.registration.checks import check_extras, looks_like_labels
from tomochrome.registration.register import Registration, register
from tomochrome.registration.report import warnings_of, worsened
from tomochrome.registration.transform import Transform
from tomochrome.runtime import CancelToken
from tomochrome.volume import Provenance, Volume

SHAPE = (26, 30, 32)
AFFINE = grid(SHAPE, (4.0, 4.0, 4.0))


def blobs(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A body of soft tissue with organs, in air."""
    z, y, x = np.indices(shape) * 4.0 - (np.array(shape)[:, None, None, None] - 1) * 2.0
    hu = np.full(shape, -1000.0)
    hu[(z / 55) ** 2 + (y / 46) ** 2 + (x / 52) ** 2 < 1] = 40
    hu[((z - 10) / 20) ** 2 + (y / 16) ** 2 + ((x + 20) / 18) ** 2 < 1] = -700
    hu[((z + 12) / 14) ** 2 + ((y - 8) / 18) ** 2 + ((x - 16) / 15) ** 2 < 1] = 300
    hu[((z - 14) / 9) ** 2 + ((y + 18) / 9) ** 2 + ((x - 22) / 10) ** 2 < 1] = 900
    hu += np.random.default_rng(2).normal(0, 12, shape)
    return Volume(np.rint(hu).astype(np.int16), affine)


def labels_of(volume: Volume) -> Volume:
    values = np.asarray(volume.voxels)
    found = np.digitize(values, (-850, -300, 170, 600)).astype(np.uint8)
    return Volume(found, volume.affine, "unknown")


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume, Transform]:
    """A body, the same deformed and turned on an oblique grid of its own, and the truth."""
    fixed = blobs()
    field = smooth_field(SHAPE, AFFINE, 9.0, seed=5)
    truth = Transform.from_fields(field, affine=turned(0.12, (12.0, -9.0, 6.0)))
    like = Volume(
        np.zeros((34, 36, 30), np.uint8),
        turned(0.12, (12.0, -9.0, 6.0)) @ grid((34, 36, 30), (3.2, 3.5, 4.4)),
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
        fixed, Volume(np.zeros((13, 60, 32), np.uint8), grid((13, 60, 32), (8, 2, 4)), "unknown")
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
    found = register(fixed, moving, model="none", refine=8, device="cpu", init="rigid")
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
    found = tc.register(fixed, moving, refine=0, device="cpu", init="rigid")
    assert found.report["model"] == "symnet"
    assert found.report["seconds"]["network"] > 0
    assert not found.forward.is_affine


def test_without_network_and_refinement_only_the_affine_part_is_left(pair) -> None:
    fixed, moving, _ = pair
    found = register(fixed, moving, model="none", refine=0)
    assert found.forward.is_affine
    np.testing.assert_allclose(found.inverse.affine, np.linalg.inv(found.forward.affine))
    assert found.report["curve"] == []
    assert "nothing is deformed" in found.warnings[0]
    np.testing.assert_allclose(found.jacobian.voxels, np.linalg.det(found.forward.affine[:3, :3]))


def test_metric_and_progress_are_told(pair) -> None:
    fixed, moving, _ = pair
    curve: list[tuple[str, int, float]] = []
    stages: list[str] = []
    found = register(
        fixed, moving, model=None, refine=6, init="rigid", device="cpu",
        metric=lambda stage, k, value: curve.append((stage, k, value)),
        progress=lambda done, total, stage: stages.append(stage) if 0 <= done <= total else None,
    )  # fmt: skip
    assert [k for _, k, _ in curve] == sorted({k for _, k, _ in curve})
    np.testing.assert_allclose([c[2] for c in curve], [v for _, v in found.report["curve"]], 1e-3)
    for wanted in ("initial alignment", "refining", "applying the transform", "measuring"):
        assert wanted in stages


@pytest.mark.parametrize("stage", ["initial alignment", "preparing", "refining", "measuring"])
def test_it_stops_in_every_stage(pair, stage: str) -> None:
    fixed, moving, _ = pair
    cancel = CancelToken()

    def progress(done: int, total: int, now: str) -> None:
        if now == stage:
            cancel.cancel()

    with pytest.raises(Cancelled):
        register(
            fixed, moving, model=None, refine=6, init="rigid", progress=progress, cancel=cancel,
            fixed_labels=labels_of(fixed), moving_labels=labels_of(moving),
        )  # fmt: skip


def test_the_network_is_stopped_between_its_layers(pair) -> None:
    fixed, moving, _ = pair
    cancel = CancelToken()
    stages: list[str] = []

    def progress(done: int, total: int, now: str) -> None:
        stages.append(now)
        if now == "network":
            cancel.cancel()

    with pytest.raises(Cancelled):
        register(fixed, moving, refine=2, init="none", progress=progress, cancel=cancel)
    assert stages.count("network") == 1  # its end was never told


def shifted(volume: Volume, mm: float) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += mm
    return replace(volume, affine=affine)


def spaced(volume: Volume, mm: float) -> Volume:
    return replace(volume, affine=volume.affine @ np.diag([mm, 1, 1, 1]))


def holed(volume: Volume) -> Volume:
    voxels = np.asarray(volume.voxels, np.float32).copy()
    voxels[3, 3, 3] = np.nan
    return replace(volume, voxels=voxels)


BODY = blobs()
ONES = Volume(np.ones(SHAPE, np.uint8), AFFINE, "unknown")
RGBA = Volume(np.zeros((*SHAPE, 4), np.uint8), AFFINE, "RGBA")
FLAT = Volume(np.zeros((1, 30, 32), np.int16), AFFINE)
POINTS = np.zeros((4, 3))
ODD = replace(ONES, voxels=np.full(SHAPE, 0.5, np.float32))
EMPTY = replace(ONES, voxels=np.zeros(SHAPE, np.uint8))
FAR = shifted(ONES, 4000.0)
MANY = replace(ONES, voxels=np.arange(ONES.voxels.size, dtype=np.uint16).reshape(SHAPE))
CLEAN = replace(BODY, voxels=np.where(BODY.voxels < -900, -1000, BODY.voxels).astype(np.int16))
AIR = replace(ONES, voxels=np.where(CLEAN.voxels == -1000, 1, 0).astype(np.uint8))
BODY = CLEAN
SMALLER = replace(BODY, affine=BODY.affine @ np.diag([0.9, 0.9, 0.9, 1.0]))  # comes first
OVERFLOWN = replace(  # as a file of numbers beyond 32-bit floats is read
    BODY,
    voxels=np.zeros(SHAPE, np.int16),
    provenance=Provenance(warnings=("9 voxels hold no number",)),
)


@pytest.mark.parametrize(
    ("moving", "options", "kind", "words"),
    [
        (shifted(BODY, 3000.0), {"init": "none"}, GeometryError, "do not overlap"),
        (replace(BODY, voxels=np.zeros(SHAPE)), {}, InputError, "moving volume is constant"),
        (FLAT, {}, InputError, "is flat"),
        (holed(BODY), {}, InputError, "NaN"),
        (RGBA, {}, InputError, "in color"),
        (spaced(BODY, 100.0), {}, GeometryError, "absurd spacing"),
        (spaced(BODY, 1e-4), {}, GeometryError, "absurd spacing"),
        (BODY, {"fixed_points": POINTS}, OptionError, "none for the moving"),
        (BODY, {"moving_points": POINTS}, OptionError, "none for the fixed"),
        (
            BODY, {"fixed_points": POINTS, "moving_points": POINTS[:3]},
            InputError, "4 fixed but 3 moving points",
        ),
        (
            BODY, {"fixed_points": POINTS[:, :2], "moving_points": POINTS},
            InputError, "three coordinates",
        ),
        (
            BODY, {"fixed_points": POINTS * np.nan, "moving_points": POINTS},
            InputError, "not finite",
        ),
        (BODY, {"fixed_points": ["a"], "moving_points": POINTS}, InputError, "not numbers"),
        (BODY, {"fixed_labels": ONES}, OptionError, "none for the moving"),
        (BODY, {"fixed_labels": ODD, "moving_labels": ONES}, InputError, "not whole numbers"),
        (BODY, {"fixed_labels": ONES, "moving_labels": EMPTY}, InputError, "all 0"),
        (BODY, {"fixed_labels": ONES, "moving_labels": FAR}, GeometryError, "lie nowhere"),
        (BODY, {"fixed_labels": RGBA, "moving_labels": ONES}, InputError, "in color"),
        (BODY, {"fixed_mask": FAR}, GeometryError, "fixed mask lie.* nowhere"),
        (BODY, {"moving_mask": EMPTY}, InputError, "moving mask is empty"),
        (BODY, {"moving_mask": BODY}, InputError, "moving mask has values below 0"),
        (BODY, {"moving_mask": RGBA}, InputError, "moving mask is in color"),
        (
            BODY, {"fixed_labels": ONES, "moving_labels": MANY},
            InputError, "moving labels hold more than 1024 values",
        ),
        (BODY, {"fixed_mask": AIR, "moving_mask": ONES}, InputError, "fixed volume is constant"),
        (
            SMALLER, {"moving_mask": replace(AIR, affine=SMALLER.affine)},
            InputError, "moving volume is constant",
        ),
        (OVERFLOWN, {}, InputError, "not numbers"),
        (BODY, {"model": "nothing-such"}, ModelError, "unknown registration model"),
        (BODY, {"model": "tissue"}, ModelError, "unknown registration model"),
        (BODY, {"refine": -1}, OptionError, "from 0 to"),
        (BODY, {"init": "magic"}, OptionError, "unknown initialization"),
        (BODY, {"similarity": "ssd"}, OptionError, "unknown similarity"),
        (BODY, {"device": "abacus"}, OptionError, "unknown device"),
        (BODY, {"threads": 0}, OptionError, "at least 1"),
    ],
)  # fmt: skip
def test_what_is_refused(
    moving: Volume, options: dict[str, Any], kind: type[TomochromeError], words: str
) -> None:
    with pytest.raises(kind, match=words) as refused:
        register(BODY, moving, **{"model": None, **options})
    assert "\n" not in str(refused.value)


def test_what_has_no_number_in_a_mask_or_labels_does_not_count() -> None:
    outside = np.zeros(SHAPE, np.bool_)
    outside[:, :, :16] = True  # as readers hand on NaN: filled with the least value there is
    holed = replace(ONES, outside=outside)
    extras = check_extras(BODY, BODY, holed, None, holed, ONES, None, None)
    for found in (extras.fixed_mask, extras.fixed_labels):
        assert found is not None
        np.testing.assert_array_equal(np.asarray(found.voxels) != 0, ~outside)


def test_a_label_map_in_place_of_a_scan_is_told_of() -> None:
    labels = labels_of(BODY)
    assert looks_like_labels(labels)
    assert not looks_like_labels(BODY)
    assert not looks_like_labels(AIR)  # to align silhouettes is meant
    found = register(BODY, labels, model=None, refine=0, init="none")
    (said,) = (w for w in found.warnings if "segmentation" in w)
    assert said.startswith("the moving volume looks like a segmentation, not a scan")
    assert "register the scans themselves" in said


def test_a_registration_that_made_things_worse_says_so(pair) -> None:
    fixed, _, _ = pair
    points = np.random.default_rng(3).uniform(-30, 30, (10, 3))
    other = texture(SHAPE, AFFINE, 8)
    found = register(
        fixed, other, model=None, refine=0, init="rigid",
        fixed_points=points, moving_points=points,
    )  # fmt: skip
    assert any("landmarks grew" in w for w in found.warnings)
    assert worsened(found.warnings)


def test_what_counts_as_worse() -> None:
    good = {"ncc": 0.9, "mutual_information": 1.0, "dice_mean": 0.8, "tre_mm": {"mean": 2.0}}
    bad = {"ncc": 0.8, "mutual_information": 0.5, "dice_mean": 0.7, "tre_mm": {"mean": 3.0}}
    better = {"before": bad, "after": good, "jacobian": {"folded_percent": 0.0, "sd_log": 0.1}}
    assert warnings_of(better, "lncc") == ()
    worse = {"before": good, "after": bad, "jacobian": {"folded_percent": 0.3, "sd_log": 0.1}}
    said = " ".join(warnings_of(worse, "lncc"))
    for word in ("correlation", "Dice", "landmarks", "folds"):
        assert word in said
    assert "correlation" not in " ".join(warnings_of(worse, "mi"))
    assert "mutual information" in " ".join(warnings_of(worse, "mi"))
    assert worsened(warnings_of(worse, "mi"))
    assert warnings_of({"before": {}, "after": good, "jacobian": {}}, "lncc") == ()


def test_what_interpolation_costs_is_not_worse() -> None:
    found = register(BODY, BODY, similarity="mi", model=None, refine=0, init="affine")
    before, after = (found.report[k]["mutual_information"] for k in ("before", "after"))
    assert after < before
    assert not worsened(found.warnings)


def test_few_folds_and_ways_back_that_miss_are_put_into_words() -> None:
    few = {"jacobian": {"folded_percent": 6e-5}, "inverse_consistency_mm": {"p99": 0.3}}
    assert warnings_of(few, "lncc") == (
        "the deformation folds less than 0.01 % of the voxels: do not trust it there",
    )
    apart = {"jacobian": {"folded_percent": 0.0}, "inverse_consistency_mm": {"p99": 3.21}}
    (said,) = warnings_of(apart, "lncc")
    assert "3.2 mm or more beside its start" in said
    assert not worsened([said])
    assert warnings_of({"inverse_consistency_mm": {"p99": None}}, "lncc") == ()


def test_likeness_of_a_thin_slice_in_common_is_no_measure_of_before() -> None:
    good = {"ncc": 1.0, "mutual_information": 1.0, "overlap": 0.04}
    full = {"ncc": 0.92, "mutual_information": 0.9, "overlap": 0.98}
    jacobian = {"folded_percent": 0.0}
    for similarity in ("lncc", "mi"):
        assert warnings_of({"before": good, "after": full, "jacobian": jacobian}, similarity) == ()
    lost = warnings_of({"before": full, "after": good, "jacobian": jacobian}, "lncc")
    assert worsened(lost)
    assert "only 4 % is left" in lost[0]
    beside = shifted(BODY, 0.0).affine.copy()
    beside[:3, 3] += BODY.affine[:3, 2] * (SHAPE[2] - 1)  # one sagittal plane in common
    found = register(BODY, replace(BODY, affine=beside), model=None, refine=0, init="mass")
    assert found.report["before"]["overlap"] < 0.1
    assert found.report["after"]["overlap"] == 1.0

"""``tomochrome evaluate registration``: an existing result, and a known deformation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import Run
from scipy import ndimage

from tomochrome.geometry.affine import apply
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io import read, write
from tomochrome.io.points import write_points
from tomochrome.transform import Transform
from tomochrome.volume import Volume, default_affine

Capture = pytest.CaptureFixture[str]
SHAPE = (16, 18, 20)
AFFINE = default_affine((5.0, 4.0, 4.0), (-40.0, -36.0, -40.0))


def pictures() -> tuple[Volume, Volume]:
    index = np.moveaxis(np.indices(SHAPE), 0, -1) / (np.array(SHAPE) - 1) * 2 - 1
    rng = np.random.default_rng(2)
    hu = np.where((index**2).sum(-1) < 0.8, 40.0, -1000.0)
    hu += 300 * ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5)
    labels = np.zeros(SHAPE, np.uint8)
    labels[np.linalg.norm(index - (0.1, 0.2, 0.2), axis=-1) < 0.4] = 2
    return Volume(hu.astype(np.int16), AFFINE, "HU"), Volume(labels, AFFINE, "unknown")


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    """Files of a registration by a smooth field and a shift: exact by construction."""
    fixed, labels = pictures()
    rng = np.random.default_rng(5)
    vectors = ndimage.gaussian_filter(rng.normal(size=(*SHAPE, 3)), (3, 3, 3, 0)) * 60
    shift = np.eye(4)
    shift[:3, 3] = 3.0, -2.0, 4.0
    field = DisplacementField(vectors.astype(np.float32), AFFINE)
    forward = Transform.from_fields(field, affine=shift)
    inverse = forward.inverse().dense()
    points = apply(AFFINE, [[6.0, 8, 9], [9, 9, 12]])
    paths = {
        name: tmp_path / f"{name}{ending}"
        for name, ending in (
            ("fixed", ".nii.gz"), ("moving", ".nii.gz"), ("fixed-labels", ".nii.gz"),
            ("moving-labels", ".nii.gz"), ("forward", ".h5"), ("inverse", ".h5"),
            ("fixed-points", ".fcsv"), ("moving-points", ".csv"),
        )
    }  # fmt: skip
    write(fixed, paths["fixed"])
    write(inverse.apply(fixed), paths["moving"])
    write(labels, paths["fixed-labels"])
    write(inverse.apply(labels, order="nearest"), paths["moving-labels"])
    forward.save(paths["forward"])
    inverse.save(paths["inverse"])
    write_points(points, paths["fixed-points"])
    write_points(forward.points(points), paths["moving-points"])
    return paths


def everything(made: dict[str, Path]) -> list[object]:
    extras = ("fixed-labels", "moving-labels", "fixed-points", "moving-points")
    argv: list[object] = ["registration", made["fixed"], made["moving"]]
    argv += ["--transform", made["forward"], "--inverse", made["inverse"]]
    return argv + [word for name in extras for word in (f"--{name}", made[name])]


def test_a_result_is_measured(made: dict[str, Path], tmp_path: Path, capfd: Capture) -> None:
    report = tmp_path / "report.json"
    run = Run(capfd, "evaluate", *everything(made), "-o", report, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert json.loads(report.read_text()) == data
    assert data["after"]["ncc"] > 0.97 > data["before"]["ncc"]
    assert data["after"]["dice"]["2"] > 0.9 > data["before"]["dice"]["2"]
    assert data["after"]["hausdorff95_mm"]["2"] <= 5.0
    assert data["after"]["tre_mm"]["max"] < 1e-3 < 3 < data["before"]["tre_mm"]["mean"]
    assert data["jacobian"]["folded_percent"] == 0.0
    assert data["inverse_consistency_mm"]["p99"] < 1.0
    assert not any("worse" in warning for warning in data["warnings"])


def test_a_result_in_words(made: dict[str, Path], capfd: Capture) -> None:
    text = Run(capfd, "evaluate", *everything(made)).out
    first, second, *rest = text.splitlines()
    assert first == "fixed.nii.gz and moving.nii.gz, with forward.h5"
    assert second.split() == ["before", "after"]
    words = [line.split("  ")[1] for line in rest]
    assert words[:3] == ["Correlation", "Local correlation", "Mutual information"]
    assert any(line.startswith("  2 landmarks, mean (mm)") for line in rest)
    assert any(line.startswith("  Folded voxels") for line in rest)
    assert rest[-1] == "  not for diagnosis"


def test_without_a_transform_there_is_no_before(made: dict[str, Path], capfd: Capture) -> None:
    run = Run(capfd, "evaluate", "registration", made["fixed"], made["fixed"], "--json")
    data = json.loads(run.out)
    assert data["after"]["ncc"] == pytest.approx(1.0)
    assert not {"before", "jacobian", "inverse_consistency_mm"} & set(data)
    text = Run(capfd, "evaluate", "registration", made["fixed"], made["fixed"]).out
    assert "before" not in text
    assert "1.000" in text


def test_worse_metrics_give_a_warning(made: dict[str, Path], capfd: Capture) -> None:
    argv = ("registration", made["fixed"], made["fixed"], "--transform", made["forward"])
    run = Run(capfd, "evaluate", *argv, "--json")
    assert run.status == 0
    assert any("worse" in warning for warning in json.loads(run.out)["warnings"])
    assert "worse" in run.err


def test_a_wrong_inverse_gives_a_warning(made: dict[str, Path], capfd: Capture) -> None:
    argv = ("registration", made["fixed"], made["moving"], "--transform", made["forward"])
    run = Run(capfd, "evaluate", *argv, "--inverse", made["forward"], "--json")
    assert any("probably not the inverse" in warning for warning in json.loads(run.out)["warnings"])
    run = Run(capfd, "evaluate", *argv, "--inverse", made["inverse"], "--json")
    assert not any(
        "probably not the inverse" in warning for warning in json.loads(run.out)["warnings"]
    )


def test_between_modalities_correlation_need_not_increase(
    made: dict[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    moving = read(made["moving"])
    negative = (1500 - np.asarray(moving.voxels) // 2).astype(np.int16)
    write(replace(moving, voxels=negative, unit="unknown"), tmp_path / "other.nii.gz")
    argv = ("registration", made["fixed"], tmp_path / "other.nii.gz")
    run = Run(capfd, "evaluate", *argv, "--transform", made["forward"], "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["after"]["ncc"] < data["before"]["ncc"] - 0.01  # towards -1
    assert not any("worse" in warning for warning in data["warnings"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--inverse", "inverse"], "--transform"),
        (["--fixed-labels", "fixed-labels"], "--moving-labels is missing"),
        (["--moving-points", "moving-points"], "--fixed-points is missing"),
        (["--transform", "fixed"], "displacement field"),
        (["--fixed-points", "fixed", "--moving-points", "fixed"], "extension"),
        (["--fixed-labels", "far", "--moving-labels", "fixed-labels"], "fixed labels"),
        (["--fixed-points", "fixed-points", "--moving-points", "three"], "2 in the fixed"),
        (["--mask", "far"], "mask"),
        (["--labels", "fixed-labels"], "--synthetic"),
        (["--mean-mm", 3], "--synthetic"),
        (["--transform", "nobody"], "there is no file"),
        (["-o", "fixed", "--force"], "must end in .json"),
        (["-o", ""], "the path is empty"),
        (["-o", "report"], "already exists"),
        (["--fixed-points", "mrk", "--moving-points", "mrk", "-o", "mrk", "--force"], "an input"),
    ],
    ids=lambda v: " ".join(map(str, v)) if isinstance(v, list) else None,
)
def test_bad_input_is_one_sentence(
    change: list[Any], words: str, made: dict[str, Path], tmp_path: Path, capfd: Capture
) -> None:
    write_points(np.zeros((3, 3)), tmp_path / "three.csv")
    write_points(np.zeros((3, 3)), tmp_path / "points.mrk.json")
    (tmp_path / "report.json").write_text("{}")
    far = replace(pictures()[1], affine=default_affine((4.0, 4.0, 4.0), (900.0, 0.0, 0.0)))
    write(far, tmp_path / "far.nii.gz")
    names = {**made, "three": tmp_path / "three.csv", "far": tmp_path / "far.nii.gz"}
    names |= {"nobody": tmp_path / "nobody.h5", "report": tmp_path / "report.json"}
    names["mrk"] = tmp_path / "points.mrk.json"
    argv = [names.get(word, word) for word in change]
    run = Run(capfd, "evaluate", "registration", made["fixed"], made["moving"], *argv)
    assert run.status == 2
    complaint = [line for line in run.err.splitlines() if not line.startswith("warning: ")]
    assert len(complaint) == 1
    assert words in complaint[0]


def test_volumes_that_do_not_overlap(made: dict[str, Path], tmp_path: Path, capfd: Capture) -> None:
    far = replace(pictures()[0], affine=default_affine((4.0, 4.0, 4.0), (900.0, 0.0, 0.0)))
    write(far, tmp_path / "far.nii.gz")
    run = Run(capfd, "evaluate", "registration", made["fixed"], tmp_path / "far.nii.gz")
    assert run.status == 2
    assert "they do not overlap" in run.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "--synthetic VOLUME"),
        (("a",), "--synthetic VOLUME"),
        (("a", "b"), "'a'"),
        (("a", "--synthetic", "b"), "omit FIXED"),
        (("--synthetic", "b", "--transform", "c"), "--transform has no effect"),
        (("--synthetic", "b"), "'b'"),
        (("--synthetic", "b", "--contrast", "2"), "LABEL:VALUE"),
        (("--synthetic", "b", "--contrast", "x:2"), "integer"),
        (("--synthetic", "b", "--seed", "-1"), "integer"),
        (("--synthetic", "b", "--noise", "nan"), "number"),
    ],
)
def test_bad_usage(argv: tuple[str, ...], words: str, capfd: Capture) -> None:
    run = Run(capfd, "evaluate", "registration", *argv)
    assert run.status == 2
    assert words in run.complaint


def test_a_known_deformation(made: dict[str, Path], capfd: Capture) -> None:
    argv: list[object] = ["evaluate", "registration", "--synthetic", made["fixed"]]
    argv += ["--labels", made["fixed-labels"], "--mean-mm", 4, "--seed", 2, "--contrast", "2:100"]
    argv += ["--model", "none", "--refine", 10, "--threads", 1, "--noise", 5]
    run = Run(capfd, *argv, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["deformation"] == {
        "mean_mm": 4.0, "smooth_mm": 70.0, "noise": 5.0, "contrast": {"2": 100.0}, "seed": 2,
    }  # fmt: skip
    error = data["error_mm"]
    assert set(error["before"]) == set(error["after"]) == {"mean", "median", "p95", "max"}
    assert error["before"]["mean"] == pytest.approx(4.0, rel=0.15)
    assert {"dice", "hausdorff95_mm", "ncc"} <= set(data["after"])
    text = Run(capfd, *argv).out
    assert text.startswith("fixed.nii.gz deformed by 3.9 mm on average (seed 2), noise 5")
    assert "Evaluated part of the body (%)" in text
    assert "Error in the body, mean (mm)" in text


def test_what_cannot_be_deformed(made: dict[str, Path], capfd: Capture) -> None:
    argv = ["evaluate", "registration", "--synthetic", made["fixed"]]
    for extra, words in (
        (["--mean-mm", 0], "more than 0"),
        (["--contrast", "2:5"], "labels"),
        (["--labels", made["fixed-labels"], "--contrast", "7:5"], "label 7"),
        (["--model", "nobody"], "nobody"),
    ):
        run = Run(capfd, *argv, *extra)
        assert run.status == 2
        assert words in run.err

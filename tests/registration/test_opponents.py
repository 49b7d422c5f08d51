"""Published methods beside ours: each improves a known deformation, and is measured alike."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from registration_cases import BODY, blobs, labels_of, scans, shifted
from transform_cases import smooth_field

import tomochrome as tc
from tomochrome.cli.app import main
from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.runtime import Task, running
from tomochrome.transform import Transform
from tomochrome.volume import Volume

pytest.importorskip("torch")
from tomochrome.registration import opponents
from tomochrome.registration.opponents import compare_methods, register_with
from tomochrome.registration.validation import make_synthetic
from tomochrome.registration.working_pair import make_pair


@pytest.fixture(scope="module")
def deformed() -> tuple[Volume, Volume, Transform]:
    fixed = blobs()
    truth = Transform.from_fields(smooth_field(fixed.shape, fixed.affine, 7.0, seed=3))
    return fixed, replace(truth.inverse().apply(fixed, fixed), outside=None), truth


@pytest.mark.parametrize("method", ["demons", "bspline"])
def test_each_reduces_a_known_deformation(
    method: str, deformed: tuple[Volume, Volume, Transform]
) -> None:
    fixed, moving, truth = deformed
    forward = register_with(method, make_pair(*scans(fixed, moving)))
    inside = np.argwhere(np.asarray(fixed.voxels) > 150)  # at organs, where there is contrast
    points = inside @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    before, after = (
        np.linalg.norm(there - truth.points(points), axis=1).mean()
        for there in (points, forward.points(points))
    )
    assert after < 0.7 * before


def test_the_initial_alignment_is_part_of_the_transform() -> None:
    affine = np.eye(4)
    affine[:3, 3] = 20, -10, 5
    moving = replace(BODY, affine=affine @ BODY.affine)
    pair = make_pair(*scans(BODY, moving), transform=affine)
    points = np.random.default_rng(0).uniform(-25, 25, (20, 3))
    there = register_with("demons", pair).points(points)
    np.testing.assert_allclose(there, points + np.array([20, -10, 5]), atol=0.5)


def test_methods_are_measured_on_a_known_deformation() -> None:
    case = make_synthetic(BODY, labels=labels_of(BODY), mean_mm=5.0, smooth_mm=40.0, seed=1)
    rows = compare_methods(
        case.fixed, case.moving, ["lncc", "demons"], case=case, init="none", model="none",
        refine=20, fixed_labels=case.fixed_labels, moving_labels=case.moving_labels, device="cpu",
    )  # fmt: skip
    assert [row["method"] for row in rows] == ["lncc", "demons"]
    for row in rows:
        assert row["error_mm"] < 5.0 and row["dice_mean"] > 0.5 and row["folded_percent"] >= 0
        assert row["tre_mm"] is None and row["seconds"] >= 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(OptionError, match="unknown method 'elastix': choose from lncc, tissue"):
        compare_methods(BODY, BODY, ["lncc", "elastix"])
    with pytest.raises(TomochromeError, match="Hounsfield"):
        compare_methods(*[replace(BODY, unit="unknown")] * 2, ["vgg16", "tissue"])


def test_syn_needs_ants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ants", None)
    with pytest.raises(OptionError, match="ANTs is not installed, so there is no comparison"):
        compare_methods(BODY, BODY, ["syn"])


def test_syn_is_run_by_ants(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a module in place of ANTs that returns a shift by 6 mm along x."""
    ants = ModuleType("ants")

    def registration(fixed: str, moving: str, *, outprefix: str, **how: str) -> dict:
        assert how == {"type_of_transform": "SyNOnly", "initial_transform": "identity"}
        image = SimpleITK.ReadImage(fixed)
        vectors = np.tile(np.array([6.0, 0, 0]), (*image.GetSize()[::-1], 1))
        field = SimpleITK.GetImageFromArray(vectors, isVector=True)
        field.CopyInformation(image)
        SimpleITK.WriteImage(field, f"{outprefix}1Warp.nii.gz")
        return {"fwdtransforms": [f"{outprefix}1Warp.nii.gz", f"{outprefix}0.mat"]}

    ants.__dict__.update(vars(SimpleNamespace(image_read=str, registration=registration)))
    monkeypatch.setitem(sys.modules, "ants", ants)
    forward = register_with("syn", make_pair(*scans(BODY, BODY)))
    np.testing.assert_allclose(forward.points([[1.0, 2, 3]]), [[7, 2, 3]], atol=1e-4)


@pytest.mark.parametrize("method", ["demons", "bspline"])
def test_a_cancelled_method_stops(method: str) -> None:
    pair = make_pair(*scans(BODY, BODY))
    task = Task()
    task.cancel()
    with running(task), pytest.raises(Cancelled):
        register_with(method, pair)


def test_labels_of_one_volume_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opponents, "register", lambda *_, **__: pytest.fail("registered"))
    for wrong in ({"fixed_labels": labels_of(BODY)}, {"moving_points": [[0, 0, 0]]}):
        with pytest.raises(OptionError, match=r"both|none for the fixed"):
            compare_methods(BODY, BODY, ["lncc"], **wrong)


def test_a_comparison_heeds_the_options_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The second of two volumes in a file, a mask, and the noise of the deformed copy."""
    moving = shifted(BODY, 5.0)
    both = np.stack([np.full(BODY.shape, -900, np.int16), np.asarray(BODY.voxels)])
    affine = np.diag([-1.0, -1, 1, 1]) @ BODY.affine[:, [2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(both.T, affine), tmp_path / "two.nii.gz")
    tc.write(moving, tmp_path / "moving.nii.gz")
    half = np.zeros(BODY.shape, np.uint8)
    half[: BODY.shape[0] // 2] = 1
    tc.write(replace(BODY, voxels=half, unit="tissue"), tmp_path / "half.nii.gz")
    two = tmp_path / "two.nii.gz"
    command, quick = ["evaluate", "registration"], ["--model", "none", "--refine", "0"]

    def table(*words: str) -> dict:
        assert main([*command, *words, *quick, "--against", "demons", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    pair = [str(two), str(tmp_path / "moving.nii.gz"), "--series", f"{two}#2", "--init", "none"]
    whole, part = (
        table(*pair, *more)["methods"] for more in ([], ["--mask", str(tmp_path / "half.nii.gz")])
    )
    assert whole[0]["ncc"] > 0.5  # the first volume is constant
    assert whole[0]["ncc"] != part[0]["ncc"]
    made = ["--synthetic", str(tmp_path / "moving.nii.gz"), "--noise", "77", "--smooth-mm", "50"]
    facts = table(*made)["deformation"]
    assert facts["noise"] == 77 and facts["smooth_mm"] == 50


def test_the_commands_print_a_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a.nii.gz"
    tc.write(BODY, path)
    argv = ["evaluate", "registration", "--synthetic", str(path), "--mean-mm", "4", "--model",
            "none", "--refine", "4", "--device", "cpu"]  # fmt: skip
    assert main([*argv, "--against", "demons", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in data["methods"]] == ["lncc", "demons"]
    assert main([*argv, "--against", "elastix"]) == 2
    assert "unknown method 'elastix'" in capsys.readouterr().err
    features = ["evaluate", "features", *argv[2:]]
    assert main([*features, "--backbones", "tissue", "-o", str(tmp_path / "table.json")]) == 0
    said = capsys.readouterr().out
    assert "error mm" in said and "tissue" in said and "TRE" not in said
    assert len(json.loads((tmp_path / "table.json").read_text())["methods"]) == 2
    assert main([*features, "--backbones", "vgg19"]) == 2
    assert "unknown backbone 'vgg19': choose from tissue" in capsys.readouterr().err
    assert main([*features, "-o", str(path), "--force"]) == 2
    assert "must end in .json" in capsys.readouterr().err
    assert main([*features, "--fixed-labels", str(path)]) == 2
    assert "--fixed-labels has no effect with --synthetic" in capsys.readouterr().err
    assert main(["evaluate", "features", str(path), str(path), "--mean-mm", "4"]) == 2
    assert "--mean-mm has no effect without --synthetic" in capsys.readouterr().err
    assert main(["evaluate", "features", str(path)]) == 2
    assert "give two volumes, FIXED and MOVING, or --synthetic VOLUME" in capsys.readouterr().err


def test_a_comparison_tells_what_was_restored_and_names_each_method_once(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def compared(_fixed: Volume, _moving: Volume, methods: list[str], **_: object) -> list[dict]:
        asked.append(list(methods))
        keys = "seconds", "ncc", "dice_mean", "tre_mm", "error_mm", "folded_percent"
        return [{"method": name, **dict.fromkeys(keys, 1.0)} for name in methods]

    monkeypatch.setattr(opponents, "compare_methods", compared)
    path = str(tmp_path / "a.nrrd")
    tc.write(replace(BODY, restored=np.asarray(BODY.voxels) > 150), path)
    commands = {
        ("registration", path, path, "--against", " demons,lncc , demons"): ["lncc", "demons"],
        ("registration", "--synthetic", path, "--against", "demons"): ["lncc", "demons"],
        ("features", path, path, "--backbones", "vgg16, vgg16"): ["lncc", "vgg16"],
    }
    for command, methods in commands.items():
        assert main(["evaluate", *command, "--json"]) == 0
        out, err = capsys.readouterr()
        assert asked.pop() == methods
        assert any("restored, not measured" in text for text in json.loads(out)["warnings"])
        assert "restored, not measured" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--against", "demons", "--backbone", "vgg16"],
            "--backbone has no effect without --simi",
        ),
        (["--against", ""], "argument --against: give at least one name"),
        (["--init", "affine"], "--init has no effect without --synthetic or --against"),
        (["--seed", "3"], "--seed has no effect without --synthetic\n"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], text: str
) -> None:
    path = tmp_path / "a.nrrd"
    path.touch()
    try:
        status: object = main(["evaluate", "registration", str(path), str(path), *words])
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and text in capsys.readouterr().err

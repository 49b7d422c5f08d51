"""``tomochrome register``: outputs and messages, without patient names."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from cli_cases import Run, make_series
from cli_register_cases import QUICK, names_in, write_inputs
from PIL import Image

from tomochrome.cli.register import FILES
from tomochrome.io import write
from tomochrome.phantom import make_patient

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("register"))


@pytest.fixture(scope="module")
def done(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one full run."""
    from tomochrome.cli import main

    out = tmp_path_factory.mktemp("done") / "result"
    words = ["register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out, *QUICK]
    for role in ("fixed", "moving"):
        words += [f"--{role}-labels", inputs / f"{role}_labels.nii.gz"]
    words += ["--fixed-points", inputs / "fixed.fcsv", "--moving-points", inputs / "moving.csv"]
    words += ["--fixed-mask", inputs / "mask.nii.gz", "--init", "rigid"]
    assert main([str(word) for word in words]) == 0
    return out


def test_every_file_is_there_and_nothing_else(inputs: Path, done: Path) -> None:
    assert names_in(done) == sorted(FILES)
    assert names_in(done.parent) == ["result"]
    fixed, moved = nib.load(inputs / "fixed.nii.gz"), nib.load(done / "moved.nii.gz")
    np.testing.assert_allclose(moved.affine, fixed.affine, atol=1e-4)
    assert moved.shape == fixed.shape
    assert b"not for diagnosis" in bytes(moved.header["descrip"])
    back, moving = nib.load(done / "moved_inverse.nii.gz"), nib.load(inputs / "moving.nii.gz")
    np.testing.assert_allclose(back.affine, moving.affine, atol=1e-4)
    jacobian = nib.load(done / "jacobian.nii.gz")
    assert jacobian.get_data_dtype() == np.float32
    assert abs(np.median(np.asarray(jacobian.dataobj)) - 1) < 0.1
    with Image.open(done / "checkerboard.png") as sheet:
        assert np.asarray(sheet.convert("RGB")).std() > 5
        assert "not for diagnosis" in " ".join(map(str, sheet.info.values()))


def test_simpleitk_alone_makes_moved_out_of_the_files(inputs: Path, done: Path) -> None:
    images = {
        name: SimpleITK.ReadImage(str(folder / f"{name}.nii.gz"))
        for folder, names in ((inputs, ("fixed", "moving")), (done, ("moved", "moved_inverse")))
        for name in names
    }
    for source, onto, name, way in (
        ("moving", "fixed", "moved", "forward"),
        ("fixed", "moving", "moved_inverse", "inverse"),
    ):
        transform = SimpleITK.ReadTransform(str(done / f"{way}.h5"))
        theirs = SimpleITK.Resample(
            images[source], images[onto], transform, SimpleITK.sitkLinear, -1024.0
        )
        ours, theirs = (
            SimpleITK.GetArrayFromImage(i).astype(float) for i in (images[name], theirs)
        )
        assert np.abs(ours - theirs).mean() < 0.005 * np.ptp(ours)


def test_the_report(done: Path) -> None:
    text = (done / "report.json").read_text(encoding="utf-8")
    report = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    for key in ("seconds", "before", "after", "jacobian", "inverse_consistency_mm", "warnings"):
        assert key in report
    assert {"read", "initialize", "refinement", "write", "total"} <= set(report["seconds"])
    assert report["model"] == "none"
    assert report["after"]["coverage"]["fixed_body"] > 0.9
    assert [len(ends) for ends in report["after"]["coverage"]["common_slices"]] == [2, 2, 2]
    assert report["after"]["dice_mean"] > report["before"]["dice_mean"]
    assert report["after"]["tre_mm"]["mean"] < report["before"]["tre_mm"]["mean"]
    assert str(done.parent) not in text  # a path may hold a name


def test_json_words_and_force(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    words = ("register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out)
    quick = ("--model", "none", "--refine", 0, "--init", "center")
    out.mkdir()
    (out / "mine.txt").write_text("stays")
    run = Run(capfd, *words, *quick, "--json")
    assert run.status == 0, run.err
    assert run.out.count("\n") == 1
    data = json.loads(run.out)
    assert data["files"] == list(FILES)
    assert data["fixed"] == str(inputs / "fixed.nii.gz")
    assert any("without deformation" in w for w in data["warnings"])
    for part in (data["before"], data["after"]):  # without labels and landmarks
        assert (part["dice"], part["dice_mean"], part["tre_mm"]) == ({}, None, {})
    before = {name: (out / name).read_bytes() for name in FILES}
    again = Run(capfd, *words, *quick)
    assert again.status == 2
    assert "--force" in again.complaint
    assert {name: (out / name).read_bytes() for name in FILES} == before
    forced = Run(capfd, *words, *quick, "--force")
    assert forced.status == 0, forced.err
    assert "before" in forced.out
    assert data["verdict"]["heading"] in forced.out
    assert data["verdict"]["advice"] in forced.out
    assert "Fixed body covered" in forced.out
    assert "not for diagnosis" in forced.out
    assert names_in(out) == sorted([*FILES, "mine.txt"])


def test_worse_is_said_in_the_exit_message(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    points = inputs / "fixed.fcsv"
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", tmp_path / "o",
        "--model", "none", "--refine", 0, "--init", "affine",
        "--fixed-points", points, "--moving-points", points,
    )  # fmt: skip
    assert run.status == 0
    told = json.loads((tmp_path / "o" / "report.json").read_text())["warnings"]
    assert any("worse" in text and f"warning: {text}\n" in run.err for text in told)
    assert all(f": {text}\n" in run.err for text in told)


def test_no_file_contains_patient_data(tmp_path: Path, capfd: Capture) -> None:
    series = make_series(tmp_path / "series")
    for path in series.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.PatientName, slice_.PatientID = "Grosvenor^Araminta", "PID-4711-XYZ"
        slice_.PatientBirthDate = "19570304"
        slice_.save_as(path)
    out = tmp_path / "out"
    words = ("register", series, series, "-o", out, "--model", "none", "--refine", 2)
    run = Run(capfd, *words, "--init", "none", "--json")
    assert run.status == 0, run.err
    said = [run.out.encode(), run.err.encode()]
    for name in FILES:
        content = (out / name).read_bytes()
        said.append(gzip.decompress(content) if name.endswith(".gz") else content)
    for secret in (b"Grosvenor", b"Araminta", b"PID-4711", b"19570304"):
        assert not any(secret in part for part in said)


def test_the_help_says_the_number_of_iterations_that_is_used(capfd: Capture) -> None:
    from tomochrome.registration.refine import DEFAULT_ITERATIONS

    said = Run(capfd, "register", "--help").out
    assert f"(default: {DEFAULT_ITERATIONS})" in " ".join(said.split())


def test_regions_that_meet_in_a_third_are_told_apart(tmp_path: Path, capfd: Capture) -> None:
    torso = make_patient(1, "torso", (14.0, 14.0, 14.0)).ct
    voxels, third = np.asarray(torso.voxels), torso.shape[0] // 3
    affine = torso.affine.copy()
    affine[:3, 3] += third * affine[:3, 0]
    write(replace(torso, voxels=voxels[: 2 * third]), tmp_path / "abdomen.nii.gz")
    write(replace(torso, voxels=voxels[third:], affine=affine), tmp_path / "chest.nii.gz")
    words = ("register", tmp_path / "abdomen.nii.gz", tmp_path / "chest.nii.gz", "--init", "none")
    run = Run(capfd, *words, "-o", tmp_path / "o", "--model", "none", "--refine", 0, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert 0.3 < data["after"]["coverage"]["fixed_body"] < 0.7
    assert any("nothing can be compared outside" in warning for warning in data["warnings"])
    assert "nothing can be compared outside" in run.err


@pytest.mark.parametrize("where", ["fixed", "moving", "corners", "infinite"])
def test_voxels_without_a_number_are_not_used(
    where: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    """As a scanner or a program masks what is beyond its field of view, or an overflow."""
    files = {role: inputs / f"{role}.nii.gz" for role in ("fixed", "moving")}
    role = "fixed" if where == "fixed" else "moving"
    image = nib.load(files[role])
    voxels = np.asarray(image.dataobj).astype(np.float32)
    if where == "corners":
        x, y = np.ogrid[: voxels.shape[0], : voxels.shape[1]]
        voxels[np.hypot(x - x.mean(), y - y.mean()) > voxels.shape[0] / 2] = np.nan
    else:
        voxels[:, : voxels.shape[1] // 5] = np.inf if where == "infinite" else np.nan
    files[role] = tmp_path / "holes.nii.gz"
    nib.save(nib.Nifti1Image(voxels, image.affine), files[role])
    words = ("register", files["fixed"], files["moving"], "-o", tmp_path / "out")
    run = Run(capfd, *words, *QUICK, "--init", "rigid", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert any("hold no number" in warning for warning in data["warnings"])
    assert data["after"]["ncc"] > 0.95
    moved = np.asarray(nib.load(tmp_path / "out" / "moved.nii.gz").dataobj)
    assert np.isfinite(moved).all()


def test_swapped_sides_are_told_in_words_and_json(tmp_path: Path, capfd: Capture) -> None:
    ct = make_patient(1, "abdomen", (13.0, 13.0, 13.0)).ct
    write(ct, tmp_path / "fixed.nii.gz")
    turned = np.ascontiguousarray(np.asarray(ct.voxels)[:, :, ::-1])
    write(replace(ct, voxels=turned), tmp_path / "moving.nii.gz")
    words = ("register", tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    quick = ("--model", "none", "--refine", 0)
    run = Run(capfd, *words, *quick, "-o", tmp_path / "out", "--json")
    assert run.status == 0, run.err
    assert any("left and right may be swapped" in text for text in json.loads(run.out)["warnings"])
    assert "note: neither a network nor refinement was requested" in run.err
    assert json.loads(run.out)["plausibility"]["mirrored"]
    assert "warning: left and right may be swapped" in run.err

"""``tomochrome register``: one-line errors for unusable inputs."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_cases import Run
from cli_register_cases import QUICK, write_inputs

from tomochrome.cli import register
from tomochrome.registration.refine import DEFAULT_ITERATIONS

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("register"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--refine", "-3"), "at least 0"),
        (("--refine", "many"), "at least 0"),
        (("--init", "magic"), "invalid choice"),
        (("--similarity", "ssd"), "invalid choice"),
        (("--model", "unheard-of"), "unknown registration model"),
        (("--threads", "0"), "at least 1"),
        (("--fixed-mask", "nowhere.nii.gz"), "there is no file"),
        (("--fixed-points", "FOLDER/fixed.fcsv"), "none for the moving"),
        (("--fixed-points", "FOLDER/fixed.fcsv", "--moving-points", "FOLDER/three.csv"), "but 3"),
        (("--moving-labels", "FOLDER/fixed_labels.nii.gz"), "none for the fixed"),
        (("--fixed-labels", "FOLDER/fixed_labels.nii.gz", "--use-labels"), "those of both"),
        (("--rigid-mask", "FOLDER/far.nii.gz"), "rigid mask is entirely outside"),
        (
            (
                "--fixed-labels", "FOLDER/fixed_labels.nii.gz",
                "--moving-labels", "FOLDER/fractions.nii.gz",
            ),
            "not integers",
        ),
        (("--moving-mask", "FOLDER/far.nii.gz"), "entirely outside"),
        (("-o", "FOLDER"), "is an input"),
        (("-o", "FOLDER/fixed.nii.gz"), "already exists and is not a folder"),
        (("-o", "FOLDER/fixed.nii.gz", "--force"), "already exists and is not a folder"),
        (("-o", "FOLDER/none/there"), "does not exist"),
    ],
)  # fmt: skip
def test_one_line_about_bad_options(
    words: tuple[str, ...], complaint: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    fixed = nib.load(inputs / "fixed.nii.gz")
    far = fixed.affine.copy()
    far[:3, 3] += 5000
    ones = np.ones((4, 4, 4), np.float32)
    nib.save(nib.Nifti1Image(ones, far), inputs / "far.nii.gz")
    nib.save(nib.Nifti1Image(ones / 2, fixed.affine), inputs / "fractions.nii.gz")
    moving = inputs / "moving.nii.gz"
    if words == ("-o", "FOLDER"):  # one of the outputs' own names is the input
        folder = tmp_path / "in"
        folder.mkdir()
        moving = folder / "moved.nii.gz"
        moving.write_bytes((inputs / "moving.nii.gz").read_bytes())
        words = ("-o", str(folder), "--force")
    given = [word.replace("FOLDER", str(inputs)) for word in words]
    output = () if "-o" in given else ("-o", tmp_path / "out")
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", moving, "--model", "none", *output, *given
    )
    assert run.status == 2
    assert complaint in run.complaint
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("**/.tomochrome-*"))


def bad_inputs(folder: Path) -> dict[str, str]:
    """Moving volumes that cannot be registered, with the expected messages."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 100, (12, 12, 12)).astype(np.float32)
    holes = noise.copy()
    holes[1:] = np.nan
    color = np.zeros((12, 12, 12), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    images = {
        "constant": (np.zeros((12, 12, 12), np.int16), 5.0),
        "flat": (noise[:, :, :1], 5.0),
        "nan": (holes, 5.0),
        "color": (color, 5.0),
        "spacing": (noise, 400.0),
    }
    for name, (voxels, spacing) in images.items():
        affine = np.diag([spacing, spacing, spacing, 1])
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    (folder / "noise.nii.gz").write_bytes(b"no volume at all")
    return {
        "constant": "constant", "flat": "flat", "color": "color",
        "nan": "by the background value",
        "spacing": "implausible spacing", "noise": "noise.nii.gz",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["constant", "flat", "nan", "color", "spacing", "noise"])
def test_one_line_about_bad_volumes(
    name: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = bad_inputs(tmp_path)[name]
    bad = tmp_path / f"{name}.nii.gz"
    run = Run(capfd, "register", inputs / "fixed.nii.gz", bad, "-o", tmp_path / "out", *QUICK)
    assert run.status == 2
    assert words in run.complaint
    assert not (tmp_path / "out").exists()


def test_no_overlap(inputs: Path, tmp_path: Path, capfd: Capture) -> None:
    image = nib.load(inputs / "moving.nii.gz")
    far = image.affine.copy()
    far[:3, 3] += 3000
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), far), tmp_path / "far.nii.gz")
    words = ("register", inputs / "fixed.nii.gz", tmp_path / "far.nii.gz", "-o", tmp_path / "out")
    for init in (("--init", "none"), ()):
        run = Run(capfd, *words, *init, *QUICK)
        assert run.status == 2
        assert "do not overlap" in run.complaint


def test_help_names_the_number_of_iterations_that_holds() -> None:
    parser = argparse.ArgumentParser()
    register.add_arguments(parser)
    assert f"(default: {DEFAULT_ITERATIONS})" in re.sub(r"\s+", " ", parser.format_help())


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("FIXED", "SERIES"), "choose one with --series-moving: "),
        (("SERIES", "FIXED"), "choose one with --series: "),
        (("FIXED", "FIXED", "--fixed-mask", "SERIES"), "give a file of one volume"),
    ],
)
def test_of_several_volumes_one_is_chosen_by_the_right_option(
    words: tuple[str, ...], advice: str, inputs: Path, tmp_path: Path, capfd: Capture
) -> None:
    image = nib.load(inputs / "fixed.nii.gz")
    twice = np.stack([np.asarray(image.dataobj)] * 2, axis=3)
    nib.save(nib.Nifti1Image(twice, image.affine), tmp_path / "series.nii.gz")
    paths = {"FIXED": inputs / "fixed.nii.gz", "SERIES": tmp_path / "series.nii.gz"}
    run = Run(
        capfd,
        "register",
        *(paths.get(word, word) for word in words),
        "-o",
        tmp_path / "out",
        *QUICK,
    )
    assert run.status == 2
    assert advice in run.complaint

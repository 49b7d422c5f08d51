"""``tomochrome colorize --hints``: strokes from a label file, over a model or alone."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_cases import AFFINE, SHAPE, Run, make_series

from tomochrome.io import write
from tomochrome.tissue import Tissue
from tomochrome.volume import Volume

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")
ALONE = ("--model", "none")
ORGAN = (3, 25, 40)  # a voxel of the soft tissue


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


@pytest.fixture(scope="module")
def strokes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stroke of label 7 in the soft tissue, and a voxel of it in the air outside."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 24:26, 36:44] = 7
    labels[0, 0, 0] = 7
    path = tmp_path_factory.mktemp("strokes") / "strokes.nii.gz"
    write(Volume(labels, AFFINE, "tissue"), path)
    return path


def test_strokes_over_a_model(series: Path, strokes: Path, tmp_path: Path, capfd: Capture) -> None:
    tissue = tmp_path / "tissue.nii.gz"
    hints = ("--hints", strokes, "--hint", "7=spleen", "--tissue-map", tissue)
    run = Run(capfd, "colorize", series, "-o", tmp_path / "c.nii.gz", *MODEL, *hints, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["model"] == "transfer-function + hints"
    assert data["device"] == "cpu"
    (warning,) = data["warnings"]
    assert warning == "1 of 17 voxels of the strokes are outside the body and have no effect"
    image = nib.load(tissue)
    assert np.asarray(image.dataobj)[ORGAN[::-1]] == Tissue.SPLEEN
    assert b"transfer-function + hints" in bytes(image.header["descrip"])


def test_strokes_alone_and_in_a_color(
    series: Path, strokes: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "c.nii.gz"
    run = Run(capfd, "colorize", series, "-o", out, *ALONE, "--hints", strokes,
              "--hint", "7=#b0413e", "--json")  # fmt: skip
    assert run.status == 0, run.err
    assert json.loads(run.out)["model"] == "hints"
    rgba = np.asarray(nib.load(out).dataobj)
    red, green, blue = (int(rgba[ORGAN[::-1]][name]) for name in "RGB")
    assert red > green + 20
    assert red > blue + 20
    fat = rgba[28, 5, 3]
    assert abs(int(fat["R"]) - int(fat["B"])) <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ALONE, "colors from strokes only; give --hints"),
        ((*MODEL, "--hint", "7=liver"), "give their label map with --hints"),
        ((*MODEL, "--hints", "S", "--hint", "7=livr"), "unknown tissue 'livr'"),
        ((*MODEL, "--hints", "S", "--hint", "7"), "must be LABEL=MEANING"),
        ((*MODEL, "--hints", "nowhere.nii.gz"), "there is no file or folder 'nowhere.nii.gz'"),
        ((*ALONE, "--hints", "S", "--hint", "7=#123456", "--only", "liver"), "not tissues"),
        ((*MODEL, "--hints", "S", "--hint", "7=#123456", "--tissue-map", "t.nii.gz"),
         "the model 'transfer-function + hints' predicts colors"),
    ],
)  # fmt: skip
def test_refusals(
    series: Path, strokes: Path, tmp_path: Path, capfd: Capture,
    options: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    given = [strokes if word == "S" else word for word in options]
    run = Run(capfd, "colorize", series, "-o", tmp_path / "c.nii.gz", *given)
    assert run.status == 2
    assert words in run.err
    assert "Traceback" not in run.err
    assert list(tmp_path.iterdir()) == []


def test_the_strokes_are_not_overwritten(
    series: Path, strokes: Path, tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "colorize", series, "-o", strokes, *MODEL, "--hints", strokes, "--force")
    assert run.status == 2
    assert "is an input" in run.complaint


def test_strokes_of_another_grid_are_refused(series: Path, tmp_path: Path, capfd: Capture) -> None:
    other = tmp_path / "other.nii.gz"
    write(Volume(np.ones((4, 5, 6), np.uint8), AFFINE, "tissue"), other)
    out = tmp_path / "c.nii.gz"
    run = Run(capfd, "colorize", series, "-o", out, *ALONE, "--hints", other)
    assert run.status == 2
    assert "are not on the voxel grid" in run.complaint
    assert not out.exists()

"""``--reference``: the colors of a photograph, and errors if it is missing or unused."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct
from PIL import Image

from tomochrome.colorization import find_model
from tomochrome.io import write
from tomochrome.tissue import NO_TISSUE, Tissue

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "exemplar")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red disc in blue gel, and a mask of it."""
    folder = tmp_path_factory.mktemp("photo")
    y, x = np.mgrid[:64, :80]
    body = np.hypot(y - 32, x - 40) < 25
    picture = np.where(body[..., None], (170, 80, 70), (30, 60, 160)).astype(np.uint8)
    Image.fromarray(picture).save(folder / "photo.png")
    Image.fromarray(body.astype(np.uint8)).save(folder / "mask.png")
    return folder / "photo.png"


def test_a_ct_in_the_colors_of_a_photograph(
    series: Path, photo: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "c.nii.gz"
    mask = ("--reference-mask", photo.with_name("mask.png"))
    run = Run(capfd, "colorize", series, "-o", out, *MODEL, "--reference", photo, *mask, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["model"] == "exemplar"
    (warning,) = data["warnings"]
    assert warning.startswith("the photograph does not seem to show fat")
    red, _, blue = (np.asarray(nib.load(out).dataobj)[40, 25, 3][name] for name in "RGB")
    assert int(red) > int(blue) + 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MODEL, "takes its colors from a photograph; provide one (--reference photo.png"),
        (("--model", "transfer-function", "--reference", "P"), "uses no reference photograph"),
        (
            ("--model", "none", "--hints", "P", "--reference", "P"),
            "--model none does not use a photograph",
        ),
        ((*MODEL, "--reference-mask", "P"), "need a photograph; give --reference"),
        ((*MODEL, "--reference", "nowhere.png"), "there is no file or folder 'nowhere.png'"),
        ((*MODEL, "--reference", "P", "--reference-labels", "P"), "save it as 8-bit grey"),
    ],
)
def test_invalid_combinations_give_a_one_sentence_error(
    options: tuple[str, ...], words: str, series: Path, photo: Path, tmp_path: Path, capfd: Capture
) -> None:
    given = [str(photo) if option == "P" else option for option in options]
    run = Run(capfd, "colorize", series, "-o", tmp_path / "c.nii.gz", *given)
    assert run.status == 2
    assert words in run.err
    assert len(run.err.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    volume = small_ct()
    tissues = np.where((volume.voxels > 30) & (volume.voxels < 80), Tissue.MUSCLE, NO_TISSUE)
    write(volume.with_voxels(tissues.astype(np.uint8), unit="tissue"), tmp_path / "t.nii.gz")
    return tmp_path / "t.nii.gz"


def test_evaluation_of_all_models_needs_no_photograph(
    series: Path, photo: Path, truth: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = [find_model(name) for name in ("exemplar", "transfer-function")]
    monkeypatch.setattr("tomochrome.colorization.side_by_side.models", lambda: quick)
    run = Run(capfd, "evaluate", "color", series, truth, "--json")
    data = json.loads(run.out)
    assert "exemplar" not in [score["model"] for score in data["scores"]]
    assert data["warnings"] == []
    run = Run(capfd, "evaluate", "color", series, truth, "--reference", photo, "--json")
    assert "exemplar" in [score["model"] for score in json.loads(run.out)["scores"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (MODEL, "takes its colors from a photograph"),
        (("--model", "transfer-function", "--reference", "P"), "uses no reference photograph"),
    ],
)
def test_evaluation_refuses_what_does_not_fit(
    options: tuple[str, ...], words: str, series: Path, photo: Path, truth: Path, capfd: Capture
) -> None:
    given = [str(photo) if option == "P" else option for option in options]
    run = Run(capfd, "evaluate", "color", series, truth, *given)
    assert (run.status, words in run.err) == (2, True)

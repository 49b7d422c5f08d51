"""``tomochrome evaluate`` and ``tomochrome train``, the commands for model developers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import Run, make_series, small_ct
from PIL import Image

import tomochrome.training
from tomochrome.cli import evaluate_contrast
from tomochrome.errors import Cancelled, ModelError
from tomochrome.evaluate import model_evaluation
from tomochrome.io import write
from tomochrome.phantom import Patient, make_patient
from tomochrome.tissue import NO_TISSUE, Tissue
from tomochrome.volume import Volume, default_affine

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


def truth_of(volume: Volume) -> np.ndarray:
    hu = volume.voxels
    truth = np.full(hu.shape, NO_TISSUE, np.uint8)
    truth[(hu > -130) & (hu < -70)] = Tissue.FAT
    truth[(hu > 30) & (hu < 80)] = Tissue.MUSCLE
    return truth


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    volume = small_ct()
    truth = volume.with_voxels(truth_of(volume), unit="tissue")
    write(truth, tmp_path / "truth.nii.gz")
    return make_series(tmp_path / "series"), tmp_path / "truth.nii.gz"


@pytest.mark.parametrize("place", ["before", "after"])
def test_evaluate_color(place: str, case: tuple[Path, Path], capfd: Capture) -> None:
    argv = ("color", *case, *MODEL)
    argv = ("--json", *argv) if place == "before" else (*argv, "--json")
    run = Run(capfd, "evaluate", *argv)
    assert run.status == 0, run.err
    data = json.loads(run.out)
    (score,) = data["scores"]
    assert score["model"] == "transfer-function"
    assert set(score["organs"]) == {"fat", "muscle"}
    assert score["organs"]["fat"]["error"] < score["organs"]["fat"]["grey_error"]


def test_evaluate_color_in_words(case: tuple[Path, Path], capfd: Capture) -> None:
    text = Run(capfd, "evaluate", "color", *case, *MODEL).out
    assert text.startswith("transfer-function: chroma error ")
    assert "muscle" in text and "correct" in text.splitlines()[-1]


def test_a_model_without_tissues_is_not_called_wrong(
    case: tuple[Path, Path], capfd: Capture
) -> None:
    text = Run(capfd, "evaluate", "color", *case, "--model", "unet").out
    assert "names no tissues" in text and "muscle" in text
    assert "correct" not in text and "confused" not in text


def test_evaluate_color_gives_all_figures_with_intervals(
    case: tuple[Path, Path], capfd: Capture
) -> None:
    run = Run(capfd, "evaluate", "color", *case, *MODEL, "--json")
    (score,) = json.loads(run.out)["scores"]
    figures = score["figures"]
    assert figures["chroma_error"] == pytest.approx(score["voxel_error"], abs=0.01)
    for name in ("ciede2000", "psnr", "ssim", "colorfulness"):
        low, high = figures["intervals"][name]
        assert low <= figures[name] <= high
    assert 0 <= figures["calibration"]["error"] <= 1
    assert len(figures["calibration"]["bins"]) == 10
    assert figures["seconds_per_slice"] > 0 and figures["flicker"] > 0
    assert set(figures["tissues"]) == {"fat", "muscle"}


@pytest.fixture
def photographed(tmp_path: Path) -> tuple[Path, Path]:
    volume = small_ct()
    write(Volume(volume.voxels[2:3], volume.affine), tmp_path / "slice.nii.gz")
    rgb = np.random.default_rng(1).integers(0, 256, (*volume.shape[1:], 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    mask = np.where(volume.voxels[2] > -500, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "slice.nii.gz", tmp_path / "photo.png"


def test_evaluate_color_takes_a_photograph_of_one_slice(
    photographed: tuple[Path, Path], capfd: Capture
) -> None:
    mask = ("--mask", photographed[1].with_name("mask.png"))
    run = Run(capfd, "evaluate", "color", *photographed, *mask, *MODEL, "--json")
    assert run.status == 0, run.err
    (score,) = json.loads(run.out)["scores"]
    assert score["figures"]["voxels"] == (small_ct().voxels[2] > -500).sum()
    assert score["figures"]["calibration"] is None and score["figures"]["intervals"] == {}
    text = Run(capfd, "evaluate", "color", *photographed, *MODEL).out
    assert text.startswith("transfer-function: chroma error ")


def test_evaluate_color_takes_a_photograph_of_a_slice_of_a_volume(
    photographed: tuple[Path, Path], tmp_path: Path, capfd: Capture
) -> None:
    moved = np.stack([np.roll(plane, 4 * k - 8, 1) for k, plane in enumerate(small_ct().voxels)])
    write(Volume(moved, small_ct().affine), tmp_path / "moved.nii.gz")  # slice 2 did not move
    mask = ("--mask", photographed[1].with_name("mask.png"))
    alone = Run(capfd, "evaluate", "color", *photographed, *mask, *MODEL, "--json")
    given = (tmp_path / "moved.nii.gz", photographed[1], *mask, "--slice", "2")
    within = Run(capfd, "evaluate", "color", *given, *MODEL, "--json")
    assert within.status == 0, within.err
    scores = [json.loads(run.out)["scores"][0]["figures"] for run in (alone, within)]
    for name in ("voxels", "chroma_error", "ciede2000", "ssim"):
        assert scores[0][name] == scores[1][name]
    assert scores[0]["flicker"] is None and scores[1]["flicker"] is not None
    other = Run(capfd, "evaluate", "color", *given[:-1], "3", *MODEL, "--json")
    assert (
        json.loads(other.out)["scores"][0]["figures"]["chroma_error"] != scores[1]["chroma_error"]
    )


def test_evaluate_color_refuses_what_a_photograph_does_not_fit(
    photographed: tuple[Path, Path], case: tuple[Path, Path], capfd: Capture
) -> None:
    run = Run(capfd, "evaluate", "color", case[0], photographed[1], *MODEL)
    assert run.status == 2 and "6 slices" in run.complaint and "--slice" in run.complaint
    run = Run(capfd, "evaluate", "color", case[0], photographed[1], "--slice", "6", *MODEL)
    assert run.status == 2 and "0 to 5" in run.complaint
    run = Run(capfd, "evaluate", "color", *case, "--slice", "1", *MODEL)
    assert run.status == 2 and "--slice" in run.complaint
    run = Run(capfd, "evaluate", "color", *case, "--mask", photographed[1], *MODEL)
    assert run.status == 2 and "--mask" in run.complaint


def titles_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert data is not None
    return [coloring["title"] for coloring in json.loads(data[1])["colorings"]]


def test_a_page_compares_the_models_with_the_truth(
    case: tuple[Path, Path], tmp_path: Path, capfd: Capture
) -> None:
    page = tmp_path / "page.html"
    argv = ("evaluate", "color", *case, *MODEL, "--page", page)
    assert Run(capfd, *argv).status == 0
    assert titles_of(page) == ["Truth", "Transfer function (no network)"]
    text = page.read_text(encoding="utf-8")
    assert "Not for diagnosis" in text and "<svg" in text and "<table" in text
    assert "http" not in text.replace("http-equiv", "") and str(tmp_path) not in text
    run = Run(capfd, *argv)
    assert run.status == 2 and "--force" in run.complaint
    assert Run(capfd, *argv, "--force").status == 0
    run = Run(capfd, *argv[:-1], tmp_path / "page.png")
    assert run.status == 2 and "must end in .html" in run.complaint
    assert not (tmp_path / "page.png").exists()


def test_a_page_compares_models_without_a_truth(
    case: tuple[Path, Path], tmp_path: Path, capfd: Capture
) -> None:
    page = tmp_path / "page.html"
    argv = ("evaluate", "color", case[0], *MODEL, "--model", "unet")
    run = Run(capfd, *argv, "--page", page, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["scores"] == [] and data["truth"] is None
    assert len(titles_of(page)) == 2 and titles_of(page)[0] == "Transfer function (no network)"
    assert "<table" not in page.read_text(encoding="utf-8")
    run = Run(capfd, *argv)
    assert run.status == 2 and "or --page FILE.html" in run.complaint


def test_a_colored_ct_is_refused_in_one_sentence_by_all_models(
    case: tuple[Path, Path], tmp_path: Path, capfd: Capture
) -> None:
    volume = small_ct()
    rgba = volume.with_voxels(np.full((*volume.shape, 4), 99, np.uint8), unit="RGBA")
    write(rgba, tmp_path / "color.nii.gz")
    argv = (tmp_path / "color.nii.gz", case[1], "--page", tmp_path / "page.html")
    run = Run(capfd, "evaluate", "color", *argv)
    assert run.status == 2 and "skipped" not in run.err
    assert not (tmp_path / "page.html").exists()


def test_a_model_that_fails_does_not_end_the_others(
    case: tuple[Path, Path], capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    colorize = model_evaluation.colorize

    def failing(volume: Volume, model: Path, **options: Any) -> Any:
        if model.name == "tissue":
            raise ModelError("its weights are damaged")
        return colorize(volume, model, **options)

    monkeypatch.setattr(model_evaluation, "colorize", failing)
    both = (*MODEL, "--model", "tissue")
    run = Run(capfd, "evaluate", "color", *case, *both, "--json")
    data = json.loads(run.out)
    assert [score["model"] for score in data["scores"]] == ["transfer-function"]
    assert "'tissue' was skipped: its weights are damaged" in data["warnings"][0]
    run = Run(capfd, "evaluate", "color", *case, "--model", "tissue")
    assert run.status == 2 and run.complaint == "its weights are damaged"


def test_evaluate_contrast(case: tuple[Path, Path], capfd: Capture) -> None:
    run = Run(capfd, "evaluate", "contrast", *case, "--window", "40/400", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    (scan,) = data["scans"]
    assert scan["window"] == [40.0, 400.0] and data["palette"] == "natural"
    assert scan["color_levels"]["normal"] > scan["grey_levels"] > 1
    assert list(scan["color_levels"]) == ["normal", "protanopia", "deuteranopia", "tritanopia"]
    for pair in scan["pairs"]:
        assert set(pair) == {"tissues", "grey", *scan["color_levels"]}


def test_evaluate_contrast_of_phantoms_in_words(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(seed: int, region: str, _: object, **options: Any) -> Patient:
        return make_patient(seed, region, (10.0, 4.0, 4.0), **options)

    monkeypatch.setattr(evaluate_contrast, "make_patient", coarse)
    run = Run(capfd, "evaluate", "contrast", "--palette", "colorblind-safe")
    assert run.status == 0, run.err
    regions = [line.split(",")[0] for line in run.out.splitlines() if ", window " in line]
    assert regions == ["head", "thorax", "abdomen", "pelvis"]
    levels = [line.split()[1:] for line in run.out.splitlines() if line.startswith("levels")]
    for grey, *colors in levels:
        assert min(map(int, colors)) > 1.5 * int(grey)


def test_evaluate_contrast_needs_the_tissues_of_a_ct(
    case: tuple[Path, Path], tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "evaluate", "contrast", case[0])
    assert run.status == 2 and "give the tissue map of the CT as well" in run.err
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "picture.png")
    run = Run(capfd, "evaluate", "contrast", case[0], tmp_path / "picture.png")
    assert run.status == 2 and "is a photograph; give a tissue map" in run.err
    run = Run(capfd, "evaluate", "contrast", *case, "--window", "1/2/3")
    assert run.status == 2 and run.err.startswith("error: ") and "1/2/3" in run.err


def test_evaluate_refuses_another_grid(case: tuple[Path, Path], capfd: Capture) -> None:
    volume = small_ct()
    moved = Volume(truth_of(volume), default_affine((3.0, 1.5, 1.5)), "tissue")
    write(moved, case[1], force=True)
    run = Run(capfd, "evaluate", "color", *case, *MODEL)
    assert run.status == 2
    assert "grid" in run.complaint


def test_evaluate_refuses_what_is_no_tissue_map(case: tuple[Path, Path], capfd: Capture) -> None:
    volume = small_ct()
    write(
        volume.with_voxels(np.full(volume.shape, 99, np.uint8), unit="tissue"), case[1], force=True
    )
    run = Run(capfd, "evaluate", "color", *case, *MODEL)
    assert run.status == 2
    assert "99" in run.complaint


@pytest.mark.parametrize("argv", [(), ("registration",), ("color", "a"), ("color", "a", "b")])
def test_evaluate_bad_usage(argv: tuple[str, ...], capfd: Capture) -> None:
    run = Run(capfd, "evaluate", *argv)
    assert run.status == 2
    assert run.complaint


def test_train_passes_on_its_options(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def train(config: Any, data: Any, out: Path, **options: Any) -> Path:
        told.update(options, name=config.name, data=data)
        return out / "checkpoint.pt"

    def finish(run: Path, weights: Path, **_: Any) -> tuple[Path, Path]:
        return weights / "tissue", weights / "transfer-function"

    monkeypatch.setattr(tomochrome.training, "train", train, raising=False)
    monkeypatch.setattr(tomochrome.training, "finish", finish, raising=False)
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoint.pt").touch()
    argv = ("train", "tissue", "--data", tmp_path, "--out", out, "--resume", "--minutes", 2)
    data = json.loads(Run(capfd, *argv, "--json").out)
    assert data["checkpoint"] == str(out / "checkpoint.pt")
    assert data["bundles"] == [str(out / "weights" / n) for n in ("tissue", "transfer-function")]
    assert (told["name"], told["data"], told["resume"]) == ("tissue", tmp_path, True)
    assert told["minutes"] == 2

    def stop(*_: Any, **__: Any) -> Path:
        raise Cancelled("cancelled by the user")

    monkeypatch.setattr(tomochrome.training, "train", stop, raising=False)
    assert Run(capfd, "train", "tissue", "--out", tmp_path / "other").status == 130


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("train", "nobody"), "nobody"),
        (("train", "tissue", "--data", "no-such-folder"), "no-such-folder"),
        (("train", "tissue", "--minutes", "long"), "long"),
    ],
)
def test_train_refuses(argv: tuple[str, ...], words: str, capfd: Capture) -> None:
    run = Run(capfd, *argv)
    assert run.status == 2
    assert words in run.complaint


@pytest.mark.parametrize("config", ["tissue", "symnet"])
@pytest.mark.parametrize("place", ["run", "run/deeper", "runs"])
def test_a_file_where_a_training_needs_a_folder_is_named(
    config: str, place: str, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "run").write_text("kept")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "weights").write_text("kept")
    run = Run(capfd, "train", config, "--out", tmp_path / place, "--minutes", 1)
    assert run.status == 2
    taken = tmp_path / "runs" / "weights" if place == "runs" else tmp_path / "run"
    assert run.complaint == (
        f"'{taken}' is a file, and a training run needs a folder; choose another --out"
    )
    assert taken.read_text() == "kept"


def test_an_unknown_field_of_a_training_is_named_with_its_file(
    tmp_path: Path, capfd: Capture
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "network": {}, "minuts": 3}))
    run = Run(capfd, "train", path, "--out", tmp_path / "run")
    assert run.status == 2
    assert run.complaint == (f"'{path}' has an unknown field 'minuts'; did you mean 'minutes'?")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["-3", "0", "nan", "inf", "soon"])
def test_a_training_time_of_zero_is_rejected_at_once(
    minutes: str, tmp_path: Path, capfd: Capture
) -> None:
    run = Run(capfd, "train", "symnet", "--out", tmp_path / "out", "--minutes", minutes)
    assert run.status == 2
    assert "positive number of minutes" in run.complaint
    assert not list(tmp_path.iterdir())

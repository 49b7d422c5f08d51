"""``tomochrome models --compare``: one slice as several models color it, on a sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, make_series
from PIL import Image

Capture = pytest.CaptureFixture[str]
CURVE = "transfer-function"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_series(tmp_path_factory.mktemp("input") / "series")


def test_a_sheet_of_models(series: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "sheet.png"
    run = Run(capfd, "models", CURVE, "--compare", series, "-o", out, "--slice", "3", "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["pictures"] == ["grey", CURVE]
    assert [card["name"] for card in data["models"]] == [CURVE]
    assert data["warnings"] == []
    with Image.open(out) as sheet:
        picture = np.asarray(sheet.convert("RGB")).astype(int)
    colored = np.ptp(picture, axis=-1) > 20
    half = picture.shape[1] // 2
    assert colored[:, half:].mean() > 0.05
    assert not colored[:, :half].any()
    again = Run(capfd, "models", CURVE, "--compare", series, "-o", out)
    assert again.status == 2
    assert "--force" in again.err
    again = Run(capfd, "models", CURVE, "--compare", series, "-o", out, "--force")
    assert again.status == 0
    assert "not for diagnosis" in again.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((CURVE, "--compare", "S"), "writes a contact sheet"),
        ((CURVE, "--compare", "S", "-o", "sheet.jpg"), "use the extension .png for 'sheet.jpg'"),
        ((CURVE, "-o", "sheet.png"), "--output needs --compare"),
        ((CURVE, "--slice", "0"), "--slice needs --compare"),
        (("--window", "lung"), "--window needs --compare"),
        (("--as-hu",), "--as-hu needs --compare"),
        ((CURVE, "--compare", "S", "-o", "sheet.png", "--slice", "99"), "there is no slice 99"),
        (("exemplar", "--compare", "S", "-o", "sheet.png"), "takes its colors from a photograph"),
        (("nobody", "--compare", "S", "-o", "sheet.png"), "unknown model 'nobody'"),
        ((CURVE, "--compare", "S", "-o", "sheet.png", "--window", "x"), "window"),
        ((CURVE, "--compare", "nowhere", "-o", "sheet.png"), "there is no file or folder"),
    ],
)
def test_invalid_combinations_give_a_one_sentence_error(
    options: tuple[str, ...], words: str, series: Path, tmp_path: Path, capfd: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run = Run(capfd, "models", *[str(series) if option == "S" else option for option in options])
    assert (run.status, words in run.err) == (2, True), run.err
    assert not any(tmp_path.iterdir())


def test_several_cards_at_once(capfd: Capture) -> None:
    run = Run(capfd, "models", CURVE, "symnet", "--json")
    assert [card["name"] for card in json.loads(run.out)["models"]] == [CURVE, "symnet"]
    assert Run(capfd, "models", CURVE, "exemplar").out.count("Not for diagnosis") == 2

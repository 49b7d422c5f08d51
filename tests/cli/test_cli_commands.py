"""The commands that list: info, models, palette."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import AFFINE, SHAPE, Run, make_series, small_ct

from tomochrome.io import write
from tomochrome.tissue import TISSUE_NAMES

Capture = pytest.CaptureFixture[str]


def test_palette_json_by_the_contract(capfd: Capture) -> None:
    run = Run(capfd, "palette", "--json")
    data = json.loads(run.out)
    assert run.status == 0
    assert run.out.count("\n") == 1
    assert data["name"] == "natural"
    assert [t["name"] for t in data["tissues"]] == list(TISSUE_NAMES)
    for index, tissue in enumerate(data["tissues"]):
        assert set(tissue) == {"index", "name", "lab", "rgb", "source"}
        assert tissue["index"] == index
        assert len(tissue["lab"]) == 3
        assert all(0 <= v <= 255 for v in tissue["rgb"])
        assert tissue["source"]


def test_palette_in_words(capfd: Capture) -> None:
    text = Run(capfd, "palette", "natural").out
    assert all(name in text for name in TISSUE_NAMES)


def test_an_unknown_palette(capfd: Capture) -> None:
    run = Run(capfd, "palette", "purple")
    assert run.status == 2
    assert "natural" in run.complaint


def test_models_json_by_the_contract(capfd: Capture) -> None:
    cards = json.loads(Run(capfd, "models", "--json").out)["models"]
    kinds = {card["name"]: card["kind"] for card in cards}
    assert kinds["transfer-function"] == "transfer-function"
    assert kinds["symnet"] == "registration"
    for card in cards:
        assert set(card) == {"name", "kind", "trained_on", "scores", "weights_sha256", "license"}
        assert len(card["weights_sha256"]) == 64
        assert card["trained_on"]


def test_models_in_words(capfd: Capture) -> None:
    out = Run(capfd, "models").out
    assert "transfer-function" in out and "symnet (registration, BSD-3-Clause)" in out
    assert "{" not in out


def test_an_earlier_name_shows_the_card_of_the_present_one(capfd: Capture) -> None:
    present, earlier = (Run(capfd, "models", name).out for name in ("tissue", "tissue3d"))
    assert present.startswith("# tissue\n") and earlier == present


@pytest.mark.parametrize("name", ["tissue", "symnet"])
def test_the_card_of_one_model(name: str, capfd: Capture) -> None:
    run = Run(capfd, "models", name)
    assert run.out.startswith(f"# {name}\n") and "## Limits" in run.out
    (card,) = json.loads(Run(capfd, "models", name, "--json").out)["models"]
    assert card["name"] == name


def test_the_card_of_no_model(capfd: Capture) -> None:
    assert "'purple'" in Run(capfd, "models", "purple").complaint


def test_info_json_by_the_contract(tmp_path: Path, capfd: Capture) -> None:
    make_series(tmp_path / "series")
    write(small_ct(), tmp_path / "ct.nii.gz")
    (tmp_path / "notes.txt").write_text("not an image")
    run = Run(capfd, "info", tmp_path, "--json")
    data = json.loads(run.out)
    assert set(data) == {"items", "skipped"}
    kinds = {item["kind"]: item for item in data["items"]}
    series = kinds["dicom-series"]
    assert set(series) == {
        "path",
        "kind",
        "series_uid",
        "modality",
        "shape",
        "spacing_mm",
        "affine",
        "value_range",
        "unit",
        "windows",
        "verdict",
        "warnings",
    }
    assert series["shape"] == list(SHAPE)
    assert series["spacing_mm"] == pytest.approx([3.0, 1.5, 1.5])
    assert series["modality"] == "CT"
    assert series["unit"] == "HU"
    assert series["verdict"] == "regular"
    assert series["value_range"] is None
    np.testing.assert_allclose(series["affine"], AFFINE, atol=1e-6)
    assert kinds["nifti"]["shape"] == list(SHAPE)
    np.testing.assert_allclose(kinds["nifti"]["affine"], AFFINE, atol=1e-4)
    assert [Path(s["path"]).name for s in data["skipped"]] == ["notes.txt"]
    assert data["skipped"][0]["reason"]


def test_info_with_pixels_knows_the_range(tmp_path: Path, capfd: Capture) -> None:
    series = make_series(tmp_path / "series")
    (item,) = json.loads(Run(capfd, "info", series, "--pixels", "--json").out)["items"]
    voxels = small_ct().voxels
    assert item["value_range"] == [voxels.min(), voxels.max()]


def test_info_names_the_patient_only_when_asked(tmp_path: Path, capfd: Capture) -> None:
    series = make_series(tmp_path / "series")
    for argv in (("info", series), ("info", series, "--json")):
        assert "TOMOCHROME^" not in Run(capfd, *argv).out
    assert "TOMOCHROME^ANONYMOUS" in Run(capfd, "info", series, "--with-identity").out
    asked = json.loads(Run(capfd, "info", series, "--with-identity", "--json").out)
    assert asked["items"][0]["identity"]["PatientName"] == "TOMOCHROME^ANONYMOUS"


def test_info_in_words(tmp_path: Path, capfd: Capture) -> None:
    make_series(tmp_path / "series")
    (tmp_path / "notes.txt").write_text("not an image")
    text = Run(capfd, "info", tmp_path).out
    assert "6 x 48 x 56 (z, y, x), 3 x 1.5 x 1.5 mm" in text
    assert "dicom-series, CT, HU, regular" in text
    assert "notes.txt" in text


def test_an_empty_path_is_not_the_current_folder(capfd: Capture) -> None:
    run = Run(capfd, "info", "")
    assert run.status == 2
    assert "empty" in run.complaint


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_info_of_nothing(name: str, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "empty").mkdir()
    run = Run(capfd, "info", tmp_path / name)
    if name == "missing":
        assert run.status == 2
        assert "missing" in run.complaint
    else:
        assert run.status in (0, 2)

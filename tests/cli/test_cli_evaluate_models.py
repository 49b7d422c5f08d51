"""``tomochrome evaluate models``: the table of models on test sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, small_ct
from PIL import Image
from test_cli_evaluate import truth_of

from tomochrome.evaluate import model_evaluation
from tomochrome.io import write
from tomochrome.volume import Volume, default_affine

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A set of two labelled scans and one of a photographed slice."""
    volume = small_ct()
    write(volume, tmp_path / "ct.nii.gz")
    write(volume.with_voxels(truth_of(volume), unit="tissue"), tmp_path / "truth.nii.gz")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(60, 200, (24, 30, 3), np.uint8)).save(tmp_path / "photo.png")
    hu = np.full((1, 24, 30), 40, np.int16)
    hu[0, :2] = -1000
    write(Volume(hu, default_affine((1.0, 2.0, 2.0))), tmp_path / "slice.nii.gz")
    Image.fromarray(np.full((24, 30), 255, np.uint8)).save(tmp_path / "mask.png")
    labelled = {"ct": "ct.nii.gz", "truth": "truth.nii.gz"}
    file = tmp_path / "sets.json"
    file.write_text(
        json.dumps([
            {"name": "Labelled", "about": "two scans", "scans": [labelled, labelled]},
            {
                "name": "Photographed",
                "scans": [{"ct": "slice.nii.gz", "truth": "photo.png", "mask": "mask.png",
                           "slice": 0}],
            },
        ])
    )  # fmt: skip
    return file


def test_all_sets_are_measured_and_written(sets: Path, tmp_path: Path, capfd: Capture) -> None:
    table = tmp_path / "table.md"
    argv = ("evaluate", "models", sets, "--phantoms", 0, *MODEL, "--markdown", table, "--json")
    run = Run(capfd, *argv)
    assert run.status == 0, run.err
    data = json.loads(run.out)
    labelled, photographed = data["sets"]
    assert (labelled["name"], photographed["name"]) == ("Labelled", "Photographed")
    (model,) = labelled["models"]
    assert model["model"] == "transfer-function" and model["to_transfer_function"] == 1
    figures = model["figures"]
    assert figures["voxels"] == 2 * (truth_of(small_ct()) != 255).sum()
    assert model["error"] == figures["organ_error"] < figures["grey_organ_error"]
    assert photographed["models"][0]["figures"]["voxels"] == 24 * 30
    assert (
        photographed["models"][0]["error"] == photographed["models"][0]["figures"]["chroma_error"]
    )
    text = table.read_text()
    assert "**Labelled**: two scans" in text and text.count("| `transfer-function` |") == 2
    again = Run(capfd, *argv)
    assert again.status != 0 and str(table) in again.complaint


def test_phantoms_are_a_set_of_their_own(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(model_evaluation, "_SPACING", (12.0, 8.0, 8.0))
    run = Run(capfd, "evaluate", "models", "--phantoms", 1, *MODEL)
    assert run.status == 0, run.err
    assert run.out.startswith("**Phantoms**") and "`transfer-function`" in run.out


def test_models_that_need_a_photograph_run_where_every_scan_has_one(
    sets: Path, capfd: Capture
) -> None:
    entries = json.loads(sets.read_text())
    entries[1]["scans"][0] |= {"reference": "photo.png", "reference_mask": "mask.png"}
    sets.write_text(json.dumps(entries))
    argv = ("evaluate", "models", sets, "--phantoms", 0, *MODEL, "--model", "exemplar", "--json")
    labelled, photographed = json.loads(Run(capfd, *argv).out)["sets"]
    assert [model["model"] for model in labelled["models"]] == ["transfer-function"]
    names = {model["model"] for model in photographed["models"]}
    assert names == {"transfer-function", "exemplar"}
    alone = Run(capfd, "evaluate", "models", sets, "--phantoms", 0, "--model", "exemplar")
    assert "'Labelled' has none; give --reference" in alone.complaint


def test_the_photograph_of_the_command_line_replaces_those_of_the_scans(
    sets: Path, capfd: Capture
) -> None:
    photo = sets.with_name("photo.png")
    green = sets.with_name("green.png")
    Image.fromarray(np.full((24, 30, 3), (40, 160, 60), np.uint8)).save(green)
    entries = json.loads(sets.read_text())[1:]
    entries[0]["scans"][0]["reference"] = "photo.png"
    sets.write_text(json.dumps(entries))
    argv = ("evaluate", "models", sets, "--phantoms", 0, "--model", "exemplar", "--json")
    errors = [
        json.loads(Run(capfd, *argv, *given).out)["sets"][0]["models"][0]["error"]
        for given in ((), ("--reference", photo), ("--reference", green))
    ]
    assert errors[0] == errors[1] != errors[2]


def test_phantoms_are_colored_like_another_patient(
    monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setattr(model_evaluation, "_SPACING", (12.0, 8.0, 8.0))
    run = Run(capfd, "evaluate", "models", "--phantoms", 1, "--model", "exemplar", "--json")
    (row,) = json.loads(run.out)["sets"][0]["models"]
    assert row["to_grey"] < 1


@pytest.mark.parametrize(
    "text", ["{", '{"name": 3}', '[{"name": "x"}]', '[{"name": "x", "scans": []}]', "[[]]", "7",
     '[{"name": "x", "scans": [{"ct": "a", "truth": "b", "reference_mask": "c"}]}]'],
)  # fmt: skip
def test_a_file_that_lists_no_sets_is_refused(text: str, tmp_path: Path, capfd: Capture) -> None:
    file = tmp_path / "sets.json"
    file.write_text(text)
    assert str(file) in Run(capfd, "evaluate", "models", file, *MODEL).complaint


def test_a_table_in_markdown_is_written_under_no_other_ending(
    tmp_path: Path, capfd: Capture
) -> None:
    for name, words in (("t.html", "must end in .md"), ("none/t.md", "does not exist")):
        run = Run(capfd, "evaluate", "models", "--markdown", tmp_path / name, *MODEL)
        assert run.status == 2 and words in run.complaint
    assert not list(tmp_path.iterdir())


def test_nothing_to_measure_on_is_refused(capfd: Capture) -> None:
    run = Run(capfd, "evaluate", "models", "--phantoms", 0, *MODEL)
    assert "there are no test sets" in run.complaint

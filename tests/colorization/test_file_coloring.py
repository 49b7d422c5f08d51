"""Coloring of files in Python, as ``tomochrome colorize`` does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.colorization.coloring_request import Outputs, Source
from tomochrome.errors import InputError, ModelError, OptionError, OutputError
from tomochrome.volume import Volume

Drawn = tuple[Volume, dict[str, np.ndarray]]
REQUEST = tc.ColoringRequest(model="transfer-function", window="liver", device="cpu")


@pytest.fixture
def scan(drawn: Drawn, tmp_path: Path) -> Path:
    tc.write(drawn[0], tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_it_does_what_the_command_does(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "ours.nii.gz", tmp_path / "theirs.nii.gz"
    report = tc.colorize_file(Source(scan, as_hu=True), str(ours), REQUEST).to_json()
    command = ["colorize", str(scan), "-o", str(theirs), "--model", "transfer-function"]
    command += ["--window=liver", "--device=cpu", "--as-hu", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(report) == list(told)
    differ = {"output", "seconds"}
    assert {k: v for k, v in report.items() if k not in differ} == {
        k: v for k, v in told.items() if k not in differ
    }
    assert set(report["seconds"]) == {"read", "predict", "light", "write", "total"}
    np.testing.assert_array_equal(tc.read(ours).voxels, tc.read(theirs).voxels)


def test_nothing_is_written_when_something_is_wrong(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    with pytest.raises(OptionError, match="unknown palette"):
        tc.colorize_file(scan, str(out), tc.ColoringRequest(palette="none"))
    with pytest.raises(OutputError, match="is given twice"):
        tc.colorize_file(scan, Outputs(str(out), tissue=str(out)), REQUEST)
    with pytest.raises(OutputError, match="is the input"):
        tc.colorize_file(str(scan), str(scan), REQUEST)
    with pytest.raises(InputError, match="the path is empty"):
        tc.colorize_file("", str(out), REQUEST)
    assert list(tmp_path.iterdir()) == [scan]


def test_a_page_compares_models(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "case.html"
    source = Source(scan, as_hu=True)
    report = tc.colorize_file(source, out, REQUEST, compare="unet")
    assert report.output == str(out)
    text = out.read_text(encoding="utf-8")
    assert text.count("<summary>Model: ") == 2 and 'title="60/160 HU"' in text
    assert [path.name for path in tmp_path.iterdir() if path != scan] == ["case.html"]


def test_models_are_compared_on_pages_only(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"give an output that ends in \.html"):
        tc.colorize_file(scan, str(tmp_path / "a.nii.gz"), REQUEST, compare=())
    with pytest.raises(ModelError, match="unknown model 'nobody'"):
        tc.colorize_file(scan, str(tmp_path / "a.html"), REQUEST, compare="nobody")
    with pytest.raises(OptionError, match="takes its colors from a photograph"):
        tc.colorize_file(scan, str(tmp_path / "a.html"), REQUEST, compare=("exemplar",))
    assert list(tmp_path.iterdir()) == [scan]


def test_a_model_that_fails_is_left_out_of_the_page(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ModelError("it is broken")

    monkeypatch.setattr("tomochrome.colorization.case_coloring.colorize", fails)
    out = tmp_path / "case.html"
    report = tc.colorize_file(Source(scan, as_hu=True), str(out), REQUEST, compare=("unet",))
    assert "the model 'unet' was skipped: it is broken" in map(str, report.warnings)
    assert out.read_text(encoding="utf-8").count("<summary>Model: ") == 1

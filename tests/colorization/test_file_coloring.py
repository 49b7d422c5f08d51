"""Coloring of files in Python, as ``tomochrome colorize`` does it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tomochrome as tc
from tomochrome.cli import main
from tomochrome.colorization.file_coloring import Outputs, Source
from tomochrome.errors import OptionError, OutputError
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
    assert list(tmp_path.iterdir()) == [scan]

"""A scan with damaged slices on the command line: read with a warning, or refused by --strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import Run, make_series

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")
QUICK = ("--model", "none", "--refine", "0", "--init", "none")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A series of six slices; the third is cut short."""
    folder = make_series(tmp_path / "ct")
    victim = folder / "0003.dcm"
    victim.write_bytes(victim.read_bytes()[:-200])
    return folder


def test_info_tells_it_with_and_without_pixels(damaged: Path, capfd: Capture) -> None:
    for words in ((), ("--pixels",)):
        run = Run(capfd, "info", damaged, "--json", *words)
        (item,) = json.loads(run.out)["items"]
        assert item["verdict"] == "incomplete"
        assert item["shape"] == [6, 48, 56]
        assert any("'0003.dcm' (image 3, z = 18.0 mm)" in text for text in item["warnings"])


def test_colorize_fills_the_gap_and_says_so(damaged: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ("colorize", damaged, "-o", tmp_path / "a.nii.gz", *MODEL, "--json")
    run = Run(capfd, *words)
    assert run.status == 0, run.err
    data = json.loads(run.out)
    assert data["shape"] == [6, 48, 56]
    assert any("0003.dcm" in text for text in data["warnings"])
    (tmp_path / "a.nii.gz").unlink()
    run = Run(capfd, *words, "--strict")
    assert run.status == 2
    assert "0003.dcm" in run.complaint
    assert not (tmp_path / "a.nii.gz").exists()


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_register(damaged: Path, tmp_path: Path, capfd: Capture, role: str) -> None:
    whole, out = make_series(tmp_path / "whole"), tmp_path / "out"
    pair = (damaged, whole) if role == "fixed" else (whole, damaged)
    run = Run(capfd, "register", *pair, "-o", out, *QUICK, "--strict")
    assert run.status == 2
    assert "0003.dcm" in run.complaint
    assert not out.exists()
    run = Run(capfd, "register", *pair, "-o", out, *QUICK, "--json")
    assert run.status == 0, run.err
    assert any("0003.dcm" in text for text in json.loads(run.out)["warnings"])


def test_batch(damaged: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    run = Run(capfd, "batch", damaged, "-o", out, *MODEL, "--strict", "--json")
    assert run.status == 2
    (failed,) = json.loads(run.out)["failed"]
    assert "0003.dcm" in failed["error"]
    run = Run(capfd, "batch", damaged, "-o", out, *MODEL, "--json")
    assert run.status == 0, run.err
    (result,) = json.loads(run.out)["results"]
    assert any("0003.dcm" in text for text in result["warnings"])

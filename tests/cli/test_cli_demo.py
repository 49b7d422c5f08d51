"""``tomochrome demo``: the entire pipeline on a small sample patient."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from cli_cases import Run

from tomochrome.cli import demo
from tomochrome.colorization import file_coloring
from tomochrome.errors import Cancelled
from tomochrome.io import read

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", "transfer-function")


@pytest.fixture(autouse=True)
def small_patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(demo, "SPACING", (12.0, 4.0, 4.0))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return


def test_demo_saves_the_sample_patient_in_color(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run(capfd, "demo", "--no-window", *MODEL, "--json")
    assert run.status == 0, run.err
    data = json.loads(run.out)
    out = tmp_path / "demo-output"
    files = {name: tmp_path / path for name, path in data["files"].items()}
    assert set(files.values()) == set(out.iterdir())
    volume = read(files["series"])
    assert volume.unit == "HU"
    assert list(volume.shape) == data["shape"]
    color = np.asarray(nib.load(files["color"]).dataobj)
    assert color.shape == volume.shape[::-1]
    rgb = np.stack([color[c] for c in "RGB"], -1).astype(int)
    assert np.ptp(rgb, axis=-1).max() > 30
    assert data["seconds"]["total"] > 0
    assert data["mean_chroma"] > 5

    again = Run(capfd, "demo", "--no-window", *MODEL)
    assert again.status == 2
    assert "--force" in again.complaint
    told = Run(capfd, "demo", "--no-window", "--force", *MODEL)
    assert told.status == 0
    assert "demo-output/color.nii.gz" in told.out
    assert "not for diagnosis" in told.out


def test_a_cancelled_demo_leaves_nothing(
    tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise Cancelled("cancelled by the user")

    monkeypatch.setattr(file_coloring, "colorize_file", stop)
    assert Run(capfd, "demo", "--out", tmp_path / "out").status == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["no/such/folder", "file", "/proc/demo"])
def test_an_output_folder_that_cannot_be(place: str, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "file").write_text("")
    run = Run(capfd, "demo", "--out", tmp_path / place)
    assert run.status == 2
    assert "--out" in run.complaint


def test_a_screen_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert not demo.has_screen()
    monkeypatch.setenv("DISPLAY", ":7")
    assert demo.has_screen()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delenv("DISPLAY")
    assert demo.has_screen()


@pytest.mark.parametrize("fate", ["stays", "fails"])
def test_the_window_opens_after_the_report(
    fate: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Napari:
        def __init__(self, command: list[str], **_: Any) -> None:
            started.append(command)

        def wait(self, seconds: float) -> int:
            if fate == "stays":
                raise subprocess.TimeoutExpired("napari", seconds)
            return 1

    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "Popen", Napari)
    run = Run(capfd, "demo", "--out", tmp_path / "out", *MODEL)
    assert run.status == 0
    (command,) = started
    assert str(tmp_path / "out" / "sample-ct") in command
    assert str(tmp_path / "out" / "color.nii.gz") in command
    assert ("napari.log" in run.err) == (fate == "fails")

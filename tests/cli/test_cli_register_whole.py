"""``tomochrome register`` cancelled, failing, or on a full disk writes all files or none."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import SimpleITK
from cli_cases import Run
from cli_register_cases import QUICK, names_in, write_inputs

import tomochrome.registration.pairwise as pipeline
from tomochrome.cli.files import write_together
from tomochrome.cli.register import FILES
from tomochrome.errors import OutputError
from tomochrome.runtime.work_folder import Move

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("register"))


@pytest.mark.parametrize("stage", ["initial alignment", "refining", "measuring", "drawing slices"])
def test_a_cancelled_run_leaves_nothing(
    stage: str, inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tomochrome.cli.session import ProgressLine

    def press(self: ProgressLine, done: int, total: int, now: str) -> None:
        if now == stage and threading.current_thread() is threading.main_thread():
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(ProgressLine, "__call__", lambda *_: None)

    monkeypatch.setattr(ProgressLine, "__call__", press)
    out = tmp_path / "out"
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", out, *QUICK,
        "--init", "rigid",
    )  # fmt: skip
    assert run.status == 130
    assert "cancelled" in run.err
    assert run.out == ""
    assert not names_in(tmp_path)


def test_a_failing_run_leaves_old_results_as_they_were(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in FILES:
        (tmp_path / name).write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline.Transform, "save", fail)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o", tmp_path,
        "--force", "--model", "none", "--refine", 0, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert "No space left" in run.complaint
    assert names_in(tmp_path) == sorted(FILES)
    assert all((tmp_path / name).read_text() == "old" for name in FILES)


def test_a_full_disk_names_the_folder_that_was_asked_for(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(SimpleITK, "WriteTransform", fail)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o",
        tmp_path / "out", "--model", "none", "--refine", 0, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert f"'{tmp_path / 'out' / 'forward.h5'}' cannot be written" in run.complaint
    assert not names_in(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="cannot reserve room here")
def test_a_disk_too_full_for_a_transform_is_found_before_hdf5_meets_its_end(
    inputs: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _offset: int, size: int) -> None:
        assert size > 10_000
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    run = Run(
        capfd, "register", inputs / "fixed.nii.gz", inputs / "moving.nii.gz", "-o",
        tmp_path / "out", *QUICK, "--init", "none",
    )  # fmt: skip
    assert run.status == 2
    assert "No space left" in run.complaint
    assert not names_in(tmp_path)


def test_files_move_together_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "c").write_text("old")
    forward = Move.forward

    def refuse(self: Move) -> None:
        if self.name == "c":
            raise PermissionError(13, "Permission denied")
        forward(self)

    monkeypatch.setattr(Move, "forward", refuse)
    names = ("a", "b", "c")
    with (
        pytest.raises(OutputError, match="Permission denied"),
        write_together(tmp_path, names, force=True) as place,
    ):
        for name in names:
            (place / name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "c": "old"}

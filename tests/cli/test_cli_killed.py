"""Killed at random moments, no command leaves half an output, and none loses an earlier one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and signals")

HERE = Path(__file__).parent
FORMATS = ("a.nii.gz", "a.nrrd", "a.png", "a/")
COMMANDS = ("register", "transform", "checkerboard", "demo", "train")


def signalled(base: Path, command: str, times: int, number: int) -> None:
    """Run a command, and send it a signal at so many moments, in processes of their own."""
    script = str(HERE / "killed_commands.py")
    done = subprocess.run(
        [sys.executable, script, str(base), command, str(times), str(int(number))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{times} of " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_twenty_moments(command: str, tmp_path: Path) -> None:
    signalled(tmp_path, command, 20, signal.SIGKILL)


@pytest.mark.slow
def test_colorize_killed_at_four_moments_of_each_format_and_of_a_group(tmp_path: Path) -> None:
    signalled(tmp_path, "colorize", 4, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["colorize with maps", "register", "demo", "train"])
def test_sigterm_cancels_and_leaves_nothing(command: str, tmp_path: Path) -> None:
    signalled(tmp_path, command, 4, signal.SIGTERM)


@pytest.mark.fuzz
@pytest.mark.parametrize("command", ["colorize", *COMMANDS])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_many_moments(command: str, number: int, tmp_path: Path) -> None:
    signalled(tmp_path, command, 200, number)

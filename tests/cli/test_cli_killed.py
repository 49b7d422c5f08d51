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
COMMANDS = ("register", "transform", "checkerboard", "demo", "train")
#: `colorize` is five cases, one for each format and one for a group: twenty moments in all.
QUICK = {"colorize": 4, "register": 20, "transform": 20, "checkerboard": 20, "demo": 20}


def signalled(base: Path, number: int, times: dict[str, int]) -> None:
    """Run commands, and send each a signal at so many moments, in processes of their own."""
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "killed_commands.py"), str(base), str(int(number))),
            *(f"{command}={count}" for command, count in times.items()),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for command, count in times.items():
        lines = [line for line in done.stdout.splitlines() if line.startswith(command)]
        assert lines, f"{command} was not run"
        assert all(f": {count} of " in line for line in lines), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("times", [QUICK, {"train": 20}], ids=["all but train", "train"])
def test_a_command_killed_at_twenty_moments(times: dict[str, int], tmp_path: Path) -> None:
    signalled(tmp_path, signal.SIGKILL, times)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_sigterm_cancels_and_leaves_nothing(tmp_path: Path) -> None:
    times = {"colorize with maps": 4, "register": 4, "demo": 4, "train": 2}
    signalled(tmp_path, signal.SIGTERM, times)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", ["colorize", *COMMANDS])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_many_moments(command: str, number: int, tmp_path: Path) -> None:
    signalled(tmp_path, number, {command: 200})

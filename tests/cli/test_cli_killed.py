"""Commands killed at random moments leave no partial output and keep earlier outputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and signals")

HERE = Path(__file__).parent
KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
COMMANDS = ("colorize", "register", "transform", "checkerboard", "demo", "train")
Times = dict[str, dict[int, int]]
#: `colorize` is eight cases, one for each format and one for a group.
QUICK: Times = {
    "colorize": {KILL: 2},
    "colorize with maps": {TERM: 2},
    "register": {KILL: 8, TERM: 2},
    "transform": {KILL: 6},
    "checkerboard": {KILL: 4},
    "demo": {KILL: 6, TERM: 2},
}
TRAIN: Times = {"train": {KILL: 6, TERM: 1}}


def signalled(base: Path, times: Times) -> None:
    """Run commands, and send each its signals at so many moments, in processes of their own."""
    words = [f"{name}:{n}={count}" for name, wanted in times.items() for n, count in wanted.items()]
    done = subprocess.run(
        [sys.executable, str(HERE / "killed_commands.py"), str(base), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    for command, wanted in times.items():
        for number, count in wanted.items():
            start = f": {number} at "
            lines = [line for line in said if line.startswith(command) and start in line]
            assert lines, f"{command} was not run"
            assert all(f"{start}{count} of " in line for line in lines), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("times", [QUICK, TRAIN], ids=["all but train", "train"])
def test_a_command_killed_or_cancelled_at_any_moment(times: Times, tmp_path: Path) -> None:
    """Killed at some moments of each command; told to end, it leaves nothing behind either."""
    signalled(tmp_path, times)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", [KILL, TERM])
def test_many_moments(command: str, number: int, tmp_path: Path) -> None:
    signalled(tmp_path, {command: {number: 200}})

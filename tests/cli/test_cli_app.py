"""The command line in general: help, usage errors, cancelling, unexpected errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_cases import Run, make_series

from tomochrome import errors
from tomochrome.cli import app, main
from tomochrome.cli.session import Outcome, ProgressLine, Session, listening

try:
    import pty  # not on Windows
except ImportError:
    pty = None  # type: ignore[assignment]

Capture = pytest.CaptureFixture[str]
needs_terminals = pytest.mark.skipif(pty is None, reason="no terminal hangs up on Windows")


def replace_run(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Replace the function of the ``palette`` command."""
    monkeypatch.setattr("tomochrome.cli.palette.run", run)


def test_help_lists_every_command(capfd: Capture) -> None:
    run = Run(capfd, "--help")
    assert run.status == 0
    assert "Not for diagnosis" in run.out
    for name in app.COMMANDS:
        assert re.search(rf"^ +{name}\b", run.out, re.MULTILINE)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_help_and_json(name: str, capfd: Capture) -> None:
    run = Run(capfd, name, "--help")
    assert run.status == 0
    assert "--json" in run.out
    assert run.err == ""


def test_version(capfd: Capture) -> None:
    assert Run(capfd, "--version").out.startswith("tomochrome 0.")


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("paint",),
        ("colorize",),
        ("colorize", "in"),
        ("palette", "--colour"),
        ("palette", "natural", "living"),
        ("info",),
        ("--colour",),
    ],
)
def test_bad_usage_is_one_line_and_2(argv: tuple[str, ...], capfd: Capture) -> None:
    run = Run(capfd, *argv)
    assert run.status == 2
    assert "--help" in run.complaint


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (errors.InputError("the file\nis odd"), 2, "the file is odd"),
        (errors.Cancelled("by the user"), 130, "cancelled"),
        (KeyboardInterrupt(), 130, "cancelled"),
        (MemoryError(), 2, "memory"),
        (PermissionError(13, "Permission denied", "/x"), 2, "'/x': Permission denied"),
        (ZeroDivisionError("division"), 1, "please report it: ZeroDivisionError: division"),
    ],
)
def test_errors_are_one_line(
    error: BaseException,
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    def fail(*_: object) -> Outcome:
        raise error

    replace_run(monkeypatch, fail)
    run = Run(capfd, "palette", "--json")
    assert run.status == status
    assert words in run.complaint


def test_json_is_plain(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    data = {
        "array": np.eye(2),
        "number": np.float32(1.5),
        "none": float("nan"),
        "path": Path("a"),
        "flag": np.bool_(True),
        "list": (1, None),
    }
    replace_run(monkeypatch, lambda *_: Outcome(data, "words"))
    assert json.loads(Run(capfd, "palette", "--json").out) == {
        "array": [[1.0, 0.0], [0.0, 1.0]],
        "number": 1.5,
        "none": None,
        "path": "a",
        "flag": True,
        "list": [1, None],
    }
    assert Run(capfd, "palette").out == "words\n"


def test_only_warnings_of_tomochrome_are_shown_once(
    monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    def run(_args: object, session: Session) -> Outcome:
        for _ in range(2):
            warnings.warn_explicit("the batch was halved", UserWarning, app.__file__, 1)
            warnings.warn_explicit("an inner affair", UserWarning, "elsewhere.py", 1)
        return Outcome({"warnings": session.warnings}, "")

    replace_run(monkeypatch, run)
    result = Run(capfd, "palette", "--json")
    assert result.err == "warning: the batch was halved\n"
    assert json.loads(result.out) == {"warnings": ["the batch was halved"]}


def test_the_first_interrupt_cancels_and_the_second_stops() -> None:
    session = Session()
    before = signal.getsignal(signal.SIGINT)
    with listening(session):
        os.kill(os.getpid(), signal.SIGINT)
        assert session.task.cancelled
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@needs_terminals
def test_repeated_hangups_only_cancel() -> None:
    session = Session()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with listening(session):
            for _ in range(3):  # the system tells the command, and so does the shell
                os.kill(os.getpid(), signal.SIGHUP)
            assert session.task.cancelled
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@needs_terminals
def test_a_command_under_nohup_goes_on_without_its_terminal() -> None:
    session = Session()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening(session):
            os.kill(os.getpid(), signal.SIGHUP)
            assert not session.task.cancelled
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@needs_terminals
@pytest.mark.slow
def test_a_closed_terminal_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    slow = (
        "import fcntl, signal, sys, termios, time\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "import tomochrome.cli.palette as palette\n"
        "from tomochrome.runtime import check, write_whole\n"
        "def wait(args, session):\n"
        "    with write_whole('out.txt'):\n"
        "        while True:\n"
        "            session.progress(1, 2, 'waiting')\n"
        "            check()\n"
        "            time.sleep(0.01)\n"
        "palette.run = wait\n"
        "from tomochrome.cli import main\n"
        "sys.exit(main(['palette']))\n"
    )
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", slow],
        stdin=end, stdout=end, stderr=end, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(end)
    try:
        assert b"waiting" in os.read(terminal, 1000)
        os.close(terminal)
        assert process.wait(timeout=600) == 130
    finally:
        process.kill()  # clean up even if an assertion failed
        process.wait()
    assert list(tmp_path.iterdir()) == []


class Screen:
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_progress_is_drawn_on_a_terminal_and_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    screen = Screen(terminal=True)
    line = ProgressLine(screen)  # type: ignore[arg-type]
    line(3, 12, "color")
    line(4, 12, "color")  # too soon after the last
    assert screen.text == "\r\x1b[Kcolor:  25 %"
    line.clear()
    line.clear()
    assert screen.text.endswith("25 %\r\x1b[K")


def test_short_work_is_not_reported_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    screen = Screen(terminal=False)
    line = ProgressLine(screen)  # type: ignore[arg-type]
    line(1, 4, "read")
    assert screen.text == ""
    now += 6
    line(2, 4, "read")
    line(3, 4, "read")
    assert screen.text == "read: 50 %\n"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m tomochrome.cli palette | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    series = make_series(tmp_path / "series")
    out = tmp_path / "out"
    out.mkdir()
    slow = (
        "import sys, time, tomochrome.colorization.predict as c\n"
        "from tomochrome.runtime import check\n"
        "def wait(volume, model, **_):\n"
        "    print('waiting', flush=True)\n"
        "    while True:\n"
        "        check()\n"
        "        time.sleep(0.01)\n"
        "c.colorize = wait\n"
        "from tomochrome.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    argv = ["colorize", str(series), "-o", str(out / "a.nii.gz"), "--model", "transfer-function"]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "error: cancelled"
    assert list(out.iterdir()) == []


def test_main_returns_a_status_also_without_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tomochrome"])
    assert main() == 2


def run_with(
    tmp_path: Path, encoding: str, *argv: str, closed: str = ""
) -> tuple[int, bytes, bytes]:
    """Run the command line on a terminal of an encoding, perhaps with an output closed."""
    words = " ".join(f"'{word}'" for word in argv)
    command = f"'{sys.executable}' -m tomochrome.cli {words} {closed}"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, shell=True, capture_output=True, cwd=tmp_path, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict", "cp437"])
def test_names_that_a_terminal_cannot_show_are_escaped(tmp_path: Path, encoding: str) -> None:
    names = [b"\xc3\xbc\xe2\x86\x92.txt", b"a\x1b[31m.txt"]
    if sys.platform == "linux":  # elsewhere names are Unicode
        names.append(b"m\xfcller.txt")
    for name in names:
        (tmp_path / os.fsdecode(name)).write_text("no volume")
    status, out, err = run_with(tmp_path, encoding, "info", ".")
    assert (status, err) == (0, b"")
    assert b"\x1b" not in out
    assert b"a\\x1b[31m.txt" in out
    status, out, err = run_with(tmp_path, encoding, "info", ".", "--json")
    assert (status, err) == (0, b"")
    said = [
        skipped["path"] for skipped in json.loads(out.decode(encoding.split(":")[0]))["skipped"]
    ]
    assert {os.fsencode(path.removeprefix("./")) for path in said} == set(names)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell closes outputs so")
def test_closed_outputs_are_no_error(tmp_path: Path) -> None:
    assert run_with(tmp_path, "utf-8", "palette", closed=">&-") == (0, b"", b"")
    status, out, _ = run_with(tmp_path, "utf-8", "palette", closed="2>&-")
    assert status == 0
    assert b"natural" in out
    assert run_with(tmp_path, "utf-8", "palette", "none-such", closed="2>&-")[0] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_standard_output_is_one_sentence(tmp_path: Path) -> None:
    status, _, err = run_with(tmp_path, "utf-8", "palette", closed=">/dev/full")
    assert status == 2
    assert err.startswith(b"error: the standard output cannot be written: No space left")
    assert err.count(b"\n") == 1


def test_an_error_of_the_system_without_a_reason_says_what_it_has(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_args: object, _session: Session) -> Outcome:
        raise OSError("the tape\x1b is torn")

    replace_run(monkeypatch, run)
    assert Run(capfd, "palette").complaint.endswith("the tape\\x1b is torn")

"""Children that crash, hang, grow or talk: each ends in one sentence, and the next call works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import sandbox_jobs as jobs

from tomochrome.errors import Cancelled, ChoiceError, GeometryError
from tomochrome.runtime import Task, running, sandbox, sandbox_child
from tomochrome.runtime.sandbox import SandboxError, call

OTHERS = set[psutil.Process]()
"""Children that earlier tests of this process started, such as multiprocessing's own."""


@pytest.fixture(autouse=True)
def no_child_before_or_after() -> Iterator[None]:
    sandbox.close()
    OTHERS.clear()
    OTHERS.update(psutil.Process().children())
    yield
    sandbox.close()
    assert not children()


def children() -> list[psutil.Process]:
    """Return the sandbox's child processes."""
    return [child for child in psutil.Process().children() if child not in OTHERS]


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "f4", "f8", "c8", "?"])
def test_arrays_come_back_whole(dtype: str) -> None:
    array, told = call(jobs.block, (3, 4, 5), dtype)
    np.testing.assert_array_equal(array, jobs.block((3, 4, 5), dtype)[0])
    assert array.dtype == np.dtype(dtype)
    assert told == {"shape": (3, 4, 5)}
    array[0] = 1  # it is ours
    array = None
    again, _ = call(jobs.block, (3, 4, 5), dtype)
    np.testing.assert_array_equal(again, jobs.block((3, 4, 5), dtype)[0])


def test_plain_values_and_buffers_come_back_as_they_are() -> None:
    values = (1, 2.5, "text", b"bytes", None, [1, (2, {"a": True})])
    assert call(jobs.echo, *values) == values
    found = call(jobs.bare, b"abc")
    assert bytes(found["bytes"]) == b"abc"
    assert found["empty"].shape == (0, 3)


def test_a_large_array_is_not_copied() -> None:
    array, _ = call(jobs.block, (64, 512, 512), "<i2")
    assert array.flags.writeable
    assert not array.flags.owndata
    assert int(array[-1, -1, -1]) == np.arange(64 * 512 * 512 - 1, 64 * 512 * 512).astype("<i2")[0]


def test_a_child_is_used_again_and_threads_have_their_own() -> None:
    first = call(jobs.pid)
    assert call(jobs.pid) == first != os.getpid()
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(call(jobs.pid))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert 1 <= len(children()) <= max(6, os.cpu_count() or 1)


@pytest.mark.parametrize(("job", "args"), [(jobs.crash, ()), (jobs.leave, (3,))])
def test_a_crash_is_one_sentence(job: Callable[..., None], args: tuple[int, ...]) -> None:
    with pytest.raises(SandboxError, match=r"'a.nrrd' cannot be read: .* crashed") as caught:
        call(job, *args, subject="'a.nrrd'")
    assert caught.value.reason == "crash"
    assert "\n" not in str(caught.value)
    assert call(jobs.echo, 1) == (1,)


def test_a_child_killed_in_the_middle_of_reading_is_one_sentence(tmp_path: Path) -> None:
    note = tmp_path / "begun"

    def kill() -> None:
        while not (note.exists() and note.read_text()):
            time.sleep(0.01)
        os.kill(int(note.read_text()), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxError, match="crashed") as caught:
        call(jobs.told, str(note))
    thread.join()
    assert caught.value.reason == "crash"
    assert call(jobs.echo, 1) == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's memory")
def test_memory_without_end_is_one_sentence() -> None:
    with pytest.raises(SandboxError, match="takes more than 1 GiB of memory") as caught:
        call(jobs.allocate, memory=1 << 30, subject="'bomb.mha'")
    assert caught.value.reason == "memory"
    assert call(jobs.echo, 1) == (1,)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_hang_is_one_sentence() -> None:
    for job in (jobs.spin, jobs.sleep):
        with pytest.raises(SandboxError, match=r"was not read in 0.2 seconds") as caught:
            call(job, seconds=0.2)
        assert caught.value.reason == "time"
    assert call(jobs.echo, 1) == (1,)


def test_a_child_that_does_not_end_by_itself_is_killed(monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "CLOCK_FACTOR", 0.0)
    monkeypatch.setattr(sandbox, "_GRACE_SECONDS", 0.1)
    with pytest.raises(SandboxError) as caught:
        call(jobs.sleep)
    assert caught.value.reason == "time"
    assert not children()


def test_a_cancelled_call_ends_its_child(tmp_path: Path) -> None:
    token, note = Task(), tmp_path / "begun"

    def stop() -> None:
        while not note.exists():
            time.sleep(0.01)
        token.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with running(token), pytest.raises(Cancelled):
        call(jobs.told, str(note))
    thread.join()
    assert not children()
    with running(token), pytest.raises(Cancelled):
        call(jobs.echo)
    assert not children()


def test_errors_of_ours_keep_their_words_and_others_say_nothing_of_the_file() -> None:
    with pytest.raises(GeometryError, match=r"^the axes of 'x' are bent$"):
        call(jobs.refuse)
    with pytest.raises(ChoiceError) as choice:
        call(jobs.refuse_to_choose)
    assert choice.value.args == ("'x' holds 2 series", "a, b")
    first = children()
    with pytest.raises(SandboxError) as caught:
        call(jobs.fail, subject="'x'")
    assert str(caught.value) == "'x' cannot be read: it is damaged or incomplete; copy it again"
    assert caught.value.reason == "failed"
    assert caught.value.detail.startswith("KeyError")
    assert children() == first


def test_an_answer_is_never_executed(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        call(jobs.executed, str(tmp_path / "made"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not numeric"):
        sandbox_child.rebuild(bytes(8), "O", (1,))


def test_children_keep_silent(capfd) -> None:
    call(jobs.noise)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("executable", ["", "/opt/napari/napari", "/nowhere/python3"])
def test_where_no_child_can_be_started_the_function_is_called_here(monkeypatch, executable) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert call(jobs.pid) == os.getpid()
    np.testing.assert_array_equal(call(jobs.block, (2, 3), "f4")[0], jobs.block((2, 3), "f4")[0])
    with pytest.raises(GeometryError):
        call(jobs.refuse)
    with pytest.raises(SandboxError, match="'x' cannot be read"):
        call(jobs.fail, subject="'x'")


def test_a_child_that_waited_for_long_ends_and_is_replaced(monkeypatch) -> None:
    call(jobs.echo)
    (child,) = children()
    call_again = sandbox._POOL.take

    def take(*, only_new=False):
        taken = call_again(only_new=only_new)
        if not only_new:  # it ends between being taken and being asked
            taken._pipe.send_bytes(b"")
            child.wait()
        return taken

    monkeypatch.setattr(sandbox._POOL, "take", take)
    assert call(jobs.echo, 1) == (1,)
    assert children() != [child]


ENDS = ["pass", "raise SystemExit(3)", "import os; os.kill(os.getpid(), 9)"]


@pytest.mark.parametrize("end", ENDS)
def test_no_child_outlives_its_parent(tmp_path: Path, end: str) -> None:
    code = (
        "import contextlib, sandbox_jobs as jobs, threading, time\n"
        "from tomochrome.runtime.sandbox import call\n"
        "print(call(jobs.pid), flush=True)\n"
        "def ask():\n"  # its child is taken away as the interpreter exits: it may still say so
        "    with contextlib.suppress(Exception):\n"
        f"        call(jobs.told, {str(tmp_path / 'n')!r})\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
        f"import pathlib\nnumber = pathlib.Path({str(tmp_path / 'n')!r})\n"
        "while not (number.exists() and number.read_text()): time.sleep(0.01)\n" + end
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    busy = (tmp_path / "n").read_text()
    if "kill" not in end:  # a busy child of a killed parent ends when its time is up
        gone = [int(done.stdout), int(busy)]
        assert not any(psutil.pid_exists(pid) for pid in gone)
    else:
        psutil.Process(int(busy)).kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_children_of_its_own() -> None:
    first = call(jobs.pid)
    reader, writer = os.pipe()
    if os.fork() == 0:  # pragma: no cover - another process
        os.write(writer, str(call(jobs.pid)).encode())
        sandbox.close()
        os._exit(0)
    os.wait()
    other = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    assert other != first
    assert call(jobs.pid) == first

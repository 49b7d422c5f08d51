"""Child processes in which libraries parse untrusted files.

Native libraries may crash, hang or allocate without limit on damaged files. Here they run in
processes with bounded memory and time, and a failure becomes an error message. Child processes
are started on demand and reused; arrays are returned through shared memory without a copy. Only
plain values and numeric arrays are accepted in responses.
"""

from __future__ import annotations

import atexit
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from mmap import mmap
from multiprocessing import connection, reduction
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from tomochrome import errors
from tomochrome.errors import InputError, TomochromeError
from tomochrome.runtime.device import thread_count
from tomochrome.runtime.sandbox_child import (
    CLOCK_FACTOR,
    LIMIT_SIGNALS,
    READY,
    Head,
    dumps,
    loads,
    offsets,
)
from tomochrome.runtime.task import check

R = TypeVar("R")
Reason = Literal["crash", "time", "memory", "failed"]

MEMORY: Final = 4 << 30
"""Default limit of a call's address space in bytes."""
SECONDS: Final = 30.0
"""Default limit of a call's CPU time."""
START_SECONDS: Final = 60.0
"""Limit for starting a child, which takes about 0.1 s, longer on a busy machine."""
_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 5.0  # a child terminates itself when its time is up
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1"
)


class SandboxError(InputError):
    """A library in a child process failed to read a file.

    Parameters
    ----------
    subject, why
        The subject of the message, and why it cannot be read: a clause.
    reason
        ``"crash"`` if the child crashed, ``"time"`` or ``"memory"`` if it exceeded a limit,
        ``"failed"`` if the library raised an exception.
    detail
        Type and text of the exception, for developers only, because it may quote the file.
    """

    def __init__(self, subject: str, why: str, reason: Reason, detail: str = "") -> None:
        super().__init__(subject, why, reason, detail)
        self.reason = reason
        self.detail = detail

    def about(self, subject: str) -> str:
        """Return the message with another subject."""
        return f"{subject} cannot be read: {self.args[1]}"

    def __str__(self) -> str:
        return self.about(self.args[0])


def call(
    function: Callable[..., R],
    *args: Any,
    subject: str = "the file",
    memory: int = MEMORY,
    seconds: float = SECONDS,
) -> R:
    """Call a function in a child process and return its result.

    Concurrent calls from several threads use separate children. If no child can be started (for
    example in an application whose executable is not Python), the function is called in this
    process.

    Parameters
    ----------
    function
        A module-level function; the child imports its module. It may return numbers, strings,
        bytes, None, arrays, `pickle.PickleBuffer`, and tuples, lists and dicts of these. A buffer
        is returned as a writable memoryview.
    args
        Picklable arguments. Paths must be absolute.
    subject
        The subject of error messages, such as ``"'scan.nrrd'"``.
    memory
        Limit of the child's address space in bytes, including about 1 GiB for library code;
        enforced on Linux.
    seconds
        Limit of the CPU time; the limit of the elapsed time is five times as long.

    Raises
    ------
    SandboxError
        If the function raises an exception, crashes, hangs, or exceeds a limit.
    TomochromeError
        If the function raises one; class and arguments are preserved.
    Cancelled
        If the task was cancelled.
    """
    check()
    request = struct.pack("<Qd", memory, seconds) + pickle.dumps((function, args), protocol=5)
    try:
        answer = _answer(request, seconds)
    except _BrokenError as error:
        raise _broken(error.reason, subject, memory, seconds) from error
    if answer is None:
        return _called_here(function, args, subject)
    status, value = answer
    if status == "memory":
        raise _broken("memory", subject, memory, seconds)
    if status != "done":
        raise _error(status, value, subject)
    result: R = value
    return result


def _answer(request: bytes, seconds: float) -> tuple[str, Any] | None:
    """Return status and value from a child, or None if no child can be started."""
    for is_new in (False, True):
        child = _POOL.take(only_new=is_new)
        if child is None:
            return None
        try:
            status, value = child.ask(request, seconds)
        except BaseException:
            _POOL.end(child)
            if child.left_idle and not is_new:  # its idle timeout expired just before the call
                continue
            raise
        if status == "memory":  # its heap may be unusable
            _POOL.end(child)
        else:
            _POOL.give_back(child)
        break
    return status, value


def close() -> None:
    """Kill all children, including busy ones; later calls start new ones."""
    _POOL.close()


def _broken(reason: Reason, subject: str, memory: int, seconds: float) -> SandboxError:
    why = {
        "crash": "the library that reads it crashed; it is damaged, copy it again",
        "time": f"it was not read in {round(seconds, 1):g} seconds; it is damaged, or too large",
        "memory": f"it takes more than {memory / 2**30:.3g} GiB of memory; it is damaged, or too "
        "large: save a part of it",
        "failed": "it is damaged or incomplete; copy it again",
    }
    return SandboxError(subject, why[reason], reason)


def _error(status: str, value: Any, subject: str) -> TomochromeError:
    kind = getattr(errors, status, None)
    if isinstance(kind, type) and issubclass(kind, TomochromeError):
        with suppress(TypeError):  # a compromised child may send invalid arguments
            return kind(*value)
    error = _broken("failed", subject, 0, 0)
    error.detail = str(value)
    return error


def _called_here(function: Callable[..., R], args: tuple[Any, ...], subject: str) -> R:
    try:
        stream, buffers = dumps(function(*args))  # so that types are the same as from a child
        value: R = loads(stream, [memoryview(bytearray(buffer)) for buffer in buffers])
    except TomochromeError:
        raise
    except MemoryError as error:
        raise SandboxError(subject, "it does not fit into memory", "memory") from error
    except Exception as error:
        raise _error("", f"{type(error).__name__}: {error}", subject) from error
    return value


class _BrokenError(Exception):
    """A child that no longer responds, or responds with invalid data."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Child:
    """A child process and the connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: Any) -> None:
        self._process, self._pipe = process, pipe

    @classmethod
    def start(cls) -> _Child | None:
        """Start a process, or return None if that is not possible."""
        if not Path(sys.executable or "").name.lower().startswith("python"):
            return None
        ours, theirs = connection.Pipe()
        handle = theirs.fileno()
        options: dict[str, Any] = {"pass_fds": [handle], "process_group": 0}
        if sys.platform == "win32":
            os.set_handle_inheritable(handle, True)
            startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
            options = {"startupinfo": startup, "creationflags": subprocess.CREATE_NO_WINDOW}
        # Start-up files and the working folder must not affect which modules are imported.
        paths = [os.path.abspath(path) for path in sys.path if path]  # noqa: PTH100
        code = f"from tomochrome.runtime.sandbox_child import main; main({handle})"
        try:
            process = subprocess.Popen(
                [sys.executable, "-S", "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths)},
                cwd=os.path.abspath(os.sep),  # noqa: PTH100
                **options,
            )
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        return cls(process, ours)

    def is_ready(self) -> bool:
        """Wait until the process is ready; return whether it is."""
        try:
            self._wait(START_SECONDS)
            return bool(self._pipe.recv_bytes(len(READY)) == READY)
        except (_BrokenError, OSError, EOFError):
            return False

    def ask(self, request: bytes, seconds: float) -> tuple[str, Any]:
        """Send a request; return the status, and the result or the text of the error.

        Raises
        ------
        _BrokenError
            If there is no valid response.
        Cancelled
            If the task was cancelled.
        """
        try:
            self._pipe.send_bytes(request)
            self._wait(CLOCK_FACTOR * seconds + _GRACE_SECONDS)
            head = Head(*loads(self._pipe.recv_bytes(), []))
            if head.status in ("memory", "failed"):
                return head.status, head.value.decode("utf-8", "replace")
            return head.status, loads(head.value, self._buffers(head))
        except (TomochromeError, _BrokenError):
            raise
        except (EOFError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
            late = -(self._process.returncode or 0) in LIMIT_SIGNALS
            raise _BrokenError("time" if late else "crash") from error
        except Exception as error:  # invalid response
            raise _BrokenError("crash") from error

    def _buffers(self, head: Head) -> list[memoryview]:
        """Return the shared memory of a response, one view per array."""
        starts, size = offsets(head.sizes)
        if size == 0:
            block: Any = b""
        elif sys.platform == "win32":
            block = mmap(-1, size, tagname=head.shared)
        else:
            descriptor = reduction.recv_handle(self._pipe)
            try:
                block = mmap(descriptor, size)
            finally:
                os.close(descriptor)
        view = memoryview(block)
        return [view[a : a + length] for a, length in zip(starts, head.sizes, strict=True)]

    def _wait(self, seconds: float) -> None:
        """Wait until data arrives or the process ends."""
        until = time.monotonic() + seconds
        while not self._pipe.poll(_POLL_SECONDS):
            check()
            if time.monotonic() > until:
                raise _BrokenError("time")

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def left_idle(self) -> bool:
        """Whether the process exited after its idle timeout."""
        return self._process.returncode == 0

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._pipe.close()


class _Pool:
    """The children, idle and busy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    def take(self, *, only_new: bool = False) -> _Child | None:
        """Return an idle child or a new one; None if none can be started."""
        with self._lock:
            while self._idle and not only_new:
                child = self._idle.pop()
                if child.is_alive:
                    return child
                self._all.discard(child)
                child.end()
        started = _Child.start()
        if started is None:
            return None
        with self._lock:
            self._all.add(started)
        try:
            ready = started.is_ready()
        except BaseException:
            self.end(started)
            raise
        if not ready:
            self.end(started)
            return None
        return started

    def give_back(self, child: _Child) -> None:
        """Keep a child for the next call, unless enough are idle."""
        with self._lock:
            keep = child in self._all and len(self._idle) < thread_count()
            if keep:
                self._idle.append(child)
        if not keep:
            self.end(child)

    def end(self, child: _Child) -> None:
        """Kill a busy child."""
        with self._lock:
            self._all.discard(child)
        child.end()

    def close(self) -> None:
        """Kill all children."""
        with self._lock:
            ending = list(self._all)
            self._all.clear()
            self._idle.clear()
        for child in ending:
            child.end()


_POOL = _Pool()
atexit.register(close)


def _replace_pool() -> None:
    """After a fork, leave the children to the parent process."""
    global _POOL
    _parent_pools.append(_POOL)  # prevents ResourceWarning about processes not waited for
    _POOL = _Pool()


_parent_pools: Final = list[_Pool]()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_pool)

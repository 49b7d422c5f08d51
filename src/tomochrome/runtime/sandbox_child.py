"""What runs in a child process of `tomochrome.runtime.sandbox`: one call after another.

It imports little, to be there at once; what a function needs, its own module imports.
"""

from __future__ import annotations

import errno
import io
import os
import pickle
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from mmap import mmap
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tomochrome.errors import TomochromeError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

READY: Final = b"ready"
IDLE_SECONDS: Final = 120.0
"""A child that is asked nothing for so long ends, and gives its memory back."""
CLOCK_FACTOR: Final = 5
"""By the clock a call may take so many times the processor's time that it is given."""
ALIGNMENT: Final = 64  #: bytes, of arrays in shared memory
LIMIT_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGPROF", "SIGALRM") if hasattr(signal, name)
)
"""What ends a child whose time is up; on Windows only its parent does."""


class Request(NamedTuple):
    """One call.

    Parameters
    ----------
    function, args
        What is called, and with what.
    memory
        Bytes of address space that this process may take, 0 for any.
    seconds
        Of the processor's time.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    memory: int
    seconds: float


class Head(NamedTuple):
    """What comes before an answer's shared memory."""

    status: str  #: "done", "memory", "failed", or the name of a class in `tomochrome.errors`
    value: bytes  #: `dumps` of the result or of the error's arguments; of others, the text
    sizes: tuple[int, ...]  #: bytes of each buffer
    shared: str  #: name of the shared memory, where it is opened by name


def rebuild(buffer: Any, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array in a buffer, which `dumps` put there.

    Raises
    ------
    ValueError
        If it is no array of numbers, or does not fill the buffer.
    """
    import numpy as np

    if np.dtype(dtype).kind not in "biufc":
        raise ValueError("an array of something else than numbers")
    return np.frombuffer(buffer, np.uint8).view(dtype).reshape(shape)


class _Pickler(pickle.Pickler):
    """Keeps arrays, and what is a `pickle.PickleBuffer`, out of the stream."""

    def reducer_override(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray):
            return NotImplemented
        array: Any = numpy.ascontiguousarray(value)
        return rebuild, (pickle.PickleBuffer(array.reshape(-1)), array.dtype.str, value.shape)


class _Unpickler(pickle.Unpickler):
    """Makes plain values and arrays only, so that no answer has anything executed."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, "rebuild"):
            return rebuild
        raise pickle.UnpicklingError(f"a value of the class {module}.{name}")


def dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    """Return a value as a stream, and apart from it the bytes of its arrays.

    Parameters
    ----------
    value
        Numbers, texts, bytes, None, arrays, and tuples, lists, dicts of such.
    """
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return stream.getvalue(), [buffer.raw() for buffer in buffers]


def loads(stream: bytes, buffers: list[memoryview]) -> Any:
    """Return the value that `dumps` was given.

    Raises
    ------
    Exception
        Anything, if the stream is another.
    """
    return _Unpickler(io.BytesIO(stream), buffers=buffers).load()


def offsets(sizes: tuple[int, ...]) -> tuple[list[int], int]:
    """Return where buffers of these sizes begin in shared memory, and its size in bytes."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return starts, end


def main(handle: int) -> None:
    """Answer what comes from the parent, until it is gone or asks nothing for long.

    Parameters
    ----------
    handle
        The file descriptor (on Windows the handle) of the connection.
    """
    from multiprocessing import connection

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the parent, which ends this
    kind = getattr(connection, "PipeConnection", connection.Connection)
    pipe: Connection = kind(handle)
    with suppress(EOFError, OSError):
        pipe.send_bytes(READY)
        kept = None
        while pipe.poll(IDLE_SECONDS):
            message = pipe.recv_bytes()
            del kept  # whoever asks again has what came before
            kept = _answer(pipe, message)
    os._exit(0)


def _answer(pipe: Connection, message: bytes) -> Any:
    """Call, send what came of it, and return the shared memory that must be kept for a while."""
    memory, seconds = struct.unpack_from("<Qd", message)
    _limit(memory, seconds)
    status, stream, buffers = "failed", b"", list[memoryview]()
    try:
        function, args = pickle.loads(memoryview(message)[16:])
        result = function(*args)  # it may own what the buffers are views of
        stream, buffers = dumps(result)
        status = "done"
        block, name = _shared(buffers)
    except MemoryError:
        status = "memory"
    except OSError as error:
        status = "memory" if error.errno == errno.ENOMEM else "failed"
        stream = _told(error)
    except TomochromeError as error:
        status, stream = type(error).__name__, dumps([str(part) for part in error.args])[0]
    except Exception as error:  # libraries raise anything over what is damaged
        stream = _told(error)
    if status != "done":
        block, name, buffers = None, "", []
    head = Head(status, stream, tuple(buffer.nbytes for buffer in buffers), name)
    pipe.send_bytes(dumps(tuple(head))[0])
    if isinstance(block, int):
        reduction.send_handle(pipe, block, os.getppid())
        os.close(block)
        block = None
    _limit(0, 0)
    return block


def _told(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4000]


def _shared(buffers: list[memoryview]) -> tuple[int | mmap | None, str]:
    """Return shared memory with the buffers in it: a descriptor, or on Windows a map by name."""
    starts, size = offsets(tuple(buffer.nbytes for buffer in buffers))
    if size == 0:
        return None, ""
    if sys.platform == "win32":
        name = f"tomochrome-{os.getpid()}-{os.urandom(8).hex()}"
        view = mmap(-1, size, tagname=name)
        for start, buffer in zip(starts, buffers, strict=True):
            view[start : start + buffer.nbytes] = buffer
        return view, name
    descriptor = _memory_file()
    os.ftruncate(descriptor, size)
    for start, buffer in zip(starts, buffers, strict=True):
        done = 0
        while done < buffer.nbytes:  # faster than by a map, whose pages come one by one
            done += os.pwrite(descriptor, buffer[done:], start + done)
    return descriptor, ""


def _memory_file() -> int:
    """Return the descriptor of a file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tomochrome")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _limit(memory: int, seconds: float) -> None:
    """Bound this process's memory and time from now on, where the system can; 0 takes it off."""
    if sys.platform == "win32":
        return
    import resource

    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = memory if memory and (most < 0 or memory < most) else most
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, CLOCK_FACTOR * seconds)

"""Main loop of a child process of `tomochrome.runtime.sandbox`.

It imports little to start quickly; the modules of called functions import what they need.
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
from contextlib import suppress
from mmap import mmap
from multiprocessing import connection, reduction
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tomochrome.errors import TomochromeError

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

READY: Final = b"ready"
IDLE_SECONDS: Final = 120.0
"""Idle timeout, after which a child exits and frees its memory."""
CLOCK_FACTOR: Final = 5
"""Ratio of the limit of the elapsed time to the limit of the CPU time."""
ALIGNMENT: Final = 64  #: bytes, of arrays in shared memory
LIMIT_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGPROF", "SIGALRM") if hasattr(signal, name)
)
"""Signals that end a child whose time is up; on Windows only the parent ends it."""


class Head(NamedTuple):
    """Header of a response, sent before its shared memory."""

    status: str  #: "done", "memory", "failed", or the name of a class in `tomochrome.errors`
    value: bytes  #: `dumps` of the result or of the arguments of a TomochromeError, or a text
    sizes: tuple[int, ...]  #: size of each buffer in bytes
    shared: str  #: name of the shared memory on Windows


def rebuild(buffer: Any, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the array that `dumps` stored in a buffer.

    Raises
    ------
    ValueError
        If the array is not numeric, or its size does not match the buffer.
    """
    import numpy as np

    if np.dtype(dtype).kind not in "biufc":
        raise ValueError("an array that is not numeric")
    return np.frombuffer(buffer, np.uint8).view(dtype).reshape(shape)


class _Pickler(pickle.Pickler):
    """A pickler that stores arrays and `pickle.PickleBuffer` objects out of band."""

    def reducer_override(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray):
            return NotImplemented
        array: Any = numpy.ascontiguousarray(value)
        return rebuild, (pickle.PickleBuffer(array.reshape(-1)), array.dtype.str, value.shape)


class _Unpickler(pickle.Unpickler):
    """An unpickler for plain values and arrays only, so that a response cannot execute code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, "rebuild"):
            return rebuild
        raise pickle.UnpicklingError(f"a value of the class {module}.{name}")


def dumps(value: Any) -> tuple[bytes, list[memoryview]]:
    """Serialize a value to a stream and separate buffers for its arrays.

    Parameters
    ----------
    value
        Numbers, strings, bytes, None, arrays, and tuples, lists and dicts of these.
    """
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    return stream.getvalue(), [buffer.raw() for buffer in buffers]


def loads(stream: bytes, buffers: list[memoryview]) -> Any:
    """Deserialize the output of `dumps`.

    Raises
    ------
    Exception
        Any exception, if the stream is invalid.
    """
    return _Unpickler(io.BytesIO(stream), buffers=buffers).load()


def offsets(sizes: tuple[int, ...]) -> tuple[list[int], int]:
    """Return the offsets of buffers of these sizes in shared memory, and the total size."""
    starts, end = [], 0
    for size in sizes:
        starts.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return starts, end


def main(handle: int) -> None:
    """Serve requests until the parent exits or the idle timeout expires.

    Parameters
    ----------
    handle
        The file descriptor (on Windows the handle) of the connection.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it and ends this process
    kind = getattr(connection, "PipeConnection", connection.Connection)
    pipe: Connection = kind(handle)
    with suppress(EOFError, OSError):
        pipe.send_bytes(READY)
        kept = None
        while pipe.poll(IDLE_SECONDS):
            message = pipe.recv_bytes()
            del kept  # the next request confirms that the previous response was received
            kept = _answer(pipe, message)
    os._exit(0)


def _answer(pipe: Connection, message: bytes) -> Any:
    """Serve one request; return the shared memory to keep until the response is received."""
    memory, seconds = struct.unpack_from("<Qd", message)
    _limit(memory, seconds)
    status, stream, buffers = "failed", b"", list[memoryview]()
    try:
        function, args = pickle.loads(memoryview(message)[16:])
        result = function(*args)  # keeps the memory of the buffers alive
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
    except Exception as error:  # libraries raise any exception on damaged files
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
    """Copy buffers to shared memory; return its descriptor, or map and name on Windows."""
    starts, size = offsets(tuple(buffer.nbytes for buffer in buffers))
    if size == 0:
        return None, ""
    if sys.platform == "win32":
        name = f"tomochrome-{os.getpid()}-{os.urandom(8).hex()}"
        view = mmap(-1, size, tagname=name)
        for start, buffer in zip(starts, buffers, strict=True):
            view[start : start + buffer.nbytes] = buffer
        return view, name
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tomochrome")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    for start, buffer in zip(starts, buffers, strict=True):
        done = 0
        while done < buffer.nbytes:  # faster than mmap, which faults page by page
            done += os.pwrite(descriptor, buffer[done:], start + done)
    return descriptor, ""


def _limit(memory: int, seconds: float) -> None:
    """Set limits of memory and time for this process where supported; 0 removes them."""
    if sys.platform == "win32":
        return
    with suppress(ValueError, OSError):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        bound = memory if memory and (most < 0 or memory < most) else most
        resource.setrlimit(resource.RLIMIT_AS, (bound, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, CLOCK_FACTOR * seconds)

"""Processes that decode for us, several at a time, and are gone when the work is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom import decoder
from tomochrome.io.dicom.decoder import DONE, HEAD, READY, REPLY, Job

START_SECONDS: Final = 30.0
"""A decoder is there in a twentieth of a second; on a busy machine it may take longer."""


class DecodeError(Exception):
    """A stream that cannot be decoded, or a decoder that it brought down."""


class Crew:
    """Decoding processes, started when they are first needed and ended on leaving.

    Each thread that calls `decode` gets a process of its own. Where none can be started (in an
    application whose executable is not Python, say), decoding takes place in this process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._ended = False
        self._alone = False

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        for worker in self._all:
            worker.close()

    def end(self) -> None:
        """End every process at once, whatever it does. Threads that wait for one go on."""
        with self._lock:
            self._ended = True
            for worker in self._all:
                worker.end()

    def decode(self, job: Job, code: bytes) -> NDArray[np.uint8]:
        """Decode one stream.

        Returns
        -------
        ndarray
            Bytes of the stored values, row by row, little endian.

        Raises
        ------
        DecodeError
            If it is damaged.
        """
        worker = self._take(job)
        if worker is None:
            return _alone(job, code)
        try:
            values = worker.decode(job, code)
        except (OSError, ValueError, EOFError) as error:
            worker.end()
            raise DecodeError("the decoder broke down") from error
        with self._lock:
            self._idle.append(worker)
        if isinstance(values, str):
            raise DecodeError(values)
        return values

    def _take(self, job: Job) -> _Worker | None:
        with self._lock:
            if self._ended:
                raise DecodeError("ended")
            if self._idle:
                return self._idle.pop()
            if self._alone:
                return None
            worker = _Worker.start(job.syntax)
            if worker is None:
                self._alone = True
                return None
            self._all.append(worker)
        if worker.is_ready():
            return worker
        if self._ended:  # it was ended while it started, which says nothing about the next
            raise DecodeError("ended")
        worker.end()
        with self._lock:
            if self._ended:
                raise DecodeError("ended")
            self._alone = True
        return None


def _alone(job: Job, code: bytes) -> NDArray[np.uint8]:
    try:
        return np.frombuffer(bytearray(decoder.decode(job, code)), dtype=np.uint8)
    except Exception as error:  # a decoder fed with damaged data may raise anything
        raise DecodeError(str(error)) from error


class _Worker:
    """One decoding process and the pipes to it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        self._in: Any = process.stdin
        self._out: Any = process.stdout

    @classmethod
    def start(cls, syntax: bytes) -> _Worker | None:
        executable = Path(sys.executable or "")
        if not executable.name.lower().startswith("python"):
            return None
        # Neither start-up files nor the working folder have a say in what is imported.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy starts sooner
        options: dict[str, Any] = {}
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NO_WINDOW
        else:
            options["process_group"] = 0  # interrupts of the terminal are for us
        try:
            process = subprocess.Popen(
                [str(executable), "-S", "-P", str(decoder.__file__), os.fsdecode(syntax)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                **options,
            )
        except OSError:
            return None
        return cls(process)

    def is_ready(self) -> bool:
        """Whether the process runs and has found its decoder; waits for it."""
        late = threading.Timer(START_SECONDS, self.end)
        late.daemon = True
        late.start()
        try:
            return bool(self._out.read(1) == READY)
        except (OSError, ValueError):
            return False
        finally:
            late.cancel()
            late.join()

    def decode(self, job: Job, code: bytes) -> NDArray[np.uint8] | str:
        """Return the decoded bytes, or what the decoder says is wrong."""
        self._send(HEAD.pack(*job))
        self._send(code)
        status, length = REPLY.unpack(self._receive(REPLY.size).tobytes())
        if length > max(1000, job.rows * job.columns * job.allocated // 8 + 1):
            raise ValueError("more pixels than there are")
        answer = self._receive(length)
        return answer if status == DONE else answer.tobytes().decode("utf-8", "replace")

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._in.write(rest) :]

    def _receive(self, length: int) -> NDArray[np.uint8]:
        data = np.empty(length, dtype=np.uint8)
        rest = data.data
        while rest:
            count = self._out.readinto(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data

    def end(self) -> None:
        with suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """Wait for the end of the process and close the pipes; call `end` before."""
        self._process.wait()
        for pipe in (self._in, self._out):
            with suppress(OSError):
                pipe.close()

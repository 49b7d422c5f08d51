"""Reading plain or compressed files in chunks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime import check

_PIECE: Final = 1 << 20  # a few milliseconds: between two calls of `check`
_PACKED_PIECE: Final = 1 << 18
_MEMBER: Final = b"\x1f\x8b\x08"  # beginning of each member of a gzip file (RFC 1952)


class Inflater:
    """Reads a zlib or gzip stream in chunks and verifies the checksum of each member.

    Zeros between and after the members, and anything else after the last one, are ignored.

    Twice as fast as `gzip.GzipFile` in Python 3.11, which reads 8 KiB at a time.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = zlib.decompressobj(47)  # detects gzip or zlib
        head = file.read(2)
        file.seek(-len(head), 1)
        self._members = head == b"\x1f\x8b"  # a gzip file may have several

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, or ``b""`` at the end.

        Raises
        ------
        EOFError
            If the stream ends early.
        zlib.error
            If it is damaged.
        """
        while True:
            if self._stream.eof:
                packed = self._next_member()
                if not packed:
                    return b""
                self._stream = zlib.decompressobj(31)
            else:
                packed = self._stream.unconsumed_tail or self._file.read(_PACKED_PIECE)
                if not packed:
                    raise EOFError("the packed stream ends early")
            data = self._stream.decompress(packed, size)
            if data:
                return data

    def _next_member(self) -> bytes:
        """Return the first bytes of the member after the finished one, ``b""`` at the end.

        Padding is skipped, and other bytes that follow are ignored, as by the gzip program.
        """
        packed = self._stream.unused_data.lstrip(b"\0") if self._members else b""
        while self._members and len(packed) < len(_MEMBER):
            piece = self._file.read(_PACKED_PIECE)
            if not piece:
                return b""
            packed = (packed + piece).lstrip(b"\0")
        return packed if packed.startswith(_MEMBER) else b""


def is_gzip(path: Path) -> bool:
    """Whether a file is a gzip stream, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def opened(path: Path, skip: int, *, packed: bool) -> Iterator[IO[bytes] | Inflater]:
    """Open a file, decompressing it if ``packed``, and skip the first ``skip`` bytes.

    Raises
    ------
    EOFError, zlib.error, OSError
        If the file is damaged.
    Cancelled
        If the task was cancelled.
    """
    with path.open("rb") as file:
        if not packed:
            file.seek(skip)
            yield file
            return
        stream = Inflater(file)
        while skip > 0:  # a compressed stream is not seekable
            check()
            data = stream.read(min(skip, _PIECE))
            if not data:
                raise EOFError("the file ends early")
            skip -= len(data)
        yield stream


def fill(array: NDArray[Any], stream: IO[bytes] | Inflater) -> None:
    """Fill a contiguous array with bytes of a stream; `check` is called before each megabyte.

    Raises
    ------
    EOFError
        If the stream ends early.
    """
    target = memoryview(array.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(target):
        check()
        data = stream.read(min(_PIECE, len(target) - done))
        if not data:
            raise EOFError("the file ends early")
        target[done : done + len(data)] = data
        done += len(data)

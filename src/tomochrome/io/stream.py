"""Voxels read from a file piece by piece, inflated on the way where they are packed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime import CancelToken, Progress, check, report

_PIECE: Final = 1 << 20  # a few milliseconds: as often is `cancel` looked at
_PACKED_PIECE: Final = 1 << 18


class Stream(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""

    def readinto(self, target: memoryview, /) -> int:
        """Fill ``target`` as far as possible, and return with how many bytes; 0 at the end."""


class Inflater:
    """Reads a zlib or gzip stream in pieces, checking the sum at the end of each member.

    Twice as fast as `gzip.GzipFile` in Python 3.11, which feeds 8 KiB at a time.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream = zlib.decompressobj(47)  # by its first bytes, gzip or zlib
        head = file.read(2)
        file.seek(-len(head), 1)
        self._members = head == b"\x1f\x8b"  # several may follow one another in a gzip file

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end.

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

    def readinto(self, target: memoryview) -> int:
        """Fill ``target`` as far as one piece goes, and return with how many bytes.

        Raises as `read` does.
        """
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def _next_member(self) -> bytes:
        """Return the first bytes behind the finished member and its padding, none at the end."""
        packed = self._stream.unused_data.lstrip(b"\0") if self._members else b""
        while self._members and not packed:
            piece = self._file.read(_PACKED_PIECE)
            if not piece:
                return b""
            packed = piece.lstrip(b"\0")
        return packed


def is_gzip(path: Path) -> bool:
    """Whether a file is a gzip stream, by its first bytes."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def opened(
    path: Path, *, seek: int, skip: int, packed: bool, cancel: CancelToken | None
) -> Iterator[Stream]:
    """Open a file at ``seek``, and skip so many bytes of what lies there, unpacked if packed.

    Raises
    ------
    EOFError, zlib.error, OSError
        If the file is damaged.
    Cancelled
        If ``cancel`` was set.
    """
    with path.open("rb") as file:
        if not packed:
            file.seek(seek + skip)
            yield file
            return
        file.seek(seek)
        stream = Inflater(file)
        while skip > 0:  # a packed stream can only be skipped by unpacking it
            check(cancel)
            data = stream.read(min(skip, _PIECE))
            if not data:
                raise EOFError("the file ends early")
            skip -= len(data)
        yield stream


@dataclass(frozen=True, eq=False)
class Planes:
    """The slices of a volume as stored, each read when it is asked for, and all just once.

    So what they are turned into is in memory, and not what they were as well.

    Parameters
    ----------
    shape
        (z, y, x).
    dtype
        Stored type, of any byte order.
    read
        Fills the slice it is given, with what comes next.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[NDArray[Any]], None]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield each slice in the machine's byte order; the next one takes its place."""
        plane = np.empty(self.shape[1:], self.dtype)
        native = self.dtype.newbyteorder("=")
        for _ in range(self.shape[0]):
            self.read(plane)
            yield plane.astype(native, copy=False)


def fill(
    array: NDArray[Any],
    stream: Stream,
    *,
    before: int = 0,
    total: int = 0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Read the bytes of a contiguous array.

    Parameters
    ----------
    array
        Where to put them.
    stream
        Where they come from.
    before, total
        Bytes that were read before, and that will have been read at last, for ``progress``.
    progress, cancel
        Told after, and looked at before, each megabyte.

    Raises
    ------
    EOFError
        If the stream ends early.
    """
    target = memoryview(array.reshape(-1).view(np.uint8).data)
    total, done = total or len(target), 0
    while done < len(target):
        check(cancel)
        count = stream.readinto(target[done : done + _PIECE])
        if not count:
            raise EOFError("the file ends early")
        done += count
        report(progress, (before + done) >> 10, max(total >> 10, 1), "reading")

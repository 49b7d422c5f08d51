"""Location of the frames in a DICOM file, without parsing the header again.

Source: DICOM PS3.5, 7.1 (data elements) and A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_left
from contextlib import ExitStack
from io import SEEK_END, BytesIO
from itertools import pairwise
from typing import Any, BinaryIO, Final

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tomochrome.errors import InputError
from tomochrome.io.dicom import parse
from tomochrome.io.dicom.header import Header
from tomochrome.io.walk import open_regular, readable

NATIVE: Final = frozenset({
    str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian), str(ExplicitVRBigEndian),
    str(DeflatedExplicitVRLittleEndian),
})  # fmt: skip
"""Transfer syntaxes without compressed frames."""
MOST_FRAGMENTS: Final = 200_000
"""Maximum number of fragments of compressed pixels in a file."""

_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_PIXEL_VRS: Final = ("OW", "OB", "UN")
_ITEM: Final = (0xFFFE, 0xE000)
_UNDEFINED: Final = 0xFFFFFFFF
_STARTS: Final = (b"\xff\xd8", b"\xff\x4f", b"\x00\x00\x00\x0c")  #: JPEG, JPEG 2000, JP2


class Source:
    """An open file and the location of each of its frames; thread-safe.

    Parameters
    ----------
    header
        Header of any frame of the file.

    Raises
    ------
    InputError
        If the file cannot be read or contains no pixels.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._lock = threading.Lock()
        self._fragments: list[tuple[int, int]] | None = None
        self._frames: list[list[tuple[int, int]]] | None = None
        with readable(header.path), ExitStack() as unless_found:
            file = unless_found.enter_context(open_regular(header.path))
            self._file: Any = file
            self._at, self._length, self.is_big = self._find(file)
            if self._file is file:
                unless_found.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_native(self, frame: int, target: memoryview) -> None:
        """Read an uncompressed frame into ``target``.

        Raises
        ------
        InputError
            If the file is truncated.
        """
        size, done = len(target), 0
        if self._length == _UNDEFINED or (frame + 1) * size > self._length:
            raise self._torn()
        with self._lock:
            self._file.seek(self._at + frame * size)
            while done < size:
                count = self._file.readinto(target[done:])
                if not count:
                    raise self._torn()
                done += count

    def read_code(self, frame: int) -> bytes:
        """Return the compressed stream of one frame.

        Raises
        ------
        InputError
            If the file is truncated, or the location of this frame is not known.
        """
        if self._length != _UNDEFINED:
            raise self._torn()
        with self._lock:
            if self._frames is None:
                self._frames = self._find_frames()
            if frame >= len(self._frames):
                raise self._torn()
            parts, end = [], self._file.seek(0, SEEK_END)
            for start, length in self._frames[frame]:
                if start + length > end:  # before `read`, which allocates the whole length
                    raise self._torn()
                self._file.seek(start)
                part = self._file.read(length)
                if len(part) < length:  # truncated meanwhile
                    raise self._torn()
                parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _torn(self) -> InputError:
        return InputError(
            f"the pixels of '{self._header.path}' are incomplete, because the file is truncated "
            "or damaged; copy it again"
        )

    def _find(self, file: BinaryIO) -> tuple[int, int, bool]:
        """Return the offset and the length of the pixel data, and whether it is big-endian."""
        header = self._header
        syntax = header.transfer_syntax
        implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
        if syntax == DeflatedExplicitVRLittleEndian:
            return self._inflate(file)
        at = header.pixels_at
        if not at:
            dataset = parse.read_dataset(header.path, file, ["Rows"])
            found_implicit, little = dataset.original_encoding
            implicit, big = bool(found_implicit), not little
            at = file.tell()
        file.seek(at)
        order = ">" if big else "<"
        head = file.read(12)
        if len(head) < 8 or struct.unpack_from(f"{order}HH", head) != _PIXEL_DATA:
            raise InputError(f"'{header.path}' contains no pixels; copy the file again")
        if implicit:
            return at + 8, int(struct.unpack_from(f"{order}I", head, 4)[0]), big
        if head[4:6].decode("latin-1") not in _PIXEL_VRS or len(head) < 12:
            raise self._torn()
        return at + 12, int(struct.unpack_from(f"{order}I", head, 8)[0]), big

    def _inflate(self, file: BinaryIO) -> tuple[int, int, bool]:
        """Decompress the pixels of a deflated file into memory, within the parser's limits."""
        parse.read_dataset(self._header.path, file, ["Rows"])  # refuses decompression bombs
        file.seek(0)
        dataset = parse.read_whole(self._header.path, file, specific_tags=["PixelData"])
        found = dataset.get_item(_PIXEL_DATA, keep_deferred=True)  # raw: not converted
        pixels = None if found is None else found.value
        if not isinstance(pixels, bytes):
            raise InputError(f"'{self._header.path}' contains no pixels; copy the file again")
        if found.VR not in _PIXEL_VRS:
            raise self._torn()
        self._file = BytesIO(pixels)
        return 0, len(pixels), False

    def _find_frames(self) -> list[list[tuple[int, int]]]:
        """Return the (start, length) of the fragments of each frame."""
        table, fragments = self._scan()
        count = max(1, self._header.frames)
        if len(fragments) < count:
            raise self._torn()
        if count == 1:
            return [fragments]
        if len(fragments) == count:
            return [[fragment] for fragment in fragments]
        first = fragments[0][0] - 8
        starts = [start - 8 - first for start, _ in fragments]
        if len(table) == count and table[0] == 0 and all(a < b for a, b in pairwise(table)):
            cuts = [bisect_left(starts, offset) for offset in table]
        else:
            cuts = [i for i, (start, _) in enumerate(fragments) if self._begins(start)]
        if len(cuts) != count or cuts[0] != 0 or cuts[-1] >= len(fragments):
            raise InputError(
                f"'{self._header.path}' does not say where each of its {count} compressed frames "
                "begins; export it as a series of single-frame files"
            )
        return [fragments[a:b] for a, b in pairwise([*cuts, len(fragments)])]

    def _begins(self, start: int) -> bool:
        self._file.seek(start)
        return bool(self._file.read(4).startswith(_STARTS))

    def _scan(self) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the basic offset table and the (start, length) of every fragment."""
        table: list[int] = []
        fragments: list[tuple[int, int]] = []
        at, is_first = self._at, True
        while len(fragments) < MOST_FRAGMENTS:
            self._file.seek(at)
            head = self._file.read(8)
            if len(head) < 8:
                break
            *tag, length = struct.unpack("<HHI", head)
            if tuple(tag) != _ITEM or length == _UNDEFINED:
                break
            if is_first:
                raw = self._file.read(min(length, 4 * MOST_FRAGMENTS))
                table = list(struct.unpack_from(f"<{len(raw) // 4}I", raw))
            else:
                fragments.append((at + 8, length))
            at, is_first = at + 8 + length, False
        return table, fragments

"""Location of the frames in a DICOM file, without parsing the header again.

Source: DICOM PS3.5, 7.1 (data elements) and A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import os
import struct
import threading
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import SEEK_END, BytesIO
from itertools import pairwise
from typing import Any, BinaryIO, Final

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tomochrome.errors import InputError, PixelsError
from tomochrome.io.archive import display_path
from tomochrome.io.dicom import decode, parse
from tomochrome.io.dicom.damage import NATIVE, Damage, truncated, unread_syntax
from tomochrome.io.dicom.header import Header
from tomochrome.io.walk import open_regular, readable

MAX_FRAME_PIXELS: Final = 2**26
"""Maximum number of pixels of an image: 8192x8192, as in micro-CT. The true size of a compressed
image is only known after decoding."""
MAX_FRAGMENTS: Final = 200_000
"""Maximum number of fragments of compressed pixels in a file."""

_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_PIXEL_VRS: Final = ("OW", "OB", "UN")
_ITEM: Final = (0xFFFE, 0xE000)
_DELIMITER: Final = (0xFFFE, 0xE0DD)
_ENDS: Final = "the file ends before its pixels"
_UNDEFINED: Final = 0xFFFFFFFF
_STREAM_HEAD: Final = 65536  #: bytes within which a stream says what it is
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
        PixelsError
            If the file is truncated.
        """
        size, done = len(target), 0
        if self._length == _UNDEFINED:
            raise self._torn()
        if (frame + 1) * size > self._length:
            raise self._error(truncated(self._length - frame * size, size))
        with self._lock:
            self._file.seek(self._at + frame * size)
            while done < size:
                count = self._file.readinto(target[done:])
                if not count:
                    raise self._error(truncated(done, size))
                done += count

    def read_code(self, frame: int) -> bytes:
        """Return the compressed stream of one frame.

        Raises
        ------
        PixelsError
            If the file is truncated, or the location of this frame is not known.
        """
        if self._length != _UNDEFINED:
            raise self._torn()
        with self._lock:
            if self._frames is None:
                self._frames = _locate(self._file, self._at, self._header)
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

    def _torn(self) -> PixelsError:
        return self._error(Damage("the file is truncated or damaged"))

    def _error(self, damage: Damage) -> PixelsError:
        return PixelsError(display_path(self._header.path), *damage)

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
            is_implicit, little = dataset.original_encoding
            implicit, big = bool(is_implicit), not little
            at = file.tell()
        file.seek(at)
        pixels = _pixel_element(file.read(12), implicit=implicit, big=big)
        if isinstance(pixels, Damage):
            raise self._error(pixels)
        size, length, big = pixels
        return at + size, length, big

    def _inflate(self, file: BinaryIO) -> tuple[int, int, bool]:
        """Decompress the pixels of a deflated file into memory, within the parser's limits."""
        parse.read_dataset(self._header.path, file, ["Rows"])  # refuses decompression bombs
        file.seek(0)
        dataset = parse.read_whole(self._header.path, file, specific_tags=["PixelData"])
        raw = dataset.get_item(_PIXEL_DATA, keep_deferred=True)  # raw: not converted
        pixels = None if raw is None else raw.value
        if not isinstance(pixels, bytes):
            raise self._error(Damage(_ENDS))
        if raw.VR not in _PIXEL_VRS:
            raise self._torn()
        self._file = BytesIO(pixels)
        return 0, len(pixels), False


def examine(headers: Sequence[Header], file: BinaryIO) -> list[Header]:
    """Add to headers what shows without decoding: damage, and a wrongly declared compression.

    Parameters
    ----------
    headers
        Headers of all frames of a file.
    file
        The file, opened for reading; its position changes.

    Returns
    -------
    list of Header
        With the transfer syntax of the pixels, and damage where pixels are missing.
    """
    first = headers[0]
    at, syntax = first.pixels_at, first.transfer_syntax
    if not at or syntax == DeflatedExplicitVRLittleEndian:
        return list(headers)
    if first.rows * first.columns > MAX_FRAME_PIXELS:
        given = f"{first.rows}x{first.columns} pixels, more than any CT has"
        return _all_damaged(headers, Damage(f"its header gives {given}"))
    end = os.fstat(file.fileno()).st_size
    file.seek(at)
    implicit, big = syntax == ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    pixels = _pixel_element(file.read(12), implicit=implicit, big=big)
    if isinstance(pixels, Damage):
        return _all_damaged(headers, pixels)
    size, length, _ = pixels
    start = at + size
    frame = first.rows * first.columns * first.samples * first.bits_allocated // 8
    if length != _UNDEFINED:
        if syntax in decode.KNOWN and length >= frame * max(1, first.frames):
            syntax = str(ExplicitVRLittleEndian)  # nothing is compressed
            headers = _relabeled(headers, syntax)
        if syntax not in NATIVE:
            return _all_damaged(headers, unread_syntax(syntax))
        present = [min(length, end - start) - header.frame * frame for header in headers]
        damage = [truncated(count, frame) if count < frame else None for count in present]
        return _damaged(headers, damage)
    try:
        frames = _locate(file, start, first)
    except InputError:  # raised again when a frame is read
        return list(headers)
    if syntax in NATIVE and frames:
        file.seek(frames[0][0][0])
        syntax = decode.real_syntax(file.read(_STREAM_HEAD), "")
        if not syntax:
            return _all_damaged(headers, Damage("its pixels are compressed in an unknown way"))
        headers = _relabeled(headers, syntax)
    unread = unread_syntax(syntax)
    if unread is not None:
        return _all_damaged(headers, unread)
    whole = [sum(fragments[-1]) <= end for fragments in frames]
    cut = Damage("the file is truncated or damaged (its compressed pixels end early)")
    return _damaged(
        headers, [None if h.frame < len(whole) and whole[h.frame] else cut for h in headers]
    )


def _damaged(headers: Sequence[Header], damage: Sequence[Damage | None]) -> list[Header]:
    if not any(damage):
        return list(headers)
    return [replace(h, damage=fault) for h, fault in zip(headers, damage, strict=True)]


def _all_damaged(headers: Sequence[Header], damage: Damage | None) -> list[Header]:
    return _damaged(headers, [damage] * len(headers))


def _relabeled(headers: Sequence[Header], syntax: str) -> list[Header]:
    """Correct the transfer syntax, which counts as a violation of the standard."""
    return [replace(h, transfer_syntax=syntax, flaws=h.flaws + 1) for h in headers]


def _pixel_element(head: bytes, *, implicit: bool, big: bool) -> tuple[int, int, bool] | Damage:
    """Read the start of the pixel data element.

    The element itself shows how it is encoded; some files are not encoded as they declare.

    Returns
    -------
    tuple
        Bytes in front of the value, length of the value, and whether it is big-endian.
    """
    if len(head) < 8:
        return Damage(_ENDS)
    for is_big in (big, not big):
        if struct.unpack_from(">HH" if is_big else "<HH", head) == _PIXEL_DATA:
            break
    else:
        return Damage("the file contains no pixels")
    order = ">I" if is_big else "<I"
    if head[4:6].decode("latin-1") in _PIXEL_VRS:
        if len(head) < 12:
            return Damage(_ENDS)
        return 12, int(struct.unpack_from(order, head, 8)[0]), is_big
    if not implicit and head[4:6].isalpha() and head[4:6].isupper():
        return Damage("the file is truncated or damaged")
    return 8, int(struct.unpack_from(order, head, 4)[0]), is_big


def _locate(file: BinaryIO, at: int, header: Header) -> list[list[tuple[int, int]]]:
    """Return the (start, length) of the fragments of each frame.

    Of a truncated file these are the frames before its end, and the last may be incomplete.

    Parameters
    ----------
    file
        The file; its position changes.
    at
        Offset of the basic offset table.

    Raises
    ------
    PixelsError
        If the file does not say where its frames begin.
    """
    table, fragments, is_whole = _scan(file, at)
    count = max(1, header.frames)
    if count == 1 or not fragments:
        return [fragments] if fragments else []
    if len(fragments) == count or header.transfer_syntax == decode.RLE:
        return [[fragment] for fragment in fragments]
    first = fragments[0][0] - 8
    starts = [start - 8 - first for start, _ in fragments]
    if len(table) == count and table[0] == 0 and all(a < b for a, b in pairwise(table)):
        cuts = [bisect_left(starts, offset) for offset in table]
        if not is_whole:
            cuts = [cut for cut in cuts if cut < len(fragments)]
    else:
        cuts = [i for i, (start, _) in enumerate(fragments) if _begins(file, start)]
    complete = len(cuts) == count if is_whole else 0 < len(cuts) <= count
    if not complete or cuts[0] != 0 or cuts[-1] >= len(fragments):
        raise PixelsError(
            display_path(header.path),
            f"the file does not say where each of its {count} compressed frames begins",
            "export it as a series of single-frame files",
        )
    return [fragments[a:b] for a, b in pairwise([*cuts, len(fragments)])]


def _begins(file: BinaryIO, start: int) -> bool:
    file.seek(start)
    return bool(file.read(4).startswith(_STARTS))


def _scan(file: BinaryIO, at: int) -> tuple[list[int], list[tuple[int, int]], bool]:
    """Return the basic offset table, the (start, length) of each fragment, and if all are there."""
    table: list[int] = []
    fragments: list[tuple[int, int]] = []
    is_first = True
    while len(fragments) < MAX_FRAGMENTS:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return table, fragments, False
        *tag, length = struct.unpack("<HHI", head)
        if tuple(tag) != _ITEM or length == _UNDEFINED:
            return table, fragments, tuple(tag) == _DELIMITER
        if is_first:
            raw = file.read(min(length, 4 * MAX_FRAGMENTS))
            table = list(struct.unpack_from(f"<{len(raw) // 4}I", raw))
        else:
            fragments.append((at + 8, length))
        at, is_first = at + 8 + length, False
    return table, fragments, False

"""Reading the elements of a DICOM header within bounds of bytes and of time.

A header is parsed by pydicom, out of the first bytes of the file where it lies in them. What is
longer is read through a file object that gives up at a bound: an endless sequence or an element
that claims gigabytes ends in a sentence.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.dataset import FileDataset
from pydicom.filereader import data_element_generator

from tomochrome.errors import InputError
from tomochrome.io.dicom.values import Elements, text

HEAD_BYTES: Final = 32 << 10
"""Read at once of each file: classic CT headers have 3 to 20 KiB."""
MOST_HEADER_BYTES: Final = 64 << 20
"""Read of one header at most: an enhanced CT of 5,000 frames says 4 KiB of each."""
MOST_READS: Final = 600_000
"""Elements and parts of elements in one header: two or three for each element."""
MOST_INFLATED: Final = 1 << 30
"""A deflated file may unpack to this: 2,000 frames of 512x512."""

_IMPLICIT: Final = "1.2.840.10008.1.2"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_BIG: Final = "1.2.840.10008.1.2.2"
_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_META_TAGS: Final[list[Any]] = [0x00020002, 0x00020010]


@dataclass(frozen=True)
class Parsed:
    """The elements that were asked for, and what the file says about itself."""

    elements: Elements
    transfer_syntax: str
    media_class: str  #: MediaStorageSOPClassUID
    pixels_at: int = 0  #: where the pixel data element begins; 0 if not known


class Bounded:
    """A file that gives up when more of it is read than a header can be."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self.name = file, str(path)
        self._size = os.fstat(file.fileno()).st_size
        self._bytes_left, self._reads_left = MOST_HEADER_BYTES, MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes.

        Raises
        ------
        InputError
            If this is too much for a header.
        """
        rest = max(0, self._size - self._file.tell())
        size = rest if size is None or size < 0 else min(size, rest)
        self._bytes_left -= size
        self._reads_left -= 1
        if self._bytes_left < 0 or self._reads_left < 0:
            raise InputError(
                f"the DICOM header of '{self.name}' is longer than that of any image; "
                "the file is damaged"
            )
        return self._file.read(size)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._file.seek(offset, whence)


def parse(path: Path, file: BinaryIO, head: bytes, tags: frozenset[int]) -> Parsed:
    """Return the elements with these tags, of all that comes before the pixels.

    Parameters
    ----------
    path
        Named in errors.
    file
        The file, open without a buffer.
    head
        Its first bytes, at least 132 of them (unless the file is shorter).
    tags
        Numbers of the elements wanted.

    Raises
    ------
    InputError
        If the header cannot be parsed, or not within the bounds.
    """
    parsed = _parse_head(head, tags, whole=len(head) >= os.fstat(file.fileno()).st_size)
    if parsed is not None:
        return parsed
    dataset = read_dataset(path, file, list(tags))
    # Values as they lie there: what is not asked for may be impossible to convert.
    elements = {int(found.tag): found for found in dataset.values()}
    meta = {int(found.tag): found for found in dataset.file_meta.values()}
    return Parsed(elements, text(meta, "TransferSyntaxUID"), text(meta, "MediaStorageSOPClassUID"))


def _after_meta(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def _parse_head(head: bytes, tags: frozenset[int], *, whole: bool) -> Parsed | None:
    """Parse a plain header that lies in the first bytes; None if this is not one."""
    if head[128:132] != b"DICM":
        return None
    buffer, wanted = BytesIO(head), list(tags)
    buffer.seek(132)
    ended = False

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal ended
        ended = tag in _PIXEL_DATA
        return ended

    try:
        meta = {
            int(found.tag): found
            for found in data_element_generator(
                buffer, False, True, _after_meta, specific_tags=_META_TAGS
            )
        }
        syntax = text(meta, "TransferSyntaxUID")
        if not syntax.startswith(_IMPLICIT) or syntax == _DEFLATED:
            return None
        start = buffer.tell()
        if head[start + 4 : start + 6].isupper() == (syntax == _IMPLICIT):
            return None  # not encoded as it says
        elements = {
            int(found.tag): found
            for found in data_element_generator(
                buffer, syntax == _IMPLICIT, syntax != _BIG, at_pixels, specific_tags=wanted
            )
        }
    except Exception:  # a parser fed with the torn end of a head may raise anything
        return None
    if not ended and not (whole and buffer.tell() <= len(head)):
        return None
    pixels_at = buffer.tell() if ended else 0  # the parser goes back to where the element begins
    return Parsed(elements, syntax, text(meta, "MediaStorageSOPClassUID"), pixels_at)


def read_dataset(path: Path, file: BinaryIO, tags: list[Any] | None = None) -> FileDataset:
    """Read everything before the pixels, or the elements with some tags.

    Raises
    ------
    InputError
        If the header cannot be parsed, or not within the bounds.
    """
    _check_inflated(path, file)
    file.seek(0)
    return read_whole(path, Bounded(file, path), stop_before_pixels=True, specific_tags=tags)


def read_whole(path: Path, source: Any, **options: Any) -> FileDataset:
    """Let pydicom read a data set, with or without preamble and file meta information.

    Raises
    ------
    InputError
        If it cannot be opened or parsed.
    """
    try:
        dataset = pydicom.dcmread(source, force=True, **options)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a parser fed with anything may raise anything
        raise InputError(f"'{path}' is damaged: its DICOM header cannot be parsed") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _guess_syntax(dataset)
    return dataset


def _guess_syntax(dataset: FileDataset) -> pydicom.uid.UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _check_inflated(path: Path, file: BinaryIO) -> None:
    """Refuse a deflated file that would unpack to more than memory should hold."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if _DEFLATED.encode() not in head[:4096]:
        return
    buffer = BytesIO(head)
    buffer.seek(132 if head[128:132] == b"DICM" else 0)
    try:
        for _ in data_element_generator(buffer, False, True, _after_meta):
            pass
    except Exception:  # whoever parses it next has the same trouble, and says so
        return
    file.seek(buffer.tell())
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    packed = b""
    while (packed := inflate.unconsumed_tail or file.read(1 << 20)) and not inflate.eof:
        try:
            total += len(inflate.decompress(packed, 4 << 20))
        except zlib.error as error:
            raise InputError(f"'{path}' is damaged: it cannot be unpacked") from error
        if total > MOST_INFLATED:
            raise InputError(
                f"'{path}' would unpack to more than {MOST_INFLATED >> 30} GiB; it is damaged"
            )

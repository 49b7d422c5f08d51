"""Parsing DICOM headers with limits on the number of bytes and of read calls.

Nearly all CT is stored as explicit VR little endian with elements of defined length. This module
parses such headers itself, into a table of elements, because the user waits while a folder of
thousands of files is listed: by pydicom alone, listing 300 slices took 3.1 times as long, 0.26 of
the time in which SimpleITK reads them (`benchmarks/reading.py`). pydicom parses all other headers,
through a file object that enforces the limits: an endless sequence or an element with a length of
gigabytes raises an error with a clear message.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.tag import BaseTag, Tag

from tomochrome.errors import Cancelled, InputError
from tomochrome.io.archive import file_error
from tomochrome.io.dicom.elements import Elements, text
from tomochrome.runtime import check

HEAD_BYTES: Final = 32 << 10
"""Bytes read at once from the start of each file: classic CT headers have 3 to 20 KiB."""
MAX_HEADER_BYTES: Final = 64 << 20
"""Limit on the bytes read of one header: an enhanced CT of 5,000 frames has 4 KiB per frame."""
MAX_READS: Final = 10_000
"""Limit on the read calls of pydicom for one header: three per element, and CT has hundreds."""
BYTES_A_READ: Final = 256
"""File bytes per additional read call: multi-frame headers grow with the pixel data."""
BYTES_AN_INDEX_READ: Final = 4
"""The same for an index (DICOMDIR): its records have elements of ten bytes and more."""
MAX_INDEX_BYTES: Final = 512 << 20
"""Limit on the bytes read of an index: 200,000 images with 2.5 KiB each."""
MAX_INFLATED: Final = 1 << 30
"""Limit on the inflated size of a deflated file in bytes: 2,000 frames of 512x512 pixels."""

PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PIXELS: Final = frozenset((tag & 0xFFFF) << 16 | tag >> 16 for tag in PIXEL_DATA)
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
UNDEFINED: Final = 0xFFFFFFFF

_ROOT: Final = "1.2.840.10008.1.2"  #: prefix of transfer syntax UIDs; alone: implicit VR
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_BIG: Final = "1.2.840.10008.1.2.2"
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
_SIZES: Final = {**dict.fromkeys(_SHORT_VRS, 8), **dict.fromkeys(_LONG_VRS, 12)}
"""Bytes of tag, VR and length in front of the value, by VR (DICOM PS3.5, 7.1.2)."""
_NAMES: Final = {vr: vr.decode("ascii") for vr in _SIZES}
_ELEMENT: Final = struct.Struct("<I2sH")
_START: Final = 132  #: offset of the first element, after preamble and prefix
_META: Final = frozenset((0x00020002, 0x00020010))
"""Elements of the file meta information that are always read: SOP class and transfer syntax."""
_MAX_META: Final = 4096
_MAX_CACHED: Final = 20_000
_GROUPS: Final = frozenset({0x52009229, 0x52009230})
"""Functional groups of multi-frame images: long, and after all elements that `Header` needs."""


class Selection:
    """The elements to read from each of many files.

    Parameters
    ----------
    tags
        Tags of the elements, as numbers.
    """

    def __init__(self, tags: Iterable[int]) -> None:
        self.tags = sorted({*tags, *_META})
        #: tags by their four encoded bytes, read as one little-endian number
        self.by_bytes = {(tag & 0xFFFF) << 16 | tag >> 16: tag for tag in self.tags}
        #: tag and element by their encoded bytes: files of a series have most in common
        self.cached: dict[bytes, tuple[int, RawDataElement]] = {}


@dataclass(frozen=True, eq=False)
class Parsed:
    """The requested elements of a file, its transfer syntax and its SOP class."""

    elements: Elements
    transfer_syntax: str
    media_class: str  #: MediaStorageSOPClassUID
    #: byte offset of the pixel data element, or of the end of a file without; 0 if unknown
    pixels_at: int = 0
    is_mislabeled: bool = False  #: whether the elements are not encoded as the file declares


class Bounded:
    """A file that raises an error once the limits on bytes or read calls are exceeded.

    The header of an image has a size that does not depend on the number of images; an index
    (DICOMDIR) grows with it, so its limits do as well.
    """

    def __init__(self, file: BinaryIO, size: int, path: Path, *, index: bool = False) -> None:
        self._file, self._size, self.name = file, size, str(path)
        self._bytes_left = MAX_INDEX_BYTES if index else MAX_HEADER_BYTES
        self._reads_left = MAX_READS + size // (BYTES_AN_INDEX_READ if index else BYTES_A_READ)
        self._kind = "index" if index else "image"

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes.

        Raises
        ------
        InputError
            If more bytes or read calls are needed than any header takes.
        Cancelled
            If the task was cancelled.
        """
        check()
        rest = max(0, self._size - self._file.tell())
        size = rest if size is None or size < 0 else min(size, rest)
        self._bytes_left -= size
        self._reads_left -= 1
        if self._reads_left < 0 or self._bytes_left < 0:
            fault = f"is damaged: its DICOM header is longer than that of any {self._kind}"
            raise file_error(self.name, fault)
        return self._file.read(size)

    def tell(self) -> int:
        """Return the current position in the file."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position in the file."""
        return self._file.seek(offset, whence)


def parse(path: Path, file: BinaryIO, head: bytes, selection: Selection) -> Parsed:
    """Return the requested elements among those before the pixel data.

    Parameters
    ----------
    path
        Path for error messages.
    file
        The file, opened without buffering.
    head
        Its first bytes, at least 132 (unless the file is shorter).
    selection
        The requested elements. An element equal to that of an earlier file is usually the same
        object.

    Raises
    ------
    InputError
        If the header cannot be parsed within the limits.
    """
    parsed = parse_explicit(head, selection) if head[128 : _START + 2] == b"DICM\x02\0" else None
    if parsed is not None:
        return parsed
    dataset = read_dataset(path, file, list(selection.tags), before_groups=True)
    at = pixels_at(file)
    # Take the raw values: elements that are never used may be impossible to convert.
    elements = {int(raw.tag): raw for raw in dataset.values()}
    meta = {int(raw.tag): raw for raw in dataset.file_meta.values()}
    return Parsed(
        elements, text(meta, "TransferSyntaxUID"), text(meta, "MediaStorageSOPClassUID"),
        at,
    )  # fmt: skip


def pixels_at(file: BinaryIO) -> int:
    """Return the position of a file if its pixel data starts there or it ends there, else 0."""
    at = file.tell()
    starts = file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10", b"")
    return at if starts else 0


def parse_explicit(head: bytes, selection: Selection) -> Parsed | None:
    """Parse an explicit VR little endian header that is contained in the first bytes of a file.

    Returns None if the header needs a full parser.
    """
    pairs: list[tuple[int, RawDataElement]] = []
    at, most = _START, len(head) - 12
    # Listing a folder spends most of its time in this loop.
    unpack, sizes, tags, cached = _ELEMENT.unpack_from, _SIZES, selection.by_bytes, selection.cached
    while at <= most:
        number, vr, length = unpack(head, at)
        if number in _PIXELS:
            break
        size = sizes.get(vr)
        if size == 12:
            length = int.from_bytes(head[at + 8 : at + 12], "little")
        if size is None or length == UNDEFINED:
            return None
        start, at = at, at + size + length
        if number in tags:
            data = head[start:at]
            pair = cached.get(data)
            if pair is None:
                tag, name, value = tags[number], _NAMES[vr], data[size:]
                raw = RawDataElement(BaseTag(tag), name, length, value, 0, False, True)
                pair = cached[data] = tag, raw
            pairs.append(pair)
    else:
        return None
    if len(cached) > _MAX_CACHED:
        cached.clear()
    elements: dict[int, RawDataElement | DataElement] = dict(pairs)
    syntax = text(elements, "TransferSyntaxUID")
    if not syntax.startswith(_ROOT):
        return None
    wrong = syntax in (_ROOT, _BIG, DEFLATED)  # everything was explicit and little endian
    media = text(elements, "MediaStorageSOPClassUID")
    return Parsed(elements, _EXPLICIT if wrong else syntax, media, at, wrong)


def read_dataset(
    path: Path,
    file: BinaryIO,
    tags: list[Any] | None = None,
    *,
    before_groups: bool = False,
    index: bool = False,
) -> FileDataset:
    """Read all elements before the pixel data, or only those with the given tags.

    Parameters
    ----------
    path
        Path for error messages.
    file
        The file. Unless it is deflated, its position afterwards is the start of the pixel data
        element.
    tags
        The elements to read, by number or keyword; all if empty or None.
    before_groups
        Read only the elements before the functional groups of a multi-frame image.
    index
        Whether it is an index (DICOMDIR), which may be longer than any image's header.

    Raises
    ------
    InputError
        If the header cannot be parsed within the limits.
    """
    selected: list[Any] | None = [Tag(tag) for tag in tags] if tags else None
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if _holds_sequence(head, implicit=False) or _holds_sequence(head, implicit=True):
        raise file_error(path, "is damaged: its DICOM header cannot be parsed")
    meta = _deflated(head)
    file.seek(0)

    def ends(tag: int, vr: str | None, length: int) -> bool:
        return tag in PIXEL_DATA or (before_groups and tag in _GROUPS)

    with _sentences(path):
        if meta is None:
            buffered: Any = BufferedReader(file, HEAD_BYTES)
            try:
                source: Any = Bounded(buffered, os.fstat(file.fileno()).st_size, path, index=index)
                dataset = read_partial(source, ends, force=True, specific_tags=selected)
                if "TransferSyntaxUID" not in dataset.file_meta:
                    dataset.file_meta.TransferSyntaxUID = _guess_syntax(dataset)
                return dataset
            finally:
                try:
                    file.seek(buffered.tell())
                finally:  # the buffer would otherwise close the file
                    buffered.detach()
        inflated = _inflated(path, file, meta)
        source = Bounded(BytesIO(inflated), len(inflated), path)
        inner = pydicom.filereader.read_dataset(
            source, False, True, stop_when=ends, specific_tags=selected
        )
        return FileDataset(str(path), inner, file_meta=meta[0], is_implicit_VR=False)


def read_records(path: Path, sequence: RawDataElement | DataElement | None) -> list[Dataset]:
    """Return the records of an index (DICOMDIR), parsed within the limits.

    Raises
    ------
    InputError
        If the sequence cannot be parsed within the limits.
    """
    if sequence is None:
        return []
    if isinstance(sequence, RawDataElement):
        data = sequence.value if isinstance(sequence.value, bytes) else b""
        source: Any = Bounded(BytesIO(data), len(data), path, index=True)
        with _sentences(path):
            return list(
                pydicom.filereader.read_sequence(
                    source, sequence.is_implicit_VR, sequence.is_little_endian, len(data),
                    ["iso8859"],
                )
            )  # fmt: skip
    items = sequence.value
    return list(items) if hasattr(items, "__iter__") and not isinstance(items, str | bytes) else []


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Convert any exception of a parser to an `InputError` with a one-sentence message."""
    try:
        yield
    except (InputError, Cancelled):
        raise
    except OSError as error:
        if error.errno is None:  # raised by the parser at the end of the file
            raise file_error(path, "is damaged: its DICOM header ends early") from error
        raise file_error(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # on malformed input a parser may raise anything
        raise file_error(path, "is damaged: its DICOM header cannot be parsed") from error


def read_whole(path: Path, source: Any, **options: Any) -> FileDataset:
    """Read a data set with pydicom, with or without preamble and file meta information.

    Raises
    ------
    InputError
        If it cannot be opened or parsed.
    """
    with _sentences(path):
        return pydicom.dcmread(source, force=True, **options)


def _guess_syntax(dataset: FileDataset) -> pydicom.uid.UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return pydicom.uid.ImplicitVRLittleEndian
    return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian


def _holds_sequence(head: bytes, *, implicit: bool) -> bool:
    """Return whether the file meta information contains a sequence, which is not allowed.

    pydicom formats an error message for each element there that it cannot convert, and each
    nesting level repeats the tracebacks of all levels below it: a few dozen nested sequences
    would take years to process.
    """
    at = 132 if head[128:132] == b"DICM" else 0
    while at + 12 <= len(head) and head[at : at + 2] == b"\x02\x00":
        long = not implicit and head[at + 4 : at + 6] in _LONG_VRS
        if not implicit and head[at + 4 : at + 6] == b"SQ":
            return True
        width, place = (4, at + 4) if implicit else (4, at + 8) if long else (2, at + 6)
        length = int.from_bytes(head[place : place + width], "little")
        if length == UNDEFINED:
            return True
        at = place + width + length
    return not implicit and at > len(head) >= HEAD_BYTES


def _deflated(head: bytes) -> tuple[FileMetaDataset, int] | None:
    """Return the file meta information of a deflated file and its end; None for other files."""
    if head[128:132] != b"DICM" or DEFLATED.encode() not in head[:_MAX_META]:
        return None
    buffer = BytesIO(head)
    buffer.seek(132)
    try:
        group_2 = data_element_generator(buffer, False, True, lambda tag, *_: tag >> 16 != 2)
        meta = FileMetaDataset({element.tag: element for element in group_2})
        return (meta, buffer.tell()) if text(meta, "TransferSyntaxUID") == DEFLATED else None
    except Exception:  # the full parser fails as well and reports it
        return None


def _inflated(path: Path, file: BinaryIO, meta: tuple[FileMetaDataset, int]) -> bytes:
    """Return the first part of the inflated data set, long enough for any header.

    Raises
    ------
    InputError
        If the inflated data set exceeds `MAX_INFLATED`, or the compressed data is damaged.
    """
    file.seek(meta[1])
    inflate, total, kept = zlib.decompressobj(-zlib.MAX_WBITS), 0, bytearray()
    while (packed := inflate.unconsumed_tail or file.read(1 << 20)) and not inflate.eof:
        try:
            plain = inflate.decompress(packed, 4 << 20)
        except zlib.error as error:
            raise file_error(path, "is damaged: it cannot be unpacked") from error
        total += len(plain)
        if len(kept) < MAX_HEADER_BYTES:
            kept += plain
        if total > MAX_INFLATED:
            raise file_error(
                path, f"would unpack to more than {MAX_INFLATED >> 30} GiB", "it is damaged"
            )
    return bytes(kept)

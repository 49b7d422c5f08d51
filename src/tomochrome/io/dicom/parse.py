"""Reading the elements of a DICOM header within bounds of bytes and of reads.

Nearly all CT is stored as explicit little endian, with the length of each element given. Of such
headers only a table of their elements is made here, because pydicom takes two to five times as
long over them, and a folder of thousands is listed while somebody waits. All other headers are
parsed by pydicom, through a file object that gives up at a bound: an endless sequence or an
element that claims gigabytes ends in a sentence.
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

from tomochrome.errors import InputError
from tomochrome.io.dicom.values import Elements, text

HEAD_BYTES: Final = 32 << 10
"""Read at once of each file: classic CT headers have 3 to 20 KiB."""
MOST_HEADER_BYTES: Final = 64 << 20
"""Read of one header at most: an enhanced CT of 5,000 frames says 4 KiB of each."""
MOST_READS: Final = 10_000
"""By pydicom, of one header: it reads three times for an element, and CT has hundreds."""
BYTES_A_READ: Final = 256
"""One more read for as many bytes of the file: multi-frame headers grow with their pixels."""
MOST_INFLATED: Final = 1 << 30
"""A deflated file may unpack to this: 2,000 frames of 512x512."""

PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PIXELS: Final = frozenset((tag & 0xFFFF) << 16 | tag >> 16 for tag in PIXEL_DATA)
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
UNDEFINED: Final = 0xFFFFFFFF

_ROOT: Final = "1.2.840.10008.1.2"  #: of all transfer syntaxes; by itself it is implicit
_BIG: Final = "1.2.840.10008.1.2.2"
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
_SIZES: Final = {**dict.fromkeys(_SHORT_VRS, 8), **dict.fromkeys(_LONG_VRS, 12)}
"""Bytes of an element before its value (DICOM PS3.5, 7.1.2)."""
_NAMES: Final = {vr: vr.decode("ascii") for vr in _SIZES}
_ELEMENT: Final = struct.Struct("<I2sH")
_START: Final = 132  #: of the first element, behind preamble and prefix
_META: Final = frozenset((0x00020002, 0x00020010))
"""Elements of the file meta information that are always read: class and transfer syntax."""
_LONGEST_META: Final = 4096
_MOST_KNOWN: Final = 20_000
_GROUPS: Final = frozenset({0x52009229, 0x52009230})
"""Functional groups of multi-frame images: long, and behind everything that a header needs."""


class Wanted:
    """The elements that are asked for, of many files.

    Parameters
    ----------
    tags
        Their numbers.
    """

    def __init__(self, tags: Iterable[int]) -> None:
        self.tags = sorted({*tags, *_META})
        #: by the number that the four bytes of a tag are in little endian
        self.by_bytes = {(tag & 0xFFFF) << 16 | tag >> 16: tag for tag in self.tags}
        #: tag and element by their bytes: files of a series share most
        self.known: dict[bytes, tuple[int, RawDataElement]] = {}


@dataclass(frozen=True, eq=False)
class Parsed:
    """The elements that were asked for, and what the file says about itself."""

    elements: Elements
    transfer_syntax: str
    media_class: str  #: MediaStorageSOPClassUID
    pixels_at: int = 0  #: where the pixel data element begins; 0 if not known


class Bounded:
    """A file that gives up when more is read of it, or more often, than a header takes."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self._file, self._size, self.name = file, size, str(path)
        self._bytes_left = MOST_HEADER_BYTES
        self._reads_left = MOST_READS + size // BYTES_A_READ

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
        if self._reads_left < 0 or self._bytes_left < 0:
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


def parse(path: Path, file: BinaryIO, head: bytes, wanted: Wanted) -> Parsed:
    """Return the elements with these tags, of all that comes before the pixels.

    Parameters
    ----------
    path
        Named in errors.
    file
        The file, open without a buffer.
    head
        Its first bytes, at least 132 of them (unless the file is shorter).
    wanted
        The elements. Those that equal one of an earlier file are the same objects, as a rule.

    Raises
    ------
    InputError
        If the header cannot be parsed, or not within the bounds.
    """
    parsed = _table(head, wanted) if head[128 : _START + 2] == b"DICM\x02\0" else None
    if parsed is not None:
        return parsed
    dataset = read_dataset(path, file, list(wanted.tags), before_groups=True)
    at = file.tell()
    begins = file.read(4) in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
    # Values as they lie there: what is not asked for may be impossible to convert.
    elements = {int(found.tag): found for found in dataset.values()}
    meta = {int(found.tag): found for found in dataset.file_meta.values()}
    return Parsed(
        elements, text(meta, "TransferSyntaxUID"), text(meta, "MediaStorageSOPClassUID"),
        at if begins else 0,
    )  # fmt: skip


def _table(head: bytes, wanted: Wanted) -> Parsed | None:
    """Parse a header of explicit little endian that lies in the first bytes of a file.

    Returns None if anything is not as usual.
    """
    pairs: list[tuple[int, RawDataElement]] = []
    at, most = _START, len(head) - 12
    # Listing a folder takes its time for this loop.
    unpack, sizes, tags, known = _ELEMENT.unpack_from, _SIZES, wanted.by_bytes, wanted.known
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
            pair = known.get(data)
            if pair is None:
                tag, name, value = tags[number], _NAMES[vr], data[size:]
                raw = RawDataElement(BaseTag(tag), name, length, value, 0, False, True)
                pair = known[data] = tag, raw
            pairs.append(pair)
    else:
        return None
    if len(known) > _MOST_KNOWN:
        known.clear()
    elements: dict[int, RawDataElement | DataElement] = dict(pairs)
    syntax = text(elements, "TransferSyntaxUID")
    if not syntax.startswith(_ROOT) or syntax in (_ROOT, _BIG, DEFLATED):
        return None
    return Parsed(elements, syntax, text(elements, "MediaStorageSOPClassUID"), at)


def _after_meta(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 != 2


def read_dataset(
    path: Path, file: BinaryIO, tags: list[Any] | None = None, *, before_groups: bool = False
) -> FileDataset:
    """Read everything before the pixels, or the elements with some tags.

    Parameters
    ----------
    path
        Named in errors.
    file
        The file; if it is not deflated, it stands where the pixel data element begins
        afterwards.
    tags
        The elements wanted, by number or keyword; all if there are none.
    before_groups
        Read only what comes before the functional groups of a multi-frame image.

    Raises
    ------
    InputError
        If the header cannot be parsed, or not within the bounds.
    """
    wanted: list[Any] | None = [Tag(tag) for tag in tags] if tags else None
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if _holds_sequence(head, implicit=False) or _holds_sequence(head, implicit=True):
        raise InputError(f"'{path}' is damaged: its DICOM header cannot be parsed")
    meta = _deflated(head)
    file.seek(0)

    def ends(tag: int, vr: str | None, length: int) -> bool:
        return tag in PIXEL_DATA or (before_groups and tag in _GROUPS)

    with _sentences(path):
        if meta is None:
            buffered: Any = BufferedReader(file, HEAD_BYTES)
            try:
                source: Any = Bounded(buffered, os.fstat(file.fileno()).st_size, path)
                dataset = read_partial(source, ends, force=True, specific_tags=wanted)
                if "TransferSyntaxUID" not in dataset.file_meta:
                    dataset.file_meta.TransferSyntaxUID = _guess_syntax(dataset)
                return dataset
            finally:
                try:
                    file.seek(buffered.tell())
                finally:  # else it would close the file
                    buffered.detach()
        inflated = _inflated(path, file, meta)
        source = Bounded(BytesIO(inflated), len(inflated), path)
        inner = pydicom.filereader.read_dataset(
            source, False, True, stop_when=ends, specific_tags=wanted
        )
        return FileDataset(str(path), inner, file_meta=meta[0], is_implicit_VR=False)


def read_items(path: Path, sequence: RawDataElement | DataElement | None) -> list[Dataset]:
    """Return the items of a sequence that may be long, parsed within the bounds.

    Raises
    ------
    InputError
        If it cannot be parsed, or not within the bounds.
    """
    if sequence is None:
        return []
    if isinstance(sequence, RawDataElement):
        data = sequence.value if isinstance(sequence.value, bytes) else b""
        source: Any = Bounded(BytesIO(data), len(data), path)
        with _sentences(path):
            return list(
                pydicom.filereader.read_sequence(
                    source, sequence.is_implicit_VR, sequence.is_little_endian, len(data),
                    ["iso8859"],
                )
            )  # fmt: skip
    found = sequence.value
    return list(found) if hasattr(found, "__iter__") and not isinstance(found, str | bytes) else []


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises into an error of one sentence."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if error.errno is None:  # the parser's own, about the end of the file
            raise InputError(f"'{path}' is damaged: its DICOM header ends early") from error
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a parser fed with anything may raise anything
        raise InputError(f"'{path}' is damaged: its DICOM header cannot be parsed") from error


def read_whole(path: Path, source: Any, **options: Any) -> FileDataset:
    """Let pydicom read a data set, with or without preamble and file meta information.

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
    """Whether there is a sequence in the file meta information, where none belongs.

    pydicom describes what it cannot convert there in words, each level with the traces of all
    levels below: a few dozen sequences in one another would take it years.
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
    """Return the file meta information of a deflated file and where it ends; None of others."""
    if head[128:132] != b"DICM" or DEFLATED.encode() not in head[:_LONGEST_META]:
        return None
    buffer = BytesIO(head)
    buffer.seek(132)
    try:
        elements = {
            found.tag: found for found in data_element_generator(buffer, False, True, _after_meta)
        }
        meta = FileMetaDataset(elements)
        return (meta, buffer.tell()) if text(meta, "TransferSyntaxUID") == DEFLATED else None
    except Exception:  # whoever parses it next has the same trouble, and says so
        return None


def _inflated(path: Path, file: BinaryIO, meta: tuple[FileMetaDataset, int]) -> bytes:
    """Return the beginning of what was deflated, with room for a header.

    Raises
    ------
    InputError
        If all of it would be more than memory should hold, or is damaged.
    """
    file.seek(meta[1])
    inflate, total, kept = zlib.decompressobj(-zlib.MAX_WBITS), 0, bytearray()
    while (packed := inflate.unconsumed_tail or file.read(1 << 20)) and not inflate.eof:
        try:
            plain = inflate.decompress(packed, 4 << 20)
        except zlib.error as error:
            raise InputError(f"'{path}' is damaged: it cannot be unpacked") from error
        total += len(plain)
        if len(kept) < MOST_HEADER_BYTES:
            kept += plain
        if total > MOST_INFLATED:
            raise InputError(
                f"'{path}' would unpack to more than {MOST_INFLATED >> 30} GiB; it is damaged"
            )
    return bytes(kept)

"""Just enough of HDF5 to read ITK's transform files, within the bounds of the file.

The HDF5 library within ITK crashes, loops or allocates gigabytes on files that are damaged; here
every address is looked up in the bytes that are there, and nothing larger than they can hold is
made. Read are groups of both kinds, and data sets of one axis: floats and strings.

Source: HDF5 File Format Specification, version 3.0, https://support.hdfgroup.org/documentation/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.bounds import DEFLATE_MOST

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_NOWHERE: Final = 2**64 - 1
_MOST_BLOCKS: Final = 64
_MOST_LINKS: Final = 4096
_LONGEST_LINK: Final = 512
_MOST_NODES: Final = 1_000_000  # of trees: a tree that grows out of itself has no end
_CHUNK_ENTRY: Final = 32  # bytes in a tree for each chunk of a data set of one axis
_SPACE, _TYPE, _LINK, _LAYOUT, _FILTERS, _CONTINUATION, _TABLE = 1, 3, 6, 8, 11, 16, 17
_LINK_INFO: Final = 2


class UnknownLayoutError(Exception):
    """The file is made in a way that is not known here, though HDF5 may know it."""


@dataclass(frozen=True)
class _Data:
    """A data set as its header has it."""

    shape: tuple[int, ...]
    kind: int  #: class of the data type: 1 float, 3 string, 9 string of any length
    size: int  #: of one element, bytes
    big: bool
    layout: tuple[int, ...]  #: class, then what places it
    compact: bytes
    filters: tuple[int, ...] = field(default=())


class Hdf5:
    """A file's groups and data sets.

    Parameters
    ----------
    content
        All bytes of the file.

    Raises
    ------
    ValueError, IndexError, struct.error, zlib.error
        Here and in all methods, if the file is damaged.
    UnknownLayoutError
        If it is made in a way that is not known here.
    """

    def __init__(self, content: bytes) -> None:
        self._bytes, self._nodes = content, 0
        if not content.startswith(SIGNATURE):
            raise ValueError("no signature")
        version = content[8]
        if version > 3:
            raise UnknownLayoutError("superblock")
        sizes, at = (13, 64 if version == 0 else 68) if version < 2 else (9, 36)
        if content[sizes : sizes + 2] != b"\x08\x08":
            raise UnknownLayoutError("sizes of addresses")
        (self.root,) = self._unpack("<Q", at)

    def links(self, address: int) -> dict[str, int]:
        """Return names in a group, and the addresses of what they name."""
        found: dict[str, int] = {}
        for kind, body in self._messages(address):
            if kind == _LINK:
                name, there, _ = _link(body)
                found[name] = there
            elif kind == _TABLE:
                tree, heap = struct.unpack_from("<QQ", body)
                found.update(self._table(tree, heap, 256))
            elif kind == _LINK_INFO:
                at = 2 + (8 if body[1] & 1 else 0)
                (dense,) = struct.unpack_from("<Q", body, at)
                if dense != _NOWHERE:
                    found.update(self._dense(dense))
        return found

    def _dense(self, heap: int) -> Iterator[tuple[str, int]]:
        """Give the links of a group of more than eight, which lie in a fractal heap."""
        flags, count, bits, block, rows = struct.unpack_from("<9xB60xQ50xH2xQH", self._bytes, heap)
        if self._cut(heap, 4) != b"FRHP" or rows != 0 or count > _MOST_LINKS:
            raise UnknownLayoutError("very many links")
        at = block + 13 + -(-bits // 8) + (4 if flags & 2 else 0)
        for _ in range(count):
            body = self._cut(at, min(_LONGEST_LINK, len(self._bytes) - at))
            name, there, length = _link(body)
            yield name, there
            at += length

    def floats(self, address: int) -> NDArray[np.float64]:
        """Return a data set of floats of one axis."""
        data = self._data(address)
        if data.kind != 1 or data.size not in (4, 8) or len(data.shape) != 1:
            raise ValueError("no list of floats")
        dtype = np.dtype(f"{'>' if data.big else '<'}f{data.size}")
        raw = self._raw(data)
        return np.frombuffer(raw, dtype, count=data.shape[0]).astype(np.float64, copy=False)

    def text(self, address: int) -> str:
        """Return the first string of a data set."""
        data = self._data(address)
        raw = self._raw(data)
        if data.kind == 9:
            length, heap, index = struct.unpack_from("<IQI", raw)
            raw = self._heap_object(heap, index)[:length]
        elif data.kind != 3:
            raise ValueError("no text")
        return raw.split(b"\0")[0].decode("ascii")

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self._bytes, at)

    def _cut(self, at: int, length: int) -> bytes:
        if at + length > len(self._bytes):
            raise ValueError("beyond the end of the file")
        return self._bytes[at : at + length]

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Give kind and body of each message of an object's header."""
        second = self._cut(address, 4) == b"OHDR"
        ordered = False
        if second:
            flags = self._bytes[address + 5]
            at = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            width = 1 << (flags & 3)
            blocks = [(at + width, int.from_bytes(self._cut(at, width), "little"))]
            ordered = bool(flags & 4)
        else:
            version, _, _, _, size = self._unpack("<BBHII", address)
            if version != 1:
                raise ValueError("no object header")
            blocks = [(address + 16, size)]
        head = (6 if ordered else 4) if second else 8
        for at, length in blocks:
            if len(blocks) > _MOST_BLOCKS:
                raise ValueError("an endless header")
            block, place = self._cut(at, length), 0
            while place + head <= length:
                kind, size = struct.unpack_from("<BH" if second else "<HH", block, place)
                body = block[place + head : place + head + size]
                place += head + size
                if kind == _CONTINUATION:
                    there, more = struct.unpack_from("<QQ", body)
                    blocks.append((there + 4, max(more - 8, 0)) if second else (there, more))
                else:
                    yield kind, body

    def _node(self, at: int, wanted: int, below: int) -> tuple[int, int]:
        """Return level and number of children of a tree's node."""
        signature, kind, level, count = struct.unpack_from("<4sBBH", self._bytes, at)
        self._nodes += count + 1
        if signature != b"TREE" or kind != wanted or level >= below or self._nodes > _MOST_NODES:
            raise ValueError("no tree")
        return int(level), int(count)

    def _table(self, tree: int, heap: int, below: int) -> Iterator[tuple[str, int]]:
        """Give the links of a group of the older kind."""
        level, count = self._node(tree, 0, below)
        (names,) = self._unpack("<Q", heap + 24)
        for child in range(count):
            (node,) = self._unpack("<Q", tree + 32 + 16 * child)
            if level > 0:
                yield from self._table(node, heap, level)
                continue
            mark, _, entries = struct.unpack_from("<4sHH", self._bytes, node)
            self._nodes += entries
            if mark != b"SNOD" or self._nodes > _MOST_NODES:
                raise ValueError("no links")
            for entry in range(entries):
                offset, there = self._unpack("<QQ", node + 8 + 40 * entry)
                name = self._bytes[names + offset : names + offset + 256].split(b"\0")[0]
                yield name.decode("ascii"), there

    def _data(self, address: int) -> _Data:
        found: dict[int, bytes] = {}
        for kind, body in self._messages(address):
            found.setdefault(kind, body)
        space, type_, place = (found.get(k, b"") for k in (_SPACE, _TYPE, _LAYOUT))
        rank, start = space[1], 8 if space[0] == 1 else 4
        shape = struct.unpack_from(f"<{rank}Q", space, start)
        (size,) = struct.unpack_from("<I", type_, 4)
        if place[0] != 3:
            raise UnknownLayoutError("layout of data")
        layout: tuple[int, ...]
        compact = b""
        if place[1] == 0:
            (length,) = struct.unpack_from("<H", place, 2)
            layout, compact = (0,), place[4 : 4 + length]
        elif place[1] == 1:
            layout = (1, *struct.unpack_from("<QQ", place, 2))
        else:
            layout = (2, *struct.unpack_from("<Q", place, 3))
            layout += struct.unpack_from(f"<{place[2]}I", place, 11)
        filters = _filters(found[_FILTERS]) if _FILTERS in found else ()
        return _Data(shape, type_[0] & 15, size, bool(type_[1] & 1), layout, compact, filters)

    def _raw(self, data: _Data) -> bytes:
        """Return the bytes of a data set."""
        length = prod(data.shape) * data.size
        if length > DEFLATE_MOST * len(self._bytes):
            raise ValueError("it claims to hold more than such a file can")
        if length == 0:
            return b""
        if data.layout[0] == 0:
            return data.compact
        if data.layout[0] == 1:
            return self._cut(data.layout[1], length)
        if len(data.layout) != 4 or not 0 < data.layout[2] <= data.shape[0]:
            raise ValueError("no chunks of one axis")
        chunk = data.layout[2] * data.size
        if length // chunk * _CHUNK_ENTRY > len(self._bytes):
            raise ValueError("it claims more parts than it can name")
        whole, left = bytearray(length), set(range(0, length, chunk))
        for at, piece in self._chunks(data.layout[1], data, chunk, 256):
            if at not in left or len(piece) != chunk:  # HDF5 stores the last one in full too
                raise ValueError("a part of the data lies where none can")
            left.remove(at)
            part = piece[: length - at]
            whole[at : at + len(part)] = part
        if left:
            raise ValueError("parts of the data are missing")
        return bytes(whole)

    def _chunks(
        self, tree: int, data: _Data, chunk: int, below: int
    ) -> Iterator[tuple[int, bytes]]:
        """Give place and bytes of each chunk of a data set of one axis."""
        level, count = self._node(tree, 1, below)
        for entry in range(count):
            stored, mask, first, _, there = self._unpack("<IIQQQ", tree + 24 + _CHUNK_ENTRY * entry)
            if level > 0:
                yield from self._chunks(there, data, chunk, level)
                continue
            piece = self._cut(there, stored)
            for number in reversed(range(len(data.filters))):
                if not mask >> number & 1:
                    piece = _undone(data.filters[number], piece, data.size, chunk)
            yield first * data.size, piece

    def _heap_object(self, address: int, wanted: int) -> bytes:
        """Return an object of a global heap."""
        mark, length = struct.unpack_from("<4s4xQ", self._bytes, address)
        at, end = address + 16, address + length
        if mark != b"GCOL" or end > len(self._bytes):
            raise ValueError("no heap")
        while end - at >= 16:
            index, size = self._unpack("<H6xQ", at)
            if index == wanted:
                return self._cut(at + 16, size)
            if index == 0:
                break
            at += 16 + -(-size // 8) * 8
        raise ValueError("nothing in the heap")


def _link(body: bytes) -> tuple[str, int, int]:
    """Return the name of a link, the address of what it names, and its own length."""
    flags, at, kind = body[1], 2, 0
    if body[0] != 1:
        raise ValueError("no link")
    if flags & 8:
        kind, at = body[at], at + 1
    at += (8 if flags & 4 else 0) + (1 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    if kind != 0:
        raise ValueError("a link to elsewhere")
    (there,) = struct.unpack_from("<Q", body, at + length)
    return body[at : at + length].decode("ascii"), there, at + length + 8


def _filters(body: bytes) -> tuple[int, ...]:
    """Return the numbers of the filters that the data went through, in order."""
    version, count, found = body[0], body[1], []
    at = 8 if version == 1 else 2
    for _ in range(count):
        (number,) = struct.unpack_from("<H", body, at)
        named = version == 1 or number >= 256
        length = struct.unpack_from("<H", body, at + 2)[0] if named else 0
        at += 4 if named else 2
        (values,) = struct.unpack_from("<H", body, at + 2)
        at += 4 + length + 4 * values
        if version == 1:
            at += 4 * (values % 2)
        found.append(number)
    return tuple(found)


def _undone(number: int, piece: bytes, size: int, most: int) -> bytes:
    """Return a chunk as it was before a filter: 1 deflate, 2 shuffle, 3 check sum."""
    if number == 1:
        return zlib.decompressobj().decompress(piece, most + 4)
    if number == 2:
        count = len(piece) // size
        mixed = np.frombuffer(piece, np.uint8, count=count * size)
        return mixed.reshape(size, count).T.tobytes()
    if number == 3:
        return piece[:-4]
    raise UnknownLayoutError("filter")

"""DICOM taken apart element by element, and put together again with lies in it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_LONG = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"}


@dataclass
class Element:
    tag: tuple[int, int]
    vr: bytes
    value: bytes
    length: int | None = None  #: a length to claim instead of the true one
    items: list[list[Element]] | None = None

    def pack(self) -> bytes:
        value = self.value
        if self.items is not None:
            value = b"".join(
                b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
                for body in (b"".join(e.pack() for e in item) for item in self.items)
            )
        n = len(value) if self.length is None else self.length
        head = struct.pack("<HH", *self.tag) + self.vr
        if self.vr in _LONG:
            return head + b"\0\0" + struct.pack("<I", n & 0xFFFFFFFF) + value
        return head + struct.pack("<H", n & 0xFFFF) + value


def parse(data: bytes, depth: int = 4) -> list[Element]:
    """Take explicit little endian elements apart; stop where it makes no sense any more."""
    elements, at = [], 0
    while at + 8 <= len(data):
        group, number = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6]
        if vr in _LONG:
            if at + 12 > len(data):
                break
            (length,) = struct.unpack_from("<I", data, at + 8)
            at += 12
        else:
            (length,) = struct.unpack_from("<H", data, at + 6)
            at += 8
        if length == 0xFFFFFFFF:  # encapsulated pixels or an open sequence: to the end
            elements.append(Element((group, number), vr, data[at:], 0xFFFFFFFF))
            break
        value = data[at : at + length]
        items = _items(value, depth) if vr == b"SQ" and depth else None
        elements.append(Element((group, number), vr, value, None, items))
        at += length
    return elements


def _items(data: bytes, depth: int) -> list[list[Element]] | None:
    items, at = [], 0
    while at + 8 <= len(data) and data[at : at + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack_from("<I", data, at + 4)
        if length == 0xFFFFFFFF:
            return None
        items.append(parse(data[at + 8 : at + 8 + length], depth - 1))
        at += 8 + length
    return items


def nested(depth: int, tag: tuple[int, int] = (0x0008, 0x1140)) -> Element:
    """Return a sequence in a sequence in a sequence ..."""
    element = Element(tag, b"SQ", b"", None, [[]])
    for _ in range(depth - 1):
        element = Element(tag, b"SQ", element.pack())
        element.value = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(element.value)) + element.value
    return element

"""What a compressed picture says of itself, read from its first markers before any decoder is.

Decoders take memory, and time, for whatever size a stream claims. A damaged one is refused here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from tomochrome.errors import InputError

MOST_TILES: Final = 1024
"""Tiles in a JPEG 2000 picture: 32 x 32 of them. CT has one; hostile streams have millions."""
MOST_LAYERS: Final = 256
"""Quality layers of JPEG 2000: some writers use 20; the format would allow 65,535."""
MOST_LEVELS: Final = 32
"""Wavelet levels that JPEG 2000 allows (ITU-T T.800, A.6.1)."""

_J2K_START: Final = b"\xff\x4f\xff\x51"
_SIZ_BYTES: Final = 41  #: SIZ of one component, from its length on
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_BASELINE_OR_EXTENDED: Final = frozenset({0xC0, 0xC1})


@dataclass(frozen=True)
class Stream:
    """Size and kind of a compressed picture.

    Attributes
    ----------
    rows, columns, components, precision
        As the stream says.
    signed
        Whether its values are signed; None where the format (JPEG, JPEG-LS) does not tell.
    marker
        Second byte of a JPEG's start-of-frame marker (0xC3: lossless); 0 for JPEG 2000.
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool | None = None
    marker: int = 0

    @property
    def is_cosine(self) -> bool:
        """Whether this is a JPEG of the baseline or extended process."""
        return self.marker in _BASELINE_OR_EXTENDED


def jpeg2000(code: bytes) -> Stream:
    """Read the main header of a JPEG 2000 stream, with or without JP2 boxes around it.

    Source: ITU-T T.800, A.5.1 (SIZ) and A.6.1 (COD).

    Raises
    ------
    InputError
        If it is no such stream, or claims what no CT has.
    """
    start = 0 if code.startswith(_J2K_START) else code[:4096].find(_J2K_START)
    if start < 0 or len(code) < start + 4 + _SIZ_BYTES:
        raise InputError("the JPEG 2000 stream does not begin as one")
    siz = struct.unpack_from(">HH8IH3B", code, start + 4)
    right, bottom, left, top, tile_x, tile_y, tile_left, tile_top = siz[2:10]
    components, depth, step_x, step_y = siz[10:14]
    if right <= left or bottom <= top or not tile_x or not tile_y or (step_x, step_y) != (1, 1):
        raise InputError("the JPEG 2000 stream claims a senseless size")
    tiles = -(-(right - tile_left) // tile_x) * -(-(bottom - tile_top) // tile_y)
    if tile_left > left or tile_top > top or not 0 < tiles <= MOST_TILES:
        raise InputError("the JPEG 2000 stream claims senseless tiles")
    _check_coding(code, start + 2)
    return Stream(bottom - top, right - left, components, (depth & 0x7F) + 1, bool(depth & 0x80))


def _check_coding(code: bytes, at: int) -> None:
    """Walk the segments of the main header up to the first tile and check how it is coded."""
    while at + 4 <= len(code) and code[at : at + 2] != b"\xff\x90":
        marker, length = struct.unpack_from(">HH", code, at)
        if marker < 0xFF00 or length < 2:
            raise InputError("the JPEG 2000 stream has a broken header")
        if marker == 0xFF52 and at + 10 <= len(code):
            layers, _, levels = struct.unpack_from(">HBB", code, at + 6)
            if not 0 < layers <= MOST_LAYERS or levels > MOST_LEVELS:
                raise InputError("the JPEG 2000 stream claims senseless layers")
        at += 2 + length
    if code[at : at + 2] != b"\xff\x90":
        raise InputError("the JPEG 2000 stream ends in its header")


def jpeg(code: bytes) -> Stream:
    """Read the start of frame of a JPEG or JPEG-LS stream.

    Source: ITU-T T.81, B.2.2; ITU-T T.87, C.2.2.

    Raises
    ------
    InputError
        If it is no such stream.
    """
    at = 2
    if code[:2] != b"\xff\xd8":
        raise InputError("the JPEG stream does not begin as one")
    while at + 10 <= len(code):
        if code[at] != 0xFF:
            break
        marker = code[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _START_OF_FRAME:
            precision, rows, columns, components = struct.unpack_from(">BHHB", code, at + 4)
            return Stream(rows, columns, components, precision, None, marker)
        at += 2 + int(struct.unpack_from(">H", code, at + 2)[0])
    raise InputError("the JPEG stream has a broken header")

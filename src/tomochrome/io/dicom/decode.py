"""Decoding of one compressed frame by a library, in a child of `tomochrome.runtime.sandbox`.

OpenJPEG and GDCM crash, hang or allocate without limit on some damaged streams, and hold the GIL
while they work. This module imports only the decoder that it needs, so that a new child process
starts quickly.

JPEG 2000 is decoded by pylibjpeg's OpenJPEG, which is newer than GDCM's.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pickle import PickleBuffer
from typing import Final, NamedTuple

from tomochrome.errors import PixelsError

_ROOT: Final = "1.2.840.10008.1.2.4."
RLE: Final = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
JPEG: Final = JPEG_LOSSLESS | {
    f"1.2.840.10008.1.2.4.{number}" for number in ("50", "51", "53", "55", "80", "81")
}
"""JPEG (baseline, extended, spectral selection, full progression, lossless) and JPEG-LS."""
HTJ2K: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in ("201", "202", "203"))
JPEG_2000: Final = HTJ2K | {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
KNOWN: Final = JPEG | JPEG_2000 | {RLE}
"""Compressed transfer syntaxes that can be decoded."""

_BY_FRAME: Final = {
    0xC0: ("50", "51"), 0xC1: ("51",), 0xC2: ("55", "53"), 0xC3: ("57", "70"), 0xF7: ("80", "81"),
}  # fmt: skip
"""Ends of the UIDs of transfer syntaxes by the start of frame of their streams; the usual first."""
_JP2: Final = b"\x00\x00\x00\x0cjP"  #: first bytes of a JP2 file that contains a codestream
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


class Frame(NamedTuple):
    """Properties of a compressed frame with one sample per pixel, from the DICOM header."""

    name: str  #: of the file, for messages
    syntax: str  #: transfer syntax UID
    rows: int
    columns: int
    allocated: int  #: BitsAllocated
    signed: bool  #: PixelRepresentation


class Coded(NamedTuple):
    """Properties of a frame, from its codestream."""

    rows: int
    columns: int
    components: int
    precision: int  #: bits
    signed: bool | None = None  #: None if the format does not specify it


def decode(frame: Frame, code: bytes) -> tuple[PickleBuffer, int, bool | None]:
    """Decode a frame.

    Returns
    -------
    values
        Stored values, row by row, little-endian, in 1, 2 or 4 bytes each.
    precision
        Bits per value in the codestream.
    signed
        Whether values are signed according to the codestream; None if it does not specify it.

    Raises
    ------
    PixelsError
        If the size differs from the header's.
    Exception
        Any other exception if the codestream is damaged or the compression is unknown.
    """
    frame = frame._replace(syntax=real_syntax(code, frame.syntax))
    if frame.syntax == RLE:
        coded = Coded(frame.rows, frame.columns, 1, frame.allocated)
    elif frame.syntax in JPEG_2000:
        coded = _jpeg_2000_header(code)
    elif frame.syntax in JPEG:
        coded = _jpeg_header(code)
    else:
        raise ValueError("an unknown compression")
    _check(frame, coded)
    values = _decoded(frame, coded, code)
    return PickleBuffer(values), coded.precision, coded.signed


def real_syntax(code: bytes, declared: str) -> str:
    """Return the transfer syntax of a compressed stream, which a header may declare wrongly.

    Parameters
    ----------
    code
        The stream, or its beginning.
    declared
        Transfer syntax UID of the header, which is returned if it fits.
    """
    if code.startswith((b"\xff\x4f\xff\x51", _JP2)):
        return declared if declared in JPEG_2000 else f"{_ROOT}90"
    if not code.startswith(b"\xff\xd8"):
        return declared
    try:
        marker = code[_start_of_frame(code) + 1]
    except (ValueError, IndexError):
        return declared
    fitting = [f"{_ROOT}{end}" for end in _BY_FRAME.get(marker, ())]
    return declared if declared in fitting or not fitting else fitting[0]


def ends_early(code: bytes) -> bool:
    """Whether a JPEG or JPEG 2000 stream lacks its end marker."""
    is_jpeg = code.startswith((b"\xff\xd8", b"\xff\x4f", _JP2))
    return is_jpeg and not code.rstrip(b"\0").endswith(b"\xff\xd9")


def _decoded(frame: Frame, coded: Coded, code: bytes) -> bytes | bytearray:
    if frame.syntax == RLE:
        return _run_length(frame, code)
    if frame.syntax in JPEG_2000:
        try:
            return _openjpeg(code)
        except Exception:  # GDCM is tried next, and raises its own
            if frame.syntax in HTJ2K:  # which GDCM does not support
                raise
    return _gdcm(frame, coded, code)


def _check(frame: Frame, coded: Coded) -> None:
    """Check the properties of a codestream before memory is allocated for it.

    Raises `PixelsError` if its size differs from the header's; `ValueError` if it is in color or
    has more bits than CT.
    """
    if (coded.rows, coded.columns) != (frame.rows, frame.columns):
        raise PixelsError(
            frame.name,
            f"the file contains an image of {coded.rows}x{coded.columns} pixels, but its header "
            f"says {frame.rows}x{frame.columns}",
            "copy it again",
        )
    most = 32 if frame.syntax == RLE else 16
    if coded.components != 1 or not 2 <= coded.precision <= most:
        raise ValueError("not a grey image of up to 16 bits")


def _jpeg_2000_header(code: bytes) -> Coded:
    import _openjpeg  # type: ignore[import-not-found]

    jpeg = _openjpeg.get_parameters(BytesIO(code), _boxed(code))
    return Coded(
        jpeg["rows"], jpeg["columns"], jpeg["samples_per_pixel"], jpeg["precision"],
        jpeg["is_signed"],
    )  # fmt: skip


def _jpeg_header(code: bytes) -> Coded:
    """Read the start of frame of a JPEG or JPEG-LS stream (ITU-T T.81, B.2.2; T.87, C.2.2)."""
    at = _start_of_frame(code)
    precision, rows, columns, components = struct.unpack_from(">BHHB", code, at + 4)
    return Coded(rows, columns, components, precision)


def _start_of_frame(code: bytes) -> int:
    """Return the offset of the start of frame; raise `ValueError` or `IndexError` if none."""
    at = 2
    while code[at] == 0xFF:
        marker = code[at + 1]
        if marker in _START_OF_FRAME:
            return at
        # Fill bytes may precede a marker.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(code[at + 2 : at + 4], "big")
    raise ValueError("a damaged header")


def _run_length(frame: Frame, code: bytes) -> bytes | bytearray:
    """Decode RLE by pydicom, which detects truncated streams, unlike GDCM."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    values, _ = get_decoder(RLE).as_buffer(
        encapsulate([code]), index=0, decoding_plugin="pydicom", pixel_keyword="PixelData",
        number_of_frames=1, rows=frame.rows, columns=frame.columns, samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2", bits_allocated=frame.allocated,
        bits_stored=frame.allocated, pixel_representation=int(frame.signed),
    )  # fmt: skip
    return bytes(values)


def _boxed(code: bytes) -> int:
    """Return OpenJPEG's code of the format: 2 for a JP2 file, 0 for a codestream."""
    return 2 if code.startswith(_JP2) else 0


def _openjpeg(code: bytes) -> bytes | bytearray:
    import _openjpeg

    failure, values = _openjpeg.decode(BytesIO(code), _boxed(code))
    if failure:
        raise ValueError(f"OpenJPEG failed ({failure})")
    pixels: bytearray = values
    return pixels


def _gdcm(frame: Frame, coded: Coded, code: bytes) -> bytes:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(code)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((frame.columns, frame.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(frame.syntax)
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = 8 * bytes_of(coded.precision)
    signed = frame.signed if coded.signed is None else coded.signed
    image.SetPixelFormat(
        gdcm.PixelFormat(1, bits, coded.precision, coded.precision - 1, int(signed))
    )
    # GDCM returns the bytes as text.
    values: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return values


def bytes_of(precision: int) -> int:
    """Return the number of bytes of a decoded value with ``precision`` bits."""
    return 1 if precision <= 8 else 2 if precision <= 16 else 4

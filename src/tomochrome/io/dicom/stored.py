"""Reading the stored values of a frame, compressed or not."""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError, PixelsError
from tomochrome.io.dicom import decode
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.syntaxes import NATIVE, bad_stream, unread_syntax
from tomochrome.runtime import sandbox

FRAME_SECONDS: Final = 5.0
"""CPU time allowed for decoding a frame, plus `SECONDS_A_PIXEL`; a longer call has hung."""
SECONDS_A_PIXEL: Final = 5e-7
"""CPU time allowed per pixel: five times that of OpenJPEG."""

_WIDTHS: Final = (8, 16, 32)


def is_native(header: Header) -> bool:
    """Whether the pixels of a file are uncompressed."""
    return header.transfer_syntax in NATIVE


def has_unused_bits(stored: NDArray[Any], header: Header) -> bool:
    """Whether stored values may have bits that are no part of the image."""
    syntax = header.transfer_syntax
    plain = syntax in NATIVE or syntax == decode.RLE or syntax in decode.JPEG_LOSSLESS
    return plain and 8 * stored.dtype.itemsize == header.bits_allocated


def read_native(
    header: Header, source: Source, into: NDArray[np.int16] | None = None
) -> NDArray[Any]:
    """Read an uncompressed frame.

    Parameters
    ----------
    header, source
        The frame and its file.
    into
        C-contiguous int16 (y, x) whose memory may be used for 16-bit values.

    Returns
    -------
    ndarray
        Stored values (y, x) in native byte order, with their unused bits.

    Raises
    ------
    InputError
        If the file is truncated, or its number of bits per pixel is not supported.
    """
    dtype = _dtype(header)
    if into is not None and dtype.itemsize == 2:
        stored = into.view(dtype)
    else:
        stored = np.empty((header.rows, header.columns), dtype)
    source.read_native(header.frame, stored.reshape(-1).view(np.uint8).data)
    if source.is_big != (sys.byteorder == "big"):
        stored.byteswap(inplace=True)
    return stored


def _dtype(header: Header) -> np.dtype[Any]:
    if header.bits_allocated not in _WIDTHS:
        raise InputError(
            f"'{header.path}' stores {header.bits_allocated} bits per pixel, which is not "
            "supported; export it again with 16 bits"
        )
    return np.dtype(f"{_kind(header)}{header.bits_allocated // 8}")


def _kind(header: Header) -> str:
    return "i" if header.pixel_representation == 1 else "u"


def read_compressed(header: Header, source: Source) -> NDArray[Any]:
    """Read a compressed frame and decode it in a child process.

    Returns
    -------
    ndarray
        Stored values (y, x) in native byte order. If the header and the codestream differ, the
        number of bits and the sign are those of the codestream. Unsigned values in an image with
        signed values are two's complements with the number of bits of the codestream.

    Raises
    ------
    InputError
        If the frame is damaged or its compression is not supported.
    Cancelled
        If the task was cancelled.
    """
    unread = unread_syntax(header.transfer_syntax)
    if unread is not None:
        raise PixelsError(str(header.path), *unread)
    code = source.read_code(header.frame)
    if header.transfer_syntax == decode.RLE:
        _dtype(header)
    frame = decode.Frame(
        str(header.path), header.transfer_syntax, header.rows, header.columns,
        header.bits_allocated, header.pixel_representation == 1,
    )  # fmt: skip
    pixels = header.rows * header.columns
    try:
        values, precision, signed = sandbox.call(
            decode.decode, frame, code, subject=f"'{header.path}'",
            seconds=FRAME_SECONDS + SECONDS_A_PIXEL * pixels,
        )  # fmt: skip
        return _shaped(np.frombuffer(memoryview(values), np.uint8), header, precision, signed)
    except (ValueError, sandbox.SandboxError) as error:
        if isinstance(error, sandbox.SandboxError) and error.reason != "failed":
            raise
        raise PixelsError(str(header.path), *bad_stream(code, header.transfer_syntax)) from error


def _shaped(
    values: NDArray[np.uint8], header: Header, precision: int, signed: bool | None
) -> NDArray[Any]:
    """Convert decoded bytes to values (y, x); raise `ValueError` if there are too few."""
    width, pixels = decode.bytes_of(precision), header.rows * header.columns
    kind = "i" if signed else "u"
    stored = values[: width * pixels].view(f"<{kind}{width}").astype(f"={kind}{width}", copy=False)
    stored = stored.reshape(header.rows, header.columns)
    if not signed and _kind(header) == "i":  # two's complement
        unused = 8 * width - precision
        stored = (stored.view(f"i{width}") << unused) >> unused
    return stored

"""From the bytes of a frame to its stored values, whatever they are compressed with.

Which decoder serves which transfer syntax was chosen by feeding each with damaged streams:
CharLS' and our own run-length decoder withstand them in this process; GDCM does not, so it works
in a process of its own (`tomochrome.io.dicom.crew`), several of which work at a time, and so does
OpenJPEG, which would not let this process do anything else meanwhile.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.dicom import codestream
from tomochrome.io.dicom.codestream import Stream
from tomochrome.io.dicom.crew import Crew, DecodeError
from tomochrome.io.dicom.decoder import Job
from tomochrome.io.dicom.frames import NATIVE, Source
from tomochrome.io.dicom.headers import Header

RLE: Final = "1.2.840.10008.1.2.5"
JPEG_8BIT: Final = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000: Final = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
HTJ2K: Final = frozenset({
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203",
})  # fmt: skip

_WIDTHS: Final = (8, 16, 32)


def read_native(
    header: Header, source: Source, into: NDArray[np.int16] | None = None
) -> NDArray[Any]:
    """Read a frame that is not compressed.

    Parameters
    ----------
    header, source
        The frame and its file.
    into
        C-contiguous int16 (y, x) whose memory may be used for values of 16 bits.

    Returns
    -------
    ndarray
        Stored values (y, x) in the machine's byte order, bits that hold no value cleared.
    """
    if header.bits_allocated not in _WIDTHS:
        raise InputError(
            f"'{header.path}' stores {header.bits_allocated} bits for each pixel, which is not "
            "supported; export it again with 16 bits"
        )
    kind = "i" if header.pixel_representation == 1 else "u"
    dtype = np.dtype(f"{kind}{header.bits_allocated // 8}")
    if into is not None and dtype.itemsize == 2:
        stored = into.view(dtype)
    else:
        stored = np.empty((header.rows, header.columns), dtype)
    source.read_native(header.frame, stored.reshape(-1).view(np.uint8).data)
    if source.is_big != (sys.byteorder == "big"):
        stored.byteswap(inplace=True)
    return without_unused_bits(stored, header)


def without_unused_bits(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Clear what some writers leave in the bits above HighBit (old overlays, noise)."""
    allocated, bits, high = header.bits_allocated, header.bits_stored, header.high_bit
    if not 0 < bits < allocated or not bits - 1 <= high < allocated:
        return stored
    signed = stored.dtype.kind == "i"
    least, greatest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if high == bits - 1 and stored.min() >= least and stored.max() <= greatest:
        return stored
    return (stored << (allocated - 1 - high)) >> (allocated - bits)


def read_compressed(header: Header, source: Source, crew: Crew) -> NDArray[Any]:
    """Read and decode a compressed frame.

    Returns
    -------
    ndarray
        Stored values (y, x) in the machine's byte order. Where header and JPEG 2000 stream do
        not agree, the stream is believed: in its number of bits, and when it says that its
        values are signed. Values without signs in an image with signed ones are two's
        complements of as many bits as the stream has.

    Raises
    ------
    InputError
        If the frame is damaged or its compression is not supported.
    """
    code = source.read_code(header.frame)
    try:
        stored = _decode(header, code, crew)
    except Exception as error:  # decoders raise what they like when fed with damaged data
        if isinstance(error, InputError) and str(header.path) in str(error):
            raise
        raise InputError(
            f"the pixels of '{header.path}' cannot be decoded, because the file is truncated, "
            f"damaged or compressed in an unsupported way ({header.transfer_syntax}); "
            "copy it again"
        ) from error
    return stored


def _decode(header: Header, code: bytes, crew: Crew) -> NDArray[Any]:
    syntax = header.transfer_syntax
    if syntax == RLE:
        return _run_length(header, code)
    if syntax in JPEG_2000 or syntax in HTJ2K:
        stream = codestream.jpeg2000(code)
    elif syntax in JPEG_8BIT or syntax in JPEG_LOSSLESS or syntax in JPEG_LS:
        stream = codestream.jpeg(code)
    else:
        raise InputError("unknown compression")
    _check(header, stream)
    if syntax in JPEG_LS:
        return _jpeg_ls(header, stream, code)
    if syntax in JPEG_8BIT and stream.precision == 8:
        return _pillow(code)
    return _by_crew(header, stream, code, crew)


def _check(header: Header, stream: Stream) -> None:
    """Refuse a stream that is not the picture that the header promises."""
    if (stream.rows, stream.columns) != (header.rows, header.columns):
        raise InputError(
            f"'{header.path}' holds a picture of {stream.rows}x{stream.columns} pixels although "
            f"its header says {header.rows}x{header.columns}; copy it again"
        )
    if stream.components != 1 or not 2 <= stream.precision <= 16:
        raise InputError("not a grey picture of up to 16 bits")


def _run_length(header: Header, code: bytes) -> NDArray[Any]:
    from tomochrome.io.dicom import run_length  # which compiles

    if header.bits_allocated not in _WIDTHS:
        raise InputError("an unsupported number of bits")
    width = header.bits_allocated // 8
    values = run_length.decode(code, header.rows * header.columns, width)
    kind = "i" if header.pixel_representation == 1 else "u"
    stored = values.view(f"<{kind}{width}").ravel()
    return without_unused_bits(_shaped(stored, header), header)


def _jpeg_ls(header: Header, stream: Stream, code: bytes) -> NDArray[Any]:
    import jpeg_ls  # type: ignore[import-untyped]

    if b"\xff\xd9" not in code[-8:]:  # CharLS may search for seconds for an end
        raise InputError("the JPEG-LS stream ends early")
    values, _ = jpeg_ls.decode_pixel_data(code)
    unsigned = np.frombuffer(values, dtype="u1" if stream.precision <= 8 else "<u2")
    return _signed(_shaped(unsigned, header), header, stream.precision)


def _pillow(code: bytes) -> NDArray[Any]:
    from PIL import Image

    with Image.open(BytesIO(code), formats=("JPEG",)) as image:
        return np.array(image)


def _by_crew(header: Header, stream: Stream, code: bytes, crew: Crew) -> NDArray[Any]:
    signed = header.pixel_representation == 1 if stream.signed is None else stream.signed
    width = 1 if stream.precision <= 8 else 2
    job = Job(
        len(code), header.rows, header.columns, 8 * width, stream.precision, int(signed),
        header.transfer_syntax.encode("ascii"),
    )  # fmt: skip
    values = crew.decode(job, code)
    if stream.signed:
        return _shaped(values.view(f"<i{width}"), header)
    stored = _signed(_shaped(values.view(f"<u{width}"), header), header, stream.precision)
    if header.transfer_syntax in JPEG_LOSSLESS and 8 * width == header.bits_allocated:
        return without_unused_bits(stored, header)
    return stored


def _shaped(values: NDArray[Any], header: Header) -> NDArray[Any]:
    if values.size < header.rows * header.columns:
        raise DecodeError("too few pixels")
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native[: header.rows * header.columns].reshape(header.rows, header.columns)


def _signed(unsigned: NDArray[Any], header: Header, precision: int) -> NDArray[Any]:
    """Return values of a stream without signs as the header means them: two's complement."""
    if header.pixel_representation != 1:
        return unsigned
    width = 8 * unsigned.dtype.itemsize
    values = unsigned.view(f"i{unsigned.dtype.itemsize}")
    if precision < width:
        values = (values << (width - precision)) >> (width - precision)
    return values


def is_native(header: Header) -> bool:
    """Whether the pixels of a file are not compressed."""
    return header.transfer_syntax in NATIVE

"""Reading the stored values of a frame, compressed or not, and clearing their unused bits.

The bits above HighBit are no part of the image: old files keep overlays there, and some writers
noise. But some scanners and converters write values of 13 or more bits, such as those of metal,
under a header that gives 12. Cutting these would turn 5000 HU into 904.

Sources: DICOM PS3.5 8.1.1 (bits stored), PS3.3 C.9.2 (overlays in unused bits, retired in 2004).
"""

from __future__ import annotations

import sys
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError, PixelsError
from tomochrome.io.archive import display_path, file_error
from tomochrome.io.dicom import decode
from tomochrome.io.dicom.damage import NATIVE, bad_stream, unread_syntax
from tomochrome.io.dicom.elements import integer_at
from tomochrome.io.dicom.frames import Source
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.parse import read_dataset
from tomochrome.io.dicom.rescale import MAX_HU, padding_range
from tomochrome.io.walk import open_regular, readable
from tomochrome.notices import Notice
from tomochrome.runtime import sandbox

FRAME_SECONDS: Final = 5.0
"""CPU time allowed for decoding a frame, plus `SECONDS_A_PIXEL`; a longer call has hung."""
SECONDS_A_PIXEL: Final = 5e-7
"""CPU time allowed per pixel: five times that of OpenJPEG."""

_WIDTHS: Final = (8, 16, 32)

Beyond = Literal["", "kept", "cleared"]

USUAL_STEP: Final = 90.0
"""Percentile of the steps between neighboring pixels that counts as usual."""
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)


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
        raise file_error(
            header.path,
            f"stores {header.bits_allocated} bits per pixel, which is not supported",
            "export it again with 16 bits",
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
        raise PixelsError(display_path(header.path), *unread)
    code = source.read_code(header.frame)
    if header.transfer_syntax == decode.RLE:
        _dtype(header)
    frame = decode.Frame(
        display_path(header.path), header.transfer_syntax, header.rows, header.columns,
        header.bits_allocated, header.pixel_representation == 1,
    )  # fmt: skip
    pixels = header.rows * header.columns
    try:
        values, precision, signed = sandbox.call(
            decode.decode, frame, code, subject=f"'{display_path(header.path)}'",
            seconds=FRAME_SECONDS + SECONDS_A_PIXEL * pixels,
        )  # fmt: skip
        return _shaped(np.frombuffer(memoryview(values), np.uint8), header, precision, signed)
    except (ValueError, sandbox.SandboxError) as error:
        if isinstance(error, sandbox.SandboxError) and error.reason != "failed":
            raise
        damage = bad_stream(code, header.transfer_syntax)
        raise PixelsError(display_path(header.path), *damage) from error


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


def without_unused_bits(stored: NDArray[Any], header: Header) -> tuple[NDArray[Any], Beyond]:
    """Clear the bits above HighBit, unless they belong to the values of the image.

    Parameters
    ----------
    stored
        Stored values (y, x) with as many bits as the header allocates.
    header
        Header of the image.

    Returns
    -------
    values
        Stored values (y, x).
    beyond
        Whether values beyond BitsStored were kept, or bits cleared that no overlay explains.
    """
    allocated, bits, high = header.bits_allocated, header.bits_stored, header.high_bit
    if not 0 < bits < allocated or not bits - 1 <= high < allocated:
        return stored, ""
    signed = stored.dtype.kind == "i"
    least, greatest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if high == bits - 1 and stored.min() >= least and stored.max() <= greatest:
        return stored, ""
    cleared = (stored << (allocated - 1 - high)) >> (allocated - bits)
    if high != bits - 1:  # the values are where the header says, between other bits
        return cleared, ""
    beyond = (stored < least) | (stored > greatest)
    padding = _padding(stored, header) & beyond
    if (padding == beyond).all():
        return stored, ""
    if _has_overlay(header):
        return np.where(padding, stored, cleared), ""
    wide = _as_values(stored, cleared, beyond & ~padding, header)
    if wide is None:
        return np.where(padding, stored, cleared), "cleared"
    return wide, "kept"


def notices(beyond: list[Beyond], header: Header) -> tuple[Notice, ...]:
    """Return what to tell about the slices of a scan with values beyond BitsStored."""
    told = {
        "kept": "values beyond the {} bits that the header gives (BitsStored) were kept, because "
        "they continue the image; slices: {}",
        "cleared": "bits beyond the {} that the header gives (BitsStored) were cleared, because "
        "they do not continue the image (such as a drawing); slices: {}",
    }
    return tuple(
        Notice("header", "warning", text.format(header.bits_stored, count))
        for name, text in told.items()
        if (count := sum(one == name for one in beyond))
    )


def _padding(stored: NDArray[Any], header: Header) -> NDArray[np.bool_]:
    if header.padding is None:
        return np.zeros(stored.shape, np.bool_)
    first, last = padding_range(stored, header.padding, header)
    return np.asarray((stored >= first) & (stored <= last))


def _has_overlay(header: Header) -> bool:
    """Whether the header declares an overlay in the unused bits of its pixels."""
    tags = [group << 16 | 0x0102 for group in _OVERLAY_GROUPS]
    try:
        with readable(header.path), open_regular(header.path) as file:
            dataset = read_dataset(header.path, file, tags)
    except InputError:
        return False
    places = [integer_at(dataset, tag) for tag in tags]
    return any(place is not None and place >= header.bits_stored for place in places)


def _as_values(
    stored: NDArray[Any], cleared: NDArray[Any], beyond: NDArray[np.bool_], header: Header
) -> NDArray[Any] | None:
    """Return the values if those beyond the range belong to the image, else None.

    Where a drawing or noise in unused bits begins, the image below it goes on: its values step no
    more than elsewhere. Where a true value was cut, they step.
    """
    steps = _steps(cleared, beyond)
    if steps is None:
        return None
    border, usual = steps
    if border <= usual:
        return None
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    wide = [stored]
    if stored.dtype.kind == "u":  # negative values under a header that says unsigned
        wide.append(stored.view(stored.dtype.str.replace("u", "i")))
    fitting = [
        (steps[0], i)
        for i, values in enumerate(wide)
        if np.abs(values[beyond].astype(np.float64) * slope + intercept).max() <= MAX_HU
        if (steps := _steps(values, beyond)) is not None
    ]
    return wide[min(fitting)[1]] if fitting else None


def _steps(values: NDArray[Any], beyond: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the median step at the border of a region, and the usual one outside of it.

    None if there is no border.
    """
    border, outside = [], []
    for a, b, inside_a, inside_b in (
        (values[1:], values[:-1], beyond[1:], beyond[:-1]),
        (values[:, 1:], values[:, :-1], beyond[:, 1:], beyond[:, :-1]),
    ):
        step = np.abs(a.astype(np.int64) - b)
        border.append(step[inside_a != inside_b])
        outside.append(step[~(inside_a | inside_b)])
    at_border, elsewhere = np.concatenate(border), np.concatenate(outside)
    if not at_border.size or not elsewhere.size:
        return None
    return float(np.median(at_border)), float(np.percentile(elsewhere, USUAL_STEP))

"""Decoding of DICOM's run lengths (PS3.5 Annex G), safe on damaged input.

The usual decoder ends a truncated stream with a panic that is printed to the terminal and is no
`Exception`; this one says so in a plain error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

_HEADER: Final = 64
_MOST_SEGMENTS: Final = 15


def decode(code: bytes, pixels: int, width: int) -> NDArray[np.uint8]:
    """Decode the run lengths of one grey frame.

    Parameters
    ----------
    code
        The frame's stream: 16 numbers of 32 bits, then one segment for each byte of a pixel,
        the most significant first.
    pixels
        Number of pixels.
    width
        Bytes of each.

    Returns
    -------
    ndarray
        uint8 (pixels, width), the least significant byte first.

    Raises
    ------
    ValueError
        If the stream is damaged, ends early or is of other pixels.
    """
    if len(code) < _HEADER:
        raise ValueError("the header is cut short")
    count, *offsets = struct.unpack(f"<{_MOST_SEGMENTS + 1}I", code[:_HEADER])
    if count != width:
        raise ValueError(f"{count} segments for pixels of {width} bytes")
    ends = [*offsets[1:count], len(code)]
    stream = np.frombuffer(code, np.uint8)
    decoded = np.empty((pixels, width), np.uint8)
    for i, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        if not _HEADER <= start <= end <= len(code):
            raise ValueError("a segment lies outside the stream")
        if _unpack(stream[start:end], decoded, width - 1 - i) < pixels:
            raise ValueError("a segment ends early")
    return decoded


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile without the GIL, cached on disk where some folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no place for the cache: compiled anew in each process
        return njit(nogil=True)(function)


@_kernel
def _unpack(segment, decoded, place):  # type: ignore[no-untyped-def]
    """Undo PackBits into ``decoded[:, place]``; return how many bytes there were, at most all."""
    size, total = segment.shape[0], decoded.shape[0]
    i = done = 0
    while i < size and done < total:
        control = int(segment[i])
        i += 1
        if control < 128:
            count = min(control + 1, size - i, total - done)
            for k in range(count):
                decoded[done + k, place] = segment[i + k]
            i += control + 1
            done += count
        elif control > 128 and i < size:
            count = min(257 - control, total - done)
            for k in range(count):
                decoded[done + k, place] = segment[i]
            i += 1
            done += count
    return done

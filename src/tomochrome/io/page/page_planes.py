"""The data of a page: values, colors and marks of each slice, compact enough to be sent by mail.

A browser decompresses them itself (``DecompressionStream``). They are no images, because privacy
settings of some browsers add noise to what a script reads from an image.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.hatch import hatch_lines
from tomochrome.color.lighting import Lighting
from tomochrome.color.relight import fade_curve
from tomochrome.color.table import GREY_EDGES, clip_chroma
from tomochrome.tissue import NO_TISSUE
from tomochrome.windowing import Window, luminance

MIN_HU: Final = -1024
MAX_HU: Final = 3071
FINE_HU: Final = (-200, 300)  #: between these, windows are narrow and values finely quantized
CONFIDENCE_LEVELS: Final = 16
OUTSIDE, RESTORED, LIGHT_LINE, DARK_LINE = 1, 2, 3, 4  #: marks of pixels; the last two: hatching
_MAX_ROWS: Final = 1 << 16
_LEVEL: Final = 6  # of zlib; 9 takes twice as long for 1 % less


@dataclass(frozen=True)
class ValueScale:
    """Quantization of Hounsfield units.

    Parameters
    ----------
    fine, coarse
        Steps in HU within and outside `FINE_HU`.
    """

    fine: int = 1
    coarse: int = 4

    @property
    def starts(self) -> NDArray[np.int32]:
        """Lowest HU of each code; the codes at both ends include what is beyond them."""
        (low, high), coarse = FINE_HU, self.coarse
        steps = (MIN_HU, low, coarse), (low, high, self.fine), (high, MAX_HU + 1, coarse)
        return np.concatenate([np.arange(*step, dtype=np.int32) for step in steps])

    @property
    def centers(self) -> NDArray[np.float64]:
        """The HU that each code stands for."""
        ends = np.append(self.starts[1:], MAX_HU + 1)
        return np.asarray((self.starts + ends - 1) / 2)

    def codes(self, hu: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the code of each value in HU, which is rounded first."""
        table = np.searchsorted(self.starts, np.arange(MIN_HU, MAX_HU + 1), side="right") - 1
        whole = np.clip(np.rint(np.nan_to_num(hu, nan=MIN_HU)), MIN_HU, MAX_HU)
        return table[whole.astype(np.int32) - MIN_HU].astype(np.uint16)


def grey_levels(values: NDArray[np.float64], window: Window) -> NDArray[np.uint8]:
    """Return the 8-bit grey level of each value in HU under a window."""
    return np.searchsorted(GREY_EDGES, luminance(values, window)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class ColorPlanes:
    """Color and confidence of the pixels of all slices.

    Parameters
    ----------
    rows
        int16 (n, 3): tissue, a* and b* of each color that occurs.
    index
        uint16 (z, y, x): row of each pixel, of every ``step``-th row and column.
    confidence
        uint8 (z, y, x): 0 to 15.
    """

    rows: NDArray[np.int16]
    index: NDArray[np.uint16]
    confidence: NDArray[np.uint8]

    @classmethod
    def of_chroma(cls, chroma: Chroma, settings: Lighting, step: int) -> ColorPlanes:
        """Return the planes of a coloring, with palette, saturation and tissues of ``settings``.

        Raises `OptionError` if the settings select tissues, but the coloring has none.
        """
        ab, tissue = chroma.ab_of_code(settings.palette, settings.saturation), chroma.tissue_of_code
        if not settings.tissues.is_all:
            chroma.require_tissues("cannot show or hide some of them")
            ab = ab * settings.tissues.weights[tissue][:, None]
        fade, keys = fade_curve(settings.min_confidence), []
        ab = clip_chroma(ab)
        for code, confidence in zip(chroma.code, chroma.confidence, strict=True):
            code, confidence = code[::step, ::step], confidence[::step, ::step]
            keys.append(_keys(tissue[code], ab[code] * fade[confidence][..., None]))
        levels = (chroma.confidence[:, ::step, ::step] >> 4).astype(np.uint8)
        return cls(*_numbered(np.stack(keys)), levels)

    @classmethod
    def of_lab(cls, slices: Iterable[NDArray[np.float32]], step: int) -> ColorPlanes:
        """Return the planes of colored slices, CIELAB (y, x, 3), whose tissue is unknown."""
        keys = []
        for lab in slices:
            ab = lab[::step, ::step, 1:]
            keys.append(_keys(np.full(ab.shape[:2], NO_TISSUE, np.uint8), ab))
        stacked = np.stack(keys)
        return cls(*_numbered(stacked), np.zeros(stacked.shape, np.uint8))


def _keys(tissue: NDArray[np.uint8], ab: NDArray[np.float32]) -> NDArray[np.uint32]:
    a, b = np.moveaxis(np.rint(np.clip(ab, -127, 127)).astype(np.int32) + 128, -1, 0)
    return np.asarray(tissue.astype(np.int32) << 16 | a << 8 | b).astype(np.uint32)


def _numbered(keys: NDArray[np.uint32]) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Return the distinct rows, and the index of each pixel's row."""
    rows = np.empty(0, np.uint32)
    for bits in range(8):
        keys = keys & np.uint32(~(0x0101 << bits) & 0xFFFFFFFF) if bits else keys
        present = np.zeros(1 << 24, bool)
        present[keys.ravel()] = True
        rows = np.flatnonzero(present).astype(np.uint32)
        if len(rows) <= _MAX_ROWS:
            break
    number = np.zeros(1 << 24, np.uint16)
    number[rows] = np.arange(len(rows))
    a, b = ((rows >> shift & 255).astype(np.int16) - 128 for shift in (8, 0))
    return np.stack([(rows >> 16).astype(np.int16), a, b], axis=-1), number[keys]


def marks_of(
    outside: NDArray[np.bool_] | None, restored: NDArray[np.bool_] | None
) -> NDArray[np.uint8] | None:
    """Return the marks of a slice: 0, or `OUTSIDE`, `RESTORED`, `LIGHT_LINE` or `DARK_LINE`."""
    mask = restored if restored is not None else outside
    if mask is None:
        return None
    marks = np.zeros(mask.shape, np.uint8)
    if outside is not None:
        marks[outside] = OUTSIDE
    if restored is not None:
        light, dark = hatch_lines(restored)
        for area, mark in ((restored, RESTORED), (light, LIGHT_LINE), (dark, DARK_LINE)):
            marks[area] = mark
    return marks


def packed(
    values: NDArray[np.uint16],
    marks: NDArray[np.uint8] | None,
    colors: Sequence[tuple[NDArray[np.uint16], NDArray[np.uint8]]],
    lightness: NDArray[np.uint8] | None = None,
) -> str:
    """Return a slice as text: planes of bytes, compressed, in base64.

    Parameters
    ----------
    values
        Codes below 32,768 (y, x). Each is stored as its difference from the mean of the pixels
        left and above.
    marks
        As from `marks_of`.
    colors
        Index and confidence of each coloring.
    lightness
        Grey levels of the colors (y, x), if they are not those of the values. Each is stored as
        its difference, modulo 256, from the pixel before.
    """
    whole = np.pad(values.astype(np.int32), ((1, 0), (1, 0)))
    error = whole[1:, 1:] - (whole[1:, :-1] + whole[:-1, 1:] >> 1)
    planes = list(_bytes((error << 1 ^ error >> 31).astype(np.uint16)))
    if marks is not None:
        planes.append(marks)
    if lightness is not None:
        planes.append(np.diff(lightness.ravel(), prepend=np.uint8(0)))
    for index, confidence in colors:
        planes += [*_bytes(index), confidence]
    data = b"".join(np.ascontiguousarray(plane, np.uint8).tobytes() for plane in planes)
    return as_text(zlib.compress(data, _LEVEL))


def _bytes(numbers: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return (numbers & 255).astype(np.uint8), (numbers >> 8).astype(np.uint8)


def as_text(data: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(data).decode("ascii")

"""Conversion of Hounsfield units and codes to RGBA in a single pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.alpha import AlphaCurve
from tomochrome.color.codes import Codes
from tomochrome.color.color_kernels import light_float, light_int16, light_plain, mark_cells
from tomochrome.color.table import GREY_EDGES, SIDE, TABLE, clip_chroma
from tomochrome.runtime.kernels import over_chunks
from tomochrome.tissue import Tissue
from tomochrome.windowing import Window, luminance

_FADE_STEPS = 32
_FUNCTIONS = {"LINEAR": 0, "LINEAR_EXACT": 1, "SIGMOID": 2}
# Every int16 in the order of its bits as uint16: 0 to 32767, then -32768 to -1.
_ALL_INT16 = np.arange(65536, dtype=np.uint16).view(np.int16)
_ALPHA_WORDS = np.zeros((256, 4), np.uint8)
_ALPHA_WORDS[:, 3] = np.arange(256)
#: uint32 with the index as alpha byte, in native byte order.
ALPHA_WORDS: NDArray[np.uint32] = _ALPHA_WORDS.view(np.uint32).ravel()


class LitCodes(NamedTuple):
    """The data of a `CodeTable` and an opacity curve for compiled kernels."""

    cells: NDArray[np.int32]
    ab: NDArray[np.float32]
    fading: bool
    fade: NDArray[np.float32]
    clear: NDArray[np.bool_]


class WindowParameters(NamedTuple):
    """A window for compiled kernels, with the L* between adjacent grey levels."""

    function: int
    center: float
    width: float
    edges: NDArray[np.float64]


class CodeTable:
    """Column of the color table, and visibility, for each code of a chroma map.

    Parameters
    ----------
    ab
        Chroma (a*, b*) of each code, float32 (n, 2), with palette and saturation applied.
    tissue
        Dominant tissue of each code, uint8 (n,).
    min_confidence
        Confidence (0 to 1) below which color fades.
    hidden
        Codes that are transparent with an opacity curve for 3D, bool (n,); None for none.
    ready
        Whether all columns that these codes need are already filled (see
        `ColorTable.ensure_mixtures`).
    """

    def __init__(
        self,
        ab: NDArray[np.float32],
        tissue: NDArray[np.uint8],
        min_confidence: float = 0.0,
        *,
        hidden: NDArray[np.bool_] | None = None,
        ready: bool = False,
    ) -> None:
        self.ab = clip_chroma(ab)
        self.air = tissue == Tissue.AIR
        self.hidden = hidden
        self.fade = fade_curve(min_confidence)
        self.fading = bool((self.fade < 1.0).any())
        self.cells = np.empty(len(self.ab), np.int32)
        needed = np.zeros(SIDE * SIDE, bool)
        shares = np.ones(1, np.float32) if ready else np.unique(self.fade)
        mark_cells(self.ab, shares, self.cells, needed)
        if not ready:
            TABLE.ensure(np.flatnonzero(needed).astype(np.int32))

    def clear(self, curve: AlphaCurve) -> NDArray[np.bool_]:
        """Return whether each code is transparent with an opacity curve, regardless of HU.

        In slices hidden tissues are grey instead, to avoid holes in the patient.
        """
        clear = self.air & curve.hide_air
        return clear if self.hidden is None or curve.for_slices else clear | self.hidden

    def lit(self, curve: AlphaCurve) -> LitCodes:
        """Return the table for compiled kernels."""
        return LitCodes(self.cells, self.ab, self.fading, self.fade, self.clear(curve))

    def packed(self, curve: AlphaCurve) -> NDArray[np.uint32]:
        """Return each code's cell, with the top bit set if its voxels are visible."""
        shown = np.uint32(1 << 31) * ~self.clear(curve)
        return np.asarray(self.cells.astype(np.uint32) | shown, dtype=np.uint32)


def cells_of(ab: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the columns of the color table for colors (..., 2), filled; see `ColorTable`."""
    cells, needed = np.empty(ab.size // 2, np.int32), np.zeros(SIDE * SIDE, bool)
    mark_cells(ab.reshape(-1, 2), np.ones(1, np.float32), cells, needed)
    TABLE.ensure(np.flatnonzero(needed).astype(np.int32))
    return cells.reshape(ab.shape[:-1]).astype(np.intp)


def fade_curve(min_confidence: float) -> NDArray[np.float32]:
    """Return the factor for the chroma at each confidence 0..255.

    It is 1 from ``min_confidence`` on, 0 up to half of it, and a smoothstep in between; for
    ``min_confidence`` 0 it is 1 everywhere.
    """
    if min_confidence <= 0:
        return np.ones(256, np.float32)
    confidence = np.arange(256) / 255.0
    half = max(min_confidence / 2, 1e-9)
    t = np.clip((confidence - half) / half, 0.0, 1.0)
    t[confidence >= min_confidence - 0.5 / 255] = 1.0
    smooth = t * t * (3.0 - 2.0 * t)
    return np.asarray(np.rint(smooth * _FADE_STEPS) / _FADE_STEPS, dtype=np.float32)


@lru_cache(maxsize=16)
def grey_of_int16(window: Window) -> NDArray[np.uint8]:
    """Return the nearest grey level of each int16 value, indexed by its bits as uint16."""
    L = luminance(_ALL_INT16, window)
    return np.searchsorted(GREY_EDGES, L).astype(np.uint8)


@lru_cache(maxsize=16)
def alpha_of_int16(curve: AlphaCurve) -> NDArray[np.uint32]:
    """Return the alpha word of each int16 value, indexed by its bits as uint16."""
    return ALPHA_WORDS[curve(_ALL_INT16)]


def relight(
    hu: NDArray[Any],
    code: Codes,
    confidence: NDArray[np.uint8],
    codes: CodeTable,
    window: Window,
    curve: AlphaCurve,
    *,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Convert voxels of any shape to RGBA.

    Parameters
    ----------
    hu
        Hounsfield units, any real type. 8- and 16-bit integers are windowed by a lookup table;
        all others individually, without rounding.
    code, confidence
        Arrays of the same shape, from a chroma map.
    codes
        Tables of the codes for the current palette and saturation.
    window, curve
        Conversions from HU to L* and to alpha.
    out
        Output array, C-contiguous uint8 (..., 4).

    Returns
    -------
    numpy.ndarray
        uint8 (..., 4).
    """
    values = np.asarray(hu)
    if out is None:
        out = np.empty((*values.shape, 4), np.uint8)
    words = out.reshape(-1).view(np.uint32)
    flat = np.ascontiguousarray(code).reshape(-1)
    flat_confidence = np.ascontiguousarray(confidence).reshape(-1)
    common = alpha_of_int16(curve), codes.lit(curve), TABLE.words
    kernel: Callable[..., None]
    arrays: tuple[NDArray[Any], ...]
    tables: tuple[Any, ...]
    if np.can_cast(values.dtype, np.int16):
        bits = np.ascontiguousarray(values, dtype=np.int16).reshape(-1).view(np.uint16)
        grey = grey_of_int16(window)
        kernel, arrays, tables = light_int16, (bits, flat, flat_confidence), (grey, *common)
        if curve.constant is not None and not codes.fading:
            opaque = ALPHA_WORDS[curve.constant]
            kernel, arrays = light_plain, (bits, flat)
            tables = codes.packed(curve), opaque, grey, TABLE.words
    else:
        kind = np.float64 if values.dtype == np.float64 else np.float32
        real = np.ascontiguousarray(values, dtype=kind).reshape(-1)
        parameters = WindowParameters(
            _FUNCTIONS[window.function], window.center, window.width, GREY_EDGES
        )
        kernel, arrays, tables = light_float, (real, flat, flat_confidence), (parameters, *common)

    def work(i: int, j: int) -> None:
        kernel(*(array[i:j] for array in arrays), *tables, words[i:j])

    over_chunks(work, words.size)
    return out

"""Conversion of stored values to Hounsfield units, and masks of voxels that were not measured.

Sources: DICOM PS3.3 C.11.1 (Modality LUT), C.7.5.1.1.2 (Pixel Padding Value and its range).
PhotometricInterpretation is not used: MONOCHROME1 only concerns the display of the resulting
Hounsfield units (C.7.6.3.1.2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.archive import file_error
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.parse import read_dataset
from tomochrome.io.walk import open_regular, readable

AIR_HU: Final = -1024
"""Value of padding in volumes: the minimum of the 12-bit scale, which no tissue has."""
PADDING_BELOW_HU: Final = -500.0
"""Padding with a value above this could be tissue, and is left unchanged."""
MAX_HU: Final = 32767.0
"""No tissue or metal has more: such padding is a negative value that was read as unsigned."""
CIRCLE_PIXELS: Final = 2.0
"""Tolerance for the edge of a circular field of view, in pixels."""
MIN_FIELD: Final = 0.4
"""Minimum radius of a circular field of view as a fraction of the shorter side: reconstructed
circles touch the sides (0.5) or are cut off by them."""

_BAD_TABLE: Final = ("has a damaged lookup table", "export the series again")
_LOSSY: Final = frozenset({
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53",
    "1.2.840.10008.1.2.4.55", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203",
})  # fmt: skip


class DoesNotFitError(Exception):
    """A value is outside the range of int16."""


def is_exact(header: Header) -> bool:
    """Whether all Hounsfield units of a slice are integers."""
    factors = (header.slope, header.intercept)
    return header.has_lut or all(v is None or float(v).is_integer() for v in factors)


def rescale(stored: NDArray[Any], header: Header, out: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Write Hounsfield units to ``out``, with -1024 where nothing was measured.

    Parameters
    ----------
    stored
        Stored values (y, x); may share memory with ``out``.
    header
        Contains slope and intercept, or refers to a lookup table in the file; and the padding.
    out
        int16 or float32 (y, x).

    Returns
    -------
    ndarray
        bool (y, x): true where nothing was measured (padding, or outside a circular field of
        view). None if there is no such voxel.

    Raises
    ------
    DoesNotFitError
        If ``out`` is int16 and a value is outside its range.
    InputError
        If the lookup table is damaged.
    """
    if header.has_lut:
        _write(look_up(stored, header), 1.0, 0.0, out)
        return None
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    outside = padding_mask(stored, header)
    if outside is None:
        outside = field_mask(stored, header)
    if outside is not None:
        if outside.all():
            out[...] = AIR_HU
            return outside
        # Padding, which is overwritten, must not affect the check of the range.
        stored = np.where(outside, stored.flat[int(np.argmin(outside))], stored)
    _write(stored, slope, intercept, out)
    if outside is not None:
        out[outside] = AIR_HU
    return outside


def _write(stored: NDArray[Any], slope: float, intercept: float, out: NDArray[Any]) -> None:
    if out.dtype != np.int16:
        out[...] = stored.astype(np.float64) * slope + intercept
        return
    ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
    if min(ends) < -32768 or max(ends) > 32767:
        raise DoesNotFitError
    # Arithmetic modulo 2**16 is exact if the results are within the range.
    low = stored.view(np.int16) if stored.dtype.itemsize == 2 else stored.astype(np.int16)
    if slope == 1.0:
        np.add(low, _modulo(intercept), out=out)
    else:
        np.multiply(low, _modulo(slope), out=out)
        np.add(out, _modulo(intercept), out=out)


def _modulo(value: float) -> np.int16:
    """Return an integer modulo 2**16 as int16."""
    return np.int16((int(value) + 32768) % 65536 - 32768)


def look_up(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """Apply the ModalityLUTSequence of the frame's file to stored values.

    Raises
    ------
    InputError
        If the table is damaged.
    """
    from pydicom.pixels.processing import apply_modality_lut

    tags: list[Any] = [
        "ModalityLUTSequence", "PixelRepresentation", "BitsStored", "BitsAllocated",
    ]  # fmt: skip
    try:
        with readable(header.path), open_regular(header.path) as file:
            dataset = read_dataset(header.path, file, tags)
        values = apply_modality_lut(stored, dataset)
    except InputError:
        raise
    except Exception as error:  # a damaged table can raise anything
        raise file_error(header.path, *_BAD_TABLE) from error
    if values.shape != stored.shape:
        raise file_error(header.path, *_BAD_TABLE)
    return values.astype(np.int32)


def padding_hu(header: Header) -> float | None:
    """Return the maximum HU value of the header's padding range, or None without padding."""
    if header.padding is None or header.modality != "CT" or header.has_lut:
        return None
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    return max(end * slope + intercept for end in header.padding)


def could_be_tissue(level: float) -> bool:
    """Whether tissue or metal can have the HU value of padding."""
    return PADDING_BELOW_HU <= level <= MAX_HU


def padding_range(
    stored: NDArray[Any], padding: tuple[int, int], header: Header
) -> tuple[int, int]:
    """Return the range of stored values that are padding, as an unsigned image stores it."""
    if stored.dtype.kind == "u" and padding[0] < 0:  # it was read as signed
        least, greatest = (end % 2**header.bits_allocated for end in padding)
        return least, greatest
    return padding


def padding_mask(stored: NDArray[Any], header: Header) -> NDArray[np.bool_] | None:
    """Return which stored values are padding, or None if there are none.

    Lossy compression changes the padding value, so every value that is closer to it than to
    -1024 HU counts as padding.
    """
    level = padding_hu(header)
    if level is None or could_be_tissue(level) or header.padding is None:
        return None
    least, greatest = padding_range(stored, header.padding, header)
    if _is_lossy(header) and level < AIR_HU:
        slope, intercept = header.slope or 1.0, header.intercept or 0.0
        limit = ((level + AIR_HU) / 2 - intercept) / slope
        mask = stored < limit if slope > 0 else stored > limit
    else:
        mask = stored == least if least == greatest else (stored >= least) & (stored <= greatest)
    return mask if mask.any() else None


def field_mask(stored: NDArray[Any], header: Header) -> NDArray[np.bool_] | None:
    """Return the mask of pixels outside a circular field of view without a tag, or None.

    Scanners fill them with a value below all measured ones (-2000, -2048, -3024 HU). The mask is
    returned if a single value below -1024 HU fills all four corners and only the area outside a
    circle around the image center. In images that were compressed with loss, it is every value
    closer to that of the corners than to -1024 HU.
    """
    if header.modality != "CT" or header.slope is None or header.intercept is None:
        return None
    corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
    level = float(corners.max()) * header.slope + header.intercept
    if level >= AIR_HU:
        return None
    if _is_lossy(header):  # which smears the value
        limit = ((level + AIR_HU) / 2 - header.intercept) / header.slope
        mask = np.asarray(stored < limit)
    elif corners.min() == corners.max():
        mask = np.asarray(stored == corners[0])
    else:
        return None
    if mask.all() or not mask[[0, 0, -1, -1], [0, -1, 0, -1]].all():
        return None
    radius = _radii(*stored.shape)
    edge = float(radius[mask].min())
    if edge < MIN_FIELD * min(stored.shape):
        return None
    return mask if float(radius[~mask].max()) <= edge + CIRCLE_PIXELS else None


def _is_lossy(header: Header) -> bool:
    return header.lossy or header.transfer_syntax in _LOSSY


@lru_cache(maxsize=2)
def _radii(rows: int, columns: int) -> NDArray[np.float32]:
    """Return the distance of each pixel from the image center, in pixels."""
    y = np.arange(rows, dtype=np.float32)[:, None] - np.float32((rows - 1) / 2)
    x = np.arange(columns, dtype=np.float32)[None, :] - np.float32((columns - 1) / 2)
    return np.sqrt(y * y + x * x)

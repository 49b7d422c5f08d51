"""Stored values beyond the number of bits that the header gives (BitsStored).

The bits above HighBit are no part of the image: old files keep overlays there, and some writers
noise. But some scanners and converters write values of 13 or more bits, such as those of metal,
under a header that gives 12. Cutting these would turn 5000 HU into 904.

Sources: DICOM PS3.5 8.1.1 (bits stored), PS3.3 C.9.2 (overlays in unused bits, retired in 2004).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.parse import read_dataset
from tomochrome.io.dicom.rescale import MOST_HU
from tomochrome.io.dicom.values import integer_at
from tomochrome.io.walk import open_regular, readable
from tomochrome.notices import Notice

Beyond = Literal["", "kept", "cleared"]

USUAL_STEP: Final = 90.0
"""Percentile of the steps between neighboring pixels that counts as usual."""
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)


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
    first, last = header.padding
    if stored.dtype.kind == "u" and first < 0:
        first, last = (end % 2**header.bits_allocated for end in header.padding)
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
        (found[0], i)
        for i, values in enumerate(wide)
        if np.abs(values[beyond].astype(np.float64) * slope + intercept).max() <= MOST_HU
        if (found := _steps(values, beyond)) is not None
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

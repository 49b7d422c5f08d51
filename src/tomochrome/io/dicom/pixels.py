"""Decoding slices and turning stored values into Hounsfield units, several slices at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array

from tomochrome.errors import InputError
from tomochrome.io.dicom.headers import Header, open_dataset
from tomochrome.io.dicom.quiet import quiet
from tomochrome.runtime import CancelToken, Progress, check, report, thread_count

AIR_HU: Final = -1024
"""Value given to padding: the least of the classic 12-bit scale, and never a tissue."""
PADDING_BELOW_HU: Final = -500.0
"""Padding whose value would be above this could be tissue as well, and is left as it is."""

MOST_VOXELS: Final = 2**32
"""More than a whole-body scan of 4,000 slices of 1024x1024 has; beyond it headers are wrong."""

_LOSSY = {
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203",
}  # fmt: skip
_PIXEL_TAGS: list[Any] = [
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
    "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Slices:
    """Decoded slices.

    Attributes
    ----------
    voxels
        (z, y, x): int16 when that holds every value exactly, else float32.
    outside
        Booleans (z, y, x), true where the scanner measured nothing; None if there is no such
        voxel.
    """

    voxels: NDArray[Any]
    outside: NDArray[np.bool_] | None = None


class _DoesNotFitError(Exception):
    """A value lies outside int16 although the headers promised that it would not."""


def read_slices(
    headers: Sequence[Header],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Slices:
    """Decode slices in the order given, with slope and intercept of each applied.

    Parameters
    ----------
    headers
        Headers of single-frame grey images that share one matrix.
    threads
        Number of decoding threads; None takes all that this process may use.

    Returns
    -------
    Slices
        int16 voxels when that holds every value exactly, else float32. Padding
        (PixelPaddingValue and its range) is -1024.

    Raises
    ------
    InputError
        If a slice is damaged, truncated or compressed in a way that is not supported.
    Cancelled
        If ``cancel`` was set.
    """
    first, total = headers[0], len(headers)
    if total * first.rows * first.columns > MOST_VOXELS:
        raise InputError(
            f"'{first.path.parent}' claims {total} slices of {first.rows}x{first.columns} voxels, "
            "more than any CT holds; the headers are damaged"
        )
    _silence_gdcm()
    exact = all(_is_whole(h.slope, 1.0) and _is_whole(h.intercept, 0.0) for h in headers)
    if exact:
        try:
            return Slices(_read_as(np.int16, headers, threads, progress, cancel))
        except _DoesNotFitError:
            pass
    return Slices(_read_as(np.float32, headers, threads, progress, cancel))


def _is_whole(value: float | None, default: float) -> bool:
    return value is None or float(value).is_integer()


@lru_cache(maxsize=1)
def _silence_gdcm() -> None:
    """Keep GDCM from printing to the terminal; its failures arrive as exceptions."""
    import gdcm

    for stream in ("DebugOff", "WarningOff", "ErrorOff"):
        getattr(gdcm.Trace, stream)()


def _read_as(
    dtype: type[np.generic],
    headers: Sequence[Header],
    threads: int | None,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> NDArray[Any]:
    first, total = headers[0], len(headers)
    volume = np.empty((total, first.rows, first.columns), dtype=dtype)

    def work(index: int) -> None:
        check(cancel)
        with quiet():
            rescale(stored_values(headers[index]), headers[index], volume[index])

    report(progress, 0, total, "reading slices")
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        futures = [pool.submit(work, i) for i in range(total)]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                report(progress, done, total, "reading slices")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return volume


def stored_values(header: Header) -> NDArray[Any]:
    """Decode one slice to its stored values, shape (y, x), in the machine's byte order.

    Raises
    ------
    InputError
        If the pixels are damaged, truncated or in an unsupported compression.
    """
    dataset = open_dataset(header.path, specific_tags=_PIXEL_TAGS)
    if "PixelData" not in dataset:
        raise InputError(f"'{header.path}' holds no pixels; copy the file again")
    try:
        stored = pixel_array(dataset)
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            stored = _without_unused_bits(stored, dataset)
    except Exception as error:  # decoders raise what they like when fed with damaged data
        raise InputError(
            f"the pixels of '{header.path}' cannot be decoded, because the file is truncated, "
            f"damaged or compressed in an unsupported way ({header.transfer_syntax}); "
            "copy it again"
        ) from error
    if stored.shape != (header.rows, header.columns):
        raise InputError(
            f"'{header.path}' holds pixels of shape {stored.shape} although its header "
            f"says {(header.rows, header.columns)}; copy it again"
        )
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _without_unused_bits(stored: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Clear what some writers leave in the bits above HighBit (old overlays, noise)."""
    allocated, bits = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or 0)
    high = int(dataset.get("HighBit", bits - 1))
    if not 0 < bits < allocated or not bits - 1 <= high < allocated:
        return stored
    info = np.iinfo(stored.dtype)
    signed = info.min < 0
    least, greatest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if high == bits - 1 and stored.min() >= least and stored.max() <= greatest:
        return stored
    return (stored << (allocated - 1 - high)) >> (allocated - bits)


def rescale(stored: NDArray[Any], header: Header, out: NDArray[Any]) -> None:
    """Write slope * stored + intercept into ``out``, with padding as air.

    Source of the formula: DICOM PS3.3 C.11.1.1.2 (Modality LUT).
    """
    slope = 1.0 if header.slope is None else header.slope
    intercept = 0.0 if header.intercept is None else header.intercept
    padding = padding_mask(stored, header)
    if out.dtype == np.int16:
        values: Any = stored.astype(np.int32 if slope == 1.0 else np.int64)
        values *= int(slope)
        values += int(intercept)
    else:
        values = stored.astype(np.float64) * slope + intercept
    if padding is not None:
        values[padding] = AIR_HU
    if out.dtype == np.int16 and (values.min() < -32768 or values.max() > 32767):
        raise _DoesNotFitError
    out[...] = values


def padding_hu(header: Header) -> float | None:
    """Return the greatest HU value that the header's padding would have, or None without one."""
    if header.padding is None or header.modality != "CT":
        return None
    slope, intercept = header.slope or 1.0, header.intercept or 0.0
    return max(end * slope + intercept for end in header.padding)


def padding_mask(stored: NDArray[Any], header: Header) -> NDArray[np.bool_] | None:
    """Return which stored values are padding, or None if there are none.

    Lossy compression smears the padding value: there, every value nearer to it than to
    -1024 HU is padding too.
    """
    level = padding_hu(header)
    if level is None or level >= PADDING_BELOW_HU or header.padding is None:
        return None
    least, greatest = header.padding
    lossy = header.lossy or header.transfer_syntax in _LOSSY
    if lossy and level < AIR_HU:
        slope, intercept = header.slope or 1.0, header.intercept or 0.0
        return np.asarray(stored * np.float64(slope) + intercept < (level + AIR_HU) / 2)
    mask = stored == least if least == greatest else (stored >= least) & (stored <= greatest)
    return mask if mask.any() else None

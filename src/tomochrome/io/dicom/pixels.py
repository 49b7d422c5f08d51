"""Parallel decoding of the slices of a volume to Hounsfield units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.archive import display_path, file_error
from tomochrome.io.dicom.damage import Damage, damage_of, is_most, refusal, truncated
from tomochrome.io.dicom.frames import MAX_FRAME_PIXELS, Source
from tomochrome.io.dicom.header import Header
from tomochrome.io.dicom.rescale import DoesNotFitError, is_exact, rescale
from tomochrome.io.dicom.stored_values import (
    Beyond,
    has_unused_bits,
    is_native,
    notices,
    read_compressed,
    read_native,
    without_unused_bits,
)
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.walk import readable
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report, thread_count
from tomochrome.runtime.sandbox import SandboxError

MAX_VOXELS: Final = 2**32
"""Maximum number of voxels, more than a whole-body scan of 4,000 slices of 1024x1024 has."""
LARGE_VOXELS: Final = 2**28
"""From this number of voxels (1,000 slices of 512x512), `MAX_RATIO` is checked."""
MAX_RATIO: Final = 500
"""Maximum compression ratio of a large scan. CT is compressed by 2 to 5 without loss and by 50 with
loss; blank slices are compressed by 5,000, but no large scan consists of them."""
DEFLATE_RATIO: Final = 1032
"""Maximum compression ratio of Deflate (RFC 1951: 258 bytes in 2 bits)."""

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_REPORT_SECONDS: Final = 0.05
_STAGE: Final = "reading slices"


@dataclass(frozen=True, eq=False)
class Slices:
    """Decoded slices.

    Attributes
    ----------
    voxels
        (z, y, x): int16 if that represents every value exactly, otherwise float32.
    outside
        bool (z, y, x): true where the scanner measured nothing; None if there is no such voxel.
    damaged
        Index of each slice that could not be decoded, and why; its voxels are undefined.
    notices
        What the user should know about the values.
    """

    voxels: NDArray[Any]
    outside: NDArray[np.bool_] | None = None
    damaged: Mapping[int, Damage] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def read_slices(headers: Sequence[Header], *, threads: int | None = None) -> Slices:
    """Decode slices in the given order, with the slope and intercept (or lookup table) of each.

    Parameters
    ----------
    headers
        Headers of grey images with the same matrix: single-frame files, or frames of a file.
    threads
        Number of threads, each with a decoding process for compressed slices; None for all that
        this process may use.

    Returns
    -------
    Slices
        int16 voxels if that represents every value exactly, otherwise float32. Where nothing was
        measured (PixelPaddingValue and its range, or outside a circular field of view) they are
        -1024 and ``outside`` is true.

    Raises
    ------
    InputError
        If most slices are damaged, truncated or in an unsupported compression, or a header gives
        a size that no CT has.
    Cancelled
        If the task was cancelled.
    """
    _check_sizes(headers)
    if all(is_exact(header) for header in headers):
        try:
            return _read_as(np.int16, headers, threads)
        except DoesNotFitError:
            pass
    return _read_as(np.float32, headers, threads)


def stored_values(header: Header) -> NDArray[Any]:
    """Decode one frame to its stored values, shape (y, x), in the machine's byte order.

    Raises
    ------
    InputError
        If the pixels are damaged, truncated or in an unsupported compression.
    """
    _check_sizes([header])
    with captured_warnings(), closing(Source(header)) as source:
        return _stored(header, source, None)[0]


def _stored(
    header: Header, source: Source, into: NDArray[np.int16] | None
) -> tuple[NDArray[Any], Beyond]:
    if is_native(header):
        stored = read_native(header, source, into)
    else:
        stored = read_compressed(header, source)
    return without_unused_bits(stored, header) if has_unused_bits(stored, header) else (stored, "")


def _check_sizes(headers: Sequence[Header]) -> None:
    """Refuse implausible sizes before memory is allocated for them."""
    first, total = headers[0], len(headers)
    pixels = first.rows * first.columns
    if total * pixels > MAX_VOXELS or pixels > MAX_FRAME_PIXELS or min(
        first.rows, first.columns
    ) < 1:  # fmt: skip
        where = display_path(first.path if total == 1 else first.path.parent)
        raise InputError(
            f"the headers of '{where}' are damaged: they "
            f"give {total} slices of {first.rows}x{first.columns} voxels, more than any CT has"
        )
    if total * pixels > LARGE_VOXELS and not is_native(first):
        sizes = {header.path: _file_size(header) for header in headers}
        if sum(sizes.values()) * MAX_RATIO < 2 * total * pixels:
            raise InputError(
                f"the files of '{display_path(first.path.parent)}' are damaged: they are too small "
                f"for the {total} slices of {first.rows}x{first.columns} voxels given in their "
                "headers"
            )
    for header in headers:
        if (header.rows, header.columns) != (first.rows, first.columns):
            raise file_error(
                header.path,
                f"has {header.rows}x{header.columns} pixels and '{display_path(first.path)}' has "
                f"{first.rows}x{first.columns}",
                "they do not belong to the same volume",
            )
        if header.samples != 1:
            raise file_error(header.path, "is a color image, not a CT slice")
    short = [h for h in headers if is_native(h) and _file_size(h) < _bytes_needed(h)]
    if is_most(len(short), total):  # otherwise each is reported when it is read
        damage = truncated(_file_size(short[0]), _bytes_needed(short[0]))
        raise refusal(total, short[0].path, damage)


def _bytes_needed(header: Header) -> int:
    return (header.frame + 1) * header.rows * header.columns * header.bits_allocated // 8


def _file_size(header: Header) -> int:
    with readable(header.path):
        size = header.path.stat().st_size
    return size * DEFLATE_RATIO if header.transfer_syntax == _DEFLATED else size


def _read_as(dtype: type[np.generic], headers: Sequence[Header], threads: int | None) -> Slices:
    first, total = headers[0], len(headers)
    voxels = np.empty((total, first.rows, first.columns), dtype=dtype)
    outside = np.zeros(voxels.shape, dtype=np.bool_)  # no memory is used until it is written
    masked: list[int] = []
    damaged: dict[int, Damage] = {}
    beyond: list[Beyond] = []
    times = Counter(header.path for header in headers)
    with ExitStack() as files:
        with captured_warnings():  # a multi-frame file is opened once
            several = {h.path: h for h in headers if times[h.path] > 1}.values()
            shared = {}
            for header in several:
                with suppress(InputError):  # raised again for each of its frames
                    shared[header.path] = files.enter_context(closing(Source(header)))

        def decode(index: int) -> NDArray[np.bool_] | None:
            header, out = headers[index], voxels[index]
            with captured_warnings(), ExitStack() as own:
                source = shared.get(header.path) or own.enter_context(closing(Source(header)))
                stored, unused_bits = _stored(header, source, out if dtype is np.int16 else None)
            beyond.append(unused_bits)
            return rescale(stored, header, out)

        def work(index: int) -> None:
            try:
                mask = decode(index)
            except InputError as error:
                if isinstance(error, SandboxError) and error.reason == "memory":
                    raise  # this computer's fault, not the slice's
                damaged[index] = damage_of(error)
            else:
                if mask is not None:
                    outside[index] = mask
                    masked.append(index)
            if is_most(len(damaged), total):
                first = min(damaged)
                raise refusal(total, headers[first].path, damaged[first])

        _in_threads(work, total, threads)
    notes = notices(beyond, first)
    return Slices(voxels, outside if masked else None, damaged, notes)


def _in_threads(work: Callable[[int], None], total: int, threads: int | None) -> None:
    """Call ``work`` for each index below ``total`` in several threads, and report progress.

    The first exception ends the work and is raised.
    """

    def checked(index: int) -> None:
        check()
        work(index)

    report(0, total, _STAGE)
    pool = ThreadPool(min(thread_count(threads), total), thread_name_prefix=_STAGE)
    try:
        pending = {pool.submit(checked, index) for index in range(total)}
        while pending:  # waking up for every single slice would slow the threads down
            done, pending = wait(pending, _REPORT_SECONDS, FIRST_EXCEPTION)
            for future in done:
                future.result()
            report(total - len(pending), total, _STAGE)
    finally:  # running calls end soon, because they call `check`
        pool.shutdown(cancel_futures=True)

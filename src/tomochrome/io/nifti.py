"""NIfTI and Analyze: what a file holds, and reading one volume of it piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, TomochromeError
from tomochrome.io.archive import shown
from tomochrome.io.bounds import damaged
from tomochrome.io.item import Item
from tomochrome.io.nifti_header import Layout, read_layout
from tomochrome.io.stream import Planes, Stream, fill, opened
from tomochrome.io.values import Values, labels, measured
from tomochrome.io.which import Part, choose_part, item_of
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Provenance, Verdict, Volume


def describe(
    path: Path, *, progress: Progress | None = None, cancel: CancelToken | None = None
) -> list[Item]:
    """List the volumes of a file, one item each (``phase`` "2 of 10"), with their values' range.

    For that all voxels are read once, one volume at a time.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz`` or ``.hdr``/``.img`` file.
    progress, cancel
        Told after, and looked at before, each few megabytes.

    Raises
    ------
    InputError
        If the file is damaged, truncated, or holds no scalar or color volumes.
    Cancelled
        If ``cancel`` was set.
    """
    layout = read_layout(path)
    items = []
    with closing(_volumes(layout, 0, layout.volumes, progress, cancel)) as volumes:
        for index, raw in enumerate(volumes):
            part = Part(path, index, layout.volumes)
            items.append(item_of(_volume(layout, part, raw, cancel), part))
    return items


def read_nifti(
    path: Path,
    index: int | None = None,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Volume:
    """Read a NIfTI or Analyze volume as stored, with its true affine.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz`` or ``.hdr``/``.img`` file (either of the two).
    index
        Which volume of a file that holds several, from 0.
    progress, cancel
        Told after, and looked at before, each few megabytes.

    Returns
    -------
    Volume
        int16 where slope and intercept allow that exactly, else float32, and whole
        numbers that float32 does not hold as stored. The unit is inferred
        (`tomochrome.io.units`), and a warning says so. RGB24 and RGBA32 become unit "RGBA".
        Voxels that hold no number are marked as outside.

    Raises
    ------
    InputError
        If the file is damaged, truncated, holds several volumes and none was chosen, or holds
        no scalar or color volumes.
    Cancelled
        If ``cancel`` was set.
    """
    layout = read_layout(path)
    part = choose_part(path, index, layout.volumes)
    with closing(_volumes(layout, part.index, 1, progress, cancel)) as volumes:
        return _volume(layout, part, next(volumes), cancel)


def count_volumes(path: Path) -> int:
    """Return how many volumes a file holds, by its header.

    Raises
    ------
    InputError
        If the header is damaged.
    """
    return read_layout(path).volumes


def _volume(
    layout: Layout, part: Part, raw: NDArray[Any] | Planes, cancel: CancelToken | None
) -> Volume:
    where = shown(layout.path)
    values = _values(layout, raw, where, cancel)
    verdict: Verdict = "regular" if values.unit == "HU" else "not-ct"
    provenance = Provenance(
        source=where,
        kind="nifti",
        verdict=verdict,
        warnings=(*layout.warnings, *values.warnings),
        history=(f"read {part.in_words}a NIfTI file",),
    )
    try:
        return Volume(values.voxels, layout.affine, values.unit, provenance, values.outside)
    except GeometryError as error:
        raise InputError(f"'{where}' has an unusable geometry: {error}") from error


def _values(
    layout: Layout, raw: NDArray[Any] | Planes, where: str, cancel: CancelToken | None
) -> Values:
    if isinstance(raw, np.ndarray) and raw.dtype.names:
        return Values(_color(raw), None, "RGBA", ("a color picture, not CT",))
    try:
        values = measured(raw, where, slope=layout.slope, intercept=layout.intercept, cancel=cancel)
    except MemoryError as error:
        raise _too_large(layout) from error
    return labels(values, layout.meaning) if layout.meaning else values


def _color(raw: NDArray[Any]) -> NDArray[np.uint8]:
    rgba = np.full((*raw.shape, 4), 255, dtype=np.uint8)
    for channel, name in enumerate(raw.dtype.names or ()):
        rgba[..., channel] = raw[name]
    return rgba


def _volumes(
    layout: Layout,
    first: int,
    count: int,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> Generator[NDArray[Any] | Planes]:
    """Yield volumes that follow one another, as stored, of shape (z, y, x).

    What its values will be turned into something smaller is read slice by slice, when it is
    asked for; so all of it must be taken before the next volume.
    """
    whole = bool(layout.dtype.names) or (
        layout.dtype.newbyteorder("=") in (np.uint8, np.int16)
        and (layout.slope, layout.intercept) == (1.0, 0.0)
    )
    with _sentences(layout):
        start = layout.offset + first * layout.nbytes
        with opened(layout.data, seek=0, skip=start, packed=layout.packed, cancel=cancel) as stream:
            reading = _Reading(layout, stream, first, count, progress, cancel)
            for _ in range(count):
                if not whole:
                    yield Planes(layout.shape, layout.dtype, reading.fill)
                    continue
                raw = np.empty(layout.shape, dtype=layout.dtype)
                reading.fill(raw)
                yield raw


class _Reading:
    """Reads the voxels of volumes that follow one another, whole volumes or slices."""

    def __init__(
        self,
        layout: Layout,
        stream: Stream,
        first: int,
        count: int,
        progress: Progress | None,
        cancel: CancelToken | None,
    ) -> None:
        self._layout, self._stream, self._done = layout, stream, 0
        self._total = count * layout.nbytes
        self._end = (layout.volumes - first) * layout.nbytes
        self._progress, self._cancel = progress, cancel

    def fill(self, array: NDArray[Any]) -> None:
        """Fill an array with the bytes that come next."""
        with _sentences(self._layout):
            fill(
                array, self._stream, before=self._done, total=self._total,
                progress=self._progress, cancel=self._cancel,
            )  # fmt: skip
            self._done += array.nbytes
            if self._done == self._end:
                self._stream.read(1)  # so that a gzip stream's check sum is looked at


@contextmanager
def _sentences(layout: Layout) -> Iterator[None]:
    """Turn what is raised on reading into an error of one sentence."""
    where = shown(layout.path)
    try:
        yield
    except TomochromeError:
        raise
    except MemoryError as error:
        raise _too_large(layout) from error
    except Exception as error:  # zlib and the file system raise many kinds
        raise damaged(where, "NIfTI") from error


def _too_large(layout: Layout) -> InputError:
    return InputError(
        f"'{shown(layout.path)}' does not fit into memory ({layout.nbytes / 2**30:.1f} GiB); "
        "save a part of it"
    )

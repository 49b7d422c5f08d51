"""Volumes and items out of an image file (NIfTI, NRRD, MetaImage), whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, TomochromeError
from tomochrome.io.archive import shown
from tomochrome.io.bounds import damaged
from tomochrome.io.series_item import Item
from tomochrome.io.units import MODALITIES
from tomochrome.io.values import Values, labels, measured
from tomochrome.io.volume_selection import Part, choose_part, item_of
from tomochrome.notices import Notice
from tomochrome.runtime import quietly
from tomochrome.runtime.sandbox import SandboxError
from tomochrome.volume import Provenance, Verdict, Volume

Read = Callable[[int, int], Iterator[Iterable[NDArray[Any]]]]
"""Called with the first volume and how many, yields each of them: its slices, or all of it."""
LABELS: Final = {"nifti": "NIfTI"}


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A header that was checked, and how to read what follows it.

    Parameters
    ----------
    path, kind
        The file that the user named, and its format as `Item.kind` has it.
    dtype, shape
        Stored type, and voxels along (z, y, x).
    affine
        4x4 from (z, y, x) index to LPS mm.
    read
        Yields volumes as stored: slices (y, x), or arrays (z, y, x), each with an axis of
        ``channels`` behind where there are several.
    volumes
        How many volumes the file holds.
    channels
        Values in each voxel.
    components
        The same, but that volumes which lie interleaved are components too.
    slope, intercept
        The value is ``stored * slope + intercept``.
    warnings
        What there is to say about the geometry.
    modality
        DICOM's code, or ``"unknown"``.
    meaning
        What the file says that its values are, if it says that they are no measurement.
    ras_vectors
        Whether vectors are RAS mm and not LPS mm.
    pairs
        Keys and values that the writer added.
    """

    path: Path
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    read: Read
    volumes: int = 1
    channels: int = 1
    components: int = 1
    slope: float = 1.0
    intercept: float = 0.0
    warnings: tuple[Notice, ...] = ()
    modality: str = "unknown"
    meaning: str = ""
    ras_vectors: bool = False
    pairs: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The format's name for people."""
        return LABELS.get(self.kind, self.kind.upper())


def describe(image: ImageFile) -> list[Item]:
    """List the volumes of a file, one item each (``phase`` "2 of 10"), with their values' range.

    For that all voxels are read once, one volume at a time.

    Raises
    ------
    InputError
        If the file is damaged, truncated, or holds no scalar or color volumes.
    Cancelled
        If the task was cancelled.
    """
    parts = [Part(image.path, index, image.volumes) for index in range(image.volumes)]
    with closing(_volumes(image, parts)) as volumes:
        return [item_of(volume, part) for volume, part in zip(volumes, parts, strict=True)]


def read_volume(image: ImageFile, index: int | None = None) -> Volume:
    """Read a volume as stored, with its true affine.

    Parameters
    ----------
    image
        The file.
    index
        Which volume of a file that holds several, from 0.

    Returns
    -------
    Volume
        int16 where that is exact, else float32, and whole numbers that float32 does not hold as
        stored. The unit is inferred (`tomochrome.io.units`), and a warning says so. Colors
        become unit "RGBA". Voxels that hold no number are marked as outside.

    Raises
    ------
    InputError
        If the file is damaged, truncated, holds several volumes and none was chosen, or holds
        no scalar or color volumes.
    Cancelled
        If the task was cancelled.
    """
    part = choose_part(image.path, index, image.volumes)
    with closing(_volumes(image, [part])) as volumes:
        return next(volumes)


def read_vectors(image: ImageFile) -> NDArray[Any]:
    """Read an image of three components in each voxel, shape (z, y, x, 3), as stored.

    Raises
    ------
    InputError
        If the file is damaged, or does not fit into memory.
    Cancelled
        If the task was cancelled.
    """
    with _in_sentences(image), quietly():
        parts = [np.asarray(part) for part in image.read(0, image.volumes)]
    return parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)


@contextmanager
def _in_sentences(image: ImageFile) -> Iterator[None]:
    """Turn what is raised on reading into an error of one sentence."""
    where = shown(image.path)
    try:
        yield
    except SandboxError as error:
        if error.reason != "failed":
            raise
        raise damaged(where, image.label) from error
    except TomochromeError:
        raise
    except MemoryError as error:
        size = image.dtype.itemsize * prod(image.shape) * image.channels / 2**30
        raise InputError(
            f"'{where}' does not fit into memory ({size:.1f} GiB); save a part of it"
        ) from error
    except Exception as error:  # zlib and the file system raise many kinds
        raise damaged(where, image.label) from error


def _volumes(image: ImageFile, parts: list[Part]) -> Generator[Volume]:
    where = shown(image.path)
    is_color = image.channels in (3, 4) and image.dtype == np.uint8
    if image.channels != 1 and not is_color:
        raise InputError(
            f"'{where}' holds {image.channels} values in each voxel (a vector or deformation "
            "field), which are neither CT nor color"
        )
    if image.dtype.kind not in "iuf":
        raise InputError(
            f"'{where}' holds values of type {image.dtype}, not numbers of one kind; save it as "
            "16-bit integers or floats"
        )
    with _in_sentences(image):
        stored = image.read(parts[0].index, len(parts))
        for raw, part in zip(stored, parts, strict=True):
            values = _color(image, raw) if is_color else _measured(image, raw)
            yield _volume(image, part, values)


def _volume(image: ImageFile, part: Part, values: Values) -> Volume:
    where = shown(image.path)
    verdict: Verdict = "regular" if values.unit == "HU" else "not-ct"
    provenance = Provenance(
        source=where,
        kind=image.kind,
        modality=image.modality,
        verdict=verdict,
        warnings=(*image.warnings, *values.warnings),
        history=(f"read {part.in_words}a {image.label} file",),
    )
    try:
        return Volume(values.voxels, image.affine, values.unit, provenance, values.outside)
    except GeometryError as error:
        raise InputError(f"'{where}' has an unusable geometry: {error}") from error


def _color(image: ImageFile, raw: Iterable[NDArray[Any]]) -> Values:
    rgba = np.full((*image.shape, 4), 255, dtype=np.uint8)
    for z, plane in enumerate(raw):
        rgba[z, ..., : image.channels] = plane
    return Values(rgba, None, "RGBA", (Notice("content", "warning", "a color picture, not CT"),))


def _measured(image: ImageFile, raw: Iterable[NDArray[Any]]) -> Values:
    values = measured(
        raw,
        image.shape,
        image.dtype,
        shown(image.path),
        slope=image.slope,
        intercept=image.intercept,
    )
    meaning = image.meaning
    if image.modality not in ("unknown", "CT"):
        meaning = f"the file says that it is {MODALITIES[image.modality]}, not CT"
    return labels(values, meaning) if meaning else values

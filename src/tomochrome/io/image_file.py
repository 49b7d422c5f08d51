"""Volumes and items read from an image file of any format (NIfTI, NRRD, MetaImage).

The sizes that a header declares are checked before memory is allocated for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import ChoiceError, FileError, GeometryError, InputError, TomochromeError
from tomochrome.io.archive import display_path
from tomochrome.io.image_values import Values, labels, rescaled
from tomochrome.io.series_item import Item
from tomochrome.io.units import MODALITIES
from tomochrome.notices import Notice
from tomochrome.runtime import quietly
from tomochrome.runtime.sandbox import SandboxError
from tomochrome.volume import Provenance, Verdict, Volume

Read = Callable[[int, int], Iterator[Iterable[NDArray[Any]]]]
"""Called with the first index and a count; yields each volume as slices or as one array."""
LABELS: Final = {"nifti": "NIfTI"}

MAX_VOLUME_BYTES: Final = 4 << 30
"""Stored size of one volume: 2,000 slices of 1024 x 1024 voxels of 16 bits."""
MAX_VOLUMES: Final = 10_000  # per file: a functional MR study has about a thousand
MAX_DEFLATION: Final = 1032
"""Highest compression ratio of deflate (RFC 1951: 258 bytes in 2 bits)."""
MAX_RATIO: Final = 200
"""Highest plausible compression ratio of a large volume that is neither empty nor a bomb."""
LARGE_BYTES: Final = 1 << 30

_SHOWN: Final = 8
NUMBERED: Final = re.compile(r"(?P<file>.*)#(?P<number>\d{1,9})", re.DOTALL)
"""The name of one of several volumes: ``file.nii.gz#2``, ``#2``."""


@dataclass(frozen=True, eq=False)
class ImageFile:
    """A validated header, and how to read the voxels that belong to it.

    Parameters
    ----------
    path, kind
        The file given by the user, and its format as in `Item.kind`.
    dtype, shape
        Stored type, and number of voxels along (z, y, x).
    affine
        4x4 from (z, y, x) index to LPS mm.
    read
        Yields volumes as stored: slices (y, x) or arrays (z, y, x), each with a last axis of
        ``channels`` if there are several.
    volumes
        Number of volumes in the file.
    channels
        Values per voxel.
    components
        Values per voxel as stored, where interleaved volumes count as components.
    slope, intercept
        The value is ``stored * slope + intercept``.
    warnings
        Warnings about the geometry.
    modality
        The DICOM modality code, or ``"unknown"``.
    meaning
        What the values are according to the file, if they are not a measurement.
    ras_vectors
        Whether vectors are in RAS mm instead of LPS mm.
    pairs
        Key/value pairs that the writing program added, such as ``description``.
    whole
        Reads the volume of a format that stores more of it than voxels, in place of ``read``.
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
    whole: Callable[[], Volume] | None = None

    @property
    def label(self) -> str:
        """Display name of the format."""
        return LABELS.get(self.kind, self.kind.upper())


def describe(image: ImageFile) -> list[Item]:
    """List the volumes of a file, one item each (``phase`` "2 of 10"), with their value range.

    All voxels are read for this, one volume at a time.

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
    """Read a volume in its stored orientation, with its affine.

    Parameters
    ----------
    image
        The file.
    index
        Index of the volume, from 0, in a file that holds several.

    Returns
    -------
    Volume
        int16 where that is exact, else float32; integers that float32 cannot represent keep
        their stored type. The unit is inferred (`tomochrome.io.units`) and a warning says so.
        Color images have the unit "RGBA". Voxels without a finite value are marked as outside.

    Raises
    ------
    InputError
        If the file is damaged, truncated, holds several volumes and ``index`` is None, or holds
        no scalar or color volumes.
    Cancelled
        If the task was cancelled.
    """
    part = choose_part(image.path, index, image.volumes)
    with closing(_volumes(image, [part])) as volumes:
        return next(volumes)


def read_vectors(image: ImageFile) -> NDArray[Any]:
    """Read an image with three components per voxel, shape (z, y, x, 3), as stored.

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
    """Convert exceptions raised while reading into an `InputError`."""
    where = display_path(image.path)
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
        fault = f"does not fit into memory ({size:.1f} GiB)"
        raise FileError(where, fault, "save a part of it") from error
    except Exception as error:  # zlib and the file system raise many kinds
        raise damaged(where, image.label) from error


def _volumes(image: ImageFile, parts: list[Part]) -> Generator[Volume]:
    if image.whole is not None:
        yield image.whole()
        return
    where = display_path(image.path)
    is_color = image.channels in (3, 4) and image.dtype == np.uint8
    if image.channels != 1 and not is_color:
        raise FileError(
            where,
            f"holds {image.channels} values in each voxel (a vector or deformation field), which "
            "are neither CT nor color",
        )
    if image.dtype.kind not in "iuf":
        raise FileError(
            where,
            f"holds values of type {image.dtype}, not a single numeric type",
            "save it as 16-bit integers or floats",
        )
    with _in_sentences(image):
        stored = image.read(parts[0].index, len(parts))
        for raw, part in zip(stored, parts, strict=True):
            values = _color(image, raw) if is_color else _intensities(image, raw)
            yield _volume(image, part, values)


def _volume(image: ImageFile, part: Part, values: Values) -> Volume:
    where = display_path(image.path)
    verdict: Verdict = "regular" if values.unit == "HU" else "not-ct"
    provenance = Provenance(
        source=where,
        kind=image.kind,
        modality=image.modality,
        verdict=verdict,
        warnings=(*image.warnings, *values.warnings),
        history=(f"read {part.prefix}a {image.label} file",),
    )
    try:
        return Volume(values.voxels, image.affine, values.unit, provenance, values.outside)
    except GeometryError as error:
        raise FileError(where, f"has an unusable geometry: {error}") from error


def _color(image: ImageFile, raw: Iterable[NDArray[Any]]) -> Values:
    rgba = np.full((*image.shape, 4), 255, dtype=np.uint8)
    for z, plane in enumerate(raw):
        rgba[z, ..., : image.channels] = plane
    return Values(rgba, None, "RGBA", (Notice("content", "warning", "a color image, not CT"),))


def _intensities(image: ImageFile, raw: Iterable[NDArray[Any]]) -> Values:
    values = rescaled(
        raw,
        image.shape,
        image.dtype,
        display_path(image.path),
        slope=image.slope,
        intercept=image.intercept,
    )
    meaning = image.meaning
    if image.modality not in ("unknown", "CT"):
        meaning = f"the file says that it is {MODALITIES[image.modality]}, not CT"
    return labels(values, meaning) if meaning else values


def damaged(where: str, kind: str) -> InputError:
    """Return the error for a file that cannot be parsed."""
    fault = f"cannot be read as {kind}, because it is damaged, truncated or incomplete"
    return FileError(where, fault, "copy it again")


def check_claims(
    where: str,
    shape: tuple[int, ...],
    volume_bytes: int,
    volumes: int,
    stored: int,
    *,
    packed: bool,
) -> None:
    """Refuse a header that claims more data than the file can hold or the limits allow.

    Parameters
    ----------
    where
        The file, for the error message.
    shape
        Voxels along (z, y, x), for the error message.
    volume_bytes, volumes
        Uncompressed bytes of one volume, and the number of volumes.
    stored
        Bytes available in the file for the voxels.
    packed
        Whether the voxels are compressed (deflate).

    Raises
    ------
    InputError
        If the sizes do not fit the file or exceed the limits; the message gives the sizes.
    """
    claimed = volume_bytes * volumes
    if volume_bytes > MAX_VOLUME_BYTES or volumes > MAX_VOLUMES:
        raise FileError(
            where,
            f"claims {volumes} volumes of {' x '.join(map(str, shape[::-1]))} voxels, "
            f"{volume_bytes / 2**30:.3g} GiB each, more than this reader allows",
            "save a part of it",
        )
    if claimed > max(stored, 0) * (MAX_DEFLATION if packed else 1):
        raise FileError(
            where,
            f"is truncated or damaged: its header claims {claimed} bytes of voxels, and the file "
            f"has {max(stored, 0)}{' (compressed)' if packed else ''}",
            "copy it again",
        )
    if packed and volume_bytes > LARGE_BYTES and claimed > MAX_RATIO * stored:
        raise FileError(
            where,
            f"would expand more than {MAX_RATIO} times, as a decompression bomb does",
            "unpack it yourself first, if you trust it",
        )


@dataclass(frozen=True)
class Part:
    """One volume of a file: the ``source`` of an item.

    Parameters
    ----------
    path
        The file.
    index, count
        Index of the volume, from 0, and number of volumes in the file.
    """

    path: Path
    index: int = 0
    count: int = 1

    @property
    def phase(self) -> str:
        """``"2 of 10"``, or empty if the file holds one volume."""
        return f"{self.index + 1} of {self.count}" if self.count > 1 else ""

    @property
    def prefix(self) -> str:
        """``"volume 2 of 10 of "``, or empty."""
        return f"volume {self.phase} of " if self.phase else ""


def name_of(path: Path, index: int) -> str:
    """Return the ``series`` argument of `read` that selects a volume of a file."""
    return f"{display_path(path)}#{index + 1}"


def choices(path: Path, count: int) -> str:
    """Return the names of the volumes in a file as a comma-separated list."""
    names = [f"'{name_of(path, index)}'" for index in range(min(count, _SHOWN))]
    more = f" and so on to '{name_of(path, count - 1)}'" if count > _SHOWN else ""
    return ", ".join(names) + more


def choose_part(path: Path, index: int | None, count: int) -> Part:
    """Return the volume of a file to read.

    Raises
    ------
    InputError
        If the file holds several volumes and ``index`` is None, or the index is out of range.
    """
    if index is None and count > 1:
        raise ChoiceError(
            f"'{display_path(path)}' holds {count} volumes in one file", choices(path, count)
        )
    if not 0 <= (index or 0) < count:
        raise InputError(
            f"'{display_path(path)}' has no volume {(index or 0) + 1}; choose one of "
            f"{choices(path, count)}"
        )
    return Part(path, index or 0, count)


def chosen(path: Path, series: str | None) -> int | None:
    """Return the index that ``series`` names, or None if it names the file or is None.

    Accepts the name of an item (``file.nii.gz#2``), its number (``#2``), and the file itself.

    Raises
    ------
    InputError
        If it names something else.
    """
    files = {str(path), display_path(path), path.name, ""}
    if series is None or series in files:
        return None
    match = NUMBERED.fullmatch(str(series))
    if match and match["file"] in files and int(match["number"]) > 0:
        return int(match["number"]) - 1
    raise InputError(
        f"'{display_path(path)}' contains no series '{series}'; omit it, or give the number of a "
        f"volume ('{name_of(path, 0)}')"
    )


def item_of(volume: Volume, part: Part) -> Item:
    """Return an item that describes a volume read from a file."""
    voxels, provenance = volume.voxels, volume.provenance
    return Item(
        path=provenance.source,
        kind=provenance.kind,
        modality=provenance.modality,
        phase=part.phase,
        key=name_of(part.path, part.index) if part.count > 1 else "",
        shape=volume.shape,
        spacing=volume.spacing,
        affine=volume.affine,
        value_range=(float(voxels.min()), float(voxels.max())),
        unit="HU" if volume.unit == "HU" else "unknown",
        verdict=provenance.verdict,
        warnings=provenance.warnings,
        source=part,
    )

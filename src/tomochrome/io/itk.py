"""NRRD and MetaImage, the formats of the Insight Toolkit (ITK)."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, TomochromeError
from tomochrome.io.archive import shown
from tomochrome.io.bounds import damaged
from tomochrome.io.item import Item
from tomochrome.io.metaimage import MetaImage, open_metaimage
from tomochrome.io.nrrd import Nrrd, open_nrrd
from tomochrome.io.units import MODALITIES
from tomochrome.io.values import Values, labels, measured
from tomochrome.io.which import Part, choose_part, item_of
from tomochrome.runtime import CancelToken, Progress
from tomochrome.volume import Provenance, Verdict, Volume

_Image = Nrrd | MetaImage


def describe_itk(
    path: Path,
    kind: str,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> list[Item]:
    """List the volumes of a file, one item each (``phase`` "2 of 10"), with their values' range.

    For that all voxels are read once.

    Parameters
    ----------
    path, kind
        As for `read_itk`.
    progress, cancel
        Told how far it is, and looked at, several times a second.

    Raises
    ------
    InputError
        If the file is damaged, or holds no scalar or color volumes.
    Cancelled
        If ``cancel`` was set.
    """
    image = _open(path, kind)
    parts = [Part(path, index, image.volumes) for index in range(image.volumes)]
    with closing(_volumes(image, kind, parts, progress, cancel)) as volumes:
        return [item_of(volume, part) for volume, part in zip(volumes, parts, strict=True)]


def read_itk(
    path: Path,
    kind: str,
    index: int | None = None,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Volume:
    """Read a NRRD or MetaImage volume as stored, with its true affine.

    Parameters
    ----------
    path
        A ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.
    kind
        ``"nrrd"`` or ``"metaimage"``.
    index
        Which volume of a file that holds several, from 0.
    progress, cancel
        Told how far it is, and looked at, several times a second.

    Returns
    -------
    Volume
        int16 where that is exact, else float32, and whole numbers that float32 does not hold
        as stored; the unit is inferred
        (`tomochrome.io.units`), and a warning says so. Colors become unit "RGBA".
        Voxels that hold no number are marked as outside.

    Raises
    ------
    InputError
        If the file is damaged, truncated, holds several volumes and none was chosen, or holds
        no scalar or color volumes.
    Cancelled
        If ``cancel`` was set.
    """
    image = _open(path, kind)
    part = choose_part(path, index, image.volumes)
    with closing(_volumes(image, kind, [part], progress, cancel)) as volumes:
        return next(volumes)


def _open(path: Path, kind: str) -> _Image:
    image: _Image = open_nrrd(path) if kind == "nrrd" else open_metaimage(path)
    if image.channels not in (1, 3, 4):
        raise _no_color(path, image.channels)
    return image


def _no_color(path: Path, channels: int) -> InputError:
    return InputError(
        f"'{shown(path)}' holds {channels} values in each voxel, which are neither CT nor color"
    )


def _volumes(
    image: _Image,
    kind: str,
    parts: list[Part],
    progress: Progress | None,
    cancel: CancelToken | None,
) -> Generator[Volume]:
    where = shown(image.path)
    try:
        stored = image.voxels(parts[0].index, len(parts), progress, cancel)
        with closing(stored):
            for raw, part in zip(stored, parts, strict=True):
                yield _volume(image, kind, part, raw, cancel)
    except TomochromeError:
        raise
    except MemoryError as error:
        raise InputError(f"'{where}' does not fit into memory; save a part of it") from error
    except Exception as error:  # ITK, zlib and the file system raise many kinds
        raise damaged(where, kind.upper()) from error


def _volume(
    image: _Image, kind: str, part: Part, raw: NDArray[Any], cancel: CancelToken | None
) -> Volume:
    where = shown(image.path)
    values = _values(image, raw, where, cancel)
    verdict: Verdict = "regular" if values.unit == "HU" else "not-ct"
    provenance = Provenance(
        source=where,
        kind=kind,
        modality=image.modality,
        verdict=verdict,
        warnings=(*image.warnings, *values.warnings),
        history=(f"read {part.in_words}a {kind.upper()} file",),
    )
    try:
        return Volume(values.voxels, image.affine, values.unit, provenance, values.outside)
    except GeometryError as error:
        raise InputError(f"'{where}' has an unusable geometry: {error}") from error


def _values(image: _Image, raw: NDArray[Any], where: str, cancel: CancelToken | None) -> Values:
    if image.channels > 1:
        if raw.dtype != np.uint8:
            raise _no_color(image.path, image.channels)
        return Values(_with_alpha(raw), None, "RGBA", ("a color picture, not CT",))
    if raw.dtype.kind not in "iuf":
        raise InputError(f"'{where}' holds values of type {raw.dtype}, not numbers of one kind")
    values = measured(raw, where, cancel=cancel)
    if image.modality not in ("unknown", "CT"):
        return labels(values, f"the file says that it is {MODALITIES[image.modality]}, not CT")
    return values


def _with_alpha(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if raw.shape[3] == 4:
        return raw
    rgba = np.full((*raw.shape[:3], 4), 255, dtype=np.uint8)
    rgba[..., :3] = raw
    return rgba

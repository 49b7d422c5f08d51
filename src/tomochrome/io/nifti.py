"""NIfTI and Analyze: nibabel parses the header, and the voxels are streamed slice by slice.

No sandbox is needed: allocations are bounded by the size of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.archive import display_path
from tomochrome.io.bounds import check_claims, damaged
from tomochrome.io.image_file import ImageFile
from tomochrome.io.nifti_pair import first_bytes, pair_of
from tomochrome.io.nifti_space import space
from tomochrome.io.stream import fill, is_gzip, opened
from tomochrome.notices import Notice
from tomochrome.runtime import report

#: field names of NIfTI's color data types in nibabel
_COLORS: Final = {("R", "G", "B"), ("R", "G", "B", "A")}
_RAS_VECTORS: Final = 1006  # NIFTI_INTENT_DISPVECT
_SILENT: Final = logging.getLogger("tomochrome.io.nifti.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, eq=False)
class _Stored:
    """Layout of the stored voxels: volumes (z, y, x, colors) or (components, z, y, x)."""

    data: Path
    packed: bool
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    volumes: int
    planar: bool  #: whether vector components are stored one after another

    @property
    def nbytes(self) -> int:
        """Bytes of one volume."""
        return prod(self.shape) * self.dtype.itemsize


def open_nifti(path: Path) -> ImageFile:
    """Read and validate the header of a NIfTI or Analyze file.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz`` or ``.hdr``/``.img`` file (either of the two).

    Raises
    ------
    InputError
        If it is damaged, claims more data than the file can hold, or does not describe a volume.
    """
    where = display_path(path)
    header_path, data = pair_of(path) or (path, path)
    if not header_path.is_file():
        raise InputError(
            f"the header of '{where}', '{display_path(header_path)}', is missing; copy both"
        )
    try:
        header, zooms = _parse(first_bytes(header_path))
    except Exception as error:  # nibabel and zlib raise various types on damaged files
        raise damaged(where, "NIfTI") from error
    data = header_path if _single(header) else data
    if not _single(header) and (data == header_path or not data.is_file()):
        raise InputError(f"the voxels of '{where}' are missing: '{data.name}'; copy both files")
    try:
        return _image(path, data, header, zooms)
    except InputError:
        raise
    except Exception as error:  # invalid codes and numbers
        raise InputError(f"'{where}' has a damaged NIfTI header; copy it again") from error


def _parse(block: bytes) -> tuple[Any, NDArray[np.float64]]:
    """Return the header as repaired by nibabel, and the voxel sizes as stored."""
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    kind: Any
    if 540 in sizes and block[4:7] in (b"n+2", b"ni2"):
        kind = nib.Nifti2Header if block[4:7] == b"n+2" else nib.nifti2.Nifti2PairHeader
    elif 348 in sizes and block[344:347] in (b"n+1", b"ni1"):
        kind = nib.Nifti1Header if block[344:347] == b"n+1" else nib.nifti1.Nifti1PairHeader
    elif 348 in sizes:
        kind = nib.spm2analyze.Spm2AnalyzeHeader
    else:
        raise ValueError("neither NIfTI nor Analyze")
    header = kind(block[: kind.template_dtype.itemsize], check=False)
    zooms = np.array(header["pixdim"][1:4], dtype=np.float64)
    header.check_fix(logger=_SILENT, error_level=40)
    return header, zooms


def _image(path: Path, data: Path, header: Any, zooms: NDArray[np.float64]) -> ImageFile:
    where = display_path(path)
    sizes = [int(size) for size in header.get_data_shape()]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if not sizes or min(sizes) < 1:
        raise InputError(f"'{where}' is empty: its header gives the size {sizes}")
    sizes += [1] * (4 - len(sizes))
    shape, volumes, components = (sizes[2], sizes[1], sizes[0]), sizes[3], prod(sizes[4:])
    dtype, colors = np.dtype(header.get_data_dtype()), 1
    if dtype.names in _COLORS and components == 1:
        dtype, colors = np.dtype(np.uint8), dtype.itemsize
    slope, intercept = _scale(header, where) if colors == 1 else (1.0, 0.0)
    affine, warnings = space(header, shape, zooms, where)
    matrix = data.with_suffix(".mat")
    if not hasattr(header, "get_sform") and matrix.is_file():
        text = f"the orientation in '{matrix.name}' beside the file was not used"
        warnings = (*warnings, Notice("geometry", "warning", text))
    layout: tuple[int, ...] = shape if colors == 1 else (*shape, colors)
    layout = layout if components == 1 else (components, *shape)
    stored = _Stored(
        data, is_gzip(data), _offset(header), dtype, layout, volumes, planar=components > 1
    )
    room = data.stat().st_size - (0 if stored.packed else stored.offset)
    check_claims(where, shape, stored.nbytes, volumes, room, packed=stored.packed)
    return ImageFile(
        path=path,
        kind="nifti",
        dtype=dtype,
        shape=shape,
        affine=affine,
        read=partial(_read, stored),
        volumes=volumes,
        channels=components * colors,
        components=components * colors,
        slope=slope,
        intercept=intercept,
        warnings=warnings,
        meaning=_meaning(header),
        ras_vectors=_intent(header) == _RAS_VECTORS,
    )


def _read(
    stored: _Stored, first: int, count: int
) -> Iterator[Iterator[NDArray[Any]] | NDArray[Any]]:
    """Yield consecutive volumes; consume all slices of one before requesting the next."""
    skip = stored.offset + first * stored.nbytes
    total = count * stored.shape[0]
    with opened(stored.data, skip, packed=stored.packed) as stream:

        def slices(index: int) -> Iterator[NDArray[Any]]:
            plane = np.empty(stored.shape[1:], stored.dtype)
            for z in range(stored.shape[0]):
                fill(plane, stream)
                if first + index + 1 == stored.volumes and z + 1 == stored.shape[0]:
                    stream.read(1)  # verifies the checksum of a gzip stream
                report(index * stored.shape[0] + z + 1, total, "reading")
                yield plane

        for index in range(count):
            if stored.planar:
                parts = [part.copy() for part in slices(index)]
                yield np.moveaxis(np.array(parts), 0, -1)
            else:
                yield slices(index)


def _scale(header: Any, where: str) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 or NaN means no scaling (NIfTI-1)."""
    if hasattr(header, "get_sform"):  # in SPM's Analyze such an intercept means 0
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        if np.isfinite(slope) and slope != 0 and not np.isfinite(intercept):
            raise InputError(
                f"'{where}' has a scale slope, but its intercept is not a number, so its values "
                "are undefined; export it again"
            )
    slope_or_none, intercept = header.get_slope_inter()
    if slope_or_none is None:
        return 1.0, 0.0
    return float(slope_or_none), float(intercept)


def _offset(header: Any) -> int:
    offset = int(header["vox_offset"])  # ValueError for NaN
    least = int(getattr(header, "single_vox_offset", 0)) if _single(header) else 0
    if offset < 0:
        raise ValueError("a negative offset")
    return max(offset, least)


def _single(header: Any) -> bool:
    return bool(getattr(header, "is_single", False))


def _intent(header: Any) -> int:
    return int(header["intent_code"]) if "intent_code" in header else 0


def _meaning(header: Any) -> str:
    """Return the meaning of an intent code for values that are not a measurement."""
    code = _intent(header)
    if code == 1002:
        return "the file says that its values are labels, not a measurement"
    if 2 <= code <= 24:
        return "the file says that its values are statistics, not a measurement"
    return ""

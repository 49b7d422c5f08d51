"""NIfTI and Analyze: nibabel parses the header, and the voxels are streamed slice by slice.

The affine is that of the sform, the qform or neither, with warnings.

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

from tomochrome.errors import FileError, InputError
from tomochrome.geometry.affine import corners, decompose, from_nifti_affine, nearest_orthogonal
from tomochrome.io.archive import display_path
from tomochrome.io.image_file import ImageFile, check_claims, damaged
from tomochrome.io.nifti_pair import first_bytes, pair_of
from tomochrome.io.stream import fill, is_gzip, opened
from tomochrome.notices import Notice
from tomochrome.runtime import report

#: field names of NIfTI's color data types in nibabel
_COLORS: Final = {("R", "G", "B"), ("R", "G", "B", "A")}
_RAS_VECTORS: Final = 1006  # NIFTI_INTENT_DISPVECT
_SILENT: Final = logging.getLogger("tomochrome.io.nifti.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

Affine = NDArray[np.float64]

FORMS_AGREE_MM: Final = 0.1
"""Tolerance for equal corners: a qform's 32-bit quaternion is accurate to 0.01 mm."""
SIZES_AGREE: Final = 0.01
"""Relative tolerance for equal voxel sizes."""
_MM: Final = {"meter": 1000.0, "micron": 0.001}
_MIN_MM: Final = 1e-4  # finer than the voxels of any CT


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
        raise FileError(where, "has a damaged NIfTI header", "copy it again") from error


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
        raise FileError(where, f"is empty: its header gives the size {sizes}")
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
        pairs={"description": header["descrip"].item().decode("latin-1")},
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
            raise FileError(
                where,
                "has a scale slope, but its intercept is not a number, so its values are undefined",
                "export it again",
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


def space(
    header: Any, shape: tuple[int, int, int], zooms: NDArray[np.float64], where: str
) -> tuple[Affine, tuple[Notice, ...]]:
    """Return the affine of a header, and warnings about it.

    The choice is nibabel's: the sform if present, else the qform, else only the voxel sizes with
    the x axis pointing left. If the sform is singular, the qform is used.

    Parameters
    ----------
    header
        A NIfTI or Analyze header as repaired by nibabel.
    shape
        Voxels along (z, y, x).
    zooms
        Voxel sizes (x, y, z) as stored, before the repair.
    where
        The file, for the error message.

    Returns
    -------
    tuple of affine and warnings
        4x4 from (z, y, x) index to LPS mm.

    Raises
    ------
    InputError
        If the header has no invertible affine.
    """
    analyze = not hasattr(header, "get_sform")
    sform = None if analyze else _form(header, "sform")
    qform = None if analyze else _form(header, "qform")
    usable = [zoom > 0 and np.isfinite(zoom) for zoom in np.abs(zooms)]
    sized = all(good or size == 1 for good, size in zip(usable, shape[::-1], strict=True))
    if sform is not None and _regular(sform):
        affine, note = sform, _compare(sform, qform if sized else None, shape)
        if not note and qform is None and sized:
            note = _compare_sizes(sform, np.abs(zooms), shape)
    elif qform is not None and _regular(qform) and sized:
        affine = qform
        note = "" if sform is None else "the sform of the file is unusable; the qform was used"
    elif sform is None and qform is None and sized:
        affine = np.asarray(header.get_base_affine() if not analyze else header.get_best_affine())
        note = (
            "an Analyze file stores no orientation: left and right are not certain"
            if analyze
            else "the file stores no orientation: left and right are not certain"
        )
    else:
        affine, note = np.zeros((4, 4)), ""
    if not _regular(affine):
        raise FileError(
            where, "has an unusable geometry: its affine is singular", "export it again"
        )
    scaled, turned = _in_mm(header, affine)
    notices = tuple(Notice("geometry", "warning", text) for text in (note, turned) if text)
    return from_nifti_affine(scaled), notices


def _form(header: Any, name: str) -> Affine | None:
    """Return the sform or qform; zeros if it is invalid, None if it is absent."""
    if int(header[f"{name}_code"]) == 0:
        return None
    try:
        return np.asarray(getattr(header, f"get_{name}")(), dtype=np.float64)
    except Exception:  # an invalid quaternion
        return np.zeros((4, 4))


def _regular(affine: Affine) -> bool:
    """Whether the affine is invertible: no axis is zero or in the plane of the two others."""
    if not np.isfinite(affine).all() or not np.array_equal(affine[3], (0, 0, 0, 1)):
        return False
    _, _, lengths = decompose(affine) if (affine[:3, :3] != 0).any(axis=0).all() else (0, 0, None)
    if lengths is None or lengths.min() < _MIN_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _compare(sform: Affine, qform: Affine | None, shape: tuple[int, int, int]) -> str:
    """Describe the difference between sform and qform; empty if they agree."""
    if qform is None:
        return ""
    if not _regular(qform):
        return "the qform of the file is unusable; the sform was used"
    grid = (shape[2], shape[1], shape[0])
    apart = np.linalg.norm(corners(grid, sform) - corners(grid, qform), axis=1).max()
    if apart <= FORMS_AGREE_MM:
        return ""
    turn = nearest_orthogonal(sform) @ nearest_orthogonal(qform).T
    if np.linalg.det(turn) < 0:
        return (
            "sform and qform of the file are mirror images of each other (one of them swaps left "
            "and right); the sform was used"
        )
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return (
        f"sform and qform of the file disagree by up to {apart:.1f} mm and {angle:.1f} degrees; "
        "the sform was used"
    )


def _compare_sizes(sform: Affine, zooms: Affine, shape: tuple[int, int, int]) -> str:
    """Describe the difference between the voxel sizes of sform and header; empty if they agree.

    In a sheared sform (gantry tilt) the header may give the distance of the slices instead.
    """
    lengths = decompose(sform)[2]
    distances = 1 / np.linalg.norm(np.linalg.inv(sform[:3, :3]), axis=1)
    agree = [
        count == 1 or any(abs(size - zoom) <= SIZES_AGREE * zoom for size in sizes)
        for count, zoom, *sizes in zip(shape[::-1], zooms, lengths, distances, strict=True)
    ]
    if all(agree):
        return ""
    one, other = (" x ".join(f"{size:.4g}" for size in sizes) for sizes in (lengths, zooms))
    return (
        f"the sform of the file says that voxels measure {one}, its pixdim says {other}; the sform "
        "was used"
    )


def _in_mm(header: Any, affine: Affine) -> tuple[Affine, str]:
    if not hasattr(header, "get_xyzt_units"):
        return affine, ""
    try:
        unit = str(header.get_xyzt_units()[0])
    except KeyError:
        return (
            affine,
            "the file gives its positions in a unit that NIfTI does not define; taken as mm",
        )
    if unit not in _MM:
        return affine, ""
    scale = np.diag([_MM[unit]] * 3 + [1.0])
    return scale @ affine, f"positions in the file are in {unit}s; they were converted to mm"

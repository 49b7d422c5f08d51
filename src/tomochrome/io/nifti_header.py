"""What a NIfTI or Analyze header says, checked before anything is allocated."""

from __future__ import annotations

import gzip
import logging
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.archive import shown
from tomochrome.io.bounds import check_claims, damaged
from tomochrome.io.nifti_space import space
from tomochrome.io.stream import is_gzip

#: color types of NIfTI, as nibabel names their fields
COLORS: Final = {("R", "G", "B"), ("R", "G", "B", "A")}
_PAIR: Final = {".img": ".hdr", ".hdr": ".img"}
_SILENT: Final = logging.getLogger("tomochrome.io.nifti.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the voxels of a file lie, and what they are.

    Parameters
    ----------
    path
        The file that the user named.
    data
        The file that holds the voxels.
    packed
        Whether that file is a gzip stream.
    offset
        Bytes before the first voxel.
    dtype, shape, volumes
        Stored type, (z, y, x) of one volume, and how many volumes follow one another.
    slope, intercept
        The value is ``stored * slope + intercept``.
    affine
        4x4 from (z, y, x) index to LPS mm.
    warnings
        What there is to say about the geometry.
    meaning
        What the file says that its values are, if it says that they are no measurement.
    intent
        NIfTI's intent code.
    is_vectors
        Whether the volumes are the components of one field of vectors.
    """

    path: Path
    data: Path
    packed: bool
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    volumes: int
    slope: float
    intercept: float
    affine: NDArray[np.float64]
    warnings: tuple[str, ...]
    meaning: str = ""
    intent: int = 0
    is_vectors: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of one volume as stored."""
        return prod(self.shape) * self.dtype.itemsize


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """Return header and data file of a ``.hdr``/``.img`` pair, given either; else None.

    Both may end in ``.gz``. Whether the two exist is for the caller to see.
    """
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    bare = path.with_suffix("") if packed else path
    other = _PAIR.get(bare.suffix.lower())
    if other is None:
        return None
    other = other.upper() if bare.suffix.isupper() else other
    choices = [Path(f"{bare.with_suffix(other)}{end}") for end in (packed, "", ".gz")]
    partner = next((choice for choice in choices if choice.is_file()), choices[0])
    return (partner, path) if other.lower() == ".hdr" else (path, partner)


def is_pair(path: Path, *, data_only: bool = False) -> bool:
    """Whether a file is one of a ``.hdr``/``.img`` pair of NIfTI or Analyze.

    Parameters
    ----------
    path
        A file.
    data_only
        Ask whether it is the one with the voxels.

    Raises
    ------
    OSError
        If a file cannot be opened.
    """
    pair = pair_of(path)
    if pair is None or (data_only and path == pair[0]) or not all(f.is_file() for f in pair):
        return False
    try:
        head = _first_bytes(pair[0])[:4]
    except (EOFError, zlib.error):
        return False
    return bool({int.from_bytes(head, order) for order in ("little", "big")} & {348, 540})


def read_layout(path: Path, *, vectors: bool = False) -> Layout:
    """Read and check a header.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz`` or ``.hdr``/``.img`` file.
    vectors
        Whether a fifth dimension of components is taken, each as a volume.

    Raises
    ------
    InputError
        If it is damaged, claims more than the file can hold, or describes no volume.
    """
    where = shown(path)
    header_path, data = pair_of(path) or (path, path)
    if not header_path.is_file():
        raise InputError(f"the header of '{where}', '{shown(header_path)}', is missing; copy both")
    try:
        header, zooms = _parse(_first_bytes(header_path))
    except Exception as error:  # nibabel and zlib raise many kinds on damaged files
        raise damaged(where, "NIfTI") from error
    data = header_path if _single(header) else data
    if not _single(header) and (data == header_path or not data.is_file()):
        raise InputError(f"the voxels of '{where}' are missing: '{data.name}'; copy both files")
    try:
        layout = _layout(path, data, header, zooms, vectors)
    except InputError:
        raise
    except Exception as error:  # codes and numbers that NIfTI does not know
        raise InputError(f"'{where}' has a damaged NIfTI header; copy it again") from error
    stored = data.stat().st_size - (0 if layout.packed else layout.offset)
    sizes = (layout.shape, layout.nbytes, layout.volumes)
    check_claims(where, *sizes, stored, packed=layout.packed)
    return layout


def _first_bytes(path: Path) -> bytes:
    opener = gzip.open if is_gzip(path) else open
    with opener(path, "rb") as file:
        return bytes(file.read(540))


def _parse(block: bytes) -> tuple[Any, NDArray[np.float64]]:
    """Return the header, mended as nibabel does it, and the voxel sizes before mending."""
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


def _layout(
    path: Path, data: Path, header: Any, zooms: NDArray[np.float64], vectors: bool
) -> Layout:
    where = shown(path)
    sizes = [int(size) for size in header.get_data_shape()]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if not sizes or min(sizes) < 1:
        raise InputError(f"'{where}' is empty: its header gives the size {sizes}")
    is_vectors = vectors and len(sizes) == 5 and sizes[3] == 1
    if is_vectors:
        del sizes[3]
    if len(sizes) > 4:
        raise InputError(
            f"'{where}' holds {prod(sizes[4:])} values in each voxel (a vector or deformation "
            "field), which are neither CT nor color"
        )
    sizes += [1] * (3 - len(sizes))
    dtype = np.dtype(header.get_data_dtype())
    if (dtype.names is None and dtype.kind not in "iuf") or (
        dtype.names is not None and dtype.names not in COLORS
    ):
        raise InputError(
            f"'{where}' holds values of type {dtype}, not numbers of one kind; save it as 16-bit "
            "integers or floats"
        )
    slope, intercept = _scale(header, where) if dtype.names is None else (1.0, 0.0)
    shape = (sizes[2], sizes[1], sizes[0])
    affine, warnings = space(header, shape, zooms, where)
    matrix = data.with_suffix(".mat")
    if not hasattr(header, "get_sform") and matrix.is_file():
        warnings = (*warnings, f"the orientation in '{matrix.name}' beside the file was not used")
    return Layout(
        path=path,
        data=data,
        packed=is_gzip(data),
        offset=_offset(header),
        dtype=dtype,
        shape=shape,
        volumes=sizes[3] if len(sizes) > 3 else 1,
        slope=slope,
        intercept=intercept,
        affine=affine,
        warnings=warnings,
        meaning=_meaning(header),
        intent=int(header["intent_code"]) if "intent_code" in header else 0,
        is_vectors=is_vectors,
    )


def _scale(header: Any, where: str) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 or NaN means that there is none (NIfTI-1)."""
    nifti = hasattr(header, "get_sform")  # SPM's Analyze takes such an intercept as 0
    if nifti and _finite(header["scl_slope"]) and not _finite(header["scl_inter"], or_zero=True):
        raise InputError(
            f"'{where}' has a slope but an intercept that is no number, so its values cannot be "
            "known; export it again"
        )
    slope_or_none, intercept = header.get_slope_inter()
    if slope_or_none is None:
        return 1.0, 0.0
    return float(slope_or_none), float(intercept)


def _finite(value: Any, *, or_zero: bool = False) -> bool:
    return bool(np.isfinite(value)) and (or_zero or float(value) != 0)


def _offset(header: Any) -> int:
    offset = int(header["vox_offset"])  # of a NaN: ValueError
    least = int(getattr(header, "single_vox_offset", 0)) if _single(header) else 0
    if offset < 0:
        raise ValueError("a negative offset")
    return max(offset, least)


def _single(header: Any) -> bool:
    return bool(getattr(header, "is_single", False))


def _meaning(header: Any) -> str:
    """Return what the intent code says, where it says that the values are no measurement."""
    code = int(header["intent_code"]) if "intent_code" in header else 0
    if code == 1002:
        return "the file says that its values are labels, not a measurement"
    if 2 <= code <= 24:
        return "the file says that its values are statistics, not a measurement"
    return ""

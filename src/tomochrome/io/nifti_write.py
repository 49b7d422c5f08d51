"""Writing NIfTI slice by slice."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from tomochrome.errors import OutputError
from tomochrome.geometry.affine import to_nifti_affine
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Volume

_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_RGBA: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])


def write_nifti(
    volume: Volume,
    path: Path,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, one slice at a time.

    RGBA becomes RGBA32 (NIfTI data type 2304), or RGB24 (128), which more programs read, when it
    was lit with the opacity "opaque" (where the provenance says nothing: when all alpha is 255).
    Booleans become bytes, half floats floats. Sform and qform both hold the affine (the sform
    alone where a qform cannot express shear). The description holds what the provenance's
    ``extra`` says under ``description``, cut to 79 characters.

    Parameters
    ----------
    volume
        Voxels are fetched slice by slice, so that a lazily lit volume is never whole in memory.
    path
        Where to write; see `tomochrome.runtime.write_whole` for doing so safely.

    Raises
    ------
    OutputError
        If NIfTI has no type for the values, or an axis is longer than 32767.
    """
    dtype = _file_type(volume, cancel)
    header = _file_header(volume, dtype)
    depth = volume.shape[0]
    with _open(path) as file:
        file.write(header.binaryblock.ljust(int(header["vox_offset"]), b"\x00"))
        for z in range(depth):
            check(cancel)
            report(progress, z, depth, "writing")
            file.write(_slice_bytes(volume, z, dtype))
    report(progress, depth, depth, "writing")


def _file_type(volume: Volume, cancel: CancelToken | None) -> np.dtype[Any]:
    if volume.is_rgba:
        # By what was asked for, not by what the body happens to fill: scripts rely on the type.
        opacity = volume.provenance.extra.get("opacity")
        opaque = _all_opaque(volume, cancel) if opacity is None else opacity == "opaque"
        return _RGB if opaque else _RGBA
    dtype = np.dtype(volume.voxels.dtype)
    wider = {"bool": np.uint8, "float16": np.float32}
    return np.dtype(wider.get(dtype.name, dtype)).newbyteorder("<")


def _all_opaque(volume: Volume, cancel: CancelToken | None) -> bool:
    for z in range(volume.shape[0]):
        check(cancel)
        if (np.asarray(volume.voxels[z])[..., 3] != 255).any():
            return False
    return True


def _file_header(volume: Volume, dtype: np.dtype[Any]) -> Any:
    header = nib.Nifti1Header(endianness="<")
    try:
        header.set_data_dtype(dtype)
        header.set_data_shape(volume.shape[::-1])
    except HeaderDataError as error:
        raise OutputError(
            f"values of type {dtype} on a grid of {volume.shape} do not fit a NIfTI file; "
            "write .nrrd instead"
        ) from error
    affine = to_nifti_affine(volume.affine)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner", strip_shears=True)
    if not np.allclose(header.get_qform(), affine, atol=1e-3):
        header["qform_code"] = 0
    header.set_xyzt_units("mm")
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    text = str(volume.provenance.extra.get("description", "not for diagnosis"))
    header["descrip"] = text.encode("ascii", "replace")[:79]
    return header


def _slice_bytes(volume: Volume, z: int, dtype: np.dtype[Any]) -> bytes:
    plane = np.asarray(volume.voxels[z])
    if dtype == _RGB:
        plane = plane[..., :3]
    elif dtype != _RGBA:
        plane = plane.astype(dtype, copy=False)
    return np.ascontiguousarray(plane).tobytes()


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open for writing; gzip at its fastest level and without a time stamp."""
    with path.open("wb") as bare:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, bare, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        else:
            yield bare

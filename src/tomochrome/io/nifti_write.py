"""Writing NIfTI slice by slice: volumes and displacement fields."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from tomochrome.errors import OutputError
from tomochrome.geometry.affine import to_nifti_affine
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.runtime import check, report
from tomochrome.volume import Volume

_VECTOR: Final = 1007  # NIFTI_INTENT_VECTOR
_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_RGBA: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, one slice at a time.

    RGBA is written as RGBA32 (NIfTI data type 2304), or as the more widely supported RGB24 (128)
    if it was lit with the opacity "opaque" (if the provenance does not say: if all alpha is 255).
    Booleans are written as uint8, float16 as float32. Both sform and qform hold the affine (only
    the sform if it has shear). The header's description is the ``description`` in the
    provenance's ``extra``, truncated to 79 characters.

    Parameters
    ----------
    volume
        Voxels are read slice by slice, so a lazily lit volume is never held in memory at once.
    path
        Destination; use `tomochrome.runtime.write_whole` to write it atomically.

    Raises
    ------
    OutputError
        If NIfTI has no data type for the values, or an axis is longer than 32767.
    """
    dtype = _file_type(volume)
    note = str(volume.provenance.extra.get("description", "not for diagnosis"))
    depth, height, width = volume.shape

    def plane(z: int) -> NDArray[Any]:
        values = np.asarray(volume.voxels[z])
        return values[..., : len(dtype.names)] if dtype.names else values.astype(dtype, copy=False)

    with _begun(path, _file_header((width, height, depth), volume.affine, dtype, note)) as file:
        write_planes(file, plane, depth)


def write_nifti_field(field: DisplacementField, path: Path) -> None:
    """Write a displacement field as ``.nii`` or ``.nii.gz``, one component slice at a time.

    The image has five dimensions, vectors in LPS mm and intent code 1007 (vector), as written by
    ITK and ANTs. ITK's own writer is not used: it does not report a truncated file on a full disk.

    Raises
    ------
    OutputError
        If an axis is longer than 32767.
    """
    depth, height, width = field.shape
    dtype = np.dtype("<f4")
    header = _file_header((width, height, depth, 1, 3), field.affine, dtype, "displacements, mm")
    header["intent_code"] = _VECTOR

    def plane(number: int) -> NDArray[Any]:
        return field.vectors[number % depth, ..., number // depth].astype(dtype, copy=False)

    with _begun(path, header) as file:
        write_planes(file, plane, 3 * depth)


def write_planes(file: IO[bytes], plane: Callable[[int], NDArray[Any]], count: int) -> None:
    """Write the bytes of planes 0 to ``count - 1``; `check` is called before each."""
    for number in range(count):
        check()
        report(number, count, "writing")
        file.write(np.ascontiguousarray(plane(number)).tobytes())
    report(count, count, "writing")


def _file_type(volume: Volume) -> np.dtype[Any]:
    if volume.is_rgba:
        # Decided by the option, not by the content: scripts rely on the data type.
        opacity = volume.provenance.extra.get("opacity")
        opaque = _all_opaque(volume) if opacity is None else opacity == "opaque"
        return _RGB if opaque else _RGBA
    dtype = np.dtype(volume.voxels.dtype)
    wider = {"bool": np.uint8, "float16": np.float32}
    return np.dtype(wider.get(dtype.name, dtype)).newbyteorder("<")


def _all_opaque(volume: Volume) -> bool:
    for z in range(volume.shape[0]):
        check()
        if (np.asarray(volume.voxels[z])[..., 3] != 255).any():
            return False
    return True


def _file_header(
    shape: tuple[int, ...], affine: NDArray[np.float64], dtype: np.dtype[Any], note: str
) -> Any:
    """Return a header for the given shape (x, y, z, ...) and affine (to LPS mm)."""
    header = nib.Nifti1Header(endianness="<")
    try:
        header.set_data_dtype(dtype)
        header.set_data_shape(shape)
    except HeaderDataError as error:
        raise OutputError(
            f"values of type {dtype} on a grid of {shape[2::-1]} do not fit a NIfTI file; "
            "write .nrrd instead"
        ) from error
    affine = to_nifti_affine(affine)
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner", strip_shears=True)
    if not np.allclose(header.get_qform(), affine, atol=1e-3):
        header["qform_code"] = 0
    header.set_xyzt_units("mm")
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header["descrip"] = note.encode("ascii", "replace")[:79]
    return header


@contextmanager
def _begun(path: Path, header: Any) -> Iterator[IO[bytes]]:
    """Open a file and write the header; gzip uses the fastest level and no timestamp."""
    start = header.binaryblock.ljust(int(header["vox_offset"]), b"\x00")
    with path.open("wb") as bare:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, bare, mtime=0) as packed:
                packed.write(start)
                yield packed  # type: ignore[misc]
        else:
            bare.write(start)
            yield bare

"""NIfTI: reading with nibabel's headers, and writing slice by slice."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OutputError
from tomochrome.geometry.affine import from_nifti_affine, to_nifti_affine
from tomochrome.io.units import compact, infer_unit
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Provenance, Unit, Verdict, Volume

_MM: Final = {"meter": 1000.0, "micron": 0.001}
_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_RGBA: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI volume as stored, with its true affine.

    Parameters
    ----------
    path
        A ``.nii``, ``.nii.gz`` or ``.hdr``/``.img`` file.

    Returns
    -------
    Volume
        int16 where slope and intercept allow that exactly, else float32. The unit is inferred
        (`tomochrome.io.units`), and a warning says so. RGB24 and RGBA32 become unit "RGBA".

    Raises
    ------
    InputError
        If the file is damaged, truncated, or not one scalar or color volume.
    """
    try:
        image: Any = nib.load(path)
        raw = np.asanyarray(image.dataobj.get_unscaled())
    except Exception as error:  # nibabel and zlib raise many kinds on damaged files
        raise InputError(
            f"'{path}' cannot be read as NIfTI, because it is damaged or truncated; copy it again"
        ) from error
    while raw.ndim > 3 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    raw = raw.reshape(raw.shape + (1,) * (3 - raw.ndim))
    if raw.ndim != 3:
        raise InputError(
            f"'{path}' holds {' x '.join(map(str, raw.shape[3:]))} volumes in one file (4D); "
            "save the one that you want as a file of its own"
        )
    try:
        affine, warnings = _affine(image)
    except Exception as error:  # codes that NIfTI does not know
        raise InputError(f"'{path}' has a damaged NIfTI header; copy it again") from error
    voxels, unit, note = _values(raw, image.dataobj, path)
    verdict: Verdict = "regular" if unit == "HU" else "not-ct"
    provenance = Provenance(
        source=str(path),
        kind="nifti",
        modality="unknown",
        verdict=verdict,
        warnings=(*warnings, *note),
        history=("read a NIfTI file",),
    )
    try:
        return Volume(voxels, affine, unit, provenance)
    except GeometryError as error:
        raise InputError(f"'{path}' has an unusable geometry: {error}") from error


def _values(
    raw: NDArray[Any], proxy: Any, path: Path
) -> tuple[NDArray[Any], Unit, tuple[str, ...]]:
    """Return voxels (z, y, x) or RGBA, their unit, and warnings."""
    if raw.dtype.names:
        return _color(raw, path), "RGBA", ("a color picture, not CT",)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"'{path}' holds values of type {raw.dtype}, not numbers of one kind")
    voxels = np.ascontiguousarray(raw.T)
    slope, intercept = float(proxy.slope), float(proxy.inter)
    if (slope, intercept) != (1.0, 0.0):
        voxels = voxels * slope + intercept
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(f"'{path}' holds values that are not finite numbers; repair it first")
    voxels = compact(voxels)
    unit, reason = infer_unit(voxels)
    return voxels, unit, (reason,)


def _color(raw: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    names = raw.dtype.names or ()
    if names not in (_RGB.names, _RGBA.names):
        raise InputError(f"'{path}' holds values with fields {names}, which are not a color")
    rgba = np.full((*raw.shape[::-1], 4), 255, dtype=np.uint8)
    for channel, name in enumerate(names):
        rgba[..., channel] = raw[name].T
    return rgba


def _affine(image: Any) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return (z, y, x) index to LPS mm, as nibabel chooses it, and what there is to say."""
    warnings = []
    header = image.header
    affine = np.asarray(image.affine, dtype=np.float64)
    if hasattr(header, "get_sform"):
        sform, qform = int(header["sform_code"]), int(header["qform_code"])
        if not sform and not qform:
            warnings.append("the file stores no orientation: left and right are not certain")
        elif sform and qform and not _agree(header):
            warnings.append("sform and qform of the file disagree; the sform was used")
        unit = header.get_xyzt_units()[0]
        if unit in _MM:
            scale = np.diag([_MM[unit]] * 3 + [1.0])
            affine = scale @ affine
            warnings.append(f"positions in the file are in {unit}s; they were turned into mm")
    return from_nifti_affine(affine), tuple(warnings)


def _agree(header: Any) -> bool:
    try:
        return bool(np.allclose(header.get_sform(), header.get_qform(), atol=1e-2))
    except Exception:  # an impossible quaternion: then only the sform is of use
        return False


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

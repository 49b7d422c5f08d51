"""NRRD and MetaImage: reading through SimpleITK, writing NRRD slice by slice."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome.errors import GeometryError, InputError, OutputError
from tomochrome.geometry.sitk import from_sitk
from tomochrome.io.units import compact, infer_unit
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Provenance, Unit, Verdict, Volume

_NRRD_TYPES = {
    "bool": "uint8", "uint8": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16",
    "int64": "int64", "uint64": "uint64", "uint32": "uint32",
    "int32": "int32", "float16": "float", "float32": "float",
    "float64": "double",
}  # fmt: skip


def read_itk(path: Path, kind: str) -> Volume:
    """Read a NRRD or MetaImage volume as stored, with its true affine.

    Parameters
    ----------
    path
        A ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd`` file.
    kind
        ``"nrrd"`` or ``"metaimage"``.

    Returns
    -------
    Volume
        int16 where that is exact, else float32; the unit is inferred
        (`tomochrome.io.units`), and a warning says so. Colors become unit "RGBA".

    Raises
    ------
    InputError
        If the file is damaged, truncated, or not one scalar or color volume.
    """
    import SimpleITK

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # failures arrive as exceptions
    try:
        image = SimpleITK.ReadImage(str(path))
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read as {kind.upper()}, because it is damaged, truncated or "
            "without its data file; copy it again"
        ) from error
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
    return _volume(image, path, kind)


def _volume(image: Any, path: Path, kind: str) -> Volume:
    channels = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise InputError(
            f"'{path}' has {image.GetDimension()} dimensions; "
            "save the three-dimensional volume that you want as a file of its own"
        )
    try:
        bare = from_sitk(_with_alpha(image, path) if channels > 1 else image)
    except GeometryError as error:
        raise InputError(f"'{path}' has an unusable geometry: {error}") from error
    unit: Unit = "RGBA"
    voxels, note = bare.voxels, "a color picture, not CT"
    if channels == 1:
        if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
            raise InputError(f"'{path}' holds values that are not finite numbers; repair it first")
        voxels = compact(voxels)
        unit, note = infer_unit(voxels)
    verdict: Verdict = "regular" if unit == "HU" else "not-ct"
    provenance = Provenance(
        source=str(path), kind=kind, verdict=verdict, warnings=(note,),
        history=(f"read a {kind.upper()} file",),
    )  # fmt: skip
    return Volume(voxels, bare.affine, unit, provenance)


def _with_alpha(image: Any, path: Path) -> Any:
    """Return a color image with four components, or refuse other vectors."""
    import SimpleITK

    channels = image.GetNumberOfComponentsPerPixel()
    if channels not in (3, 4) or "8-bit unsigned" not in image.GetPixelIDTypeAsString():
        raise InputError(
            f"'{path}' holds {channels} values in each voxel, which are neither CT nor color"
        )
    if channels == 4:
        return image
    parts = [SimpleITK.VectorIndexSelectionCast(image, i) for i in range(3)]
    return SimpleITK.Compose([*parts, parts[0] * 0 + 255])


def write_nrrd(
    volume: Volume,
    path: Path,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write a volume as gzip-compressed NRRD in LPS space, one slice at a time.

    RGBA becomes four components a voxel (kind RGBA-color), as 3D Slicer and SimpleITK read
    them. What the provenance's ``extra`` holds goes into the key/value pairs.

    Raises
    ------
    OutputError
        If NRRD has no type for the values.

    Source: NRRD 5 format, https://teem.sourceforge.net/nrrd/format.html
    """
    dtype = np.dtype("uint8" if volume.is_rgba else volume.voxels.dtype)
    depth = volume.shape[0]
    if dtype.name not in _NRRD_TYPES:
        raise OutputError(f"values of type {dtype} cannot be written as NRRD")
    stored = np.dtype(_STORED.get(dtype.name, dtype)).newbyteorder("<")
    with path.open("wb") as bare:
        bare.write(_nrrd_header(volume, dtype).encode("ascii", "replace"))
        with gzip.GzipFile("", "wb", 1, bare, mtime=0) as packed:
            for z in range(depth):
                check(cancel)
                report(progress, z, depth, "writing")
                plane = np.asarray(volume.voxels[z]).astype(stored, copy=False)
                packed.write(np.ascontiguousarray(plane).tobytes())
    report(progress, depth, depth, "writing")


_STORED = {"bool": "uint8", "float16": "float32"}


def _nrrd_header(volume: Volume, dtype: np.dtype[Any]) -> str:
    sizes = [str(n) for n in volume.shape[::-1]]
    columns = volume.affine[:3, 2::-1].T
    directions = ["(" + ",".join(repr(float(v)) for v in column) + ")" for column in columns]
    origin = "(" + ",".join(repr(float(v)) for v in volume.affine[:3, 3]) + ")"
    kinds = ["domain"] * 3
    if volume.is_rgba:
        sizes, directions, kinds = ["4", *sizes], ["none", *directions], ["RGBA-color", *kinds]
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        f"type: {_NRRD_TYPES[dtype.name]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {origin}",
    ]
    extra = {"description": "not for diagnosis", **volume.provenance.extra}
    for key, value in extra.items():
        if isinstance(value, str | int | float):
            name = str(key).replace(":", "-").replace("\n", " ")
            lines.append(f"{name}:={str(value).replace(chr(10), ' ')}")
    return "\n".join(lines) + "\n\n"

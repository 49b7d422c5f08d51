"""Writing NRRD slice by slice."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome.errors import OutputError
from tomochrome.io.nifti_write import write_planes
from tomochrome.volume import Volume

_STORED = {"bool": "uint8", "float16": "float32"}
_NRRD_TYPES = {
    "bool": "uint8", "uint8": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16",
    "int64": "int64", "uint64": "uint64", "uint32": "uint32",
    "int32": "int32", "float16": "float", "float32": "float",
    "float64": "double",
}  # fmt: skip


def write_nrrd(volume: Volume, path: Path) -> None:
    """Write a volume as gzip-compressed NRRD in LPS space, one slice at a time.

    RGBA is written as four components per voxel (kind RGBA-color), as read by 3D Slicer and
    SimpleITK. The provenance's ``extra`` is written as key/value pairs.

    Raises
    ------
    OutputError
        If NRRD has no data type for the values.

    Source: NRRD 5 format, https://teem.sourceforge.net/nrrd/format.html
    """
    dtype = np.dtype("uint8" if volume.is_rgba else volume.voxels.dtype)
    if dtype.name not in _NRRD_TYPES:
        raise OutputError(f"values of type {dtype} cannot be written as NRRD")
    stored = np.dtype(_STORED.get(dtype.name, dtype)).newbyteorder("<")
    with path.open("wb") as bare:
        bare.write(_nrrd_header(volume, dtype).encode("ascii", "replace"))
        with gzip.GzipFile("", "wb", 1, bare, mtime=0) as packed:
            write_planes(
                packed,  # type: ignore[arg-type]
                lambda z: np.asarray(volume.voxels[z]).astype(stored, copy=False),
                volume.shape[0],
            )


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

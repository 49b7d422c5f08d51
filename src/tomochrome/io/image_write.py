"""Writing volumes and displacement fields as NIfTI, NRRD or OME-Zarr (0.4), slice by slice."""

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
from tomochrome.runtime import check, check_writable, report
from tomochrome.volume import OF_RESTORED, RESTORED, Volume, default_affine

_VECTOR: Final = 1007  # NIFTI_INTENT_VECTOR
_DESCRIPTION: Final = 79  # characters
_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_RGBA: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])

_STORED = {"bool": "uint8", "float16": "float32"}
_NRRD_TYPES = {
    "bool": "uint8", "uint8": "uint8", "int8": "int8", "uint16": "uint16", "int16": "int16",
    "int64": "int64", "uint64": "uint64", "uint32": "uint32",
    "int32": "int32", "float16": "float", "float32": "float",
    "float64": "double",
}  # fmt: skip

_CHUNK: Final = 32, 256, 256
_MIN_RESOLUTION: Final = 256  # y and x: no lower resolution is written below this
_COLORS: Final = (
    ("red", "FF0000", True), ("green", "00FF00", True), ("blue", "0000FF", True),
    ("alpha", "FFFFFF", False),
)  # fmt: skip
_MARKS: Final = (".zgroup", ".zattrs", "zarr.json")  # files of which a Zarr group has one


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, one slice at a time.

    RGBA is written as RGBA32 (NIfTI data type 2304), or as the more widely supported RGB24 (128)
    if it was lit with the opacity "opaque" (if the provenance does not say: if all alpha is 255).
    Booleans are written as uint8, float16 as float32. Both sform and qform hold the affine (only
    the sform if it has shear). The header's description is the ``description`` in the
    provenance's ``extra``, shortened to 79 characters in which "not for diagnosis" is kept.

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
    depth, height, width = volume.shape

    def plane(z: int) -> NDArray[Any]:
        values = np.asarray(volume.voxels[z])
        return values[..., : len(dtype.names)] if dtype.names else values.astype(dtype, copy=False)

    header = _file_header((width, height, depth), volume.affine, dtype, described(volume))
    with _begun(path, header) as file:
        write_planes(file, plane, depth)


def described(volume: Volume) -> str:
    """Return the description of a volume, which says whether some of its voxels were restored."""
    note = str(volume.provenance.extra.get("description", "not for diagnosis"))
    if volume.restored is None:
        return note
    return f"{RESTORED}; {note.replace(f', {OF_RESTORED}', '')}"  # NIfTI has 80 characters


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
    head, ending, rest = note.rpartition(", not for diagnosis")
    if ending and not rest:
        note = head[: _DESCRIPTION - len(ending)] + ending
    header["descrip"] = note.encode("ascii", "replace")[:_DESCRIPTION]
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
    extra = {**volume.provenance.extra, "description": described(volume)}
    for key, value in extra.items():
        if isinstance(value, str | int | float):
            name = str(key).replace(":", "-").replace("\n", " ")
            lines.append(f"{name}:={str(value).replace(chr(10), ' ')}")
    return "\n".join(lines) + "\n\n"


def check_store(path: Path, *, force: bool) -> Path:
    """Check that a Zarr store can be written, and return its path.

    Even with ``force``, a folder is only replaced if it is a Zarr group.

    Raises
    ------
    OutputError
        If the store cannot be written or replaced.
    """
    if path.is_dir() and not any((path / mark).is_file() for mark in _MARKS):
        raise OutputError(f"'{path}' is a folder that is not a Zarr group; choose another name")
    return check_writable(path, force=force)


def write_ome_zarr(volume: Volume, path: Path) -> None:
    """Write a volume as an OME-Zarr image.

    The axes are z, y and x in mm, for colors after the channels red, green, blue and alpha. Lower
    resolutions contain every second voxel along each longer axis, so that no value is invented.
    OME-Zarr 0.4 has no rotations: the attribute ``tomochrome`` contains the affine from the indices
    (z, y, x) to LPS mm, and the position is part of the image's transformation only if its axes are
    those of the patient. The mask of restored voxels is the label image ``labels/restored``. It
    needs the package zarr.
    """
    import zarr

    voxels: NDArray[Any] = np.asarray(volume.voxels)
    steps = _steps(volume.shape)
    group = zarr.create_group(store=str(path), zarr_format=2)
    for number, (z, y, x) in enumerate(steps):
        _write_array(group, str(number), voxels[::z, ::y, ::x], (number, len(steps)))
    group.attrs.update(_attributes(volume, steps))
    if volume.restored is not None:
        labels = group.create_group("labels")
        labels.attrs["labels"] = ["restored"]
        mask = labels.create_group("restored")
        _write_array(mask, "0", volume.restored.astype(np.uint8), (0, 1))
        marks = Volume(volume.restored, volume.affine, "tissue")
        mask.attrs.update(_attributes(marks, steps[:1]))
        label: dict[str, Any] = {
            "version": "0.4",
            "colors": [{"label-value": 1, "rgba": [255, 255, 255, 255]}],
            "properties": [{"label-value": 1, "name": RESTORED}],
        }
        mask.attrs["image-label"] = label


def _steps(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the steps along z, y and x of each resolution, the finest first."""
    steps: list[tuple[int, ...]] = [(1, 1, 1)]
    while True:
        sizes = [-(-n // step) for n, step in zip(shape, steps[-1], strict=True)]
        if max(sizes[1:]) <= _MIN_RESOLUTION:
            return steps
        halved = (2 if 2 * n > max(sizes) else 1 for n in sizes)
        steps.append(tuple(step * by for step, by in zip(steps[-1], halved, strict=True)))


def _write_array(group: Any, name: str, voxels: NDArray[Any], of: tuple[int, int]) -> None:
    """Write one resolution, a few slices at a time."""
    channels = voxels.shape[3:]
    chunks = tuple(min(n, most) for n, most in zip(voxels.shape, _CHUNK, strict=False))
    array = group.create_array(
        name,
        shape=(*channels, *voxels.shape[:3]),
        dtype=voxels.dtype,
        chunks=(*(1 for _ in channels), *chunks),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    depth = len(voxels)
    for start in range(0, depth, chunks[0]):
        check()
        slab = voxels[start : start + chunks[0]]
        array[..., start : start + len(slab), :, :] = np.moveaxis(slab, 3, 0) if channels else slab
        report(of[0] * depth + min(start + chunks[0], depth), of[1] * depth, "writing")


def _attributes(volume: Volume, steps: list[tuple[int, ...]]) -> dict[str, Any]:
    """Return the metadata of the image, with the steps (z, y, x) of each resolution."""
    color, affine = volume.is_rgba, volume.affine
    lead = [{"name": "c", "type": "channel"}] if color else []
    axes = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in "zyx"]
    is_straight = np.allclose(affine[:3, :3], default_affine(volume.spacing)[:3, :3])
    datasets = []
    for number, step in enumerate(steps):
        scale = [float(size * k) for size, k in zip(volume.spacing, step, strict=True)]
        transforms: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0] * len(lead) + scale}]
        if is_straight:
            first = [float(mm) for mm in affine[2::-1, 3]]  # LPS to z, y, x
            transforms.append({"type": "translation", "translation": [0.0] * len(lead) + first})
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    extra = volume.provenance.extra
    notes = {key: str(extra[key]) for key in ("model", "window", "palette") if extra.get(key)}
    attributes: dict[str, Any] = {
        "multiscales": [{"version": "0.4", "axes": lead + axes, "datasets": datasets}],
        "tomochrome": {
            "affine_zyx_to_lps_mm": affine.tolist(),
            "unit": volume.unit,
            "note": "not for diagnosis",
            **notes,
        },
    }
    if color:
        attributes["omero"] = {
            "channels": [
                {
                    "label": label,
                    "color": code,
                    "active": active,
                    "window": {"min": 0, "max": 255, "start": 0, "end": 255},
                }
                for label, code, active in _COLORS
            ],
            "rdefs": {"model": "color"},
        }
    return attributes

"""Transform files: ITK composite transforms, displacement fields, transforms of other tools.

A transform is a list of parts in the order in which they are applied to a point: 4x4 matrices and
`DisplacementField`, all in LPS mm, from points of the fixed image to the moving image (ITK's
convention for resampling). An ITK composite applies the part that was added *last* first, so
files list them in reverse. 3D Slicer can store a transform in either direction; the classes
``InverseDisplacementFieldTransform`` and ``InverseBSplineTransform``, unknown to ITK, map the
moving image to the fixed image:
https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html

Displacement fields in NIfTI have five dimensions. ITK, ANTs and 3D Slicer read vectors with intent
code 1007 (vector) as LPS mm, and with 1006 (displacement vector) as RAS mm, as the NIfTI standard
defines it; this module writes 1007.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OutputError, TomochromeError
from tomochrome.geometry.affine import compose, is_orthogonal, nearest_orthogonal
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io import sandboxed_itk
from tomochrome.io.archive import display_path
from tomochrome.io.image_file import read_vectors
from tomochrome.io.image_formats import open_image
from tomochrome.io.image_write import write_nifti_field
from tomochrome.runtime import check, write_whole
from tomochrome.runtime.sandbox import MEMORY, SandboxError, call
from tomochrome.runtime.work_folder import final_path
from tomochrome.volume import MAX_MM

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True, eq=False)
class InverseField:
    """A field stored in the opposite direction, to be inverted when it is applied.

    3D Slicer marks fields that map points of the moving image to the fixed image in this way.
    """

    field: DisplacementField


Part = NDArray[np.float64] | DisplacementField
"""A part that can be written."""
ReadPart = Part | InverseField
"""A part as read; other tools also store fields that have to be inverted."""

FIELD_KINDS: Final = {
    ".nii.gz": "nifti", ".nii": "nifti", ".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "metaimage",
    ".mhd": "metaimage",
}  # fmt: skip
"""File endings from which displacement fields can be read, with their formats."""
_LPS_FROM_RAS: Final = np.array((-1.0, -1.0, 1.0), np.float32)
HDF5_ENDINGS: Final = (".h5", ".hdf5")
_LINEAR: Final = (".tfm", ".txt", ".mat")
_WRITTEN_FIELD: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
_MAX_TEXT: Final = 2**24  #: bytes, for files other than HDF5
_MEMORY_FACTOR: Final = 16  #: ITK holds several copies of a field in double precision
_SECONDS: Final = 8.0
_BYTES_A_SECOND: Final = 2_000_000
_UNWRITTEN: Final = "cannot be written: the disk may be full"
_ROOM: Final = 1 << 16  # bytes of a file in addition to its fields


def check_format(path: str | os.PathLike[str], *, affine: bool) -> Literal["itk", "field"]:
    """Return the kind of transform file that a file ending selects.

    Parameters
    ----------
    path
        Destination of a transform.
    affine
        Whether the transform is affine, without a displacement field.

    Raises
    ------
    OutputError
        If the ending is unknown or cannot hold such a transform.
    """
    name = Path(path).name.lower()
    if name.endswith(_WRITTEN_FIELD):
        return "field"
    if name.endswith(HDF5_ENDINGS) or (affine and name.endswith(_LINEAR)):
        return "itk"
    if name.endswith(_LINEAR):
        raise OutputError(
            f"'{path}' cannot hold a displacement field; save the transform as .h5 or .nii.gz"
        )
    raise OutputError(
        f"'{path}' has no transform file extension; use .h5, or .nii.gz for a displacement field"
    )


def write_parts(
    parts: Sequence[Part], path: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write parts as an ITK composite transform (``.h5``), or one matrix (``.tfm .txt .mat``).

    Raises
    ------
    OutputError
        If the ending does not fit, or the file exists (without ``force``) or cannot be written.
    """
    import SimpleITK

    fields = [part for part in parts if isinstance(part, DisplacementField)]
    if check_format(path, affine=not fields) != "itk":
        raise OutputError(f"'{path}' has the extension of a displacement field, not of a transform")
    pieces = [piece for part in parts for piece in _without_shear(part)]
    if Path(path).name.lower().endswith(HDF5_ENDINGS):
        whole = SimpleITK.CompositeTransform(3)
        for piece in reversed(pieces):  # the last one added is applied first
            whole.AddTransform(_to_itk(piece))
        if not pieces:
            whole.AddTransform(_to_itk(np.eye(4)))
    else:
        matrix = np.eye(4)
        for piece in pieces:
            if not isinstance(piece, DisplacementField):
                matrix = piece @ matrix
        whole = _to_itk(matrix)
    with write_whole(path, force=force) as temporary:
        _reserve(temporary, _ROOM + sum(8 * field.vectors.size for field in fields))
        try:
            with _lower_case(temporary) as plain:
                SimpleITK.WriteTransform(whole, str(plain))
        except RuntimeError as error:
            raise OutputError(f"'{final_path(path)}' {_UNWRITTEN}") from error
        if temporary.stat().st_size == 0:  # ITK does not report failed writes of text files
            raise OutputError(f"'{final_path(path)}' {_UNWRITTEN}")


@contextmanager
def _lower_case(path: Path) -> Iterator[Path]:
    """Yield a path with its ending in lower case, as ITK needs it, and rename it back."""
    plain = path.with_suffix(path.suffix.lower())
    if plain != path and path.exists():
        path.rename(plain)
    yield plain
    if plain != path and plain.exists():
        plain.rename(path)


def _reserve(path: Path, size: int) -> None:
    """Raise if the disk is too full: HDF5 would crash, and text files would be truncated."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()


def write_field(
    field: DisplacementField, path: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write a displacement field in LPS mm as ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.

    NIfTI is written slice by slice and can be cancelled; ITK writes the other formats.

    Raises
    ------
    OutputError
        If the file exists (without ``force``) or cannot be written.
    GeometryError
        If the field's axes are sheared.
    """
    import SimpleITK

    if check_format(path, affine=False) != "field":
        raise OutputError(f"'{path}' has no extension of a displacement field; use .nii.gz")
    if not is_orthogonal(field.affine):
        raise GeometryError(
            f"'{final_path(path)}' cannot hold a displacement field on axes that are not "
            "orthogonal (a tilted gantry); save the transform as .h5, or name an upright reference "
            "volume"
        )
    with write_whole(path, force=force) as temporary:
        if temporary.name.lower().endswith((".nii", ".nii.gz")):
            write_nifti_field(field, temporary)
            return
        check()
        try:
            with _lower_case(temporary) as plain:
                SimpleITK.WriteImage(field.to_sitk(), str(plain), True, compressionLevel=1)
        except RuntimeError as error:
            raise OutputError(f"'{final_path(path)}' {_UNWRITTEN}") from error


def read_parts(path: str | os.PathLike[str]) -> tuple[ReadPart, ...]:
    """Read a transform: ITK's ``.h5 .tfm .txt .mat``, or a displacement field.

    B-spline transforms are sampled as displacement fields on a fine grid.

    Raises
    ------
    InputError
        If the file is missing, damaged, or not a 3D transform.
    """
    source = Path(path)
    name = source.name.lower()
    try:
        if not source.is_file():
            raise InputError(f"there is no transform file '{source}'")
        if name.endswith(tuple(FIELD_KINDS)):
            return (read_field(source),)
        if name.endswith((*HDF5_ENDINGS, *_LINEAR)):
            return tuple(_read_itk(source))
    except (RuntimeError, MemoryError, GeometryError, OSError, ValueError) as error:
        raise InputError(f"'{source}' cannot be read as a transform: {_reason(error)}") from error
    raise InputError(
        f"'{source}' is not a supported transform; give .h5, .tfm, .txt, .mat or a "
        "displacement field (.nii.gz, .nrrd, .mha)"
    )


def _reason(error: Exception) -> str:
    """Return a readable reason; error messages of the libraries are too technical."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, TomochromeError):
        return str(error)
    return "the file is damaged or of another kind"


def _read_itk(path: Path) -> list[ReadPart]:
    """Read a file with ITK in the sandbox; return the parts in order of application."""
    size = path.stat().st_size
    if not path.name.lower().endswith(HDF5_ENDINGS) and not 0 < size <= _MAX_TEXT:
        raise InputError(f"'{path}' is not a transform file: its size is {size} bytes")
    try:
        reply = call(
            sandboxed_itk.transform_parts,
            str(path.absolute()),
            str(path),
            subject=f"'{path}'",
            memory=MEMORY + _MEMORY_FACTOR * size,
            seconds=_SECONDS + size / _BYTES_A_SECOND,
        )
    except SandboxError as error:
        raise InputError(
            f"'{path}' cannot be read as a transform: the file is damaged, of another kind, or too "
            "large; export it again"
        ) from error
    return [_part(one, path) for one in reply]


def _part(reply: dict[str, Any], path: Path) -> ReadPart:
    if "matrix" in reply:
        return _checked_affine(reply["matrix"], path)
    directions = np.array(reply["direction"]).reshape(3, 3)
    affine = compose(reply["origin"], directions[:, ::-1], reply["spacing"][::-1])
    field = DisplacementField(reply["vectors"], affine)
    return InverseField(field) if reply["inverse"] else field


def _checked_affine(matrix: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return the matrix if it is finite, in range and invertible; raise `InputError` otherwise."""
    if not np.isfinite(matrix).all():
        raise InputError(f"'{path}' holds numbers that are not finite")
    if not (np.abs(matrix) <= MAX_MM).all():
        raise InputError(f"'{path}' holds an affine transform with values out of range")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError(f"'{path}' holds an affine transform that is singular")
    return matrix


def _without_shear(part: Part) -> list[Part]:
    """Split a field on sheared axes, which ITK cannot store: inverse shear, field, shear.

    Let ``S`` be the shear and ``v`` the field on orthogonal axes with ``S v(q) = u(S q)``. Then
    ``p + u(p) = S(q + v(q))`` for ``p = S q``.
    """
    if not isinstance(part, DisplacementField) or is_orthogonal(part.affine, 1e-6):
        return [part]
    upright = compose(
        part.affine[:3, 3],
        nearest_orthogonal(part.affine),
        np.linalg.norm(part.affine[:3, :3], axis=0),
    )
    shear = part.affine @ np.linalg.inv(upright)
    back = np.linalg.inv(shear)
    vectors = (part.vectors @ back[:3, :3].T).astype(np.float32)
    return [back, DisplacementField(vectors, upright), shear]


def _to_itk(part: Part) -> SimpleITK.Transform:
    import SimpleITK

    if isinstance(part, DisplacementField):
        image = SimpleITK.Cast(part.to_sitk(), SimpleITK.sitkVectorFloat64)
        return SimpleITK.DisplacementFieldTransform(image)
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix([float(v) for v in part[:3, :3].ravel()])
    affine.SetTranslation([float(v) for v in part[:3, 3]])
    return affine


def read_field(path: Path) -> DisplacementField | InverseField:
    """Read a displacement field.

    Vectors are in LPS mm, as in ITK and ANTs, except with NIfTI's intent code 1006, which
    means RAS mm.

    Raises
    ------
    InputError
        If the file is damaged, claims more data than it can hold, or is not a displacement field.
    GeometryError
        If its values are not finite.
    """
    where = display_path(path)
    image = open_image(
        path, next(k for end, k in FIELD_KINDS.items() if path.name.lower().endswith(end))
    )
    scaled = (image.slope, image.intercept) != (1.0, 0.0)
    components = image.components if image.channels * image.volumes == 3 else 1
    if components != 3:
        raise InputError(
            f"'{where}' is not a displacement field: a field is 3D with three components per "
            f"voxel, and this file has {max(components, image.channels)}"
        )
    if image.dtype.kind != "f" and not scaled:
        raise InputError(f"'{where}' is not a displacement field: its values are {image.dtype}")
    vectors = read_vectors(image)
    if scaled:
        vectors = vectors * image.slope + image.intercept
    if image.ras_vectors:
        vectors = vectors * _LPS_FROM_RAS
    field = DisplacementField(vectors, image.affine)
    # https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html#nrrd
    kind = image.pairs.get("displacement field type", "")
    return InverseField(field) if kind.strip().lower() == "modeling" else field

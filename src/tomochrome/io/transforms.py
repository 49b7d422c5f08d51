"""Transforms in files: ITK composite transforms, displacement fields, other tools' transforms.

A transform is a list of parts in the order in which a point meets them: 4x4 matrices and
`DisplacementField`, all in LPS mm, from points of the fixed image to the moving image (ITK's
convention for resampling). An ITK composite applies the part that was added *last* first, so
files list them in reverse. 3D Slicer knows a transform in one direction or the other; what ITK has
no name for it calls ``InverseDisplacementFieldTransform`` and ``InverseBSplineTransform``, which
store the way from the moving image to the fixed one:
https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html

Displacement fields in NIfTI have five dimensions. ITK, ANTs and 3D Slicer take the vectors of
intent code 1007 (vector) as LPS mm, those of 1006 (displacement vector) as RAS mm, as the NIfTI
standard has it; ours are written with 1007.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OutputError
from tomochrome.geometry.affine import compose, is_orthogonal
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io.fields import ENDINGS as FIELD_ENDINGS
from tomochrome.io.fields import Backwards, read_field
from tomochrome.io.itk_transforms import HDF5_ENDINGS, Record, read_records
from tomochrome.io.minc import read_minc
from tomochrome.io.nifti_write import write_nifti_field
from tomochrome.runtime import CancelToken, Progress, check, write_whole
from tomochrome.volume import MOST_MM

if TYPE_CHECKING:
    import SimpleITK

Part = NDArray[np.float64] | DisplacementField
"""What is written."""
ReadPart = Part | Backwards
"""What is read; other tools also store fields that are to be followed backwards."""

_LINEAR: Final = (".tfm", ".txt", ".mat")
_WRITTEN_FIELD: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
_MOST_VOXELS: Final = 2**28
_PARAMETERS: Final = {  # of ITK's linear transforms in 3D; others crash it
    "AffineTransform": 12, "MatrixOffsetTransformBase": 12, "Rigid3DTransform": 12,
    "ScalableAffineTransform": 12, "FixedCenterOfRotationAffineTransform": 12,
    "CenteredAffineTransform": 15, "Euler3DTransform": 6, "CenteredEuler3DTransform": 9,
    "VersorTransform": 3, "VersorRigid3DTransform": 6, "Similarity3DTransform": 7,
    "ScaleVersor3DTransform": 9, "ScaleSkewVersor3DTransform": 15,
    "ComposeScaleSkewVersor3DTransform": 15, "QuaternionRigidTransform": 7, "ScaleTransform": 3,
    "ScaleLogarithmicTransform": 3, "TranslationTransform": 3, "IdentityTransform": 0,
}  # fmt: skip
_UNFIXED: Final = ("TranslationTransform", "IdentityTransform")
_FIELDS: Final = (
    "DisplacementFieldTransform", "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
)  # fmt: skip
_NOTHING: Final = 1e-100  # the square of less is 0, and ITK writes complaints to the screen
_ROOM: Final = 1 << 16  # bytes of a file beside its fields
_LEAST_NODES: Final = 4  # of a cubic B-spline along each axis
_GRID_STEPS: Final = 4  # samples between two control points of a B-spline


def check_format(path: str | os.PathLike[str], *, affine: bool) -> Literal["itk", "field"]:
    """Say which kind of file an ending asks for.

    Parameters
    ----------
    path
        Where a transform is to be written.
    affine
        Whether it has no displacement field.

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
        f"'{path}' has no ending of a transform; use .h5, or .nii.gz for a displacement field"
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
        raise OutputError(f"'{path}' is the name of a displacement field, not of a transform")
    straight = [piece for part in parts for piece in _straight(part)]
    if Path(path).name.lower().endswith(HDF5_ENDINGS):
        whole = SimpleITK.CompositeTransform(3)
        for piece in reversed(straight):  # the last one added is applied first
            whole.AddTransform(_to_itk(piece))
        if not straight:
            whole.AddTransform(_to_itk(np.eye(4)))
    else:
        matrix = np.eye(4)
        for piece in straight:
            if not isinstance(piece, DisplacementField):
                matrix = piece @ matrix
        whole = _to_itk(matrix)
    with write_whole(path, force=force) as temporary:
        _reserve(temporary, _ROOM + sum(8 * field.vectors.size for field in fields))
        try:
            SimpleITK.WriteTransform(whole, str(temporary))
        except RuntimeError as error:
            raise OutputError(f"'{path}' cannot be written: {_reason(error)}") from error
        if temporary.stat().st_size == 0:  # ITK does not look whether its texts arrived
            raise OutputError(f"'{path}' cannot be written: the disk may be full")


def _reserve(path: Path, size: int) -> None:
    """Refuse a disk too full for a file: at its end HDF5 crashes, and texts are cut off."""
    if hasattr(os, "posix_fallocate"):
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()


def write_field(
    field: DisplacementField,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> None:
    """Write a displacement field in LPS mm as ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.

    Of NIfTI, ``progress`` is told and ``cancel`` looked at with each slice; ITK writes the others.

    Raises
    ------
    OutputError
        If the file exists (without ``force``) or cannot be written.
    GeometryError
        If the field's axes are sheared.
    """
    import SimpleITK

    if check_format(path, affine=False) != "field":
        raise OutputError(f"'{path}' has no ending of a displacement field; use .nii.gz")
    if not is_orthogonal(field.affine):
        raise GeometryError(
            f"'{path}' cannot hold a displacement field on axes that do not stand at right angles "
            "(a tilted gantry); save the transform as .h5, or name an upright reference volume"
        )
    with write_whole(path, force=force) as temporary:
        if temporary.name.lower().endswith((".nii", ".nii.gz")):
            write_nifti_field(field, temporary, progress=progress, cancel=cancel)
            return
        check(cancel)
        try:
            SimpleITK.WriteImage(field.to_sitk(), str(temporary), True, compressionLevel=1)
        except RuntimeError as error:
            raise OutputError(f"'{path}' cannot be written: {_reason(error)}") from error


def read_parts(path: str | os.PathLike[str]) -> tuple[ReadPart, ...]:
    """Read a transform: ITK's ``.h5 .tfm .txt .mat``, MINC's ``.xfm``, or a displacement field.

    B-spline and other smooth transforms are sampled as fields on a fine grid.

    Raises
    ------
    InputError
        If the file is missing, damaged, or no 3D transform.
    """
    source = Path(path)
    name = source.name.lower()
    try:
        if not source.is_file():
            raise InputError(f"there is no transform file '{source}'")
        if name.endswith(FIELD_ENDINGS):
            return (read_field(source),)
        if name.endswith(".xfm"):
            return (_sound(read_minc(source), source),)
        if name.endswith((*HDF5_ENDINGS, *_LINEAR)):
            return tuple(_read_itk(source))
    except (RuntimeError, MemoryError, GeometryError, OSError, ValueError) as error:
        raise InputError(f"'{source}' cannot be read as a transform: {_reason(error)}") from error
    raise InputError(
        f"'{source}' is no transform that is known here; give .h5, .tfm, .txt, .mat, .xfm or a "
        "displacement field (.nii.gz, .nrrd, .mha)"
    )


def _reason(error: Exception) -> str:
    """The last line of ITK's long messages, where it says anything to people."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    if "0x" in said and ": " in said:
        said = said.split(": ", 2)[-1]
    foreign = "suffix" in said or "SimpleITK" in said or not re.search("[a-z]", said)
    return "the file is damaged or of another kind" if foreign else said[:200].rstrip(".")


def _read_itk(path: Path) -> list[ReadPart]:
    """Read records as parts in the order of application, which is the reverse in composites."""
    records = read_records(path)
    composite = records[:1] and records[0].kind == "CompositeTransform"
    single = records[1:] if composite else records
    if any(one.kind == "CompositeTransform" for one in single) or not (
        composite or len(single) == 1
    ):
        raise InputError(
            f"'{path}' holds {len(records)} transforms that are no composite; save them one by one"
        )
    return [_part(one, path) for one in reversed(single)]


def _part(record: Record, path: Path) -> ReadPart:
    if record.dimensions.split("_")[:2] != ["3", "3"]:
        dimensions = record.dimensions.replace("_", " to ")
        raise InputError(f"'{path}' is a transform of {dimensions} dimensions instead of 3")
    backwards = record.kind.startswith("Inverse")
    kind = record.kind.removeprefix("Inverse")
    if kind in _FIELDS:
        field = _field(record)
        return Backwards(field) if backwards else field
    if not (np.isfinite(record.parameters).all() and np.isfinite(record.fixed).all()):
        raise InputError(f"'{path}' holds numbers that are not finite")
    part = _made_by_itk(replace(record, kind=kind), path)
    if isinstance(part, DisplacementField):
        return Backwards(part) if backwards else part
    return _sound(part, path)


def _sound(matrix: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return a matrix that images can be brought through, or say what is wrong with it."""
    if not (np.abs(matrix) <= MOST_MM).all():
        raise InputError(f"'{path}' holds an affine transform that leads beyond all bounds")
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError(f"'{path}' holds an affine transform that flattens space")
    return matrix


def _field(record: Record) -> DisplacementField:
    """Displacement field of the parameters of `itk::DisplacementFieldTransform`."""
    size, origin, spacing, directions = np.split(record.fixed, (3, 6, 9))
    if len(directions) != 9 or not (size == np.rint(size)).all() or not (size >= 1).all():
        raise GeometryError("the displacement field has no grid")
    if float(np.prod(size)) * 3 != len(record.parameters) or not (spacing > 0).all():
        raise GeometryError("the displacement field does not fit its grid")
    x, y, z = (int(n) for n in size)
    affine = compose(origin, directions.reshape(3, 3)[:, ::-1], spacing[::-1])
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        vectors = record.parameters.astype(np.float32).reshape(z, y, x, 3)
    return DisplacementField(vectors, affine)


def _made_by_itk(record: Record, path: Path) -> NDArray[np.float64] | DisplacementField:
    """Let ITK say what the parameters of one of its other classes mean, by a file of that alone."""
    import SimpleITK

    if record.kind == "BSplineTransform":
        _check_spline(record)
    elif record.kind not in _PARAMETERS:
        raise _unknown(path, record.kind)
    elif len(record.parameters) != _PARAMETERS[record.kind] or (
        record.kind not in _UNFIXED and len(record.fixed) not in (3, 4)  # center, order of angles
    ):
        raise GeometryError("the transform has another number of parameters than its kind")
    kind = "AffineTransform" if record.kind == "MatrixOffsetTransformBase" else record.kind
    values = [
        " ".join(map(repr, np.where(np.abs(v) < _NOTHING, 0.0, v).tolist()))
        for v in (record.parameters, record.fixed)
    ]
    with tempfile.TemporaryDirectory(prefix="tomochrome-") as folder:
        alone = Path(folder) / "transform.tfm"
        alone.write_text(
            f"#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}_double_3_3\n"
            f"Parameters: {values[0]}\nFixedParameters: {values[1]}\n",
            encoding="ascii",
        )
        try:
            transform = SimpleITK.ReadTransform(str(alone))
        except RuntimeError as error:
            if "Could not create an instance" not in str(error):
                raise
            raise _unknown(path, record.kind) from error
    if transform.IsLinear():
        return _matrix(transform)
    if transform.GetTransformEnum() == SimpleITK.sitkBSplineTransform:
        return _sampled(SimpleITK.BSplineTransform(transform))
    raise _unknown(path, record.kind)


def _check_spline(record: Record) -> None:
    """Refuse control points that are not those of the grid: size, origin, spacing, directions."""
    size, _, spacing, directions = np.split(record.fixed, (3, 6, 9))
    whole = len(directions) == 9 and (size == np.rint(size)).all() and (size >= _LEAST_NODES).all()
    if not whole or float(np.prod(size)) * 3 != len(record.parameters) or not (spacing > 0).all():
        raise GeometryError("the B-spline transform does not fit its grid")
    if not np.allclose(directions.reshape(3, 3) @ directions.reshape(3, 3).T, np.eye(3), atol=1e-3):
        raise GeometryError("the axes of the B-spline transform do not stand at right angles")


def _unknown(path: Path, kind: str) -> InputError:
    return InputError(
        f"'{path}' holds a transform of a kind that is not known here: {kind}; convert it to a "
        "displacement field"
    )


def _matrix(transform: SimpleITK.Transform) -> NDArray[np.float64]:
    """4x4 matrix of a linear transform of any class, from where it takes four points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - origin
    matrix[:3, 3] = origin
    return matrix


def _sampled(spline: SimpleITK.BSplineTransform) -> DisplacementField:
    """B-spline transform as a dense field over its domain."""
    import SimpleITK

    size = np.array(spline.GetTransformDomainMeshSize()) * _GRID_STEPS + 1
    extent = np.array(spline.GetTransformDomainPhysicalDimensions())
    if np.prod(size, dtype=np.float64) > _MOST_VOXELS:
        raise InputError("the B-spline transform has more control points than can be sampled")
    spacing = extent / (size - 1)
    directions = spline.GetTransformDomainDirection()
    image = SimpleITK.TransformToDisplacementField(
        spline,
        SimpleITK.sitkVectorFloat64,
        [int(n) for n in size],
        spline.GetTransformDomainOrigin(),
        [float(s) for s in spacing],
        directions,
    )
    return DisplacementField.from_sitk(image)


def _straight(part: Part) -> list[Part]:
    """Parts as ITK can hold them: a field on sheared axes becomes shear back, field, shear.

    With ``S`` the shear and ``v`` the field on upright axes with ``S v(q) = u(S q)``,
    ``p + u(p)`` is ``S(q + v(q))`` for ``q`` the point that ``S`` takes to ``p``.
    """
    if not isinstance(part, DisplacementField) or is_orthogonal(part.affine, 1e-6):
        return [part]
    upright = compose(
        part.affine[:3, 3],
        _nearest_rotation(part.affine[:3, :3]),
        np.linalg.norm(part.affine[:3, :3], axis=0),
    )
    shear = part.affine @ np.linalg.inv(upright)
    back = np.linalg.inv(shear)
    vectors = (part.vectors @ back[:3, :3].T).astype(np.float32)
    return [back, DisplacementField(vectors, upright), shear]


def _nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    u, _, vt = np.linalg.svd(matrix / np.linalg.norm(matrix, axis=0))
    return np.asarray(u @ vt)


def _to_itk(part: Part) -> SimpleITK.Transform:
    import SimpleITK

    if isinstance(part, DisplacementField):
        image = SimpleITK.Cast(part.to_sitk(), SimpleITK.sitkVectorFloat64)
        return SimpleITK.DisplacementFieldTransform(image)
    affine = SimpleITK.AffineTransform(3)
    affine.SetMatrix([float(v) for v in part[:3, :3].ravel()])
    affine.SetTranslation([float(v) for v in part[:3, 3]])
    return affine

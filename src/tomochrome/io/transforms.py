"""Transforms in files: ITK composite transforms, displacement fields, other tools' transforms.

A transform is a list of parts in the order in which a point meets them: 4x4 matrices and
`DisplacementField`, all in LPS mm, from points of the fixed image to the moving image (ITK's
convention for resampling). An ITK composite applies the part that was added *last* first, so
files list them in reverse.

Displacement fields in NIfTI have five dimensions. ITK, ANTs and 3D Slicer take the vectors of
intent code 1007 (vector) as LPS mm, those of 1006 (displacement vector) as RAS mm, as the NIfTI
standard has it; ours are written with 1007.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OutputError
from tomochrome.geometry.affine import compose, is_orthogonal
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io.fields import ENDINGS as FIELD_ENDINGS
from tomochrome.io.fields import Backwards, read_field
from tomochrome.io.itk_transforms import HDF5, no_stderr, read_transform
from tomochrome.runtime import write_whole

if TYPE_CHECKING:
    import SimpleITK

Part = NDArray[np.float64] | DisplacementField
"""What is written."""
ReadPart = Part | Backwards
"""What is read; other tools also store fields that are to be followed backwards."""

_LINEAR: Final = (".tfm", ".txt", ".mat")
_WRITTEN_FIELD: Final = (".nii.gz", ".nii", ".nrrd", ".mha")
_MOST_VOXELS: Final = 2**28
_DEEPEST: Final = 32  # composites within composites
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
    if name.endswith(HDF5) or (affine and name.endswith(_LINEAR)):
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

    kind = check_format(path, affine=not any(isinstance(p, DisplacementField) for p in parts))
    if kind != "itk":
        raise OutputError(f"'{path}' is the name of a displacement field, not of a transform")
    straight = [piece for part in parts for piece in _straight(part)]
    if Path(path).name.lower().endswith(HDF5):
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
        try:
            SimpleITK.WriteTransform(whole, str(temporary))
        except RuntimeError as error:
            raise OutputError(f"'{path}' cannot be written: {_reason(error)}") from error


def write_field(
    field: DisplacementField, path: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Write a displacement field in LPS mm as ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.

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
    image = field.to_sitk()
    with write_whole(path, force=force) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True, compressionLevel=1)
        except RuntimeError as error:
            raise OutputError(f"'{path}' cannot be written: {_reason(error)}") from error


def read_parts(path: str | os.PathLike[str]) -> tuple[ReadPart, ...]:
    """Read a transform: ITK's ``.h5 .tfm .txt .mat .xfm``, or a displacement field image.

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
        if name.endswith((*HDF5, *_LINEAR, ".xfm")):
            return tuple(_read_itk(source))
    except (RuntimeError, MemoryError, GeometryError, OSError, ValueError) as error:
        raise InputError(f"'{source}' cannot be read as a transform: {_reason(error)}") from error
    raise InputError(
        f"'{source}' is no transform that is known here; give .h5, .tfm, .txt, .mat, .xfm or a "
        "displacement field (.nii.gz, .nrrd, .mha)"
    )


def _reason(error: Exception) -> str:
    """The last line of ITK's long messages, where it says anything to people."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    if "bad_alloc" in said or "allocate" in said or isinstance(error, MemoryError):
        return "it claims to hold more than such a file can, or than memory does"
    if "0x" in said and ": " in said:
        said = said.split(": ", 2)[-1]
    foreign = "suffix" in said or said.startswith("H5") or not any(c.isalpha() for c in said)
    return "the file is damaged or of another kind" if foreign else said[:200].rstrip(".")


def _read_itk(path: Path) -> list[ReadPart]:
    transform, backwards = read_transform(path)
    if transform.GetDimension() != 3:
        raise InputError(
            f"'{path}' is a transform of {transform.GetDimension()} dimensions instead of 3"
        )
    parts: list[Part] = []
    with no_stderr():  # VNL speaks there of directions that cannot be inverted
        for single in _flat(transform):
            part = _from_itk(single)
            if isinstance(part, np.ndarray):
                if not np.isfinite(part).all():
                    raise InputError(f"'{path}' holds numbers that are not finite")
                if abs(np.linalg.det(part[:3, :3])) < 1e-9:
                    raise InputError(f"'{path}' holds an affine transform that flattens space")
            parts.append(part)
    dense = [part for part in parts if isinstance(part, DisplacementField)]
    if backwards not in (0, len(dense)):
        raise InputError(
            f"'{path}' holds deformations of both directions; save them from 3D Slicer one by one"
        )
    if backwards:
        return [Backwards(p) if isinstance(p, DisplacementField) else p for p in parts]
    return list(parts)


def _flat(transform: SimpleITK.Transform, depth: int = 0) -> list[SimpleITK.Transform]:
    """Single transforms in the order of application, composites within composites opened.

    SimpleITK hides classes that it does not know, such as the ``MatrixOffsetTransformBase`` of
    ANTs, in composites without end.
    """
    import SimpleITK

    if transform.IsLinear() or transform.GetTransformEnum() != SimpleITK.sitkComposite:
        return [transform]
    if depth > _DEEPEST:
        raise InputError("the file holds a transform of a kind that is not known here")
    whole = SimpleITK.CompositeTransform(transform)
    order = reversed(range(whole.GetNumberOfTransforms()))
    return [single for n in order for single in _flat(whole.GetNthTransform(n), depth + 1)]


def _from_itk(transform: SimpleITK.Transform) -> Part:
    import SimpleITK

    if transform.IsLinear():
        return _matrix(transform)
    if transform.GetTransformEnum() == SimpleITK.sitkDisplacementField:
        return DisplacementField.from_sitk(
            SimpleITK.DisplacementFieldTransform(transform).GetDisplacementField()
        )
    if transform.GetTransformEnum() == SimpleITK.sitkBSplineTransform:
        return _sampled(SimpleITK.BSplineTransform(transform))
    raise InputError(
        f"the file holds a transform of a kind that is not known here: {transform.GetName()}"
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

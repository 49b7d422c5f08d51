"""ITK transform files: these functions run in a child of `tomochrome.runtime.sandbox`."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tomochrome.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

_NAME: Final = re.compile(rb"([A-Za-z0-9]+)_(?:double|float)_(\d)_(\d)")
_LINEAR: Final = {  # number of parameters; ITK silently ignores any further ones
    "AffineTransform": 12, "MatrixOffsetTransformBase": 12, "Rigid3DTransform": 12,
    "ScalableAffineTransform": 12, "FixedCenterOfRotationAffineTransform": 12,
    "CenteredAffineTransform": 15, "Euler3DTransform": 6, "CenteredEuler3DTransform": 9,
    "VersorTransform": 3, "VersorRigid3DTransform": 6, "Similarity3DTransform": 7,
    "ScaleVersor3DTransform": 9, "ScaleSkewVersor3DTransform": 15,
    "ComposeScaleSkewVersor3DTransform": 15, "QuaternionRigidTransform": 7, "ScaleTransform": 3,
    "ScaleLogarithmicTransform": 3, "TranslationTransform": 3, "IdentityTransform": 0,
}  # fmt: skip
_FIELDS: Final = {
    "DisplacementFieldTransform", "GaussianSmoothingOnUpdateDisplacementFieldTransform",
    "BSplineSmoothingOnUpdateDisplacementFieldTransform",
}  # fmt: skip
_INVERSE: Final = {"InverseDisplacementFieldTransform", "InverseBSplineTransform"}
_KNOWN: Final = {*_LINEAR} | _FIELDS | _INVERSE | {"BSplineTransform", "CompositeTransform"}
_TEXT: Final = (".tfm", ".txt")
_HEAD: Final = 2**12
_GRID_STEPS: Final = 4  # samples between two control points of a B-spline
_MOST_VOXELS: Final = 2**28


def transform_parts(path: str, where: str) -> list[dict[str, Any]]:
    """Read a transform file as parts, in the order in which they are applied to a point.

    Parameters
    ----------
    path
        An ``.h5``, ``.tfm``, ``.txt`` or ``.mat`` file.
    where
        The path as shown to the user.

    Returns
    -------
    list of dict
        For a linear transform, its ``matrix`` (4x4). Otherwise the sampled displacement field:
        ``vectors`` (z, y, x, 3), ITK's ``origin``, ``spacing`` and ``direction`` (LPS mm, x
        first), and ``inverse``: whether it has to be inverted.

    Raises
    ------
    InputError
        If the file holds no transform, several that are not a composite, or one of an unsupported
        kind or dimension.
    """
    import SimpleITK

    content, ending = Path(path).read_bytes(), Path(path).suffix.lower()
    names = _names(content, ending, where)
    singles = [name for name in names if name != "CompositeTransform"]
    is_text = ending in _TEXT
    if is_text and re.search(rb"s:.*\b(nan|inf)", content, re.I):  # ITK would not terminate
        raise InputError(f"'{where}' holds numbers that are not finite")
    if not _INVERSE.isdisjoint(names):
        transform = _read_copy(_without_inverse(content, is_text), ending)
    elif path.endswith(ending):
        transform = SimpleITK.ReadTransform(path)
    else:  # ITK knows the format by an ending in lower case only
        transform = _read_copy(content, ending)
    parts = [transform]
    if transform.GetTransformEnum() == SimpleITK.sitkComposite:
        whole = SimpleITK.CompositeTransform(transform)
        parts = [whole.GetNthTransform(n) for n in range(whole.GetNumberOfTransforms())]
    if len(parts) != len(singles) or (is_text and not _are_complete(content, names, parts)):
        raise ValueError("other transforms than the file names")
    return [_part(*pair, where) for pair in zip(reversed(parts), reversed(singles), strict=True)]


def _names(content: bytes, ending: str, where: str) -> list[str]:
    """Return the class names of the transforms in a file, in file order."""
    found = [(kind.decode(), *map(int, dims)) for kind, *dims in _NAME.findall(content)]
    is_text = ending in _TEXT
    if not found or (is_text and not content.startswith(b"#Insight Transform File")):
        raise InputError(f"'{where}' cannot be read as a transform: {_foreign(content)}")
    kinds = [kind for kind, *_ in found]
    for kind, source, target in found:
        if kind not in _KNOWN:
            raise InputError(
                f"'{where}' holds a transform of an unsupported kind: {kind}; convert it "
                "to a displacement field"
            )
        if (source, target) != (3, 3):
            raise InputError(
                f"'{where}' is a transform from {source} to {target} dimensions, not in 3D"
            )
    if "CompositeTransform" in kinds[1:] or (len(kinds) > 1 and kinds[0] != "CompositeTransform"):
        raise InputError(
            f"'{where}' holds {len(kinds)} transforms that are not a composite; save them "
            "separately"
        )
    return kinds


def _are_complete(content: bytes, names: list[str], parts: list[SimpleITK.Transform]) -> bool:
    """Whether a text file lists all parameters; ITK does not check their number."""
    blocks = re.split(rb"^Transform:", content, flags=re.MULTILINE)[1:]
    given = [re.search(rb"^Parameters:(.*)$", block, re.MULTILINE) for block in blocks]
    counts = [-1 if line is None else len(line[1].split()) for line in given]
    single = [n for n, name in zip(counts, names, strict=True) if name != "CompositeTransform"]
    return single == [part.GetNumberOfParameters() for part in parts]


def _foreign(content: bytes) -> str:
    """Describe a file that is not an ITK transform, and say what to do with it."""
    head = content[:_HEAD].decode("ascii", errors="replace")
    if '(Transform "' in head:
        return "these are elastix parameters; convert them to a field with transformix -def all"
    if len(content) < _HEAD and re.fullmatch(r"\s*(?:[-+.\deE]+\s+){15}[-+.\deE]+\s*", head):
        return (
            "a plain matrix (of FSL or c3d) does not define its coordinate system; convert "
            "it with c3d_affine_tool -oitk"
        )
    return "the file is damaged or of another kind; export it again"


def _without_inverse(content: bytes, is_text: bool) -> bytes:
    """Replace the inverse class names of a 3D Slicer file, which ITK does not know.

    The order of the names in the file tells the caller which parts are inverse.
    """
    for name in _INVERSE:
        old, new = name.encode(), name.removeprefix("Inverse").encode()
        # Binary offsets must not change; a fixed-length string ends at the first NUL.
        pad = b"" if is_text else b"\0" * (len(old) - len(new))
        content = re.sub(old + rb"(_\w+)", new + rb"\1" + pad, content)
    return content


def _read_copy(content: bytes, ending: str) -> SimpleITK.Transform:
    """Read a transform from the content of a file and an ending in lower case."""
    import SimpleITK

    with TemporaryDirectory(prefix="tomochrome-") as folder:
        copy = Path(folder) / f"transform{ending}"
        copy.write_bytes(content)
        return SimpleITK.ReadTransform(str(copy))


def _part(transform: SimpleITK.Transform, name: str, where: str) -> dict[str, Any]:
    import SimpleITK

    kind = transform.GetTransformEnum()
    if transform.GetNumberOfParameters() != _LINEAR.get(name, transform.GetNumberOfParameters()):
        raise ValueError("another number of parameters than its kind has")
    if transform.IsLinear():
        return {"matrix": _matrix(transform)}
    if kind == SimpleITK.sitkBSplineTransform:
        image = _sampled(SimpleITK.BSplineTransform(transform), where)
    elif kind == SimpleITK.sitkDisplacementField:
        image = SimpleITK.DisplacementFieldTransform(transform).GetDisplacementField()
    else:
        raise ValueError("a transform of another kind than the file names")
    with np.errstate(over="ignore"):  # values out of range become infinite and are refused
        vectors = SimpleITK.GetArrayViewFromImage(image).astype(np.float32)
    return {
        "vectors": vectors,
        "origin": image.GetOrigin(),
        "spacing": image.GetSpacing(),
        "direction": image.GetDirection(),
        "inverse": name in _INVERSE,
    }


def _matrix(transform: SimpleITK.Transform) -> np.ndarray[Any, Any]:
    """Return the 4x4 matrix of any linear transform by mapping four points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = transform.TransformPoint(np.eye(3)[axis].tolist()) - origin
    matrix[:3, 3] = origin
    return matrix


def _sampled(spline: SimpleITK.BSplineTransform, where: str) -> SimpleITK.Image:
    """Sample a B-spline transform as a dense displacement field over its domain."""
    import SimpleITK

    size = np.array(spline.GetTransformDomainMeshSize()) * _GRID_STEPS + 1
    if np.prod(size, dtype=np.float64) > _MOST_VOXELS:
        raise InputError(f"'{where}' has more control points than can be sampled")
    direction = np.array(spline.GetTransformDomainDirection()).reshape(3, 3)
    if not np.allclose(direction @ direction.T, np.eye(3), atol=1e-3):
        raise InputError(f"'{where}' is a B-spline transform whose axes are not orthogonal")
    return SimpleITK.TransformToDisplacementField(
        spline,
        SimpleITK.sitkVectorFloat64,
        [int(n) for n in size],
        spline.GetTransformDomainOrigin(),
        (np.array(spline.GetTransformDomainPhysicalDimensions()) / (size - 1)).tolist(),
        spline.GetTransformDomainDirection(),
    )

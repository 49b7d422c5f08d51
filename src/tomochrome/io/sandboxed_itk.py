"""SimpleITK on untrusted files: these functions run in a child of `tomochrome.runtime.sandbox`.

SimpleITK is slow to import and is loaded only there.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import lazy_loader  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.stream import Inflater

if TYPE_CHECKING:
    import SimpleITK
else:
    SimpleITK = lazy_loader.load("SimpleITK")

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
_MAX_VOXELS: Final = 2**28


def image_information(path: str) -> dict[str, Any]:
    """Return the header of an image as parsed by ITK, without reading the voxels.

    Returns
    -------
    dict
        ``size``, ``origin``, ``spacing`` and ``direction`` as in ITK (x first, LPS mm), the
        number of ``components`` per voxel, and their ``dtype``.
    """
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    reader.SetImageIO(_image_io(path))
    reader.ReadImageInformation()
    components = reader.GetNumberOfComponents()
    # At most two: the number that a header claims could take gigabytes.
    pixel = SimpleITK.Image([1, 1], reader.GetPixelID(), min(components, 2))
    return {
        "size": tuple(reader.GetSize()),
        "origin": tuple(reader.GetOrigin()),
        "spacing": tuple(reader.GetSpacing()),
        "direction": tuple(reader.GetDirection()),
        "components": components,
        "dtype": SimpleITK.GetArrayViewFromImage(pixel).dtype.str,
    }


def _image_io(path: str) -> str:
    """Return ITK's name of a format; ITK itself knows endings in lower case only."""
    metaimage = Path(path).suffix.lower() in (".mha", ".mhd")
    return "MetaImageIO" if metaimage else "NrrdImageIO"


class _View(np.ndarray[Any, Any]):
    """A view of the memory of an ITK image, which it keeps alive."""

    image: SimpleITK.Image


def image_voxels(path: str, data: str, start: int, deflated: str, header: str) -> NDArray[Any]:
    """Return all voxels of an image, slowest axis first, components last.

    Parameters
    ----------
    path
        The file, or its header file.
    data, start
        The file that contains the voxels, and their byte offset.
    deflated
        ``"nrrd"`` or ``"metaimage"`` if the voxels are a gzip or zlib stream, else empty. ITK does
        not verify the checksum of such a stream.
    header
        Replacement for the header of a MetaImage, or empty.

    Raises
    ------
    Exception
        Of any type, if the file is damaged.
    """
    if header:
        with TemporaryDirectory(prefix="tomochrome-") as folder:
            other = Path(folder) / "image.mhd"
            other.write_text(header, encoding="utf-8")
            image = SimpleITK.ReadImage(str(other))
    else:
        image = SimpleITK.ReadImage(path, imageIO=_image_io(path))
    array = SimpleITK.GetArrayViewFromImage(image).view(_View)
    array.image = image
    if deflated and not _sum_agrees(Path(data), start, array):
        _check_stream(Path(data), start, array, is_plain=deflated == "metaimage")
    return array


def _check_stream(data: Path, start: int, array: NDArray[Any], *, is_plain: bool) -> None:
    """Decompress a stream to the end; raise if it is damaged or differs from ITK's voxels.

    The voxels are compared only if ``is_plain``: a NRRD may skip bytes or interleave volumes.
    """
    checksum = 0
    with data.open("rb") as file:
        file.seek(start)
        stream = Inflater(file)
        while piece := stream.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    flat: Any = np.asarray(array).reshape(-1)
    swapped = flat.byteswap() if flat.itemsize > 1 else flat
    if is_plain and checksum not in (zlib.crc32(flat), zlib.crc32(swapped)):
        raise ValueError("the voxels are not those of the stream")


def _sum_agrees(data: Path, start: int, array: NDArray[Any]) -> bool:
    """Whether a file ends with the checksum of an array, which proves its stream intact.

    An intact stream may still differ: bytes may have been skipped, or axes exchanged.

    Source: RFC 1950 (zlib: Adler-32, big endian) and RFC 1952 (gzip: CRC-32 and length).
    """
    with data.open("rb") as file:
        file.seek(start)
        is_gzip = file.read(2) == b"\x1f\x8b"
        file.seek(-8, 2)
        end = file.read()
    flat: Any = np.asarray(array).reshape(-1)
    swapped = flat.byteswap if flat.itemsize > 1 else lambda: flat
    if not is_gzip:
        stored = int.from_bytes(end[4:], "big")
        return zlib.adler32(flat) == stored or zlib.adler32(swapped()) == stored
    stored, length = (int.from_bytes(part, "little") for part in (end[:4], end[4:]))
    same = zlib.crc32(flat) == stored or zlib.crc32(swapped()) == stored
    return same and length == flat.nbytes % 2**32


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
    names = [(kind.decode(), *map(int, dims)) for kind, *dims in _NAME.findall(content)]
    is_text = ending in _TEXT
    if not names or (is_text and not content.startswith(b"#Insight Transform File")):
        raise InputError(f"'{where}' cannot be read as a transform: {_foreign(content)}")
    kinds = [kind for kind, *_ in names]
    for kind, source, target in names:
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
    with TemporaryDirectory(prefix="tomochrome-") as folder:
        copy = Path(folder) / f"transform{ending}"
        copy.write_bytes(content)
        return SimpleITK.ReadTransform(str(copy))


def _part(transform: SimpleITK.Transform, name: str, where: str) -> dict[str, Any]:
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
    size = np.array(spline.GetTransformDomainMeshSize()) * _GRID_STEPS + 1
    if np.prod(size, dtype=np.float64) > _MAX_VOXELS:
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

"""SimpleITK on untrusted files: these functions run in a child of `tomochrome.runtime.sandbox`.

SimpleITK is slow to import and is imported only there.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.stream import Inflater

if TYPE_CHECKING:
    import SimpleITK


def image_information(path: str) -> dict[str, Any]:
    """Return the header of an image as parsed by ITK, without reading the voxels.

    Returns
    -------
    dict
        ``size``, ``origin``, ``spacing`` and ``direction`` as in ITK (x first, LPS mm), the
        number of ``components`` per voxel, and their ``dtype``.
    """
    import SimpleITK

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
    import SimpleITK

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
    found = 0
    with data.open("rb") as file:
        file.seek(start)
        stream = Inflater(file)
        while piece := stream.read(1 << 20):
            found = zlib.crc32(piece, found)
    flat: Any = np.asarray(array).reshape(-1)
    swapped = flat.byteswap() if flat.itemsize > 1 else flat
    if is_plain and found not in (zlib.crc32(flat), zlib.crc32(swapped)):
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

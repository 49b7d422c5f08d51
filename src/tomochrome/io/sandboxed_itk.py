"""SimpleITK on foreign files: these functions run in a child of `tomochrome.runtime.sandbox`.

SimpleITK, which takes long to import, is imported there only.
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
    """Return what ITK understands of an image's header, without reading the voxels.

    Returns
    -------
    dict
        ``size``, ``origin``, ``spacing`` and ``direction`` as ITK has them (x first, LPS mm),
        ``components`` of each voxel, and their type ``dtype``.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(path)
    reader.ReadImageInformation()
    components = reader.GetNumberOfComponents()
    # A pixel of as many components as a header claims may take gigabytes.
    pixel = SimpleITK.Image([1, 1], reader.GetPixelID(), min(components, 2))
    return {
        "size": tuple(reader.GetSize()),
        "origin": tuple(reader.GetOrigin()),
        "spacing": tuple(reader.GetSpacing()),
        "direction": tuple(reader.GetDirection()),
        "components": components,
        "dtype": SimpleITK.GetArrayViewFromImage(pixel).dtype.str,
    }


class _View(np.ndarray[Any, Any]):
    """An array of ITK's own memory, which it keeps."""

    image: SimpleITK.Image


def image_voxels(path: str, data: str, start: int, deflated: str, header: str) -> NDArray[Any]:
    """Return all voxels of an image, slowest axis first, components last.

    Parameters
    ----------
    path
        The file, or its header.
    data, start
        Where the voxels are stored.
    deflated
        ``"nrrd"`` or ``"metaimage"`` if they are a gzip or zlib stream, else nothing: ITK does
        not look at the check sum of one.
    header
        What stands in for the header of a MetaImage, or nothing.

    Raises
    ------
    Exception
        Anything, if the file is damaged.
    """
    import SimpleITK

    if header:
        with TemporaryDirectory(prefix="tomochrome-") as folder:
            other = Path(folder) / "image.mhd"
            other.write_text(header, encoding="utf-8")
            image = SimpleITK.ReadImage(str(other))
    else:
        image = SimpleITK.ReadImage(path)
    array = SimpleITK.GetArrayViewFromImage(image).view(_View)
    array.image = image
    if deflated and not _sum_agrees(Path(data), start, array):
        _check_stream(Path(data), start, array, is_plain=deflated == "metaimage")
    return array


def _check_stream(data: Path, start: int, array: NDArray[Any], *, is_plain: bool) -> None:
    """Inflate a stream to the end; raise if it is damaged, or plain and not what ITK took it for.

    In a NRRD bytes may be skipped, and axes are exchanged where volumes are interleaved.
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
    """Whether a file ends with the check sum of an array: then its stream is sound.

    It need not, even so: bytes may have been skipped, or axes exchanged.

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
        told = int.from_bytes(end[4:], "big")
        return zlib.adler32(flat) == told or zlib.adler32(swapped()) == told
    told, length = (int.from_bytes(part, "little") for part in (end[:4], end[4:]))
    same = zlib.crc32(flat) == told or zlib.crc32(swapped()) == told
    return same and length == flat.nbytes % 2**32

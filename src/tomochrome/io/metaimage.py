"""MetaImage (.mha, .mhd): the header, and the voxels piece by piece.

ITK's own reader writes its complaints to the process's error stream and cannot be stopped, so
it is not used here; the tests hold this one against it.

Source: MetaIO, https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import compose
from tomochrome.io.archive import shown
from tomochrome.io.bounds import check_claims, damaged
from tomochrome.io.detached import beside
from tomochrome.io.stream import fill, opened
from tomochrome.runtime import CancelToken, Progress

_HEADER_MOST: Final = 1 << 16
_TYPES: Final = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2",
    "MET_INT": "i4", "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES: Final = {
    "MET_MOD_CT": "CT",
    "MET_MOD_MR": "MR",
    "MET_MOD_NM": "NM",
    "MET_MOD_US": "US",
}
_POSITIONS: Final = ("Offset", "Position", "Origin")
_DIRECTIONS: Final = ("TransformMatrix", "Rotation", "Orientation")


@dataclass(frozen=True, eq=False)
class MetaImage:
    """A header that was checked; also what there is to read.

    Parameters
    ----------
    path, data
        The file that the user named, and the one with the voxels.
    offset, packed
        Where they begin, and whether they are deflated.
    dtype, channels, shape, volumes
        Stored type, values in each voxel, (z, y, x) of one volume, and how many volumes.
    affine
        4x4 from (z, y, x) index to LPS mm.
    modality
        DICOM's code, or ``"unknown"``.
    warnings
        What there is to say about the geometry.
    """

    path: Path
    data: Path
    offset: int
    packed: bool
    dtype: np.dtype[Any]
    channels: int
    shape: tuple[int, int, int]
    volumes: int
    affine: NDArray[np.float64]
    modality: str
    warnings: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one volume as stored."""
        return prod(self.shape) * self.channels * self.dtype.itemsize

    def voxels(
        self,
        first: int,
        count: int,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Generator[NDArray[Any]]:
        """Yield volumes that follow one another, (z, y, x) or (z, y, x, channels), as stored.

        Raises
        ------
        EOFError, zlib.error, OSError
            If the file is damaged.
        """
        shape = self.shape if self.channels == 1 else (*self.shape, self.channels)
        skip, total = first * self.nbytes, count * self.nbytes
        with opened(
            self.data, seek=self.offset, skip=skip, packed=self.packed, cancel=cancel
        ) as stream:
            for index in range(count):
                raw = np.empty(shape, dtype=self.dtype)
                before = index * self.nbytes
                fill(raw, stream, before=before, total=total, progress=progress, cancel=cancel)
                if self.packed and first + index + 1 == self.volumes:
                    stream.read(1)  # so that the check sum is looked at
                yield raw


def open_metaimage(path: Path) -> MetaImage:
    """Read and check the header of a ``.mha`` or ``.mhd`` file.

    Raises
    ------
    InputError
        If it is damaged, claims more than the file can hold, describes no volume, or its
        data file is missing or outside its folder.
    """
    where = shown(path)
    try:
        fields, end = _fields(path)
        name = fields["ElementDataFile"]
    except (OSError, KeyError, ValueError) as error:
        raise damaged(where, "METAIMAGE") from error
    local = name.upper() == "LOCAL"
    data = path if local else beside(path, name)
    try:
        image = _image(path, data, fields, end if local else None)
    except InputError:
        raise
    except Exception as error:  # numbers that are none, in any of a dozen fields
        raise damaged(where, "METAIMAGE") from error
    stored = data.stat().st_size - image.offset
    check_claims(where, image.shape, image.nbytes, image.volumes, stored, packed=image.packed)
    return image


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields, and where it ends: after the line of ElementDataFile."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        head = file.read(_HEADER_MOST)
    end = 0
    while (stop := head.find(b"\n", end)) >= 0 or end < len(head):
        stop = len(head) if stop < 0 else stop
        key, sign, value = head[end:stop].decode("utf-8", "replace").partition("=")
        end = min(stop + 1, len(head))
        if not sign:
            if key.strip():
                raise ValueError("a line without '='")
            continue
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return fields, end
    raise KeyError("ElementDataFile")


def _image(path: Path, data: Path, fields: dict[str, str], local: int | None) -> MetaImage:
    where = shown(path)
    sizes = [int(word) for word in fields["DimSize"].split()]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if len(sizes) != int(fields["NDims"]) or channels < 1 or min(sizes) < 1:
        raise ValueError("impossible sizes")
    extra = sizes[3:]
    if len(sizes) < 3 or prod(extra[1:]) > 1:
        raise InputError(
            f"'{where}' has {len(sizes)} dimensions; "
            "save the three-dimensional volume that you want as a file of its own"
        )
    if not _true(fields.get("BinaryData", "True")):
        raise InputError(f"'{where}' stores its voxels as text; save it in binary form")
    dtype = np.dtype(_TYPES[fields["ElementType"]])
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", ""))
    dtype = dtype.newbyteorder(">" if _true(msb) else "<")
    affine, warnings = _space(fields, len(sizes))
    shape = (sizes[2], sizes[1], sizes[0])
    offset = local if local is not None else int(fields.get("HeaderSize", "0"))
    if offset < 0:  # the voxels are the last bytes of the file
        offset = data.stat().st_size - prod(sizes) * channels * dtype.itemsize
        offset = max(offset, 0)
    return MetaImage(
        path=path,
        data=data,
        offset=offset,
        packed=_true(fields.get("CompressedData", "")),
        dtype=dtype,
        channels=channels,
        shape=shape,
        volumes=extra[0] if extra else 1,
        affine=affine,
        modality=_MODALITIES.get(fields.get("Modality", ""), "unknown"),
        warnings=warnings,
    )


def _true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _space(fields: dict[str, str], dims: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine; a row of the transform matrix is where an axis (x first) points."""
    warnings: tuple[str, ...] = ()
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), dims)
    origin = _numbers(fields, _POSITIONS, dims)
    matrix = _numbers(fields, _DIRECTIONS, dims * dims)
    if matrix is None:
        matrix = np.eye(dims).ravel()
        warnings = (
            "the file stores no orientation; its axes are taken as left, posterior and superior",
        )
    if spacing is None:
        spacing = np.ones(dims)
        warnings = (*warnings, "the file stores no voxel size; taken as 1 mm")
    if spacing[:3].min() <= 0:
        raise ValueError("voxels without extent")
    origin = np.zeros(dims) if origin is None else origin
    directions = matrix.reshape(dims, dims)[:3, :3].T
    return compose(origin[:3], directions[:, ::-1], spacing[2::-1]), warnings


def _numbers(
    fields: dict[str, str], names: tuple[str, ...], count: int
) -> NDArray[np.float64] | None:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None:
        return None
    values = np.array([float(word) for word in text.split()])
    if values.size != count or not np.isfinite(values).all():
        raise ValueError("impossible numbers")
    return values

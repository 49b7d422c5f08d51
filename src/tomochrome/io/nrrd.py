"""NRRD (.nrrd, .nhdr): the geometry as ITK understands it, and the voxels piece by piece.

ITK's own reader cannot be stopped, and takes a packed file with flipped bits for whole; so raw
and gzip encodings are read here. Texts (ascii, hex), which are rare and small, are left to it.

Source: NRRD 5 format, https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from tomochrome.io.units import MODALITIES
from tomochrome.runtime import CancelToken, Progress, check

_HEADER_MOST: Final = 1 << 20
_LINE_MOST: Final = (
    512  # of a field, bytes: ITK crashes where it complains about twice as long ones
)
_POLL_SECONDS: Final = 0.05
#: spaces that ITK turns into LPS (NRRD section 3.2); with "-time" they have a fourth axis
_KNOWN_SPACES: Final = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las",
    "left-posterior-superior", "lps",
}  # fmt: skip
_TYPES: Final = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_SEQUENCES: Final = {"list", "time", "???", "none", ""}  # kinds of an axis that counts volumes


@dataclass(frozen=True, eq=False)
class _Block:
    """Where the voxels lie, for those encodings that are read here."""

    data: Path
    seek: int
    skip: int
    packed: bool
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]  #: slowest axis first
    range_axis: int | None  #: the axis, counted so, that is none of space


@dataclass(frozen=True, eq=False)
class Nrrd:
    """A header that was checked; also what there is to read (see `MetaImage`)."""

    path: Path
    channels: int
    shape: tuple[int, int, int]
    volumes: int
    affine: NDArray[np.float64]
    modality: str
    warnings: tuple[str, ...]
    as_vector: bool  #: whether ITK gives the volumes as components of each voxel
    block: _Block | None
    pairs: dict[str, str] = field(default_factory=dict)  #: the file's own keys and values

    def voxels(
        self,
        first: int,
        count: int,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Generator[NDArray[Any]]:
        """Yield volumes that follow one another, (z, y, x) or (z, y, x, channels), as stored.

        The file is read whole, because its volumes may be interleaved.

        Raises
        ------
        EOFError, zlib.error, OSError, RuntimeError
            If the file is damaged.
        """
        if self.block is None:
            array = _read_in_thread(self.path, cancel)
        else:
            array = _read_block(self.block, progress, cancel)
        for index in range(first, first + count):
            if self.as_vector:
                yield np.ascontiguousarray(array[..., index])
            elif array.ndim - (self.channels > 1) > 3:
                yield array[index]
            else:
                yield array


def _read_block(
    block: _Block, progress: Progress | None, cancel: CancelToken | None
) -> NDArray[Any]:
    """Return the array (volumes, z, y, x, components) without the axes that there are not."""
    array = np.empty(block.sizes, dtype=block.dtype)
    with opened(
        block.data, seek=block.seek, skip=block.skip, packed=block.packed, cancel=cancel
    ) as stream:
        fill(array, stream, progress=progress, cancel=cancel)
        if block.packed:
            stream.read(1)  # so that the check sum is looked at
    return array if block.range_axis is None else np.moveaxis(array, block.range_axis, -1)


def open_nrrd(path: Path) -> Nrrd:
    """Read and check the header of a ``.nrrd`` or ``.nhdr`` file.

    Raises
    ------
    InputError
        If it is damaged, claims more than the file can hold, describes no volume, or its
        data file is missing or outside its folder.
    """
    where = shown(path)
    try:
        header = _scan(path)
    except (OSError, ValueError) as error:
        raise damaged(where, "NRRD") from error
    name = header.fields.get("data file", header.fields.get("datafile"))
    data = path if name is None else beside(path, name)
    start = header.end if name is None else 0
    encoding = header.fields.get("encoding", "raw").lower()
    if encoding in ("bzip2", "bz2"):
        raise InputError(f"'{where}' is packed by bzip2, which ITK does not read; save it as gzip")
    try:
        return _nrrd(path, header, _information(path), data, start)
    except InputError:
        raise
    except Exception as error:  # ITK's own kind, without a public base
        raise damaged(where, "NRRD") from error


@dataclass
class _Header:
    fields: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    end: int = 0


def _scan(path: Path) -> _Header:
    """Return fields and key/value pairs of the text up to the first empty line."""
    with path.open("rb") as file:
        head = file.read(_HEADER_MOST)
    header = _Header()
    while header.end < len(head):
        stop = head.find(b"\n", header.end)
        stop = len(head) if stop < 0 else stop
        length = stop - header.end
        line = head[header.end : stop].decode("utf-8", "replace").rstrip("\r")
        header.end = min(stop + 1, len(head))
        if not line:
            return header
        if line.startswith(("#", "NRRD0")):
            continue
        key, pair, value = line.partition(":=")
        if pair:
            header.pairs[key] = value
            continue
        key, sign, value = line.partition(":")
        if not sign:
            raise ValueError("a line without ':'")
        if length > _LINE_MOST and key.strip().lower() != "content":
            raise ValueError("a field as long as no field is")
        header.fields[key.strip().lower()] = value.strip()
    if len(head) == _HEADER_MOST:
        raise ValueError("an endless header")
    return header  # a detached header may end without an empty line


@dataclass(frozen=True)
class _Information:
    """What ITK understood of a header."""

    size: tuple[int, ...]
    components: int
    item_bytes: int
    byte_like: bool
    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


def _information(path: Path) -> _Information:
    import SimpleITK

    with _silent():
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        components = reader.GetNumberOfComponents()
        # A pixel of as many components as a header claims may take gigabytes.
        pixel = SimpleITK.Image([1] * 2, reader.GetPixelID(), min(components, 2))
        return _Information(
            size=reader.GetSize(),
            components=components,
            item_bytes=pixel.GetSizeOfPixelComponent(),
            byte_like="8-bit unsigned" in pixel.GetPixelIDTypeAsString(),
            origin=reader.GetOrigin(),
            spacing=reader.GetSpacing(),
            direction=reader.GetDirection(),
        )


def _nrrd(path: Path, header: _Header, info: _Information, data: Path, start: int) -> Nrrd:
    where = shown(path)
    size, dims = info.size, len(info.size)
    kinds = [kind.lower() for kind in header.fields.get("kinds", "").split()]
    others = [kind for kind in kinds if kind not in ("domain", "space")]
    sequence = info.components > 1 and bool(others) and set(others) <= _SEQUENCES
    sequence = sequence and not (
        info.byte_like and info.components in (3, 4) and "list" not in kinds
    )
    volumes = info.components if sequence else 1
    if dims < 3 or prod(size[4:]) > 1 or (sequence and prod(size[3:]) > 1):
        raise InputError(
            f"'{where}' has {dims} dimensions; "
            "save the three-dimensional volume that you want as a file of its own"
        )
    volumes *= size[3] if dims > 3 else 1
    channels = 1 if sequence else info.components
    shape = (size[2], size[1], size[0])
    nbytes = prod(shape) * channels * info.item_bytes
    packed = header.fields.get("encoding", "raw").lower() != "raw"
    stored = data.stat().st_size - start
    check_claims(where, shape, nbytes * volumes, 1, stored, packed=packed)  # it is read whole
    directions = np.array(info.direction).reshape(dims, dims)[:3, :3]
    affine = compose(info.origin[:3], directions[:, ::-1], info.spacing[2::-1])
    modality = header.pairs.get("modality", header.pairs.get("DICOM_0008_0060", "")).strip()
    return Nrrd(
        path=path,
        channels=channels,
        shape=shape,
        volumes=volumes,
        affine=affine,
        modality=modality if modality in MODALITIES else "unknown",
        warnings=_space_warnings(header),
        as_vector=sequence,
        block=_block(header, info, data, start),
        pairs=header.pairs,
    )


def _block(header: _Header, info: _Information, data: Path, start: int) -> _Block | None:
    """Return where the voxels lie, or None where they are left to ITK."""
    fields = header.fields
    encoding = fields.get("encoding", "raw").lower()
    lines = fields.get("line skip", fields.get("lineskip", "0"))
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    code = next((c for c, names in _TYPES.items() if fields["type"] in names.split("|")), None)
    if encoding not in ("raw", "gzip", "gz") or int(lines) != 0 or code is None:
        return None
    big = fields.get("endian", "").lower() == "big"
    sizes = tuple(int(word) for word in fields["sizes"].split())[::-1]
    axis = None
    if info.components > 1:
        kinds = [kind in ("domain", "space") for kind in fields.get("kinds", "").lower().split()]
        if len(kinds) != len(sizes) or kinds.count(False) != 1:
            return None
        axis = len(kinds) - 1 - kinds.index(False)
    spatial = [size for number, size in enumerate(sizes) if number != axis]
    if tuple(spatial) != tuple(info.size[::-1]):
        return None
    if skip < 0:  # the voxels are the last bytes of the file
        skip = data.stat().st_size - start - prod(sizes) * info.item_bytes
    if skip < 0 or (encoding != "raw" and fields.get("byte skip", "0").startswith("-")):
        return None
    return _Block(
        data=data,
        seek=start,
        skip=skip,
        packed=encoding != "raw",
        dtype=np.dtype(code).newbyteorder(">" if big else "<"),
        sizes=sizes,
        range_axis=axis,
    )


def _space_warnings(header: _Header) -> tuple[str, ...]:
    space = header.fields.get("space", "").lower().removesuffix("-time")
    if space in _KNOWN_SPACES or space in ("rast", "last", "lpst"):
        return ()
    if space:
        return (
            "the file does not place its axes in the patient's space; they are taken as "
            "left, posterior and superior",
        )
    return ("the file stores no orientation; its axes are taken as left, posterior and superior",)


def _read_in_thread(path: Path, cancel: CancelToken | None) -> NDArray[Any]:
    """Let ITK read a file while this thread looks at ``cancel``.

    After a cancel ITK goes on until it has done, and what it read is thrown away.
    """
    done: list[Any] = []

    def work() -> None:
        import SimpleITK

        try:
            with _silent():
                done.append(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))
        except BaseException as error:  # given to the thread that waits
            done.append(error)

    thread = threading.Thread(target=work, name="tomochrome-nrrd", daemon=True)
    thread.start()
    while thread.is_alive():
        check(cancel)
        thread.join(_POLL_SECONDS)
    if isinstance(done[0], BaseException):
        raise done[0]
    array: NDArray[Any] = done[0]
    return array


_lock = threading.Lock()
_users = 0
_shown_before = True


@contextmanager
def _silent() -> Iterator[None]:
    """Keep ITK's warnings, a setting of the whole process, from the error stream."""
    import SimpleITK

    global _users, _shown_before
    with _lock:
        if _users == 0:
            _shown_before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
            SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                SimpleITK.ProcessObject.SetGlobalWarningDisplay(_shown_before)

"""NRRD (.nrrd, .nhdr): the header looked at here, the voxels read by ITK in a thread of its own.

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
from tomochrome.io.units import MODALITIES
from tomochrome.runtime import CancelToken, Progress, check, report

_HEADER_MOST: Final = 1 << 20
_POLL_SECONDS: Final = 0.05
#: spaces that ITK turns into LPS (NRRD section 3.2); with "-time" they have a fourth axis
_KNOWN_SPACES: Final = {
    "right-anterior-superior", "ras", "left-anterior-superior", "las",
    "left-posterior-superior", "lps",
}  # fmt: skip
_SEQUENCES: Final = {"list", "time", "???", "none", ""}  # kinds of an axis that counts volumes


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

    def voxels(
        self,
        first: int,
        count: int,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Generator[NDArray[Any]]:
        """Yield volumes that follow one another, (z, y, x) or (z, y, x, channels), as stored.

        ITK reads the file whole and cannot be interrupted: after a cancel it goes on in its
        thread until it has done, and what it read is thrown away.
        """
        report(progress, 0, 1, "reading")
        array = _read_in_thread(self.path, cancel)
        report(progress, 1, 1, "reading")
        for index in range(first, first + count):
            if self.as_vector:
                yield np.ascontiguousarray(array[..., index])
            elif array.ndim - (self.channels > 1) > 3:
                yield array[index]
            else:
                yield array


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
    stored = data.stat().st_size - (header.end if name is None else 0)
    try:
        info = _information(path)
        return _nrrd(path, header, info, stored)
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
        pixel = SimpleITK.Image([1] * 2, reader.GetPixelID(), reader.GetNumberOfComponents())
        return _Information(
            size=reader.GetSize(),
            components=reader.GetNumberOfComponents(),
            item_bytes=pixel.GetSizeOfPixelComponent(),
            byte_like="8-bit unsigned" in pixel.GetPixelIDTypeAsString(),
            origin=reader.GetOrigin(),
            spacing=reader.GetSpacing(),
            direction=reader.GetDirection(),
        )


def _nrrd(path: Path, header: _Header, info: _Information, stored: int) -> Nrrd:
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
    check_claims(where, shape, nbytes, volumes, stored, packed=packed)
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
    """Let ITK read a file while this thread looks at ``cancel``."""
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

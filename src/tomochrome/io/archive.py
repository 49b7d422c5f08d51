"""Bounded extraction of zip archives (such as CD images) into a private temporary folder."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import threading
import weakref
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from tomochrome.errors import FileError, InputError, TomochromeError
from tomochrome.io.series_item import Skipped
from tomochrome.runtime import check, report

PREFIX: Final = "tomochrome-"
MAX_ENTRIES: Final = 100_000
"""Files and folders in one archive: a CD with four whole-body studies has a tenth of that."""
MAX_DIRECTORY_BYTES: Final = 16 << 20
"""Size of the central directory, which is read at once: 160 bytes per allowed entry."""
MAX_BYTES: Final = 16 << 30
"""Total uncompressed size: twice a double-layer DVD."""
MAX_SHARE_OF_DISK: Final = 0.5  # of the free space: other programs need some too
MAX_RATIO: Final = 200.0
"""Compression ratio: CT reaches 2 to 4, blank images 100, zip bombs 1000 and more."""
HARMLESS_BYTES: Final = 64 << 20  # allowed at any compression ratio
MAX_NAME_BYTES: Final = 255  # the limit of common file systems
MAX_PATH_BYTES: Final = 1024
MAX_DEPTH: Final = 32
CHUNK: Final = 1 << 20  # a few milliseconds: between two calls of `check`

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # flag bits of APPNOTE 4.4.4
_LOCAL_HEADER: Final = 30  # bytes before the name, APPNOTE 4.3.7

_Key = tuple[str, int, int]


@dataclass(eq=False)
class _Unpacked:
    """An unpacked archive, deleted when the process ends."""

    archive: Path
    folder: Path
    skipped: tuple[Skipped, ...]


_lock = threading.Lock()
_unpacked: dict[_Key, _Unpacked] = {}


def unpack(path: str | os.PathLike[str]) -> Path:
    """Unpack a zip archive into a private temporary folder that lives until the process ends.

    The same file (by path, size and modification time) is unpacked only once. Links and special
    files are skipped (see `skipped_entries`); nested archives are not unpacked.

    Parameters
    ----------
    path
        The archive.

    Returns
    -------
    Path
        The folder, accessible only to the current user.

    Raises
    ------
    InputError
        If the archive is damaged, encrypted, nested in another archive, exceeds the limits of
        this module, or would write outside its folder. Nothing is left behind.
    Cancelled
        If the task was cancelled. Nothing is left behind.

    Source: PKWARE APPNOTE 6.3.10; D. Fifield, A better zip bomb, WOOT 2019 (overlapping entries).
    """
    archive = Path(path)
    if _holder(archive) is not None:
        raise InputError(
            f"'{display_path(archive)}' is a zip archive inside another one; unpack the outer one "
            "yourself first"
        )
    try:
        real = archive.resolve()
        state = real.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"'{archive}' cannot be opened: {reason}") from error
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"'{archive}' is not a regular file; choose a zip archive")
    key = (str(real), state.st_size, state.st_mtime_ns)
    while not _lock.acquire(timeout=0.1):  # another thread is unpacking, perhaps the same file
        check()
    try:
        unpacked = _unpacked.get(key)
        if unpacked is None or not unpacked.folder.is_dir():
            unpacked = _unpack(archive)
            _unpacked[key] = unpacked
        return unpacked.folder
    finally:
        _lock.release()


def display_path(path: str | os.PathLike[str]) -> str:
    """Return a path for display: ``.../archive.zip/inner/name`` inside an unpacked archive."""
    holder = _holder(Path(path))
    if holder is None:
        return str(path)
    return str(holder.archive / Path(path).relative_to(holder.folder))


def file_error(path: str | os.PathLike[str], fault: str, advice: str = "") -> FileError:
    """Return a `FileError` that shows a path as `display_path` does."""
    return FileError(display_path(path), fault, advice)


def skipped_entries(folder: str | os.PathLike[str]) -> tuple[Skipped, ...]:
    """Return the entries that `unpack` skipped when it created a folder, with the reasons."""
    holder = _holder(Path(folder))
    return () if holder is None else holder.skipped


def _holder(path: Path) -> _Unpacked | None:
    """Return the unpacked archive that contains a path, if any."""
    holders = {unpacked.folder: unpacked for unpacked in list(_unpacked.values())}
    return next((holders[place] for place in (path, *path.parents) if place in holders), None)


class _RefusedError(Exception):
    """An archive is refused; the message is a clause that follows "because"."""


def _unpack(archive: Path) -> _Unpacked:
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        with archive.open("rb", buffering=0) as bare, _Bounded(bare) as file:
            skipped = _unpack_into(folder, archive, file)
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TomochromeError) or not isinstance(error, Exception):
            raise
        if isinstance(error, _RefusedError):
            raise InputError(f"'{archive}' is not unpacked, because {error}") from error
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"'{archive}' cannot be unpacked: {error.strerror}") from error
        raise InputError(f"'{archive}' is a damaged zip archive; copy it again") from error
    unpacked = _Unpacked(archive, folder, skipped)
    weakref.finalize(unpacked, _remove, folder, os.getpid())  # also when the process ends
    return unpacked


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child must not delete its parent's folder
        shutil.rmtree(folder, ignore_errors=True)


class _Bounded(io.BufferedReader):
    """A file that limits each read to the largest allowed central directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        limit = MAX_DIRECTORY_BYTES + 1
        data = super().read(limit if size is None or size < 0 else min(size, limit))
        if len(data) == limit:
            raise _RefusedError(
                f"its central directory is larger than {MAX_DIRECTORY_BYTES >> 10} KiB; unpack it "
                "yourself first"
            )
        return data


def _unpack_into(folder: Path, archive: Path, file: IO[bytes]) -> tuple[Skipped, ...]:
    check()
    with zipfile.ZipFile(file) as packed:
        _check_contents(archive, packed.infolist())
        plan, skipped = _plan(archive, packed.infolist())
        done, total = 0, max(1, sum(entry.file_size for entry, _ in plan) >> 10)
        for entry, place in plan:
            check()
            target = folder.joinpath(*place.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as source, target.open("xb") as sink:
                # zipfile returns at most the declared size and verifies the checksum at the end.
                while chunk := source.read(CHUNK):
                    check()
                    sink.write(chunk)
                    done += len(chunk)
                    report(done >> 10, total, "unpacking")
                if sink.tell() != entry.file_size:
                    raise zipfile.BadZipFile("an entry ends early")
    return skipped


def _check_contents(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Check the central directory before anything is unpacked."""
    if len(entries) > MAX_ENTRIES:
        raise _RefusedError(
            f"it holds {len(entries)} entries, more than {MAX_ENTRIES}; unpack it yourself first"
        )
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise _RefusedError("it is protected by a password; unpack it yourself first")
    if any(entry.compress_type not in _METHODS for entry in entries):
        raise _RefusedError("its compression method is not supported; unpack it yourself first")
    total, place = sum(entry.file_size for entry in entries), tempfile.gettempdir()
    if total > MAX_BYTES:
        raise _RefusedError(
            f"it holds {total / 2**30:.0f} GiB, more than {MAX_BYTES >> 30} GiB; "
            "unpack it yourself first"
        )
    if total > shutil.disk_usage(place).free * MAX_SHARE_OF_DISK:
        raise _RefusedError(
            f"its {total / 2**20:.0f} MiB would fill more than half of the free disk under "
            f"'{place}'; make room there (or set TMPDIR)"
        )
    if total > HARMLESS_BYTES and total > MAX_RATIO * archive.stat().st_size:
        raise _RefusedError(
            f"it would expand more than {MAX_RATIO:.0f} times, as a zip bomb does; "
            "unpack it yourself first, if you trust it"
        )
    # Overlapping entries share compressed bytes: a small archive can unpack to a huge one.
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise _RefusedError("its entries overlap, as in a zip bomb; ask for another copy")
        end = entry.header_offset + _LOCAL_HEADER + entry.compress_size


def _plan(
    archive: Path, entries: list[zipfile.ZipInfo]
) -> tuple[list[tuple[zipfile.ZipInfo, PurePosixPath]], tuple[Skipped, ...]]:
    """Return the destination of each entry, and the skipped entries."""
    plan, skipped = dict[PurePosixPath, zipfile.ZipInfo](), list[Skipped]()
    folders: set[PurePosixPath] = set()
    for entry in entries:
        if entry.orig_filename.endswith(("/", "\\")):
            continue  # folders are created along with their files
        place = _place(entry.orig_filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            what = "a link" if kind == stat.S_IFLNK else "not a regular file"
            skipped.append(Skipped(str(archive / place), f"{what} in a zip archive"))
            continue
        if place in plan:
            raise _RefusedError(
                f"it holds two files with the name '{place}'; unpack it yourself first"
            )
        plan[place] = entry
        folders.update(place.parents)
        if len(folders) > MAX_ENTRIES:
            raise _RefusedError(
                f"it holds more than {MAX_ENTRIES} folders; unpack it yourself first"
            )
    return [(entry, place) for place, entry in plan.items()], tuple(skipped)


def _place(name: str) -> PurePosixPath:
    """Return the relative path of an entry; Windows programs may write backslashes."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or _names_a_drive(parts):
        fault = "would be written outside its folder"
    elif not parts or any(ord(letter) < 32 for letter in name):
        fault = "has an invalid name"
    elif len(parts) > MAX_DEPTH or _bytes(name) > MAX_PATH_BYTES:
        fault = "is nested too deeply"
    elif max(map(_bytes, parts)) > MAX_NAME_BYTES:
        fault = "has a name that is too long"
    else:
        return PurePosixPath(*parts)
    brief = repr(name) if len(repr(name)) <= 60 else repr(name)[:56] + "...'"
    raise _RefusedError(f"an entry of it ({brief}) {fault}; ask for another copy")


def _names_a_drive(parts: list[str]) -> bool:
    if os.name == "nt":
        return any(":" in part for part in parts)
    return bool(parts) and len(parts[0]) > 1 and parts[0][0].isalpha() and parts[0][1] == ":"


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))

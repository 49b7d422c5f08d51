"""Zip archives as they come from CDs, unpacked within bounds into a private temporary folder."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from tomochrome.errors import InputError, TomochromeError
from tomochrome.io.item import Skipped
from tomochrome.runtime import CancelToken, Progress, check, report

PREFIX: Final = "tomochrome-"
MAX_ENTRIES: Final = 100_000
"""Files, and folders, in one archive: a CD with four whole-body studies has a tenth of that."""
MAX_DIRECTORY_BYTES: Final = 16 << 20
"""The archive's table of contents is read whole: 160 bytes for each of the entries allowed."""
MAX_BYTES: Final = 16 << 30
"""Unpacked: twice a double-layer DVD."""
MAX_SHARE_OF_DISK: Final = 0.5  # of what is free: other programs need room too
MAX_RATIO: Final = 200.0
"""Unpacked by packed: CT shrinks 2 to 4 times, empty pictures 100 times, zip bombs 1000 times."""
HARMLESS_BYTES: Final = 64 << 20  # however far they shrank
MAX_NAME_BYTES: Final = 255  # what file systems take
MAX_PATH_BYTES: Final = 1024
MAX_DEPTH: Final = 32
CHUNK: Final = 1 << 20  # a few milliseconds: as often is `cancel` looked at

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # flag bits of APPNOTE 4.4.4
_LOCAL_HEADER: Final = 30  # bytes before the name, APPNOTE 4.3.7

_Key = tuple[str, int, int]


@dataclass(eq=False)
class _Unpacked:
    """A folder that lives as long as the process."""

    archive: Path
    folder: Path
    skipped: tuple[Skipped, ...]


_lock = threading.Lock()
_unpacked: dict[_Key, _Unpacked] = {}


def unpack(
    path: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Unpack a zip archive into a private temporary folder that lives until the process ends.

    The same file (by path, size and time of change) is unpacked once. Links, devices and the
    like are left out, see `left_out`; archives inside the archive stay packed.

    Parameters
    ----------
    path
        The archive.
    progress, cancel
        Told after, and looked at before, each megabyte.

    Returns
    -------
    Path
        The folder, which only this user can enter.

    Raises
    ------
    InputError
        If the archive is damaged, encrypted, lies inside another one, is larger than the bounds
        of this module, or would write outside its folder. Nothing is left behind.
    Cancelled
        If ``cancel`` was set. Nothing is left behind.

    Source: PKWARE APPNOTE 6.3.10; D. Fifield, A better zip bomb, WOOT 2019 (overlapping entries).
    """
    archive = Path(path)
    if _holder(archive) is not None:
        raise InputError(
            f"'{shown(archive)}' is a zip archive inside another one; unpack it yourself first"
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
    while not _lock.acquire(timeout=0.1):  # another thread is unpacking, perhaps this very file
        check(cancel)
    try:
        known = _unpacked.get(key)
        if known is None or not known.folder.is_dir():
            known = _unpack(archive, progress, cancel)
            _unpacked[key] = known
        return known.folder
    finally:
        _lock.release()


def shown(path: str | os.PathLike[str]) -> str:
    """Return how to show a path: inside an unpacked archive ``.../archive.zip/inner/name``."""
    holder = _holder(Path(path))
    if holder is None:
        return str(path)
    return str(holder.archive / Path(path).relative_to(holder.folder))


def in_words(text: str) -> str:
    """Return a sentence in which paths inside unpacked archives stand as `shown` shows them."""
    for known in list(_unpacked.values()):
        text = text.replace(str(known.folder), str(known.archive))
    return text


def left_out(folder: str | os.PathLike[str]) -> tuple[Skipped, ...]:
    """Return what `unpack` did not write into a folder that it made, with the reasons."""
    holder = _holder(Path(folder))
    return () if holder is None else holder.skipped


def _holder(path: Path) -> _Unpacked | None:
    """Return the unpacked archive that a path lies in."""
    for known in list(_unpacked.values()):
        if path.is_relative_to(known.folder):
            return known
    return None


def _unpack(archive: Path, progress: Progress | None, cancel: CancelToken | None) -> _Unpacked:
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    except OSError as error:
        raise InputError(
            f"'{archive}' cannot be unpacked, because there is no temporary folder to write to: "
            f"{error.strerror}"
        ) from error
    try:
        with archive.open("rb", buffering=0) as bare, _Bounded(bare) as file:
            skipped = _unpack_into(folder, archive, file, progress, cancel)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TomochromeError) or not isinstance(error, Exception):
            raise
        raise _refusal(archive, error) from error
    known = _Unpacked(archive, folder, skipped)
    weakref.finalize(known, _remove, folder, os.getpid())  # also when the process ends
    return known


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # and not in a fork that ends before its parent
        shutil.rmtree(folder, ignore_errors=True)


def _refusal(archive: Path, error: Exception) -> InputError:
    """Return the sentence for what zipfile, zlib or the file system complained about."""
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"'{archive}' cannot be unpacked: {error.strerror}")
    return InputError(f"'{archive}' is a damaged zip archive; copy it again")


class _Bounded(io.BufferedReader):
    """A file of which no more than the table of contents may take is read at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        limit = MAX_DIRECTORY_BYTES + 1
        data = super().read(limit if size is None or size < 0 else min(size, limit))
        if len(data) == limit:
            raise InputError(
                f"'{self.name}' is not unpacked, because its table of contents is larger than "
                f"{MAX_DIRECTORY_BYTES >> 10} KiB; unpack it yourself first"
            )
        return data


def _unpack_into(
    folder: Path,
    archive: Path,
    file: IO[bytes],
    progress: Progress | None,
    cancel: CancelToken | None,
) -> tuple[Skipped, ...]:
    check(cancel)
    with zipfile.ZipFile(file) as packed:
        entries = packed.infolist()
        _check_contents(archive, entries)
        plan, skipped = _plan(archive, entries)
        total = sum(entry.file_size for entry, _ in plan)
        room = _Room(archive, folder, min(total, _limit(folder)))
        for entry, place in plan:
            check(cancel)
            target = folder.joinpath(*place.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as source, target.open("xb") as sink:
                _copy(source, sink, room, progress, total, cancel)
                if sink.tell() != entry.file_size:
                    raise zipfile.BadZipFile("an entry ends early")
    return skipped


def _limit(folder: Path) -> int:
    return min(MAX_BYTES, int(shutil.disk_usage(folder).free * MAX_SHARE_OF_DISK))


@dataclass
class _Room:
    """Counts what is really written, whatever the archive claims."""

    archive: Path
    folder: Path
    limit: int
    written: int = 0

    def take(self, count: int) -> None:
        self.written += count
        if self.written > self.limit:
            raise InputError(f"'{self.archive}' holds more than it says; copy it again")


def _copy(
    source: IO[bytes],
    sink: IO[bytes],
    room: _Room,
    progress: Progress | None,
    total: int,
    cancel: CancelToken | None,
) -> None:
    while chunk := source.read(CHUNK):  # checks the CRC at the end of the entry
        check(cancel)
        room.take(len(chunk))
        sink.write(chunk)
        report(progress, room.written >> 10, max(total >> 10, 1), "unpacking")


def _check_contents(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive for what its table of contents says, before anything is unpacked."""

    def refuse(because: str) -> InputError:
        return InputError(f"'{archive}' is not unpacked, because {because}")

    if len(entries) > MAX_ENTRIES:
        raise refuse(
            f"it holds {len(entries)} entries, more than {MAX_ENTRIES}; unpack it yourself first"
        )
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise refuse("it is protected by a password; unpack it yourself first")
    if any(entry.compress_type not in _METHODS for entry in entries):
        raise refuse("it is packed by a rare method; unpack it yourself first")
    _check_size(archive, sum(entry.file_size for entry in entries), refuse)
    # Entries that share their packed bytes are how a small archive unpacks to a huge one.
    ends = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < ends:
            raise refuse("its entries overlap, which no honest archive does; ask for another copy")
        ends = entry.header_offset + _LOCAL_HEADER + entry.compress_size


def _check_size(archive: Path, total: int, refuse: Callable[[str], InputError]) -> None:
    if total > MAX_BYTES:
        raise refuse(
            f"it holds {total / 2**30:.0f} GiB, more than {MAX_BYTES >> 30} GiB; "
            "unpack it yourself first"
        )
    if total > _limit(Path(tempfile.gettempdir())):
        raise refuse(
            f"its {total / 2**20:.0f} MiB would fill more than half of the free disk under "
            f"'{tempfile.gettempdir()}'; make room there (or set TMPDIR)"
        )
    if total > HARMLESS_BYTES and total > MAX_RATIO * archive.stat().st_size:
        raise refuse(
            f"it would grow more than {MAX_RATIO:.0f} times, as a zip bomb does; "
            "unpack it yourself first, if you trust it"
        )


def _plan(
    archive: Path, entries: list[zipfile.ZipInfo]
) -> tuple[list[tuple[zipfile.ZipInfo, PurePosixPath]], tuple[Skipped, ...]]:
    """Return which entry goes where, and what is left out.

    Raises
    ------
    InputError
        If two entries have the same name, a name leads out of the folder, or there are too
        many folders.
    """
    plan, skipped = [], []
    names: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for entry in entries:
        if entry.orig_filename.endswith(("/", "\\")):
            continue  # folders are made for the files in them
        place = _place(archive, entry)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            what = "a link" if kind == stat.S_IFLNK else "not a regular file"
            skipped.append(Skipped(str(archive / place), f"{what} in a zip archive"))
            continue
        if place in names:
            raise InputError(
                f"'{archive}' is not unpacked, because it holds two files with the name "
                f"'{place}'; unpack it yourself first"
            )
        names.add(place)
        folders.update(place.parents)
        if len(folders) > MAX_ENTRIES:
            raise InputError(
                f"'{archive}' is not unpacked, because it holds more than {MAX_ENTRIES} folders; "
                "unpack it yourself first"
            )
        plan.append((entry, place))
    return plan, tuple(skipped)


def _place(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return where an entry goes below the folder; Windows programs may write backslashes."""
    name = entry.orig_filename
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or _names_a_drive(parts):
        fault = "would be written outside its folder"
    elif not parts or any(ord(letter) < 32 for letter in name):
        fault = "has an impossible name"
    elif len(parts) > MAX_DEPTH or _bytes(name) > MAX_PATH_BYTES:
        fault = "lies too deep"
    elif max(map(_bytes, parts)) > MAX_NAME_BYTES:
        fault = "has too long a name"
    else:
        return PurePosixPath(*parts)
    raise InputError(
        f"'{archive}' is not unpacked, because an entry of it ({_brief(name)}) {fault}; "
        "ask for another copy"
    )


def _names_a_drive(parts: list[str]) -> bool:
    if os.name == "nt":
        return any(":" in part for part in parts)
    return bool(parts) and len(parts[0]) > 1 and parts[0][0].isalpha() and parts[0][1] == ":"


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogatepass"))


def _brief(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= 60 else text[:56] + "...'"

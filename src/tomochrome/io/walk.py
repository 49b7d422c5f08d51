"""Safe traversal of folders and opening of files: only regular files, bounded in number."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from tomochrome.errors import InputError
from tomochrome.io.archive import file_error
from tomochrome.runtime import check

MAX_FILES: Final = 200_000
"""Files below one folder: enough for several hundred studies, but not for an entire disk."""

Skip = Callable[[Path, str], None]


def walk(root: Path, skip: Skip) -> Iterator[Path]:
    """Yield all regular files below a folder in a fixed order, files before subfolders.

    Links to files are followed; links to folders are not, as they could form loops.

    Parameters
    ----------
    root
        The folder.
    skip
        Called with each skipped file and the reason.

    Raises
    ------
    InputError
        If the folder cannot be opened, or holds more than `MAX_FILES` files.
    Cancelled
        If the task was cancelled.
    """
    folders, count = [root], 0
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if folder is root:
                raise InputError(
                    f"the folder '{root}' cannot be opened: {_reason(error)}"
                ) from error
            skip(folder, f"a folder that cannot be opened: {_reason(error)}")
            continue
        inner = []
        for entry in entries:
            check()
            path = folder / entry.name
            count += 1
            if count > MAX_FILES:
                raise InputError(
                    f"'{root}' holds more than {MAX_FILES:,} files; "
                    "choose a subfolder that contains the series"
                )
            if _is_folder(entry):
                inner.append(path)
            elif reason := _reason_to_skip(entry):
                skip(path, reason)
            else:
                yield path
        folders.extend(reversed(inner))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _reason_to_skip(entry: os.DirEntry[str]) -> str:
    """Return why an entry other than a folder cannot be opened, or an empty string."""
    try:
        if stat.S_ISREG(entry.stat().st_mode):
            return ""
        if entry.is_symlink() and entry.is_dir():
            return "a link to another folder, which is not followed"
        return "not a regular file (a pipe, socket or device)"
    except OSError as error:
        if entry.is_symlink():
            return "a broken link"
        return f"cannot be opened: {_reason(error)}"


def open_regular(path: Path) -> BinaryIO:
    """Open a file unbuffered; refuse pipes and devices, which could block forever.

    Raises
    ------
    InputError
        If it is not a regular file.
    OSError
        If it cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise file_error(path, "is not a regular file")
    # The file may have been replaced since: open without blocking and check again.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise file_error(path, "is not a regular file")
    return os.fdopen(handle, "rb", buffering=0)


def require_path(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` if a path is empty, which would mean the current folder."""
    if not os.fspath(path):
        raise InputError("the path is empty; give a file or a folder")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Convert an `OSError` into an `InputError` that names the file."""
    try:
        yield
    except OSError as error:
        raise file_error(path, f"cannot be read: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)

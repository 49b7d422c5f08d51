"""System calls for atomic file output: exchange two paths, and flush files to disk."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tomochrome.runtime.task import ThreadPool

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # Linux, renameat2(2)
_RENAME_SWAP: Final = 2  # macOS, renamex_np(2)
_UNSUPPORTED: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
_SYNC_THREADS: Final = 16  # concurrent fsync calls share journal commits


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except (OSError, TypeError):  # Windows requires a library name
        return None


def exchange(first: Path, second: Path) -> bool:
    """Exchange two files or folders atomically; return False if the system does not support it.

    Raises
    ------
    OSError
        If the exchange is supported but failed.
    """
    a, b = os.fsencode(first), os.fsencode(second)
    library = _library()
    if sys.platform.startswith("linux") and hasattr(library, "renameat2"):
        status = library.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        status = library.renamex_np(a, b, _RENAME_SWAP)
    else:
        return False
    if status == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def sync(path: Path) -> None:
    """Flush a file, or a folder with all its contents, to disk.

    Raises
    ------
    OSError
        If writing to the disk failed.
    """
    if not path.is_dir():
        _sync_file(path)
        return
    files, folders = [], []
    for root, _, names in os.walk(path):
        folders.append(Path(root))
        files += [Path(root, name) for name in names]
    with ThreadPool(_SYNC_THREADS) as pool:
        for _ in pool.map(_sync_file, files):
            pass
    for folder in folders:
        sync_entries(folder)


def _sync_file(path: Path) -> None:
    file = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(file)
    finally:
        os.close(file)


def sync_entries(folder: Path) -> None:
    """Flush the directory entries of a folder to disk, where the system supports it."""
    with suppress(OSError):  # not supported on Windows and some file systems
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)

"""Hidden work folders in which outputs are written, and recovery after a killed process.

A work folder is a sibling of the outputs on the same file system, named ``.tomochrome-...``. It
contains a lock file, locked while its process is alive, the outputs under ``new``, and, once all
outputs are complete, a journal of the moves into place. The next process that writes to the same
folder recovers the work folders of dead processes: moves that had begun are finished, and
everything else is deleted.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from tomochrome.runtime.task import ThreadPool

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # Linux, renameat2(2)
_RENAME_SWAP: Final = 2  # macOS, renamex_np(2)
_UNSUPPORTED: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
_SYNC_THREADS: Final = 16  # concurrent fsync calls share journal commits


if sys.platform != "win32":
    import fcntl

PREFIX: Final = ".tomochrome-"
_LOCK, _NEW, _ASIDE, _RECORD = "lock", "new", "aside", "moves.json"

Identity = list[int] | None


class Move:
    """The move of one output from the work folder to its final path.

    Parameters
    ----------
    work
        The work folder.
    name
        File name of the output, in the work folder and in its parent folder.
    old, new
        Identities of the previous file at the final path, and of the output.
    """

    def __init__(self, work: Path, name: str, old: Identity, new: Identity) -> None:
        self.name, self.old, self.new = name, old, new
        self.source, self.target = work / _NEW / name, work.parent / name
        self._aside = work / _ASIDE / name

    @classmethod
    def planned(cls, work: Path, name: str) -> Move:
        """Return the move of an output that has been written."""
        return cls(work, name, _identity(work.parent / name), _identity(work / _NEW / name))

    @property
    def state(self) -> Literal["waiting", "set aside", "done", "foreign"]:
        """Progress of the move; "foreign" if another process has changed the final path since."""
        there = _identity(self.target)
        if self.new is not None and there == self.new:
            return "done"
        if self.new is not None and _identity(self.source) == self.new:
            if there == self.old:
                return "waiting"
            if there is None and _identity(self._aside) == self.old:
                return "set aside"
        return "foreign"

    def forward(self) -> None:
        """Move the output into place, and the previous file to the work folder."""
        if self.state == "set aside" or self.old is None:
            self.source.rename(self.target)
        elif not exchange(self.source, self.target):
            # The final path is briefly empty. If the process is killed here, the next one
            # finishes the move from the journal.
            self._aside.parent.mkdir(exist_ok=True)
            self.target.rename(self._aside)
            self.source.rename(self.target)

    def back(self) -> None:
        """Undo `forward`, even if it was only partly done."""
        if self.state == "done":
            if self.old is None or os.path.lexists(self._aside):
                self.target.rename(self.source)
            else:
                exchange(self.source, self.target)
        if os.path.lexists(self._aside) and not os.path.lexists(self.target):
            self._aside.rename(self.target)


def _identity(path: Path) -> Identity:
    """Return inode and modification time (0 for folders); None if the path does not exist."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return [status.st_ino, 0 if path.is_dir() else status.st_mtime_ns]


def final_path(path: str | os.PathLike[str]) -> Path:
    """Return the path to which an output in a work folder will be moved; others as they are."""
    parts = list[str]()
    for part in Path(path).parts:
        if part == _NEW and parts and parts[-1].startswith(PREFIX):
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


class WorkFolder:
    """A new work folder in ``parent``, locked until `remove`.

    Raises
    ------
    OSError
        If it cannot be created.
    """

    def __init__(self, parent: Path) -> None:
        self.path, self._lock = _locked_folder(parent)
        self.new = self.path / _NEW
        try:
            self.new.mkdir()
        except OSError:
            self.remove()
            raise

    def record(self, moves: Iterable[Move]) -> None:
        """Write the journal of the moves, from which the next process can finish them."""
        draft = self.path / f"{_RECORD}.part"
        draft.write_text(json.dumps([[m.name, m.old, m.new] for m in moves]), encoding="utf-8")
        sync(draft)
        draft.replace(self.path / _RECORD)
        sync_entries(self.path)

    def remove(self) -> None:
        """Delete the folder and its contents."""
        if sys.platform == "win32":  # open files cannot be deleted there
            os.close(self._lock)
        _remove(self.path)
        if sys.platform != "win32":  # keep the lock until the folder is gone
            os.close(self._lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # another process removed the empty folder as a leftover
            continue
        # The same may have happened between opening and locking.
        if _take(lock) is not False and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _take(lock: int) -> bool | None:
    """Lock an open file; False if another process holds the lock, None if locking failed."""
    if sys.platform == "win32":
        return True  # open files cannot be deleted there, see `_clear`
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove(path: Path) -> None:
    """Delete a work folder: the journal first, so that nothing is recovered, the lock last."""
    with suppress(OSError):
        (path / _RECORD).unlink(missing_ok=True)
        for name in (_ASIDE, _NEW):
            shutil.rmtree(path / name, ignore_errors=True)
        (path / f"{_RECORD}.part").unlink(missing_ok=True)
        (path / _LOCK).unlink(missing_ok=True)
        path.rmdir()


def clear_leftovers(parent: Path) -> None:
    """Recover or delete the work folders of killed processes; those of live ones are kept.

    No exception is raised: leftovers that cannot be deleted stay.
    """
    try:
        folders = [e.path for e in os.scandir(parent) if e.name.startswith(PREFIX)]
    except OSError:
        return
    for path in map(Path, folders):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                _clear(path)


def _clear(work: Path) -> None:
    try:
        lock = os.open(work / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        work.rmdir()  # succeeds only if empty: the process was killed before locking
        return
    try:
        if _take(lock) is not True:
            return
        if sys.platform == "win32":
            os.close(lock)
            lock = -1
            (work / _LOCK).unlink()  # fails if a process has it open
        _finish(work)
        _remove(work)
    finally:
        if lock >= 0:
            os.close(lock)


def _finish(work: Path) -> None:
    """Finish the recorded moves of a dead process, or undo them if a path has changed since."""
    try:
        recorded = json.loads((work / _RECORD).read_text(encoding="utf-8"))
        moves = [Move(work, Path(name).name, old, new) for name, old, new in recorded]
    except FileNotFoundError:
        return
    except (ValueError, TypeError):  # not a valid journal
        return
    put_forward_or_back(moves)


def put_forward_or_back(moves: Sequence[Move]) -> None:
    """Finish all moves; if a path was changed by others, restore the files set aside instead."""
    states = [move.state for move in moves]
    for move, state in zip(moves, states, strict=True):
        if "foreign" not in states and state != "done":
            move.forward()
        elif state == "set aside":
            move.back()


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

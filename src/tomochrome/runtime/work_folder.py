"""Hidden folders in which outputs are written, and what killed processes left of them.

A work folder lies beside the outputs, on the same file system, and is named ``.tomochrome-...``.
It holds a lock file that is locked for as long as its process lives, the outputs under ``new``,
and, once all of them are whole and are about to move to their places, a record of the moves.
Whoever writes into the same folder next clears the work folders whose process is dead: moves
that had begun are finished, everything else is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from tomochrome.runtime.disk import exchange, sync, sync_entries

if sys.platform != "win32":
    import fcntl

PREFIX: Final = ".tomochrome-"
_LOCK, _NEW, _ASIDE, _RECORD = "lock", "new", "aside", "moves.json"

Identity = list[int] | None


class Move:
    """One output on its way from the work folder to its place.

    Parameters
    ----------
    work
        The work folder.
    name
        The output's name, in the work folder and in the folder around it.
    old, new
        Identities of what lay at the place before, and of the output.
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
        """How far the move is; "foreign" if somebody else has changed its place since."""
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
        """Put the output into its place; what was there goes to the work folder."""
        if self.state == "set aside" or self.old is None:
            self.source.rename(self.target)
        elif not exchange(self.source, self.target):
            # For a moment nothing lies at the place; a process that is killed then has left the
            # record, by which the next one finishes this.
            self._aside.parent.mkdir(exist_ok=True)
            self.target.rename(self._aside)
            self.source.rename(self.target)

    def back(self) -> None:
        """Undo `forward`, however far it came."""
        if self.state == "done":
            if self.old is None or os.path.lexists(self._aside):
                self.target.rename(self.source)
            else:
                exchange(self.source, self.target)
        if os.path.lexists(self._aside) and not os.path.lexists(self.target):
            self._aside.rename(self.target)


def _identity(path: Path) -> Identity:
    """Return what tells a file or folder from any other at its place; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return [found.st_ino, 0 if path.is_dir() else found.st_mtime_ns]


class WorkFolder:
    """A new work folder in ``parent``, locked until `remove`.

    Raises
    ------
    OSError
        If it cannot be made.
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
        """Write down the moves about to begin, so that the next process can finish them."""
        draft = self.path / f"{_RECORD}.part"
        draft.write_text(json.dumps([[m.name, m.old, m.new] for m in moves]), encoding="utf-8")
        sync(draft)
        draft.replace(self.path / _RECORD)
        sync_entries(self.path)

    def remove(self) -> None:
        """Remove the folder and all in it."""
        if sys.platform == "win32":  # no open file can be removed there
            os.close(self._lock)
        _remove(self.path)
        if sys.platform != "win32":  # nobody else touches the folder while it is locked
            os.close(self._lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # another process took the empty folder for a leftover
            continue
        # The same may have happened between opening and locking.
        if _take(lock) is not False and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _take(lock: int) -> bool | None:
    """Lock an open file; False if another process holds it, None if that cannot be known."""
    if sys.platform == "win32":
        return True  # an open file cannot be removed there, see `_abandoned`
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove(path: Path) -> None:
    """Remove a work folder: first the record, without which it is worthless, last the lock."""
    with suppress(OSError):
        (path / _RECORD).unlink(missing_ok=True)
        for name in (_ASIDE, _NEW):
            shutil.rmtree(path / name, ignore_errors=True)
        (path / f"{_RECORD}.part").unlink(missing_ok=True)
        (path / _LOCK).unlink(missing_ok=True)
        path.rmdir()


def clear_leftovers(parent: Path) -> None:
    """Finish or remove what killed processes left in a folder; live ones are left in peace.

    Nothing is raised: where leftovers cannot be cleared, they stay.
    """
    try:
        found = [e.path for e in os.scandir(parent) if e.name.startswith(PREFIX)]
    except OSError:
        return
    for path in map(Path, found):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                _clear(path)


def _clear(work: Path) -> None:
    try:
        lock = os.open(work / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        work.rmdir()  # only if it is empty: of a process killed before the lock was made
        return
    try:
        if _take(lock) is not True:
            return
        if sys.platform == "win32":
            os.close(lock)
            lock = -1
            (work / _LOCK).unlink()  # refused if a process has it open
        _finish(work)
        _remove(work)
    finally:
        if lock >= 0:
            os.close(lock)


def _finish(work: Path) -> None:
    """Finish the recorded moves of a dead process; undo where somebody has changed a place."""
    try:
        recorded = json.loads((work / _RECORD).read_text(encoding="utf-8"))
        moves = [Move(work, Path(name).name, old, new) for name, old, new in recorded]
    except FileNotFoundError:
        return
    except (ValueError, TypeError):  # no record of ours
        return
    put_forward_or_back(moves)


def put_forward_or_back(moves: Sequence[Move]) -> None:
    """Bring every move to its end, or only bring back what was set aside."""
    states = [move.state for move in moves]
    for move, state in zip(moves, states, strict=True):
        if "foreign" not in states and state != "done":
            move.forward()
        elif state == "set aside":
            move.back()

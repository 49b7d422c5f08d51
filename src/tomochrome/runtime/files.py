"""Writing files so that they are whole or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tomochrome.errors import ExistsError, OutputError
from tomochrome.runtime.disk import sync, sync_entries
from tomochrome.runtime.work_folder import PREFIX, Move, WorkFolder, clear_leftovers


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check, before any long work, that ``path`` can be written, and return it as a `Path`.

    The parent folder must exist and be writable; an existing output needs ``force``. What a
    killed process left in the parent folder is cleared first.

    Parameters
    ----------
    path
        Where the output is to be.
    force
        Whether it may take the place of an earlier one.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OutputError
        If it cannot be written or is there already.
    """
    target = Path(path)
    parent = target.parent
    if not parent.is_dir():
        if _exists(parent):
            raise OutputError(f"'{parent}' is not a folder; choose another place for the output")
        raise OutputError(f"the folder '{parent}' for the output does not exist; create it first")
    clear_leftovers(parent)
    if _exists(target) and not force:
        raise ExistsError(str(target))
    try:  # permission bits say nothing to root, nor on /proc or a full or read-only disk
        probe = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise OutputError(
            f"the folder '{parent}' cannot be written to ({error.strerror}); choose another output"
        ) from error
    with suppress(OSError):  # another process may have cleared it
        probe.rmdir()
    return target


def _exists(path: Path) -> bool:
    """Whether something lies at ``path``; also a link to nothing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"'{path}' cannot be an output: {reason}") from error
    return True


@contextmanager
def write_whole(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success move it there, on any error remove it.

    As `write_group`, for one output.

    Parameters
    ----------
    path, force
        As for `check_writable`.

    Yields
    ------
    Path
        Where to write it.
    """
    with write_group([path], force=force) as (temporary,):
        yield temporary


@contextmanager
def write_group(
    paths: Sequence[str | os.PathLike[str]], *, force: bool = False
) -> Iterator[list[Path]]:
    """Give a temporary path for each output; on success all move to their places, or none does.

    A temporary name keeps the ending of its output (also ``.nii.gz``), so that libraries that
    choose a format by the ending work. What is written there may be a file or a folder. It is on
    the disk before it moves, and takes the place of an earlier output in one step. A process
    killed while the outputs of a group move leaves whole ones at every place, earlier or new;
    the next output in that folder finishes the moves.

    Parameters
    ----------
    paths
        Where the outputs are to be.
    force
        Whether they may take the places of earlier ones.

    Yields
    ------
    list of Path
        Where to write each of them.

    Raises
    ------
    OutputError
        If an output cannot be written or is there already (without ``force``).
    """
    targets = [check_writable(path, force=force) for path in paths]
    with ExitStack() as stack:
        folders: dict[Path, WorkFolder] = {}
        try:
            for target in targets:
                if target.parent not in folders:
                    folders[target.parent] = folder = WorkFolder(target.parent)
                    stack.callback(folder.remove)
        except OSError as error:
            raise OutputError(f"cannot write beside '{target}': {error.strerror}") from error
        try:
            yield [folders[target.parent].new / target.name for target in targets]
            _move(targets, folders, force)
        except OutputError as error:  # the work folder is gone when the user reads of it
            error.reword(lambda text: _in_place(text, folders))
            raise
        except OSError as error:
            names = ", ".join(f"'{target}'" for target in targets)
            raise OutputError(f"cannot write {names}: {error.strerror or error}") from error


def _in_place(text: str, folders: dict[Path, WorkFolder]) -> str:
    for parent, folder in folders.items():
        text = text.replace(str(folder.new), str(parent))
    return text


def _move(targets: Sequence[Path], folders: dict[Path, WorkFolder], force: bool) -> None:
    """Move all outputs to their places; where one cannot, put everything back as it was."""
    for target in targets:
        new = folders[target.parent].new / target.name
        if target.is_dir() and not target.is_symlink() and not new.is_dir():
            # who allows to replace a file does not mean a folder
            raise OutputError(f"'{target}' is a folder; choose another name for the output")
        if not force and _exists(target):
            raise OutputError(
                f"'{target}' was created by another program meanwhile; choose another name"
            )
        sync(new)
    if len(targets) == 1 and not targets[0].is_dir():
        (target,) = targets
        (folders[target.parent].new / target.name).replace(target)
        sync_entries(target.parent)
        return
    moves: list[Move] = []
    for parent, folder in folders.items():
        own = [Move.planned(folder.path, t.name) for t in targets if t.parent == parent]
        folder.record(own)
        moves += own
    try:
        for move in moves:
            move.forward()
    except BaseException:
        for move in moves:
            with suppress(OSError):
                move.back()
        raise
    for parent in folders:
        sync_entries(parent)

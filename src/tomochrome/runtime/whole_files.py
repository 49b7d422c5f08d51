"""Atomic file output: a file or folder is complete, or it does not exist."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tomochrome.errors import ExistsError, OutputError
from tomochrome.runtime.work_folder import (
    PREFIX,
    Move,
    WorkFolder,
    clear_leftovers,
    final_path,
    sync,
    sync_entries,
)


def check_writable(
    path: str | os.PathLike[str], *, force: bool = False, empty_folder: bool = False
) -> Path:
    """Check, before any long work, that ``path`` can be written, and return it as a `Path`.

    The parent folder must exist and be writable; an existing output requires ``force``. Leftovers
    of killed processes in the parent folder are removed first.

    Parameters
    ----------
    path
        Path of the output.
    force
        Whether an existing output may be replaced.
    empty_folder
        Whether an empty folder may be replaced even without ``force``, by an output that is a
        folder.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OutputError
        If the path cannot be written or already exists.
    """
    target = Path(path)
    parent = target.parent
    if not parent.is_dir():
        if _exists(parent):
            raise OutputError(f"'{parent}' is not a folder; choose another place for the output")
        raise OutputError(f"the folder '{parent}' for the output does not exist; create it first")
    clear_leftovers(parent)
    if not force and _exists(target) and not (empty_folder and _is_empty_folder(target)):
        raise ExistsError(str(target))
    try:  # permission bits are unreliable for root, on /proc, and on full or read-only disks
        probe = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise OutputError(
            f"the folder '{final_path(target).parent}' cannot be written to ({error.strerror}); "
            "choose another output"
        ) from error
    with suppress(OSError):  # another process may have removed it
        probe.rmdir()
    return target


def check_beside(
    others: Iterable[str | os.PathLike[str]],
    inputs: Iterable[str | os.PathLike[str] | None],
    outputs: Iterable[str | os.PathLike[str]],
    *,
    force: bool = False,
) -> None:
    """Check, before any long work, the files that are written beside the outputs.

    Parameters
    ----------
    others
        Their paths.
    inputs
        Paths of the inputs; None is ignored.
    outputs
        Paths of the outputs.
    force
        Whether existing files may be replaced.

    Raises
    ------
    OutputError
        If one of them is an input or another output, already exists (without ``force``), or cannot
        be written.
    """
    given = {os.path.realpath(path) for path in inputs if path is not None}
    taken = {os.path.realpath(path) for path in outputs}
    for path in others:
        place = os.path.realpath(path)
        if place in given:
            raise OutputError(
                f"'{path}' is an input, which a file beside the output would replace; choose "
                "another name for the output"
            )
        if place in taken:
            raise OutputError(f"'{path}' is another output already; choose another name")
        taken.add(place)
        check_writable(path, force=force)


def _exists(path: Path) -> bool:
    """Return whether ``path`` exists, including broken links."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"'{path}' cannot be an output: {reason}") from error
    return True


def _is_empty_folder(path: Path) -> bool:
    """Return whether ``path`` is a folder, not a link to one, that holds nothing."""
    try:
        return not path.is_symlink() and not any(path.iterdir())
    except OSError:
        return False


@contextmanager
def write_whole(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path; move it to ``path`` on success and delete it on any error.

    This is `write_group` for one output.

    Parameters
    ----------
    path, force
        As for `check_writable`.

    Yields
    ------
    Path
        Temporary path to write to.
    """
    with write_group([path], force=force) as (temporary,):
        yield temporary


def write_text(path: str | os.PathLike[str], text: str, *, force: bool = False) -> None:
    """Write a text file in UTF-8, whole or not at all; see `write_whole`.

    Parameters
    ----------
    path
        The file.
    text
        Its content.
    force
        Replace an existing file.

    Raises
    ------
    OutputError
        If the file exists (without ``force``) or cannot be written.
    """
    with write_whole(path, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def write_group(
    paths: Sequence[str | os.PathLike[str]], *, force: bool = False
) -> Iterator[list[Path]]:
    """Yield a temporary path for each output; on success all are moved into place, or none is.

    A temporary name keeps the extension of its output (including ``.nii.gz``) for libraries that
    choose the format by the extension. An output may be a file or a folder. It is flushed to disk
    before it is moved, and replaces an existing output atomically. If the process is killed during
    the moves, every path holds a complete output, old or new, and the next output to that folder
    finishes the moves.

    Parameters
    ----------
    paths
        Paths of the outputs.
    force
        Whether existing outputs may be replaced; an empty folder is replaced by a folder in any
        case.

    Yields
    ------
    list of Path
        Temporary paths to write to, in the order of ``paths``.

    Raises
    ------
    OutputError
        If an output cannot be written, or already exists (without ``force``).
    """
    targets = [check_writable(path, force=force, empty_folder=True) for path in paths]
    with ExitStack() as stack:
        folders: dict[Path, WorkFolder] = {}
        try:
            for target in targets:
                if target.parent not in folders:
                    folders[target.parent] = folder = WorkFolder(target.parent)
                    stack.callback(folder.remove)
        except OSError as error:
            raise OutputError(
                f"cannot write beside '{final_path(target)}': {error.strerror}"
            ) from error
        try:
            yield [folders[target.parent].new / target.name for target in targets]
            _move(targets, folders, force)
        except OSError as error:
            names = ", ".join(f"'{final_path(target)}'" for target in targets)
            raise OutputError(f"cannot write {names}: {system_reason(error)}") from error


def system_reason(error: BaseException) -> str:
    """Return the system's reason for an error, without what libraries add, even tracebacks."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _move(targets: Sequence[Path], folders: dict[Path, WorkFolder], force: bool) -> None:
    """Move all outputs into place; if one fails, restore the previous state."""
    for target in targets:
        new = folders[target.parent].new / target.name
        if target.is_dir() and not target.is_symlink() and not new.is_dir():
            # permission to replace a file does not extend to a folder
            raise OutputError(f"'{target}' is a folder; choose another name for the output")
        if not force and _exists(target) and not _is_empty_folder(target):
            raise OutputError(
                f"'{target}' was created by another program in the meantime; choose another name"
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


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Return whether a path is ``folder`` itself or lies in it; symbolic links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))

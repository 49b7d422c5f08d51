"""Several files into one folder: all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tomochrome.errors import OutputError
from tomochrome.runtime import check_writable


def check_folder(folder: Path, names: Sequence[str], *, force: bool = False) -> None:
    """Check, before any long work, that files can be written into a folder, old or new.

    Raises
    ------
    OutputError
        If the folder is a file, cannot be written, or holds one of the files (without
        ``force``).
    """
    if not folder.is_dir():
        if os.path.lexists(folder):  # a file, or a link to nothing: no --force would help
            raise OutputError(f"'{folder}' exists already and is no folder; choose another place")
        check_writable(folder)
        return
    for name in names:
        target = check_writable(folder / name, force=force)
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder where a file is to be; move it away")


@contextmanager
def write_together(folder: Path, names: Sequence[str], *, force: bool = False) -> Iterator[Path]:
    """Give a place to write files in; on success they all move into ``folder``, else none does.

    Parameters
    ----------
    folder
        Made if it is not there; its parent must be.
    names
        Files that the caller writes at the place given.
    force
        Replace files that are there; others in the folder stay.

    Raises
    ------
    OutputError
        If the files cannot be written or one is there already (without ``force``).
    """
    check_folder(folder, names, force=force)
    there = folder.is_dir()
    try:
        work = Path(tempfile.mkdtemp(prefix=".tomochrome-", dir=folder if there else folder.parent))
    except OSError as error:
        raise OutputError(f"cannot write at '{folder}': {error.strerror}") from error
    try:
        place = work / "new"
        place.mkdir()
        try:
            yield place
        except OutputError as error:  # what it names is gone when the user reads of it
            raise OutputError(str(error).replace(str(place), str(folder))) from error
        if there:
            _move_all(place, folder, names, work / "old")
        else:
            place.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot write at '{folder}': {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _move_all(place: Path, folder: Path, names: Sequence[str], old: Path) -> None:
    """Move every file into the folder; where one cannot, put everything back as it was."""
    old.mkdir()
    done: list[str] = []
    try:
        for name in names:
            done.append(name)
            if os.path.lexists(folder / name):
                (folder / name).rename(old / name)
            (place / name).rename(folder / name)
    except BaseException:
        for name in done:
            with suppress(OSError):
                if os.path.lexists(old / name):
                    (old / name).replace(folder / name)
                elif not os.path.lexists(place / name):
                    (folder / name).unlink()
        raise

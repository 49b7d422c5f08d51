"""Several files into one folder: all of them or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tomochrome.errors import OutputError
from tomochrome.runtime import check_writable, clear_leftovers, write_group, write_whole


def check_folder(folder: Path, names: Sequence[str], *, force: bool = False) -> None:
    """Check, before any long work, that files can be written into a folder, old or new.

    Raises
    ------
    OutputError
        If the folder is a file, cannot be written, or holds one of the files (without
        ``force``).
    """
    clear_leftovers(folder.parent)
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
    if folder.is_dir():
        with write_group([folder / name for name in names], force=force) as places:
            yield places[0].parent
    else:
        with write_whole(folder) as place:
            place.mkdir()
            yield place

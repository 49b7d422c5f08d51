"""The files that commands read and write: checks before the work, and groups of outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.errors import InputError, OutputError
from tomochrome.runtime import check_writable, clear_leftovers, write_group, write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def check_inputs(paths: Iterable[Path | None], output: str | Path | None = None) -> None:
    """Refuse input paths that do not exist, and an output that would replace an input.

    Parameters
    ----------
    paths
        Inputs; None stands for one that was not given.
    output
        Where the command will write.

    Raises
    ------
    InputError
        If a path does not exist.
    OutputError
        If ``output`` is one of the inputs.
    """
    for path in paths:
        if path is None:
            continue
        if not path.exists():
            raise InputError(f"there is no file or folder '{path}'")
        if output is not None and os.path.realpath(path) == os.path.realpath(output):
            raise OutputError(f"'{output}' is an input; choose another name for the output")


def read_landmarks(path: Path | None) -> NDArray[np.float64] | None:
    """Return landmarks (n, 3) in LPS mm, or None if no file was given."""
    from tomochrome.io.points import read_points

    return None if path is None else read_points(path)


def as_json(data: Mapping[str, Any]) -> str:
    """Return the text of a report file."""
    return f"{json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)}\n"


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
            raise OutputError(f"'{folder}' exists already and is not a folder; choose another path")
        check_writable(folder)
        return
    for name in names:
        target = check_writable(folder / name, force=force)
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder where a file must be written; move it away")


@contextmanager
def write_together(folder: Path, names: Sequence[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a folder to write files in; on success all of them move to ``folder``, else none.

    Parameters
    ----------
    folder
        Created if it does not exist; its parent must exist.
    names
        Files that the caller writes in the folder given.
    force
        Replace existing files; other files in the folder are kept.

    Yields
    ------
    Path
        The temporary folder.

    Raises
    ------
    OutputError
        If the files cannot be written or one exists already (without ``force``).
    """
    check_folder(folder, names, force=force)
    if folder.is_dir():
        with write_group([folder / name for name in names], force=force) as places:
            yield places[0].parent
    else:
        with write_whole(folder) as place:
            place.mkdir()
            yield place

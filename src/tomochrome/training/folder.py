"""The folder of a training run."""

from __future__ import annotations

import os
from pathlib import Path

from tomochrome.errors import OptionError, OutputError

CHECKPOINT = "checkpoint.pt"
"""Name of the file in a run's folder that the run goes on from."""


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder of a run, with those above it, where it is not there yet.

    Raises
    ------
    OutputError
        If a file is in the way, or the system refuses.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        taken = next(
            (p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), folder
        )
        raise OutputError(
            f"'{taken}' is a file, and a training run needs a folder; choose another --out"
        ) from error
    except OSError as error:
        raise OutputError(
            f"the folder '{folder}' cannot be made ({error.strerror}); choose another --out"
        ) from error
    return folder


def open_run(out: str | os.PathLike[str], *, resume: bool) -> tuple[Path, Path]:
    """Make the folder of a run; return it, and where its checkpoint lies or will lie.

    Raises
    ------
    OptionError
        If a checkpoint is there and the run is not to go on from it.
    OutputError
        As `make_folder`.
    """
    folder = make_folder(out)
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise OptionError(f"'{checkpoint}' exists already; use --resume or another --out")
    return folder, checkpoint

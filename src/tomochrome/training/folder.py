"""The folder of a training run: its checkpoint, its log, and files of arrays."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tomochrome.errors import (
    Cancelled,
    InputError,
    OptionError,
    OutputError,
    TomochromeError,
)
from tomochrome.runtime import write_whole

CHECKPOINT = "checkpoint.pt"
"""Name of the checkpoint file in a run's folder."""
LOG = "log.csv"
"""Name of the log of losses in a run's folder."""
SECOND = "second"
"""Name of the folder of a second run (see `tomochrome.training.task_interface.Task.second_run`)."""


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder of a run and its parents if they do not exist.

    Raises
    ------
    OutputError
        If a file of that name exists, or the folder cannot be created.
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
            f"the folder '{folder}' cannot be created ({error.strerror}); choose another --out"
        ) from error
    return folder


def open_run(out: str | os.PathLike[str], *, resume: bool) -> tuple[Path, Path]:
    """Create the folder of a run; return it and the path of its checkpoint.

    Raises
    ------
    OptionError
        If a checkpoint exists and ``resume`` is false, or the other way round.
    OutputError
        If the folder cannot be created.
    """
    checkpoint = Path(out) / CHECKPOINT
    if resume and not checkpoint.exists():
        raise OptionError(
            f"there is no run to resume in '{out}' (it has no {CHECKPOINT}); train without --resume"
        )
    folder = make_folder(out)
    if checkpoint.exists() and not resume:
        raise OptionError(f"'{checkpoint}' already exists; use --resume or another --out")
    return folder, checkpoint


@contextmanager
def saved_at_the_end(save: Callable[[], None]) -> Iterator[None]:
    """Save a run when the body ends, also after a cancellation or an error.

    If saving fails after an error, the original error is raised.
    """
    try:
        yield
    except Cancelled:
        save()
        raise
    except BaseException:
        with suppress(TomochromeError):
            save()
        raise
    save()


def write_bytes(path: Path, write: Callable[[BytesIO], object]) -> None:
    """Write or replace a file atomically, from what ``write`` puts into a memory buffer.

    This way a full disk raises the same error whichever library writes. Another training may
    have written the same file of a pool meanwhile.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    buffer = BytesIO()
    write(buffer)
    with write_whole(path, force=True) as temporary:
        # not a view of the buffer: in the traceback of a full disk it outlives the buffer
        temporary.write_bytes(buffer.getvalue())


@contextmanager
def read_arrays(path: Path, what: str) -> Iterator[Mapping[str, Any]]:
    """Open an ``.npz`` file; an error while it is read says that it is not ``what``.

    Raises
    ------
    InputError
        If it cannot be read, or lacks an array.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            yield data
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise InputError(f"'{path}' cannot be read as {what}") from error


def save_checkpoint(path: Path, data: Mapping[str, Any]) -> None:
    """Write a checkpoint; an existing one is replaced only when the new one is complete.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import torch

    try:
        write_bytes(path, lambda buffer: torch.save(dict(data), buffer))
    except OutputError as error:
        kept = "; the last checkpoint is kept, and --resume continues from it"
        raise OutputError(f"{error}{kept if path.exists() else ''}") from error


def append_row(path: Path, header: Sequence[str], row: Sequence[object]) -> None:
    """Append a row to a run's CSV log, with a header if the log is new.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, row] if new else [row])
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error


class Board:
    """TensorBoard events of a run, if the package ``tensorboard`` is installed.

    Parameters
    ----------
    folder
        Folder of the run; events are written to its subfolder ``tensorboard``.
    step
        First step; later events of an interrupted run are discarded.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, step: int, figures: Mapping[str, object]) -> None:
        """Add the figures of a step; empty ones are skipped."""
        if self._writer is not None:
            for name, value in figures.items():
                if value != "":
                    self._writer.add_scalar(name, float(str(value)), step)

    def close(self) -> None:
        """Flush and close; a full disk is reported by the CSV log."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

"""The folder of a training run: its checkpoint and its log."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from tomochrome.errors import Cancelled, OptionError, OutputError, TomochromeError
from tomochrome.runtime import write_whole

CHECKPOINT = "checkpoint.pt"
"""Name of the file in a run's folder that the run goes on from."""
LOG = "log.csv"
"""Name of the table of losses in a run's folder."""


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
        If a checkpoint is there and the run is not to go on from it, or the other way round.
    OutputError
        As `make_folder`.
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
    """Save a run when the body ends, also by a cancel or an error.

    Where saving fails after an error, the error itself is raised: it came first.
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


def write_bytes(path: Path, write: Callable[[BytesIO], object], *, force: bool = False) -> None:
    """Write a file whole or not at all, out of what a library writes into memory.

    Libraries answer a full disk in ways of their own; so the system's answer is heard.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    buffer = BytesIO()
    write(buffer)
    with write_whole(path, force=force) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def save_checkpoint(path: Path, data: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that is there stays until the new one is whole.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    import torch

    try:
        write_bytes(path, lambda buffer: torch.save(dict(data), buffer), force=True)
    except OutputError as error:
        kept = "; the last checkpoint is kept, and --resume goes on from it"
        raise OutputError(f"{error}{kept if path.exists() else ''}") from error


def append_row(path: Path, header: Sequence[str], row: Sequence[object]) -> None:
    """Append a row to a run's CSV log, below a header where the log is new.

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
    """TensorBoard's curves of a run, where the package ``tensorboard`` is installed.

    Parameters
    ----------
    folder
        Of the run; the events lie in ``tensorboard`` there.
    step
        From which on the run goes on: later events of an interrupted one are discarded.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, step: int, figures: Mapping[str, object]) -> None:
        """Add the figures of a step; those that are empty are not known."""
        if self._writer is not None:
            for name, value in figures.items():
                if value != "":
                    self._writer.add_scalar(name, float(str(value)), step)

    def close(self) -> None:
        """Write what is left; the CSV log says if the disk is full."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

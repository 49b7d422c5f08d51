"""A pool of phantom patients on disk: painted once, trained on many times.

Only structures are kept; HU, texture and scanner are drawn anew for each sample.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tomochrome.errors import InputError, TomochromeError
from tomochrome.training.config import PhantomPlan
from tomochrome.training.folder import make_folder, write_bytes
from tomochrome.training.patients import TrainingPatient

HELD_OUT = 1_000_000
"""Seeds from here on are never trained on."""


def plan_jobs(plan: PhantomPlan, first_seed: int = 1) -> Iterator[tuple[int, str]]:
    """Yield (seed, region) for each patient of the plan, regions mixed by their shares."""
    names = list(plan.regions)
    shares = np.array([plan.regions[name] for name in names], dtype=np.float64)
    shares /= shares.sum()
    given = np.zeros(len(names))
    for k in range(plan.count):
        due = int(np.argmax(shares * (k + 1) - given))
        given[due] += 1
        yield first_seed + k, names[due]


def paint(folder: Path, seed: int, region: str, spacing: tuple[float, float, float]) -> Path:
    """Paint one phantom patient into the pool, unless it is there; return its file."""
    from tomochrome.phantom import make_structures

    path = folder / f"{region}-{seed}.npz"
    if not path.exists():
        structures, _, _ = make_structures(
            seed, region, spacing, couch=seed % 2 == 0, metal=seed % 25 == 7
        )
        header = json.dumps({"seed": seed, "region": region, "spacing": list(spacing)})
        write_bytes(
            path,
            lambda buffer: np.savez_compressed(
                buffer, structures=structures, header=np.array(header)
            ),
        )
    return path


def load(path: Path) -> TrainingPatient:
    """Read one patient of the pool.

    Raises
    ------
    InputError
        If the file cannot be read, or is none of the pool.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            header = json.loads(str(data["header"]))
            z, y, x = header["spacing"]
            return TrainingPatient(path.stem, data["structures"], (z, y, x))
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"'{path}' cannot be read as a phantom of the pool; remove it, and it is painted anew"
        ) from error


def _work(
    told: Connection,
    folder: str,
    jobs: list[tuple[int, str]],
    spacing: tuple[float, float, float],
) -> None:
    """Paint in a process of its own, and tell the parent what went wrong instead of printing it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    signal.signal(signal.SIGTERM, _end)  # sent by `Painter.stop`: the file begun is removed
    os.environ["NUMBA_NUM_THREADS"] = "1"
    parent = mp.parent_process()
    try:
        if hasattr(os, "nice"):
            os.nice(5)
        for seed, region in jobs:
            if parent is not None and not parent.is_alive():
                return
            paint(Path(folder), seed, region, spacing)
    except (TomochromeError, OSError, MemoryError) as error:
        told.send(error)
    except Exception as error:  # whatever it is: not all of them can be sent
        told.send(RuntimeError(f"{type(error).__name__} while painting phantoms: {error}"))


def _end(*_: object) -> None:
    """End this process, and what it was writing with it."""
    raise SystemExit(0)


class Painter:
    """Paints the plan's patients in a process of its own while training runs.

    Parameters
    ----------
    folder
        Where the pool lies.
    plan
        What to paint.
    """

    def __init__(self, folder: Path, plan: PhantomPlan) -> None:
        make_folder(folder)
        jobs = [j for j in plan_jobs(plan) if not (folder / f"{j[1]}-{j[0]}.npz").exists()]
        context = mp.get_context("spawn")
        self._told, told = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(told, str(folder), jobs, plan.spacing), daemon=True
        )
        self._started = bool(jobs)
        if jobs:
            self._process.start()
        told.close()  # ours: what is left is the process's own end

    def check(self) -> None:
        """Raise what ended the painting before its time.

        Raises
        ------
        TomochromeError
            If something cannot be written, or the process was killed.
        """
        if not self._started or (self._process.exitcode == 0 and not self._told.poll()):
            return
        ended = self._process.exitcode
        try:
            if self._started and self._told.poll():
                raise self._told.recv()
        except EOFError:  # it ended and said nothing
            pass
        if ended:
            how = f"signal {-ended}" if ended < 0 else f"status {ended}"
            raise TomochromeError(
                f"the process that paints phantoms was ended from outside ({how}; the memory may "
                "not have sufficed): train again with --resume"
            )

    def stop(self) -> None:
        """End the painting; what is painted stays."""
        if self._started and self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        self._told.close()

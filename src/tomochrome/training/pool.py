"""A pool of phantom patients on disk: painted once, trained on many times.

Only structures are kept; HU, texture and scanner are drawn anew for each sample.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import time
import zlib
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tomochrome.errors import InputError, TomochromeError
from tomochrome.runtime import check, report
from tomochrome.training.config import PhantomPlan
from tomochrome.training.folder import make_folder, write_bytes
from tomochrome.training.patients import TrainingPatient

HELD_OUT = 1_000_000
"""Seeds from here on are never trained on."""
_RESCAN_SECONDS = 20.0
_UNPLANNED_SHARE = 0.05


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
    """Paint one phantom patient into the pool, unless it is there; return its file.

    Every third seed (2, 5, 8, ...) gets `tomochrome.phantom.draw_variations`; none from `HELD_OUT`
    on, so that figures on held-out patients stay comparable.
    """
    from tomochrome.phantom import draw_variations, make_structures

    path = folder / f"{region}-{seed}.npz"
    if not path.exists():
        varied = seed % 3 == 2 and seed < HELD_OUT
        structures, _, _ = make_structures(
            seed, region, spacing, couch=seed % 2 == 0, metal=seed % 25 == 7,
            variations=draw_variations(seed) if varied else None,
        )  # fmt: skip
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
            f"'{path}' cannot be read as a phantom of the pool; remove it: it is generated again"
        ) from error


class Pool:
    """The patients of a pool, which may still be growing; each is read when it is first drawn.

    Parameters
    ----------
    folder
        Where the pool lies.
    plan
        What is painted there, or will be.
    tenths
        Only the patients whose seed ends with one of these digits; all without.
    """

    def __init__(self, folder: Path, plan: PhantomPlan, tenths: tuple[int, ...] = ()) -> None:
        self.folder, self.plan, self.tenths = folder, plan, tenths
        self._painted = 0
        self._names: dict[str, list[str]] = {}
        self._read: dict[str, TrainingPatient] = {}
        self._listed = -_RESCAN_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        # a process that draws batches reads its own
        return {**self.__dict__, "_read": {}, "_listed": -_RESCAN_SECONDS}

    def __len__(self) -> int:
        """Return how many patients are painted; looked at every 20 s until all are."""
        if self._painted < self.plan.count and time.monotonic() - self._listed >= _RESCAN_SECONDS:
            self._listed = time.monotonic()
            names = sorted(path.stem for path in self.folder.glob("*.npz"))
            self._painted = len(names)
            if self.tenths:
                names = [name for name in names if int(name[-1]) in self.tenths]
            self._names = {
                region: [name for name in names if region_of(name) == region]
                for region in sorted(set(map(region_of, names)))
            }
        return sum(map(len, self._names.values()))

    def draw(self, rng: np.random.Generator) -> TrainingPatient:
        """Draw a region by the plan's shares, then one of its patients.

        Raises
        ------
        InputError
            If none is painted, or a file is damaged.
        """
        if not len(self):
            raise InputError(
                f"there is nothing to train on: no phantoms in '{self.folder}' and no real scans"
            )
        regions = list(self._names)
        shares = np.array([self.plan.regions.get(r, _UNPLANNED_SHARE) for r in regions])
        if not shares.any():
            shares[:] = 1.0
        return self._pick(regions[rng.choice(len(regions), p=shares / shares.sum())], rng)

    def draw_other(self, patient: TrainingPatient, rng: np.random.Generator) -> TrainingPatient:
        """Draw another patient of the same region; the same where there is no other."""
        region = region_of(patient.name)
        others = [name for name in self._names[region] if name != patient.name]
        return self._pick(region, rng, others) if others else patient

    def _pick(
        self, region: str, rng: np.random.Generator, among: list[str] | None = None
    ) -> TrainingPatient:
        names = among or self._names[region]
        name = names[rng.integers(len(names))]
        if name not in self._read:
            self._read[name] = load(self.folder / f"{name}.npz")
        return self._read[name]


def region_of(name: str) -> str:
    """Return the region in the name of a patient of the pool, for example ``"abdomen-12"``."""
    return name.rsplit("-", 1)[0]


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
    except Exception as error:
        told.send(sendable(error, "painting phantoms"))


def sendable(error: Exception, work: str) -> Exception:
    """Return an error that another process can be sent: of those of libraries, not all can be."""
    if isinstance(error, TomochromeError | OSError | MemoryError):
        return error
    return RuntimeError(f"{type(error).__name__} while {work}: {error}")


def _end(*_: object) -> None:
    """End this process, and what it was writing with it."""
    raise SystemExit(0)


class Painter:
    """Paints the plan's patients in a process of its own; as a context, for as long as it lasts.

    Parameters
    ----------
    folder
        Where the pool lies.
    plan
        What to paint; None: nothing.
    first_seed
        Seed of the first patient.
    """

    def __init__(self, folder: Path, plan: PhantomPlan | None, first_seed: int = 1) -> None:
        self._folder = folder
        self._planned = list(plan_jobs(plan, first_seed)) if plan is not None else []
        jobs = self._missing(len(self._planned))
        self._started = bool(jobs)
        if plan is None or not jobs:
            return
        make_folder(folder)
        context = mp.get_context("spawn")
        self._told, told = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(told, str(folder), jobs, plan.spacing), daemon=True
        )
        self._process.start()
        told.close()  # ours: what is left is the process's own end

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, patients: int, stage: str) -> None:
        """Wait until so many of the plan's patients are painted.

        Parameters
        ----------
        patients
            How many of the first ones.
        stage
            What progress calls the work.

        Raises
        ------
        TomochromeError
            As `check`, or if the user stopped it.
        """
        total = min(patients, len(self._planned))
        while missing := self._missing(total):
            report(total - len(missing), total, stage)
            check()
            self.check()
            time.sleep(0.2)

    def _missing(self, patients: int) -> list[tuple[int, str]]:
        """Return which of the first patients of the plan are not painted yet."""
        first = self._planned[:patients]
        return [(s, r) for s, r in first if not (self._folder / f"{r}-{s}.npz").exists()]

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
            if self._told.poll():
                raise self._told.recv()
        except EOFError:  # it ended and said nothing
            pass
        if ended:
            how = f"signal {-ended}" if ended < 0 else f"status {ended}"
            raise TomochromeError(
                f"the process that paints phantoms was killed ({how}; it may have run "
                "out of memory): train again with --resume"
            )

    def stop(self) -> None:
        """End the painting; what is painted stays."""
        if not self._started:
            return
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        self._told.close()

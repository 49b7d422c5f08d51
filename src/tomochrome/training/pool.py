"""A pool of phantom patients on disk: generated once, used for many samples.

Only structure maps are stored; HU, texture and scanner effects are drawn for each sample.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome.errors import InputError, TomochromeError
from tomochrome.runtime import check, report
from tomochrome.training.config import PhantomPlan
from tomochrome.training.folder import make_folder, read_arrays, write_bytes
from tomochrome.training.patients import TrainingPatient

HELD_OUT = 1_000_000
"""First of the seeds that are never used for training."""
_RESCAN_SECONDS = 20.0
_UNPLANNED_SHARE = 0.05


def plan_jobs(plan: PhantomPlan, first_seed: int = 1) -> Iterator[tuple[int, str]]:
    """Yield (seed, region) for each patient of the plan, interleaving regions by their shares."""
    names = list(plan.regions)
    shares = np.array([plan.regions[name] for name in names], dtype=np.float64)
    shares /= shares.sum()
    given = np.zeros(len(names))
    for k in range(plan.count):
        due = int(np.argmax(shares * (k + 1) - given))
        given[due] += 1
        yield first_seed + k, names[due]


def generate_phantom(
    folder: Path, seed: int, region: str, spacing: tuple[float, float, float]
) -> Path:
    """Generate one phantom patient unless its file exists; return the file.

    Every third seed (2, 5, 8, ...) gets `tomochrome.phantom.draw_variations`, except from
    `HELD_OUT` on, so that scores on held-out patients stay comparable.
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
        If the file cannot be read, or is not a pool file.
    """
    with read_arrays(path, "a phantom of the pool; delete it to generate it again") as data:
        header = json.loads(str(data["header"]))
        z, y, x = header["spacing"]
        return TrainingPatient(path.stem, data["structures"], (z, y, x))


class Pool:
    """The patients of a pool, which may still be growing; each is read when it is first drawn.

    Parameters
    ----------
    folder
        Folder of the pool.
    plan
        The plan that the pool is generated from.
    last_digits
        Use only patients whose seed ends with one of these digits; by default all.
    """

    def __init__(self, folder: Path, plan: PhantomPlan, last_digits: tuple[int, ...] = ()) -> None:
        self.folder, self.plan, self.last_digits = folder, plan, last_digits
        self._generated = 0
        self._names: dict[str, list[str]] = {}
        self._read: dict[str, TrainingPatient] = {}
        self._listed = -_RESCAN_SECONDS

    def __getstate__(self) -> dict[str, Any]:
        # each worker process reads the files itself
        return {**self.__dict__, "_read": {}, "_listed": -_RESCAN_SECONDS}

    def __len__(self) -> int:
        """Return the number of generated patients, rescanned every 20 s until complete."""
        if self._generated < self.plan.count and time.monotonic() - self._listed >= _RESCAN_SECONDS:
            self._listed = time.monotonic()
            names = sorted(path.stem for path in self.folder.glob("*.npz"))
            self._generated = len(names)
            if self.last_digits:
                names = [name for name in names if int(name[-1]) in self.last_digits]
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
            If the pool is empty, or a file is damaged.
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
        """Draw another patient of the same region; return the same one if it is the only one."""
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
    """Return the region from the name of a patient of the pool, such as ``"abdomen-12"``."""
    return name.rsplit("-", 1)[0]


def _work(
    errors: Connection,
    folder: str,
    jobs: list[tuple[int, str]],
    spacing: tuple[float, float, float],
) -> None:
    """Generate phantoms in a child process, and send errors to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # sent by `PhantomGenerator.stop`; the exception removes the incomplete file
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["NUMBA_NUM_THREADS"] = "1"
    parent = mp.parent_process()
    try:
        if hasattr(os, "nice"):
            os.nice(5)
        for seed, region in jobs:
            if parent is not None and not parent.is_alive():
                return
            generate_phantom(Path(folder), seed, region, spacing)
    except Exception as error:
        errors.send(sendable(error, "generating phantoms"))


def sendable(error: Exception, work: str) -> Exception:
    """Return an error that can be pickled; errors of libraries become a RuntimeError."""
    if isinstance(error, TomochromeError | OSError | MemoryError):
        return error
    return RuntimeError(f"{type(error).__name__} while {work}: {error}")


class PhantomGenerator:
    """Generates the plan's missing patients in a child process; a context manager that stops it.

    Parameters
    ----------
    folder
        Folder of the pool.
    plan
        The patients to generate; None for none.
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
        self._errors, errors = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(errors, str(folder), jobs, plan.spacing), daemon=True
        )
        self._process.start()
        errors.close()  # the parent's copy, so that EOF follows the end of the child

    def __enter__(self) -> PhantomGenerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, patients: int, stage: str) -> None:
        """Wait until the first patients of the plan are generated.

        Parameters
        ----------
        patients
            Number of patients.
        stage
            Text of the progress reports.

        Raises
        ------
        TomochromeError
            As `check`, or if the user cancelled.
        """
        total = min(patients, len(self._planned))
        while missing := self._missing(total):
            report(total - len(missing), total, stage)
            check()
            self.check()
            time.sleep(0.2)

    def _missing(self, patients: int) -> list[tuple[int, str]]:
        """Return which of the first patients of the plan have no file yet."""
        first = self._planned[:patients]
        return [(s, r) for s, r in first if not (self._folder / f"{r}-{s}.npz").exists()]

    def check(self) -> None:
        """Raise the error that ended the child process, if any.

        Raises
        ------
        TomochromeError
            If a file cannot be written, or the process was killed.
        """
        if not self._started or (self._process.exitcode == 0 and not self._errors.poll()):
            return
        code = self._process.exitcode
        try:
            if self._errors.poll():
                raise self._errors.recv()
        except EOFError:  # it ended without an error message
            pass
        if code:
            how = f"signal {-code}" if code < 0 else f"status {code}"
            raise TomochromeError(
                f"the process that generates phantoms was killed ({how}; it may have run "
                "out of memory): train again with --resume"
            )

    def stop(self) -> None:
        """Stop the child process; complete files remain."""
        if not self._started:
            return
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5)
        self._errors.close()

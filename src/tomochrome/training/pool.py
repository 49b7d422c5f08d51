"""A pool of phantom patients on disk: painted once, trained on many times.

Only structures are kept; HU, texture and scanner are drawn anew for each sample.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tomochrome.runtime import write_whole
from tomochrome.training.config import PhantomPlan
from tomochrome.training.folder import make_folder
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
        with write_whole(path) as temporary:
            np.savez_compressed(temporary, structures=structures, header=np.array(header))
    return path


def load(path: Path) -> TrainingPatient:
    """Read one patient of the pool."""
    with np.load(path, allow_pickle=False) as data:
        header = json.loads(str(data["header"]))
        z, y, x = header["spacing"]
        return TrainingPatient(path.stem, data["structures"], (z, y, x))


def _work(folder: str, jobs: list[tuple[int, str]], spacing: tuple[float, float, float]) -> None:
    os.nice(5)
    os.environ["NUMBA_NUM_THREADS"] = "1"
    for seed, region in jobs:
        paint(Path(folder), seed, region, spacing)


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
        self.folder, self.plan = folder, plan
        jobs = [j for j in plan_jobs(plan) if not (folder / f"{j[1]}-{j[0]}.npz").exists()]
        self._process = mp.get_context("spawn").Process(
            target=_work, args=(str(folder), jobs, plan.spacing), daemon=True
        )
        if jobs:
            self._process.start()
        self._started = bool(jobs)

    @property
    def running(self) -> bool:
        """Whether patients are still being painted."""
        return self._started and self._process.is_alive()

    def stop(self) -> None:
        """End the painting; what is painted stays."""
        if self._started and self._process.is_alive():
            self._process.terminate()
            self._process.join(5)

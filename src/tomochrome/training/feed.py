"""Batches for the network, prepared by a thread while it trains."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tomochrome.colorization.inputs import InputSpec
from tomochrome.errors import InputError
from tomochrome.runtime import CancelToken, check
from tomochrome.tissue import N_TISSUES
from tomochrome.training.augment import Augmentation, Sampler
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.pool import load

_RESCAN_SECONDS = 20.0


class Feed:
    """An endless stream of batches from real patients and a growing pool of phantoms.

    Parameters
    ----------
    spec, shape, batch
        What the network sees, height and width in pixels, samples a batch.
    pool
        Folder of painted phantoms; looked at again while training, so that new ones join.
    real
        Real labelled patients.
    real_share
        Share of samples from real patients, when there are any.
    region_shares
        Share of samples from each region's phantoms, by the name before the seed.
    seed
        Source of chance.
    """

    def __init__(
        self,
        spec: InputSpec,
        shape: tuple[int, int],
        batch: int,
        pool: Path,
        real: list[TrainingPatient],
        real_share: float,
        region_shares: dict[str, float],
        seed: int = 0,
        settings: Augmentation | None = None,
    ) -> None:
        self._sampler = Sampler(spec, shape, settings, seed)
        self._spec, self._shape, self._batch = spec, shape, batch
        self._pool, self._real = pool, real
        self._real_share, self._region_shares = real_share, region_shares
        self._rng = np.random.default_rng([seed, 77])
        self._phantoms: dict[str, list[TrainingPatient]] = {}
        self._known: dict[str, int] = {}
        self._scanned = -1e9
        self._queue: queue.Queue[tuple[torch.Tensor, torch.Tensor] | BaseException] = queue.Queue(3)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, daemon=True)

    def start(self) -> Feed:
        """Begin preparing batches."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.2)
            except queue.Empty:
                continue

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next batch: float32 (n, c, y, x) and int64 (n, y, x)."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    @property
    def phantom_count(self) -> int:
        """Phantom patients known so far."""
        return len(self._known)

    def frequencies(self, samples: int = 48) -> np.ndarray:
        """Return how often each tissue occurs in ``samples`` drawn samples (before `start`)."""
        count = np.zeros(N_TISSUES, np.float64)
        x = np.empty((len(self._spec.channels), *self._shape), np.float32)
        y = np.empty(self._shape, np.uint8)
        for _ in range(samples):
            self._rescan()
            self._sampler.sample(self._patient(), x, y)
            count += np.bincount(y.ravel(), minlength=N_TISSUES)
        return count

    def draw(self) -> TrainingPatient:
        """Draw a patient as training does (before `start`)."""
        self._rescan()
        return self._patient()

    @property
    def sampler(self) -> Sampler:
        """The sampler, for use before `start`."""
        return self._sampler

    def load_all(self) -> None:
        """Read every phantom of the pool now (before `start`)."""
        before = -1
        while before != len(self._known):
            before = len(self._known)
            self._scanned = -1e9
            self._rescan()

    def wait(
        self,
        patients: int,
        timeout: float = 600.0,
        cancel: CancelToken | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until that many phantoms are painted, or time is up.

        Parameters
        ----------
        patients, timeout
            How many, and for how many seconds at most.
        cancel, watch
            Looked at, and called, about twice a second; ``watch`` raises what ends the waiting.

        Raises
        ------
        Cancelled
            If the user stopped it.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self._scanned = -1e9
            self._rescan()
            if len(self._known) >= patients:
                return
            check(cancel)
            watch()
            time.sleep(0.5)

    def _rescan(self) -> None:
        if time.monotonic() - self._scanned < _RESCAN_SECONDS:
            return
        self._scanned = time.monotonic()
        there = {path.name: path.stat().st_mtime_ns for path in self._pool.glob("*.npz")}
        for name in [n for n, stamp in self._known.items() if there.get(n) != stamp]:
            del self._known[name]  # painted anew, or taken away
            patients = self._phantoms[_region(name)]
            patients[:] = [p for p in patients if f"{p.name}.npz" != name]
        fresh = sorted(set(there) - set(self._known))
        for name in fresh[:8]:  # a few at a time, so that the network never waits long
            self._known[name] = there[name]
            self._phantoms.setdefault(_region(name), []).append(load(self._pool / name))
        if len(fresh) > 8:
            self._scanned = time.monotonic() - _RESCAN_SECONDS + 2.0

    def _patient(self) -> TrainingPatient:
        rng = self._rng
        if self._real and (not self._known or rng.random() < self._real_share):
            return self._real[rng.integers(len(self._real))]
        if not self._known:
            raise InputError(
                f"there is nothing to train on: no phantoms in '{self._pool}' and no real scans"
            )
        regions = [name for name, patients in self._phantoms.items() if patients]
        shares = np.array([self._region_shares.get(name, 0.05) for name in regions])
        chosen = self._phantoms[regions[rng.choice(len(regions), p=shares / shares.sum())]]
        return chosen[rng.integers(len(chosen))]

    def _produce(self) -> None:
        try:
            while not self._stop.is_set():
                self._rescan()
                x = np.empty((self._batch, len(self._spec.channels), *self._shape), np.float32)
                y = np.empty((self._batch, *self._shape), np.uint8)
                for k in range(self._batch):
                    self._sampler.sample(self._patient(), x[k], y[k])
                images = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
                self._queue.put((images, torch.from_numpy(y).long()))
        except BaseException as error:
            self._queue.put(error)


def _region(name: str) -> str:
    """Region in the name of a pool's file, for example ``"abdomen-12.npz"``."""
    return name.rsplit("-", 1)[0]

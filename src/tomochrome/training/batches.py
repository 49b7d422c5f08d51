"""Batches for the network, prepared in the background while it trains on the previous one."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tomochrome.errors import TomochromeError
from tomochrome.runtime import ThreadPool, check
from tomochrome.training.pool import sendable
from tomochrome.training.task_interface import Samples

_LOOK_SECONDS = 0.2


class Batches:
    """The batches of a data set from a given step on, in an order that depends only on the seed.

    torch's ``DataLoader`` prepares them, in worker processes or in a thread of this process.

    Parameters
    ----------
    samples
        The data set. One without a length is endless: step k reads the samples from k * batch on.
    collate
        Makes a batch of samples; it must be picklable if there are workers.
    batch
        Samples per step.
    first
        First step.
    seed
        Seed of the order of a data set with a length, which is shuffled in each epoch.
    workers
        Number of worker processes; 0 for a thread.
    part
        Rank of this process and number of processes in a distributed training: each batch is
        this process's part of a global batch.
    """

    def __init__(
        self,
        samples: Samples,
        collate: Callable[[Sequence[Any]], Any],
        batch: int,
        *,
        first: int = 0,
        seed: int = 0,
        workers: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        length = len(samples) if isinstance(samples, Sized) else 0
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(samples),
            batch_sampler=_order(length, batch, first, seed, part),
            num_workers=workers,
            collate_fn=_Collate(collate),
            multiprocessing_context="spawn" if workers else None,  # forking breaks compiled loops
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # do not advance torch's global generator
        )
        self._batches: Iterator[Any] | None = None
        self._workers = workers
        self._thread = ThreadPool(1, "tomochrome-batches")
        self._ahead: Future[Any] = self._thread.submit(self._prepare)

    def _prepare(self) -> Any:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)

    def next(self) -> Any:
        """Return the next batch.

        Raises
        ------
        TomochromeError
            If a worker was killed, the data are damaged, or the user cancelled.
        """
        while not wait([self._ahead], _LOOK_SECONDS).done:
            check()
        try:
            batch = self._ahead.result()
        except (RuntimeError, OSError, EOFError) as error:  # errors of the data set are values
            raise TomochromeError(
                "a process that prepares batches was killed (it may have run out of memory): train "
                "again with --resume, or with fewer 'workers'"
            ) from error
        if isinstance(batch, _Failure):
            raise batch.error
        self._ahead = self._thread.submit(self._prepare)
        return batch

    def stop(self) -> None:
        """Stop the thread; with workers, do not wait for it."""
        self._thread.shutdown(wait=not self._workers, cancel_futures=True)
        self._batches = None


def _order(
    length: int, batch: int, first: int, seed: int, part: tuple[int, int]
) -> Iterator[list[int]]:
    """Yield the sample indices of each step, endlessly."""
    epoch, order = -1, np.zeros(0, np.int64)
    rank, processes = part
    for step in itertools.count(first):
        chosen = []
        begin = (step * processes + rank) * batch
        for k in range(begin, begin + batch):
            if length and k // length != epoch:
                epoch = k // length
                order = np.random.default_rng([seed, epoch]).permutation(length)
            chosen.append(int(order[k % length]) if length else k)
        yield chosen


class _Failure:
    """The error of a sample, passed on as a value and raised in the parent process."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Guarded(Dataset[Any]):
    """A data set that returns errors as values."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> Any:
        try:
            return self._samples[index]
        except Exception as error:
            return _Failure(sendable(error, "preparing a batch"))


class _Collate:
    """Collates samples, or returns the first failure among them."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: Sequence[Any]) -> Any:
        failed = next((s for s in samples if isinstance(s, _Failure)), None)
        return failed if failed is not None else self._collate(samples)


def _begin_worker(_: int) -> None:
    """Ignore Ctrl-C, which the parent handles, and leave most CPU time to the network."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["NUMBA_NUM_THREADS"] = "1"
    if hasattr(os, "nice"):
        os.nice(5)

"""Batches for the network, prepared while it trains on the last one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tomochrome.errors import TomochromeError
from tomochrome.runtime import ThreadPool, check
from tomochrome.training.pool import sendable
from tomochrome.training.task import Samples

_LOOK_SECONDS = 0.2


class Batches:
    """The batches of a data set from a step on, in an order that the seed alone gives.

    torch's ``DataLoader`` prepares them, in processes of its own or in a thread of this one.

    Parameters
    ----------
    samples
        The data set. One without a length is endless: step k has its samples k * batch and on.
    collate
        Makes a batch of samples; can be pickled if there are workers.
    batch
        Samples a step.
    first
        Step to begin at.
    seed
        Of the order of a data set with a length, which is shuffled anew in each epoch.
    workers
        Processes; 0: a thread.
    part
        Which of how many processes this is that train together: each batch is that part of a
        batch so many times as large.
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
            generator=torch.Generator(),  # its own: the network's chance does not depend on it
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
            If a worker was killed, the data are damaged, or the user stopped it.
        """
        while not wait([self._ahead], _LOOK_SECONDS).done:
            check()
        try:
            batch = self._ahead.result()
        except (RuntimeError, OSError, EOFError) as error:  # the data set's own come as values
            raise TomochromeError(
                "a process that prepares batches was killed (it may have run out of memory): train "
                "again with --resume, or with fewer 'workers'"
            ) from error
        if isinstance(batch, _Failure):
            raise batch.error
        self._ahead = self._thread.submit(self._prepare)
        return batch

    def stop(self) -> None:
        """End the thread, or leave it to end with the processes that it waits for."""
        self._thread.shutdown(wait=not self._workers, cancel_futures=True)
        self._batches = None


def _order(
    length: int, batch: int, first: int, seed: int, part: tuple[int, int]
) -> Iterator[list[int]]:
    """Yield the indices of each step's samples, without end."""
    epoch, order = -1, np.zeros(0, np.int64)
    which, of = part
    for step in itertools.count(first):
        chosen = []
        begin = (step * of + which) * batch
        for k in range(begin, begin + batch):
            if length and k // length != epoch:
                epoch = k // length
                order = np.random.default_rng([seed, epoch]).permutation(length)
            chosen.append(int(order[k % length]) if length else k)
        yield chosen


class _Failure:
    """What went wrong with a sample: raised in this process, as a worker's traceback is no help."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Guarded(Dataset[Any]):
    """A data set whose errors are values."""

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
    """Leave Ctrl-C to the parent, and its processors to the network."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["NUMBA_NUM_THREADS"] = "1"
    if hasattr(os, "nice"):
        os.nice(5)

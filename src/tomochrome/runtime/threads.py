"""Limits on the CPU threads of numba and torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tomochrome.runtime.device import thread_count


@contextmanager
def compute_threads(threads: int | None = None) -> Iterator[int]:
    """Limit numba, and torch if it is already imported, to ``threads``, and restore them on exit.

    Without ``threads``, torch's default is kept.

    Yields
    ------
    int
        The number of threads.

    Raises
    ------
    OptionError
        If ``threads`` is less than 1.
    """
    import numba

    count = thread_count(threads)
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    try:
        with torch_threads(None if threads is None else count):
            yield count
    finally:
        numba.set_num_threads(before)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Limit torch, if it is already imported, to ``count`` CPU threads, and restore it on exit.

    Between two operations torch's threads busy-wait on their cores (OpenMP), which slows down
    kernels that run in threads of their own (`in_chunks`).
    """
    torch = sys.modules.get("torch") if count is not None else None
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

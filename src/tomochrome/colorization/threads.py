"""Limits on the CPU threads of numba and torch during colorization."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tomochrome.runtime import thread_count


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
    torch = sys.modules.get("torch") if threads is not None else None
    before = numba.get_num_threads(), torch and torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    if torch:
        torch.set_num_threads(count)
    try:
        yield count
    finally:
        numba.set_num_threads(before[0])
        if torch:
            torch.set_num_threads(before[1])

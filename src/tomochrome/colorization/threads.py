"""How many CPU threads the compiled loops and torch may use while a volume is colored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tomochrome.runtime import thread_count


@contextmanager
def compute_threads(threads: int | None = None, *, networks: bool = False) -> Iterator[int]:
    """Limit numba, and torch for ``networks``, to ``threads``; restore them afterwards.

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
        if networks and threads is not None:  # otherwise torch's own choice stands
            with _torch_threads(count):
                yield count
        else:
            yield count
    finally:
        numba.set_num_threads(before)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Compilation of Numba kernels, and their execution in several threads.

A kernel takes the range of slices that it works on as its last two arguments, releases the GIL, and
writes to these slices only: the result does not depend on the number of threads.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Any


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile ``function`` to release the GIL, cached on disk if a folder is writable.

    Numba caches beside the module, or in the user's cache folder if the package is read-only. If
    neither is writable it raises an exception, and the kernel is compiled in every process.
    ``options`` are those of ``numba.njit``. Without a function, a decorator is returned:
    ``@kernel(fastmath=True)``.
    """
    if function is None:
        return functools.partial(kernel, **options)
    from numba import njit

    try:
        compiled = njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        return njit(nogil=True, **options)(function)
    cache = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if cache is None:  # with NUMBA_DISABLE_JIT
        return compiled
    try:  # reading the index of an earlier version fails if a class in a signature was renamed
        cache._load_index()
    except Exception:  # whatever unpickling raises
        with suppress(OSError):
            cache.flush()
    return compiled


def available_threads() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def run_in_threads(
    function: Callable[..., None],
    start: int,
    stop: int,
    *arguments: Any,
    threads: int | None = None,
    least: int = 2,
) -> None:
    """Call ``function(*arguments, z0, z1)`` for consecutive parts of the slices ``start..stop``.

    Parameters
    ----------
    function
        The kernel.
    start, stop
        First slice, and the one after the last.
    *arguments
        All arguments of the kernel but the last two.
    threads
        Number of threads; None for all processors.
    least
        Number of slices below which one thread does it all.
    """
    count = available_threads() if threads is None else threads
    if count <= 1 or stop - start < least:
        function(*arguments, start, stop)
        return
    parts = min(4 * count, stop - start)
    cuts = [start + (stop - start) * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(function, *arguments, z0, z1) for z0, z1 in pairwise(cuts)]
        for job in jobs:
            job.result()

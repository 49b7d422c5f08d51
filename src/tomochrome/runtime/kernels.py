"""Multi-threaded execution of compiled Numba kernels, and conversion of their inputs.

Kernels are serial loops that release the GIL and run on chunks of the work in several threads.
Numba's parallel loops take three to four times as long to compile. Without OpenMP or TBB (macOS,
slim containers), they terminate the process when two threads start one at the same time (Numba
documentation, "The Threading Layers").
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctphantom.compiling import kernel as kernel
from tomochrome.runtime.device import kernel_threads, thread_count
from tomochrome.runtime.task import ThreadPool, check


@functools.cache
def _pool() -> ThreadPool:
    """Return the persistent thread pool; creating one per call would cost more than short loops."""
    return ThreadPool(os.cpu_count(), thread_name_prefix="kernel")


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def over_chunks(
    work: Callable[[int, int], None], n: int, *, threads: int | None = None, least: int = 65536
) -> None:
    """Call ``work(start, stop)`` for consecutive chunks of ``range(n)`` in several threads.

    Parameters
    ----------
    work
        Processes items ``start`` to ``stop`` and releases the GIL.
    n
        Number of items.
    threads
        Number of threads; all available ones by default.
    least
        Minimum chunk size.
    """
    count = min(thread_count(threads), max(1, n // least))
    if count <= 1:
        work(0, n)
        return
    pieces = iter(list(pairwise(n * i // count for i in range(count + 1))))

    def take() -> None:
        for start, stop in pieces:  # shared between the threads
            work(start, stop)

    helpers: list[Future[None]] = []
    with suppress(RuntimeError):  # no thread can be started during interpreter shutdown
        for _ in range(count - 1):
            helpers.append(_pool().submit(take))
    try:
        take()
    finally:  # helpers that have not started yet are not needed any more
        helpers = [helper for helper in helpers if not helper.cancel()]
        wait(helpers)
    for helper in helpers:
        helper.result()


def in_chunks(
    function: Callable[..., None] | None = None,
    *,
    jobs: Callable[..., int] | None = None,
    least: int = 65536,
    fastmath: bool | set[str] = False,
) -> Any:
    """Compile ``function(first, last, *arguments)`` and run it over ``range(n)`` in threads.

    Parameters
    ----------
    function
        The function to compile. If omitted, a decorator is returned: ``@in_chunks(least=1)``.
    jobs
        Computes ``n`` from the arguments. If omitted, ``n`` is the first argument of each call.
    least
        Minimum number of items per thread.
    fastmath
        As for ``numba.njit``.

    Returns
    -------
    Callable
        Called as ``function(*arguments)``, or ``function(n, *arguments)`` without ``jobs``. It
        calls `check` first and uses as many threads as `kernel_threads` says.
        ``__wrapped__`` is the compiled function.
    """
    if function is None:
        return functools.partial(in_chunks, jobs=jobs, least=least, fastmath=fastmath)
    # error_model="numpy": checks for division by zero prevent vectorization
    compiled = kernel(function, fastmath=fastmath, error_model="numpy")

    @functools.wraps(compiled, updated=())
    def run(*arguments: Any) -> None:
        check()
        n, given = (jobs(*arguments), arguments) if jobs else (arguments[0], arguments[1:])
        over_chunks(
            lambda start, stop: compiled(start, stop, *given),
            n, threads=kernel_threads(), least=least,
        )  # fmt: skip

    return run


def plain_numbers(values: ArrayLike) -> NDArray[Any]:
    """Return an array of a type that kernels support, without a copy where possible.

    Booleans become bytes, numbers native byte order, and floats 4 or 8 bytes.
    """
    given = np.asarray(values)
    if given.dtype.kind == "b":
        return given.view(np.uint8)
    if given.dtype.kind == "f" and given.dtype.itemsize not in (4, 8):
        return given.astype(np.float32 if given.dtype.itemsize < 4 else np.float64)
    return given.astype(given.dtype.newbyteorder("="), copy=False)

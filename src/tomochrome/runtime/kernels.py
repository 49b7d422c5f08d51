"""How compiled loops are compiled, run in threads, and given numbers that they can read.

All loops are serial, release the GIL, and are run over pieces of the work in threads. Numba's own
parallel loops take three to four times as long to compile, and where neither OpenMP nor TBB is
found (macOS, slim containers) end the whole process when two threads start one at once (Numba
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

from tomochrome.runtime.device import thread_count
from tomochrome.runtime.task import ThreadPool, check


@functools.cache
def _pool() -> ThreadPool:
    """Threads for pieces of compiled loops: kept, so that short loops can be shared too."""
    return ThreadPool(os.cpu_count(), thread_name_prefix="kernel")


if hasattr(os, "register_at_fork"):  # a forked process has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """Compile ``function`` without the GIL, cached on disk where some folder can be written.

    Numba keeps its cache beside the module, or in the user's cache folder where the package is
    read-only; where neither can be written it raises, and the kernel is compiled anew each run.
    ``options`` are those of ``numba.njit``.
    """
    from numba import njit

    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:
        return njit(nogil=True, **options)(function)


def over_chunks(
    work: Callable[[int, int], None], n: int, *, threads: int | None = None, least: int = 65536
) -> None:
    """Call ``work(start, stop)`` on consecutive pieces of ``range(n)`` in threads.

    Parameters
    ----------
    work
        Handles items ``start`` to ``stop`` and releases the GIL.
    n
        Number of items.
    threads
        Number of threads; default all that this process may use.
    least
        Smallest piece worth a thread of its own.
    """
    count = min(thread_count(threads), max(1, n // least))
    if count <= 1:
        work(0, n)
        return
    pieces = iter(list(pairwise(n * i // count for i in range(count + 1))))

    def take() -> None:
        for start, stop in pieces:  # shared: each piece goes to whoever asks for it first
            work(start, stop)

    helpers: list[Future[None]] = []
    with suppress(RuntimeError):  # no thread can be started while the interpreter exits
        for _ in range(count - 1):
            helpers.append(_pool().submit(take))
    try:
        take()
    finally:  # those that did not start yet found nothing left to do
        helpers = [helper for helper in helpers if not helper.cancel()]
        wait(helpers)
    for helper in helpers:
        helper.result()


def in_chunks(
    function: Callable[..., None] | None = None,
    *,
    jobs: Callable[..., int] | None = None,
    least: int = 65536,
    fastmath: bool = False,
) -> Any:
    """Compile ``function(first, last, *arguments)``, and run it over ``range(n)`` in threads.

    Parameters
    ----------
    function
        What to compile. Without it a decorator is returned: ``@in_chunks(least=1)``.
    jobs
        Finds ``n`` from the arguments. Without it ``n`` is given before them in each call.
    least
        Smallest number of items worth a thread of its own.
    fastmath
        As for ``numba.njit``.

    Returns
    -------
    Callable
        To be called as ``function(*arguments)``, or ``function(n, *arguments)`` without ``jobs``.
        It calls `check` first, and uses as many threads as Numba may
        (`numba.set_num_threads`). ``__wrapped__`` is the compiled function.
    """
    if function is None:
        return functools.partial(in_chunks, jobs=jobs, least=least, fastmath=fastmath)
    # no check for division by zero: it keeps a loop from being vectorized
    compiled = kernel(function, fastmath=fastmath, error_model="numpy")

    @functools.wraps(compiled, updated=())
    def run(*arguments: Any) -> None:
        from numba import get_num_threads

        check()
        n, given = (jobs(*arguments), arguments) if jobs else (arguments[0], arguments[1:])
        over_chunks(
            lambda start, stop: compiled(start, stop, *given),
            n, threads=get_num_threads(), least=least,
        )  # fmt: skip

    return run


def plain_numbers(values: ArrayLike) -> NDArray[Any]:
    """Return values as compiled loops read them, uncopied wherever they do.

    Booleans as bytes, numbers in this machine's byte order, floats of 4 or 8 bytes.
    """
    given = np.asarray(values)
    if given.dtype.kind == "b":
        return given.view(np.uint8)
    if given.dtype.kind == "f" and given.dtype.itemsize not in (4, 8):
        return given.astype(np.float32 if given.dtype.itemsize < 4 else np.float64)
    return given.astype(given.dtype.newbyteorder("="), copy=False)

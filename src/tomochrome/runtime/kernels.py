"""How compiled loops are compiled, run in threads, and given numbers that they can read.

Serial loops release the GIL, and `over_chunks` runs them over pieces of the work in threads.
Numba's own parallel loops take several times as long to compile. They pay where many short ones
follow each other, as in the refinement of a registration; only one Python thread enters them
(`one_at_a_time`): where neither OpenMP nor TBB is found (macOS, slim containers), Numba's own
thread pool ends the whole process when two threads start a parallel loop at once (Numba
documentation, "The Threading Layers"). A viewer that reads a sample while another volume is being
colored would do just that.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.runtime.device import thread_count
from tomochrome.runtime.task import ThreadPool, check

P = ParamSpec("P")
R = TypeVar("R")

_GATE = threading.Lock()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, cached on disk where some folder can be written.

    Numba keeps its cache beside the module, or in the user's cache folder where the package is
    read-only; where neither can be written it raises, and the kernel is compiled anew each run.
    """
    from numba import njit

    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


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
    pieces = min(thread_count(threads), max(1, n // least))
    if pieces <= 1:
        work(0, n)
        return
    edges = np.linspace(0, n, pieces + 1).astype(int)
    with ThreadPool(pieces - 1) as pool:
        rest = [pool.submit(work, int(edges[i]), int(edges[i + 1])) for i in range(1, pieces)]
        work(0, int(edges[1]))
        for future in rest:
            future.result()


def in_chunks(function: Callable[..., None]) -> Callable[..., None]:
    """Compile ``function(first, last, *arguments)``, and run it over ``range(n)`` in threads.

    Returns
    -------
    Callable
        To be called as ``function(n, *arguments)``. It calls `check` first, and
        uses as many threads as Numba may (`numba.set_num_threads`).
    """
    compiled = kernel(function)

    @functools.wraps(function)
    def run(n: int, *arguments: Any) -> None:
        from numba import get_num_threads

        check()
        over_chunks(
            lambda first, last: compiled(first, last, *arguments), n, threads=get_num_threads()
        )

    return run


def one_at_a_time(kernel: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time into any of the parallel kernels so decorated.

    Before it enters, it calls `check`: whatever is made of many such loops can be stopped between
    any two of them.

    Parameters
    ----------
    kernel
        A function compiled with ``numba.njit(parallel=True)``. It must not be called from
        another compiled function; the undecorated one is kept as ``__wrapped__``.
    """

    @functools.wraps(kernel)
    def enter(*args: Any, **kwargs: Any) -> Any:
        check()
        with _GATE:
            return kernel(*args, **kwargs)

    return enter


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

"""How kernels are compiled, and how they are run in threads.

Kernels are serial and release the GIL; `over_chunks` runs them over pieces of the work in
threads. Numba's own parallel loops are not used: some of its threading layers stop the whole
process when two threads (a viewer's slicing and a worker) enter them at once, and they take
several times as long to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from tomochrome.runtime.device import thread_count


def kernel(function: Callable[..., Any]) -> Any:
    """Compile ``function`` without the GIL, cached on disk where some folder can be written.

    Numba keeps its cache beside the module, or in the user's cache folder where the package is
    read-only; where neither can be written it raises, and the kernel is compiled anew each run.
    """
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
    with ThreadPoolExecutor(pieces - 1) as pool:
        rest = [pool.submit(work, int(edges[i]), int(edges[i + 1])) for i in range(1, pieces)]
        work(0, int(edges[1]))
        for future in rest:
            future.result()

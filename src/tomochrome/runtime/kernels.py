"""Compiled loops that use several threads, entered by one Python thread at a time.

Where neither OpenMP nor TBB is found (macOS, slim containers), Numba's own thread pool ends the
whole process when two threads start a parallel loop at once (Numba documentation, "The Threading
Layers"). A viewer that reads a sample while another volume is being colored would do just that.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from tomochrome.runtime.progress import look

P = ParamSpec("P")
R = TypeVar("R")

_GATE = threading.Lock()


def one_at_a_time(kernel: Callable[P, R]) -> Callable[P, R]:
    """Let one thread at a time into any of the parallel kernels so decorated.

    Before it enters, the token that the thread is `watching` is looked at: whatever is made of
    many such loops can be stopped between any two of them.

    Parameters
    ----------
    kernel
        A function compiled with ``numba.njit(parallel=True)``. It must not be called from
        another compiled function; the undecorated one is kept as ``__wrapped__``.
    """

    @functools.wraps(kernel)
    def enter(*args: Any, **kwargs: Any) -> Any:
        look()
        with _GATE:
            return kernel(*args, **kwargs)

    return enter

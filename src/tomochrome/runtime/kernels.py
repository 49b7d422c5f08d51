"""What compiled loops need: one Python thread at a time in those that use several, and numbers.

Where neither OpenMP nor TBB is found (macOS, slim containers), Numba's own thread pool ends the
whole process when two threads start a parallel loop at once (Numba documentation, "The Threading
Layers"). A viewer that reads a sample while another volume is being colored would do just that.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

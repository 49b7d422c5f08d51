"""How much work a call does, whatever else the machine does: the number of function calls."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable


def calls_of(work: Callable[[], object]) -> int:
    """Count calls of functions, Python's and C's, in this thread and in those that it starts.

    Time depends on the machine and on what else it does; this number does not. It grows with the
    input as the work does, so that a loop within a loop shows.
    """
    counter = itertools.count()

    def profile(_frame: object, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            next(counter)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return next(counter)

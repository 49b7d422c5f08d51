"""Fewer runs of Python's cyclic garbage collector, where they would find nothing."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the collector while the body runs, such as the import of a large package.

    Importing torch and MONAI creates 400,000 objects that stay; going through them again and again
    would take a tenth of the time of the import.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache  # once is enough
def exit_quickly() -> None:
    """Leave the objects that remain at the end of the process to the operating system.

    Otherwise Python looks for garbage among them several times before it ends.
    """
    atexit.register(gc.freeze)

"""How long functions tell how far they are, and how they are told to stop."""

from __future__ import annotations

import threading
from typing import Protocol

from tomochrome.errors import Cancelled


class Progress(Protocol):
    """Callback told how far the work is. Called from worker threads; must return quickly."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished."""


class CancelToken:
    """A flag that one thread sets and the working thread looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work was asked to stop."""
        return self._event.is_set()


def report(progress: Progress | None, done: int, total: int, stage: str) -> None:
    """Call ``progress`` if there is one."""
    if progress is not None:
        progress(done, total, stage)


def check(cancel: CancelToken | None) -> None:
    """Raise `Cancelled` if the user asked to stop."""
    if cancel is not None and cancel.cancelled:
        raise Cancelled("cancelled by the user")

"""How long functions tell how far they are, and how they are told to stop."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from tomochrome.errors import Cancelled

P = ParamSpec("P")
R = TypeVar("R")


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


_watched: ContextVar[CancelToken | None] = ContextVar("tomochrome_cancel", default=None)


@contextmanager
def watching(cancel: CancelToken | None) -> Iterator[None]:
    """Let `look` see a token for as long as this runs, in this thread only.

    For work whose innermost steps are called by a library (a network's layers, the way back
    through a loss), which hands no token on. None leaves what is watched already.
    """
    if cancel is None:
        yield
        return
    before = _watched.set(cancel)
    try:
        yield
    finally:
        _watched.reset(before)


def watched(work: Callable[P, R]) -> Callable[P, R]:
    """Make a function with a keyword ``cancel`` watch that token while it runs (`watching`)."""

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = kwargs.get("cancel")
        with watching(token if isinstance(token, CancelToken) else None):
            return work(*args, **kwargs)

    return run


def look() -> None:
    """Raise `Cancelled` if the token that this thread is `watching` asks to stop."""
    check(_watched.get())


def report(progress: Progress | None, done: int, total: int, stage: str) -> None:
    """Call ``progress`` if there is one."""
    if progress is not None:
        progress(done, total, stage)


def check(cancel: CancelToken | None) -> None:
    """Raise `Cancelled` if the user asked to stop."""
    if cancel is not None and cancel.cancelled:
        raise Cancelled("cancelled by the user")

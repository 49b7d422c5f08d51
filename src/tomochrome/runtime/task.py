"""Progress reporting and cancellation of long-running work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import ParamSpec, Protocol, TypeVar

from tomochrome.errors import Cancelled

P = ParamSpec("P")
R = TypeVar("R")


class Progress(Protocol):
    """Progress callback. It is called from worker threads and must return quickly."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished."""


class Task:
    """A unit of long-running work that reports progress and can be cancelled.

    The work runs inside the context manager `running`. The task is not passed as an argument,
    because `check` and `report` are also called from code that a library calls (layers of a
    network, the gradient of a loss).

    Parameters
    ----------
    progress
        Called by `report`; None to discard progress.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Request that the work stops at its next check; thread-safe."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether cancellation was requested."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise an exception if cancellation was requested.

        Raises
        ------
        Cancelled
            If the task was cancelled.
        """
        if self.cancelled:
            raise Cancelled("cancelled by the user")

    def report(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished.

        Parameters
        ----------
        done, total
            Number of steps; a total of 0 means unknown.
        stage
            Description of the current stage.
        """
        if self._progress is not None:
            self._progress(done, total, stage)


_current: ContextVar[Task] = ContextVar("tomochrome_task", default=Task())  # noqa: B039


class _SilentTask(Task):
    """A part of another task that is cancelled with it and reports no progress."""

    def __init__(self, parent: Task) -> None:
        super().__init__()
        self._parent = parent

    @property
    def cancelled(self) -> bool:
        return self._parent.cancelled


@contextmanager
def running(task: Task) -> Iterator[Task]:
    """Make a task the current one of this thread and of each `ThreadPool` used within."""
    before = _current.set(task)
    try:
        yield task
    finally:
        _current.reset(before)


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress progress reports within this context; cancellation still works."""
    with running(_SilentTask(_current.get())):
        yield


def current() -> Task:
    """Return the current task of this thread, for use in a callback of another thread."""
    return _current.get()


def check() -> None:
    """Raise `Cancelled` if cancellation of the current task was requested."""
    _current.get().check()


def report(done: int, total: int, stage: str) -> None:
    """Report that ``done`` of ``total`` steps of ``stage`` of the current task are finished.

    Parameters
    ----------
    done, total, stage
        As for `Task.report`.
    """
    _current.get().report(done, total, stage)


class ThreadPool(ThreadPoolExecutor):
    """A thread pool whose workers inherit the current task of the submitting thread."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Schedule a call in a copy of this thread's context.

        Parameters
        ----------
        fn
            Function to call.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Future
            Future of the result.
        """
        run: Callable[..., R] = copy_context().run
        return super().submit(run, fn, *args, **kwargs)

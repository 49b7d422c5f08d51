"""How long work says how far it is, and how it is told to stop."""

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
    """Callback told how far the work is. Called from worker threads; must return quickly."""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished."""


class Task:
    """Long work as whoever starts it sees it: told how far it is, and able to stop it.

    The work runs within `running`. It hands no task on: its innermost steps may be called by a
    library (a network's layers, the gradient of a loss), and call `check` and `report` too.

    Parameters
    ----------
    progress
        Called by `report`; None: nobody is told.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._stop = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next check; any thread may."""
        self._stop.set()

    @property
    def cancelled(self) -> bool:
        """Whether the work was asked to stop."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the work was asked to stop.

        Raises
        ------
        Cancelled
            If it was.
        """
        if self.cancelled:
            raise Cancelled("cancelled by the user")

    def report(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished.

        Parameters
        ----------
        done, total
            Steps; a total of 0 if nobody knows how many there are.
        stage
            What is being done.
        """
        if self._progress is not None:
            self._progress(done, total, stage)


_current: ContextVar[Task] = ContextVar("tomochrome_task", default=Task())  # noqa: B039


class _Quiet(Task):
    """A step of another task, stopped with it, of which nobody is told."""

    def __init__(self, whole: Task) -> None:
        super().__init__()
        self._whole = whole

    @property
    def cancelled(self) -> bool:
        return self._whole.cancelled


@contextmanager
def running(task: Task) -> Iterator[Task]:
    """Make a task the current one of this thread, and of each `ThreadPool` that it uses."""
    before = _current.set(task)
    try:
        yield task
    finally:
        _current.reset(before)


@contextmanager
def quietly() -> Iterator[None]:
    """Let a step whose own stages nobody should see report nothing; it can be stopped."""
    with running(_Quiet(_current.get())):
        yield


def current() -> Task:
    """Return the task of this thread, for a callback that another thread will call."""
    return _current.get()


def check() -> None:
    """Raise `Cancelled` if the current task was asked to stop."""
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
    """A pool of threads that work for the task of whoever hands them the work."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Schedule ``fn``, in a copy of this thread's context.

        Parameters
        ----------
        fn
            What to call.
        *args, **kwargs
            What to call it with.

        Returns
        -------
        Future
            Of what it returns.
        """
        run: Callable[..., R] = copy_context().run
        return super().submit(run, fn, *args, **kwargs)

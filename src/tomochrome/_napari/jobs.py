"""The bridge between long work and the window: the worker emits, the GUI thread draws."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, Signal

from tomochrome.errors import Cancelled, TomochromeError
from tomochrome.runtime import CancelToken, Progress

Work = Callable[[Progress, CancelToken], Any]

_SECONDS_BETWEEN_REPORTS = 0.05


class _WindowFirst:
    """While any job runs, the window's thread gets the interpreter's lock soon and often.

    Two settings of Python are changed for that time. A thread that wants the lock waits for
    `sys.getswitchinterval`, 5 ms, each time; one round of the event loop takes the lock dozens of
    times, and the window would stand still for 0.1 s and more while a worker imports a large
    package. And a full garbage collection holds the lock from beginning to end, up to 0.25 s
    once torch is imported; the two younger generations, which cost next to nothing, go on.
    """

    _SECONDS = 0.0005
    _FEWER_FULL_COLLECTIONS = 1000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs = 0
        self._interval = 0.0
        self._thresholds = (0, 0, 0)

    def __enter__(self) -> None:
        with self._lock:
            if self._jobs == 0:
                self._interval = sys.getswitchinterval()
                sys.setswitchinterval(min(self._SECONDS, self._interval))
                self._thresholds = gc.get_threshold()
                young, middle, old = self._thresholds
                gc.set_threshold(young, middle, old * self._FEWER_FULL_COLLECTIONS)
            self._jobs += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._jobs -= 1
            if self._jobs == 0:
                sys.setswitchinterval(self._interval)
                gc.set_threshold(*self._thresholds)


_WINDOW_FIRST = _WindowFirst()


_RUNNING: set[Job] = set()


class Job(QObject):
    """One piece of work in a thread of its own, reported by Qt signals.

    Exactly one of ``returned``, ``failed`` and ``cancelled`` is emitted, and then ``ended``.
    The work gets a progress callback and a cancel token, and may not touch any widget.

    Parameters
    ----------
    work
        Called as ``work(progress, cancel)`` in the thread.
    """

    progressed = Signal(int, int, str)
    returned = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, work: Work, name: str = "tomochrome job") -> None:
        super().__init__()
        self._work = work
        self._token = CancelToken()
        self._last = 0.0
        self._stage = ""
        # Not a daemon: a thread inside torch must not outlive the interpreter. It ends soon
        # after a cancel, and every way of closing the window cancels.
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)

    def start(self) -> None:
        """Start the work."""
        # Nobody may hold on to a job that was cancelled. Were the thread the last to let go of
        # it, Qt's half would be taken apart in the wrong thread, with signals still under way.
        _RUNNING.add(self)
        self.ended.connect(self._forget)
        self._thread.start()

    def _forget(self) -> None:
        _RUNNING.discard(self)

    def cancel(self) -> None:
        """Ask the work to stop; ``cancelled`` follows at its next check."""
        self._token.cancel()

    @property
    def running(self) -> bool:
        """Whether the thread is alive."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait for the thread, without an event loop; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _report(self, done: int, total: int, stage: str) -> None:
        now = time.monotonic()
        # A flood of queued signals would itself keep the event loop busy.
        if stage == self._stage and now - self._last < _SECONDS_BETWEEN_REPORTS and done < total:
            return
        self._last, self._stage = now, stage
        self._emit(self.progressed, done, total, stage)

    def _run(self) -> None:
        try:
            with _WINDOW_FIRST:
                result = self._work(self._report, self._token)
        except Cancelled:
            self._emit(self.cancelled)
        except Exception as error:
            # Whatever went wrong in the thread is the GUI thread's to show.
            if self._token.cancelled and isinstance(error, TomochromeError):
                self._emit(self.cancelled)
            else:
                self._emit(self.failed, error)
        else:
            # A result that comes after the cancel is no longer wanted.
            if self._token.cancelled:
                self._emit(self.cancelled)
            else:
                self._emit(self.returned, result)
        self._emit(self.ended)

    def _emit(self, signal: Any, *values: Any) -> None:
        # The Qt half of this object may be gone when the application closes during a run.
        with suppress(RuntimeError):
            signal.emit(*values)

"""Long work in threads, reported to the window: the worker emits, the GUI thread draws.

napari's ``thread_worker`` would need more code around it than a thread does: it runs no more
workers at once than there are processor cores, so that a preview waits for a registration, and
while one runs it changes the warning filters of the whole interpreter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from qtpy.QtCore import QEventLoop, QObject, Qt, QThread, Signal
from qtpy.QtWidgets import QApplication, QProgressDialog

from tomochrome.errors import Cancelled, TomochromeError
from tomochrome.runtime import Task, running

Work = Callable[[], Any]
T = TypeVar("T")

_SECONDS_BETWEEN_REPORTS = 0.05
_SHOW_AFTER_MS = 500
_RUNNING: set[Job] = set()


class Job(QObject):
    """One piece of work in a thread of its own, reported by Qt signals.

    Exactly one of ``returned``, ``failed`` and ``cancelled`` is emitted, and then ``ended``.
    The work runs as a task of its own, and may not touch any widget.
    """

    progressed = Signal(int, int, str)
    returned = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, work: Work, name: str = "tomochrome job") -> None:
        super().__init__()
        self._work = work
        self._task = Task(self._report)
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
        self._task.cancel()

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
            with running(self._task):
                result = self._work()
        except Cancelled:
            self._emit(self.cancelled)
        except Exception as error:
            # Whatever went wrong in the thread is the GUI thread's to show.
            if self._task.cancelled and isinstance(error, TomochromeError):
                self._emit(self.cancelled)
            else:
                self._emit(self.failed, error)
        else:
            # A result that comes after the cancel is no longer wanted.
            if self._task.cancelled:
                self._emit(self.cancelled)
            else:
                self._emit(self.returned, result)
        self._emit(self.ended)

    def _emit(self, signal: Any, *values: Any) -> None:
        # The Qt half of this object may be gone when the application closes during a run.
        with suppress(RuntimeError):
            signal.emit(*values)


class JobRunner(QObject):
    """Runs one job at a time: a new one replaces the one before, of which nothing more is heard.

    The signals are those of the job that runs.
    """

    progressed = Signal(int, int, str)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self.job: Job | None = None  #: what runs

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self.job is not None

    def start(
        self,
        work: Work,
        returned: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Start work, and give what it returns to ``returned`` in the GUI thread.

        Parameters
        ----------
        work
            See `Job`.
        returned
            Called with the result.
        failed
            Called with an error instead of the signal ``failed``.
        """
        self.drop()
        job = self.job = Job(work, self._name)
        for signal, slot in (
            (job.progressed, self.progressed.emit),
            (job.returned, returned),
            (job.failed, failed or self.failed.emit),
            (job.cancelled, self.cancelled.emit),
            (job.ended, self._ended),
        ):
            signal.connect(partial(self._hear, job, slot))
        job.start()

    def cancel(self) -> None:
        """Ask the job to stop; ``cancelled`` follows at its next check."""
        if self.job is not None:
            self.job.cancel()

    def drop(self) -> None:
        """Ask the job to stop, and hear nothing more of it."""
        self.cancel()
        self.job = None

    def _hear(self, job: Job, slot: Callable[..., object], *values: Any) -> None:
        if job is self.job:
            slot(*values)

    def _ended(self) -> None:
        self.job = None
        self.ended.emit()


def run_waiting(work: Callable[[], T], title: str) -> T:
    """Do work that napari waits for in a thread, and return its result.

    napari calls readers, writers and samples in the GUI thread. A local event loop keeps the window
    alive meanwhile, and a small dialog shows progress and offers Cancel. Without an application, or
    in another thread than the GUI's, the work is done right here.

    Parameters
    ----------
    work
        What to do.
    title
        What is being done, for the dialog.

    Raises
    ------
    Cancelled
        If the user chose Cancel.
    Exception
        Whatever the work raised.
    """
    application = QApplication.instance()
    if application is None or QThread.currentThread() != application.thread():
        return work()

    results: list[T] = []
    errors: list[Exception] = []
    job = Job(work, name="tomochrome reader")
    loop = QEventLoop()
    dialog = QProgressDialog(title, "Cancel", 0, 0, QApplication.activeWindow())
    dialog.setWindowTitle("Tomochrome")
    dialog.setWindowModality(Qt.WindowModality.ApplicationModal)
    dialog.setAutoClose(False)
    dialog.setAutoReset(False)
    dialog.setMinimumDuration(_SHOW_AFTER_MS)
    dialog.setMinimumWidth(360)

    def show(done: int, total: int, stage: str) -> None:
        dialog.setMaximum(total)
        dialog.setValue(min(done, total))
        dialog.setLabelText(f"{title}\n{stage}")

    job.progressed.connect(show)
    job.returned.connect(results.append)
    job.failed.connect(errors.append)
    job.ended.connect(loop.quit)
    dialog.canceled.connect(job.cancel)
    job.start()
    loop.exec()
    dialog.canceled.disconnect(job.cancel)
    dialog.close()
    dialog.deleteLater()
    if errors:
        raise errors[0]
    if not results:
        raise Cancelled("cancelled by the user")
    return results[0]

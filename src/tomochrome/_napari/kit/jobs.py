"""Background jobs in worker threads, which report to the GUI thread by Qt signals.

napari's ``thread_worker`` would need more code around it than a plain thread: it runs at most as
many workers as there are processor cores, so a preview would wait for a registration, and it
changes the warning filters of the entire interpreter while a worker runs.
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

_REPORT_INTERVAL_S = 0.05
_SHOW_AFTER_MS = 500
_RUNNING: set[Job] = set()


class Job(QObject):
    """A function that runs in a separate thread as a task, and reports by Qt signals.

    Exactly one of ``returned``, ``failed`` and ``cancelled`` is emitted, followed by ``ended``.
    The function must not access widgets.
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
        # Not a daemon: a thread that runs torch must not outlive the interpreter. It ends soon
        # after it is cancelled, and closing the window always cancels it.
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)

    def start(self) -> None:
        """Start the thread."""
        # Keep a reference until the job has ended: if the thread held the last one, Qt's part of
        # the object would be destroyed in the wrong thread while signals are still queued.
        _RUNNING.add(self)
        self.ended.connect(self._forget)
        self._thread.start()

    def _forget(self) -> None:
        _RUNNING.discard(self)

    def cancel(self) -> None:
        """Request the job to stop; ``cancelled`` is emitted after its next check."""
        self._task.cancel()

    @property
    def running(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def was_cancelled(self) -> bool:
        """Whether cancellation was requested, even if the result is on its way already."""
        return self._task.cancelled

    def wait(self, seconds: float) -> bool:
        """Wait for the thread without running an event loop; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _report(self, done: int, total: int, stage: str) -> None:
        now = time.monotonic()
        # Too many queued signals would block the event loop.
        if stage == self._stage and now - self._last < _REPORT_INTERVAL_S and done < total:
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
            # All exceptions are passed on to the GUI thread, which shows them.
            if self._task.cancelled and isinstance(error, TomochromeError):
                self._emit(self.cancelled)
            else:
                self._emit(self.failed, error)
        else:
            # Discard a result that arrives after the job was cancelled.
            if self._task.cancelled:
                self._emit(self.cancelled)
            else:
                self._emit(self.returned, result)
        self._emit(self.ended)

    def _emit(self, signal: Any, *values: Any) -> None:
        # The underlying Qt object may be deleted if the application closes during a run.
        with suppress(RuntimeError):
            signal.emit(*values)


class JobRunner(QObject):
    """Runs one job at a time; a new job replaces the previous one, whose signals are dropped.

    The signals are those of the current job.
    """

    progressed = Signal(int, int, str)
    failed = Signal(object)
    cancelled = Signal()
    ended = Signal()

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._name = name
        self.job: Job | None = None  #: the current job

    @property
    def running(self) -> bool:
        """Whether a job is running."""
        return self.job is not None

    def start(
        self,
        work: Work,
        returned: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Start a job; ``returned`` gets its result in the GUI thread.

        ``failed``, if given, gets an exception instead of the signal ``failed``.
        """
        self.drop()
        job = self.job = Job(work, self._name)
        for signal, slot in (
            (job.progressed, self.progressed.emit),
            (job.returned, partial(self._deliver, job, returned)),
            (job.failed, failed or self.failed.emit),
            (job.cancelled, self.cancelled.emit),
            (job.ended, self._ended),
        ):
            signal.connect(partial(self._forward, job, slot))
        job.start()

    def cancel(self) -> None:
        """Request the job to stop; ``cancelled`` is emitted after its next check."""
        if self.job is not None:
            self.job.cancel()

    def drop(self) -> None:
        """Request the job to stop and ignore its signals from now on."""
        self.cancel()
        self.job = None

    def _forward(self, job: Job, slot: Callable[..., object], *values: Any) -> None:
        if job is self.job:
            slot(*values)

    def _deliver(self, job: Job, returned: Callable[[Any], None], result: Any) -> None:
        # Only here, in the GUI thread, is it certain that Cancel was not pressed before.
        if job.was_cancelled:
            self.cancelled.emit()
        else:
            returned(result)

    def _ended(self) -> None:
        self.job = None
        self.ended.emit()


def run_waiting(work: Callable[[], T], title: str) -> T:
    """Run a function in a thread, wait for it without blocking the window, and return its result.

    napari calls readers, writers and samples in the GUI thread. A local event loop keeps the window
    responsive meanwhile, and a small dialog with the ``title`` shows progress and offers Cancel.
    Without an application, or outside the GUI thread, the function is called directly.

    Raises `Cancelled` if the user pressed Cancel, and any exception raised by the function.
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
    if not results or job.was_cancelled:
        raise Cancelled("cancelled by the user")
    return results[0]

"""Work that napari wants an answer from at once, done without freezing the window.

napari calls readers, writers and samples in the GUI thread and waits for what they return.
The work goes to a thread; meanwhile a local event loop keeps the window alive, and a small
dialog shows how far it is and offers Cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.QtCore import QEventLoop, Qt, QThread
from qtpy.QtWidgets import QApplication, QProgressDialog

from tomochrome._napari.jobs import Job
from tomochrome.errors import Cancelled
from tomochrome.runtime import CancelToken, Progress

T = TypeVar("T")

_SHOW_AFTER_MS = 500


def run_waiting(work: Callable[[Progress | None, CancelToken | None], T], title: str) -> T:
    """Do the work in a thread and return its result, keeping the window alive meanwhile.

    Without an application, or in another thread than the GUI's, the work is done right here.

    Parameters
    ----------
    work
        Called as ``work(progress, cancel)``.
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
        return work(None, None)

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

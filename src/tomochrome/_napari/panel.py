"""What every panel is made of: its place in a dock, one job at a time, and release at the end.

A new panel is one class: a `FormPanel` around a typed function, or a `JobPanel` with fields of its
own.
"""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, get_type_hints

from magicgui.types import Undefined
from magicgui.widgets import Container, create_widget
from napari.layers import Layer
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QFrame, QMainWindow, QPushButton, QWidget

from tomochrome._napari.controls import MessageLabel, ScrollColumn, StageBar, side_by_side, stacked
from tomochrome._napari.events import Connections
from tomochrome._napari.jobs import JobRunner, Work
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS, LayerTuple
from tomochrome._napari.viewer_setup import is_settled
from tomochrome._napari.wording import sentence
from tomochrome.errors import TomochromeError

_LOG = logging.getLogger(__name__)
_SETTLE_MS = 200  # between two looks at whether all is drawn
_MOST_WAIT_S = 3.0  # where no event loop runs
_MANY_MODULES = 1000  # torch and MONAI import about 3,000


class DockedPanel(QWidget):
    """A widget that is told once, by `let_go`, that nobody will use it any more.

    When it is first shown beside another panel of this plugin, it becomes a tab of that one's
    dock. Where the user moves it later is left alone.
    """

    tab: ClassVar[str] = ""  #: what the tab says; the dock's own title if empty

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections()  #: to events; released with the panel
        self._covered = False
        self._main_window: QMainWindow | None = None
        self._was_docked = False
        self._closing = False
        self._released = False

    def entered(self, main_window: QMainWindow) -> None:
        """Do what needs the main window; called once, when it is known."""

    def let_go(self) -> None:
        """Stop what is under way and let go of the viewer; called once."""

    def release(self) -> None:
        """Let go, if that was not done already."""
        if not self._released:
            self._released = True
            self.connections.release()
            self.let_go()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Find the main window, to know when it closes."""
        super().showEvent(event)
        if self._main_window is None:
            parent = self.parentWidget()
            while parent is not None and not isinstance(parent, QMainWindow):
                parent = parent.parentWidget()
            if parent is not None:
                self._main_window = parent
                parent.installEventFilter(self)
                # The window is still busy with placing the dock.
                QTimer.singleShot(0, self._join_tabs)
                self.entered(parent)

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Come to the front if napari's menu hides the panel while it is behind another tab.

        The menu closes panels that are open; who chooses one that cannot be seen wants to see it.
        """
        super().hideEvent(event)
        dock = self._dock()
        if dock is not None and dock.isHidden() and self._covered and not self._closing:
            QTimer.singleShot(0, self._to_the_front)

    def _dock(self) -> QDockWidget | None:
        dock = self.parentWidget()
        return dock if isinstance(dock, QDockWidget) else None

    def _join_tabs(self) -> None:
        """Become a tab beside the panels of ours on the same side of the window."""
        dock, window = self._dock(), self._main_window
        if self._released or dock is None or window is None:
            return
        if self.tab:
            dock.setWindowTitle(self.tab)
        dock.visibilityChanged.connect(self._note_visibility)
        side = window.dockWidgetArea(dock)
        others = [
            other
            for other in window.findChildren(QDockWidget)
            if isinstance(other.widget(), DockedPanel) and other is not dock
            and not other.isHidden() and not other.isFloating()
            and window.dockWidgetArea(other) == side
        ]  # fmt: skip
        if others and not dock.isFloating():
            window.tabifyDockWidget(others[-1], dock)
            dock.raise_()

    def _note_visibility(self, visible: bool) -> None:
        dock = self._dock()
        if dock is not None and not dock.isHidden():
            self._covered = not visible

    def _to_the_front(self) -> None:
        dock = self._dock()
        if dock is not None and not self._released:
            dock.show()
            dock.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Let go when the main window closes: a close that was not refused hides it."""
        if event.type() == QEvent.Type.Close:
            self._closing = True
        elif event.type() == QEvent.Type.Hide and self._closing and not event.spontaneous():
            self.release()
        return False

    def event(self, event: QEvent) -> bool:
        """Let go when the panel is taken out of its dock for good."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._was_docked = True
            elif self._was_docked:
                self.release()
        return bool(super().event(event))

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Let go when the panel was a window of its own."""
        self.release()
        super().closeEvent(event)


class JobView(QFrame):
    """The fields of a panel, with Run, Cancel, progress and message."""

    def __init__(self, parent: QWidget, action: str) -> None:
        super().__init__(parent)
        self.run = QPushButton(action, self)
        self.cancel = QPushButton("Cancel", self)
        self.progress = StageBar(self)
        self.message = MessageLabel("plain", self)
        self.buttons = side_by_side((self.run, 2), (self.cancel, 1))
        self.locked: Sequence[QWidget] = ()  #: what cannot be changed while a job runs

    def fill(self, parent: QWidget, *parts: Any) -> None:
        """Lay out parts from top to bottom (see `stacked`), scrolled, as all of the panel."""
        stacked(self, *parts, None)
        stacked(parent, ScrollColumn(self, parent), margins=0)

    def show_running(self, running: bool) -> None:
        """Switch the fields between running and not."""
        self.cancel.setEnabled(running)
        for field in (self.run, *self.locked):
            field.setEnabled(not running)
        self.progress.setVisible(running)
        if running:
            self.message.say("", "plain")
            self.show_progress(0, 0, "Starting")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, stage)


def caution(parent: QWidget) -> MessageLabel:
    """Return the notice that stands on top of every panel."""
    notice = MessageLabel("caution", parent)
    notice.say(NOT_FOR_DIAGNOSIS.capitalize())
    return notice


class JobPanel(DockedPanel):
    """A panel that does one piece of work at a time in a worker thread."""

    what: ClassVar[str] = "The work"  #: what has failed, if anything unexpected happens
    undone: ClassVar[str] = "nothing was changed"  #: what a cancel leaves

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.view: Any = self.make_view()
        self.jobs = JobRunner(f"tomochrome {self.tab.lower()}", self)
        self.loading = JobRunner("tomochrome loading", self)  #: see `load_engine`
        self._may_load, self._looks = threading.Event(), QTimer(self)
        self.jobs.progressed.connect(self.view.show_progress)
        self.jobs.failed.connect(self.show_error)
        self.jobs.cancelled.connect(self.was_cancelled)
        self.jobs.ended.connect(self.ended)
        self.loading.progressed.connect(self._show_loading)
        self.loading.failed.connect(self.show_error)
        self.loading.ended.connect(self._loaded)
        self.view.run.clicked.connect(self.run)
        self.view.cancel.clicked.connect(self.cancel)
        self.view.show_running(False)

    def make_view(self) -> JobView:
        """Make the fields; called once, when there is a viewer."""
        raise NotImplementedError

    def run(self) -> None:
        """Do what the button says."""
        raise NotImplementedError

    def load_engine(self, find: Work) -> None:
        """Import what the first run needs in a worker, and have the view offer what that finds.

        The worker waits until the panel and the letters on the canvas are drawn: Python runs one
        thread at a time, and imports beside that make it take three times as long. The full
        garbage collection that so many new objects bring about soon stops every thread for about
        0.3 s: it takes place now, while the panel says that it loads, not at the first coloring.
        """
        may_load = self._may_load

        def load() -> Any:
            may_load.wait(_MOST_WAIT_S)
            before = len(sys.modules)
            found = find()
            if len(sys.modules) - before > _MANY_MODULES:
                gc.collect()
            return found

        self._looks.timeout.connect(self._look)
        self._looks.start(_SETTLE_MS)
        self.loading.start(load, self.view.offer)

    def _look(self) -> None:
        if is_settled(self.viewer):
            self._may_load.set()
            self._looks.stop()

    def _show_loading(self, done: int, total: int, stage: str) -> None:
        if not self.running:
            self.view.progress.setVisible(True)
            self.view.show_progress(done, total, stage)

    def _loaded(self) -> None:
        if not self.running:
            self.view.progress.setVisible(False)

    def start(self, work: Work, returned: Callable[[Any], None]) -> None:
        """Start work in a thread; ``returned`` gets its result in the GUI thread."""
        self.view.show_running(True)
        self.jobs.start(work, returned)

    @property
    def running(self) -> bool:
        """Whether a job is under way."""
        return self.jobs.running

    def cancel(self) -> None:
        """Stop the job at its next check."""
        if self.running:
            self.view.show_progress(0, 0, "Cancelling")
            self.jobs.cancel()

    def say(self, text: str) -> None:
        """Show a message."""
        self.view.message.say(text, "plain")

    def show_error(self, error: Exception) -> None:
        """Show why something cannot be done, in one sentence."""
        self.view.message.say(error_text(error, self.what), "error")

    def was_cancelled(self) -> None:
        """Say what a cancel left."""
        self.say(f"Cancelled; {self.undone}.")

    def ended(self) -> None:
        """Switch the fields back."""
        self.view.show_running(False)

    def let_go(self) -> None:
        """Stop the job and let go of the viewer."""
        self._looks.stop()
        self._may_load.set()
        self.jobs.drop()
        self.loading.drop()
        self.viewer = None


class FormPanel(JobPanel):
    """A panel whose fields and work are those of one typed function, ``work``.

    magicgui makes a field for each parameter. The function runs as a task (`tomochrome.runtime`):
    it may `report` and `check`. The layer data tuples that it returns are added as layers.
    """

    work: ClassVar[Callable[..., Sequence[LayerTuple]]]
    action: ClassVar[str] = "Run"

    def make_view(self) -> JobView:
        """Make a field for each parameter of ``work``."""
        view = JobView(self, self.action)
        hints = get_type_hints(self.work, include_extras=True)
        self.form = Container(
            widgets=[
                create_widget(
                    Undefined if p.default is p.empty else p.default, hints[name], name=name
                )
                for name, p in inspect.signature(self.work).parameters.items()
            ]
        )
        view.locked = (self.form.native,)
        view.fill(self, caution(view), self.form.native, view.buttons, view.progress, view.message)
        return view

    def reset_choices(self, _: object = None) -> None:
        """Offer the layers there are; napari calls this when they change."""
        self.form.reset_choices()

    def run(self) -> None:
        """Call the function in a worker with what the fields say."""
        self.start(partial(self.work, **self.form.asdict()), self._add)

    def _add(self, layers: Sequence[LayerTuple]) -> None:
        for data, keywords, kind in layers:
            self.viewer.add_layer(Layer.create(data, keywords, kind))


def error_text(error: Exception, what: str) -> str:
    """Return a refusal as a sentence; of anything unexpected that it is one, and log it.

    Parameters
    ----------
    error
        What was raised.
    what
        What has failed: ``"Coloring"``.
    """
    if isinstance(error, TomochromeError):
        return sentence(error)
    _LOG.error("%s failed", what.lower(), exc_info=error)
    return (
        f"{what} failed unexpectedly ({type(error).__name__}: {error}); "
        "the log holds the details, please report it."
    )

"""Base classes of all panels: docking, one background job at a time, and cleanup.

A new panel is one class: a `FormPanel` around a typed function, or a `JobPanel` with custom fields.
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
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QDockWidget,
    QFrame,
    QMainWindow,
    QPushButton,
    QTabBar,
    QWidget,
)

from tomochrome._napari.kit.controls import MessageLabel, ScrollColumn, StageBar, form, stacked
from tomochrome._napari.kit.events import Connections, is_settled, unwrapped
from tomochrome._napari.kit.jobs import JobRunner, Work
from tomochrome._napari.kit.narrow_widgets import (
    SHARE_OF_WINDOW,
    USUAL_PX,
    Elision,
    LabelFont,
    WrappingRow,
    style_sheet,
)
from tomochrome._napari.layers.volume_layers import NOT_FOR_DIAGNOSIS, LayerTuple
from tomochrome.errors import TomochromeError
from tomochrome.notices import sentence

_LOG = logging.getLogger(__name__)
_POLL_INTERVAL_MS = 200  # for checking whether everything is drawn
_MAX_WAIT_S = 3.0  # if no event loop runs
_MANY_MODULES = 1000  # torch and MONAI import about 3,000


class DockedPanel(QWidget):
    """A widget whose `cleanup` is called once, when it is closed for good.

    When it is first shown next to another panel of this plugin, the two become tabs of one dock.
    If the user moves it later, it stays there.
    """

    tab: ClassVar[str] = ""  #: title of the tab; if empty, the dock keeps its own title

    def __init__(self) -> None:
        super().__init__()
        self.connections = Connections()  #: event connections, released with the panel
        self._font = LabelFont(self, lambda points: self.setStyleSheet(style_sheet(points)))
        self._covered = False
        self._main_window: QMainWindow | None = None
        self._was_docked = False
        self._closing = False
        self.released = False  #: whether it has been cleaned up

    def attached(self, main_window: QMainWindow) -> None:
        """Set up what needs the main window; called once, when the panel is first shown in it."""

    def cleanup(self) -> None:
        """Stop running work and drop all references to the viewer; called once."""

    def release(self) -> None:
        """Clean up, unless that has been done already."""
        if not self.released:
            self.released = True
            self.connections.release()
            self.cleanup()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a width that leaves most of the window to the image."""
        hint, window = super().sizeHint(), self.window()
        if isinstance(window, QMainWindow):
            width = min(max(hint.width(), USUAL_PX), round(SHARE_OF_WINDOW * window.width()))
            hint.setWidth(max(width, self.minimumSizeHint().width()))
        return hint

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Find the main window and watch for it to close."""
        super().showEvent(event)
        if self._main_window is None:
            parent = self.parentWidget()
            while parent is not None and not isinstance(parent, QMainWindow):
                parent = parent.parentWidget()
            if parent is not None:
                self._main_window = parent
                parent.installEventFilter(self)
                # The window has not placed the dock yet.
                QTimer.singleShot(0, self._join_tabs)
                self.attached(parent)

    def hideEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Raise the panel if napari's menu hides it while it is behind another tab.

        The menu entry of an open panel closes it, but a user who selects a panel that is covered
        by another tab wants to see it.
        """
        super().hideEvent(event)
        dock = self._dock()
        if dock is not None and dock.isHidden() and self._covered and not self._closing:
            QTimer.singleShot(0, self._bring_to_front)

    def _dock(self) -> QDockWidget | None:
        dock = self.parentWidget()
        return dock if isinstance(dock, QDockWidget) else None

    def _join_tabs(self) -> None:
        """Join the tabs of this plugin's panels on the same side of the window."""
        dock, window = self._dock(), self._main_window
        if self.released or dock is None or window is None:
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
            direct = Qt.FindChildOption.FindDirectChildrenOnly
            for tabs in window.findChildren(QTabBar, options=direct):
                # Names that do not fit are scrolled to, not cut to a letter.
                tabs.setUsesScrollButtons(True)
                tabs.setElideMode(Qt.TextElideMode.ElideNone)

    def _note_visibility(self, visible: bool) -> None:
        dock = self._dock()
        if dock is not None and not dock.isHidden():
            self._covered = not visible

    def _bring_to_front(self) -> None:
        dock = self._dock()
        if dock is not None and not self.released:
            dock.show()
            dock.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Clean up when the main window closes; an accepted close event is followed by a hide."""
        if event.type() == QEvent.Type.Close:
            self._closing = True
        elif event.type() == QEvent.Type.Hide and self._closing and not event.spontaneous():
            self.release()
        return False

    def event(self, event: QEvent) -> bool:
        """Clean up when the panel is removed from its dock for good."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._was_docked = True
            elif self._was_docked:
                self.release()
        return bool(super().event(event))

    def closeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Clean up when the panel is closed as a separate window."""
        self.release()
        super().closeEvent(event)


class JobView(QFrame):
    """The fields of a panel, with Run and Cancel buttons, a progress bar and a message."""

    def __init__(self, parent: QWidget, action: str) -> None:
        super().__init__(parent)
        self.run = QPushButton(action, self)
        self.cancel = QPushButton("Cancel", self)
        self.progress = StageBar(self)
        self.message = MessageLabel("plain", self)
        self.buttons = WrappingRow((self.run, 2), (self.cancel, 1))
        self.locked: Sequence[QWidget] = ()  #: widgets disabled while a job runs

    def fill(self, parent: QWidget, *parts: Any) -> None:
        """Lay out parts from top to bottom (see `stacked`) in a scroll area filling the panel."""
        stacked(self, *parts, None)
        stacked(parent, ScrollColumn(self, parent), margins=0)

    def show_running(self, running: bool) -> None:
        """Enable or disable the fields for a running job.

        The focus of a field that is disabled goes to Cancel, and back to Run: Qt would give it to
        the next field that is enabled, and the panel would scroll there, away from both.
        """
        fields, focus = (self.run, *self.locked), QWidget.window(self).focusWidget()
        self.cancel.setEnabled(True)
        if running and any(x is focus or (focus and x.isAncestorOf(focus)) for x in fields):
            self.cancel.setFocus()
        for field in fields:
            field.setEnabled(not running)
        if not running and focus is self.cancel:
            self.run.setFocus()
        self.cancel.setEnabled(running)
        self.progress.setVisible(running)
        if running:
            self.message.say("", "plain")
            self.show_progress(0, 0, "Starting")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show the progress of the job; a total of 0 means that it is unknown."""
        self.progress.say(done, total, stage)


def error_text(error: Exception, job_name: str) -> str:
    """Return the message for an exception; unexpected exceptions are also logged.

    ``job_name`` is the subject of the message for an unexpected exception: ``"Coloring"``.
    """
    if isinstance(error, TomochromeError):
        return sentence(error)
    _LOG.error("%s failed", job_name.lower(), exc_info=error)
    return (
        f"{job_name} failed unexpectedly ({type(error).__name__}: {error}); "
        "please report it with the details in the log."
    )


def caution(parent: QWidget) -> MessageLabel:
    """Return the "not for diagnosis" notice shown at the top of every panel."""
    notice = MessageLabel("caution", parent)
    notice.say(NOT_FOR_DIAGNOSIS.capitalize())
    return notice


class JobPanel(DockedPanel):
    """A panel that runs one job at a time in a worker thread."""

    job_name: ClassVar[str] = "The job"  #: subject of the message if the job fails unexpectedly

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = unwrapped(napari_viewer)
        self.view: Any = self.make_view()
        self.jobs = JobRunner(f"tomochrome {self.tab.lower()}", self)
        self.loading = JobRunner("tomochrome loading", self)  #: see `load_engine`
        self._may_load, self._settle_timer = threading.Event(), QTimer(self)
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
        """Create the fields; called once, after ``self.viewer`` is set."""
        raise NotImplementedError

    def run(self) -> None:
        """Start the job of the Run button."""
        raise NotImplementedError

    def load_engine(self, find: Work) -> None:
        """Import what the first run needs in a worker and offer the choices that ``find`` returns.

        The worker waits until the panel and the text on the canvas are drawn: because of Python's
        global interpreter lock, concurrent imports would make drawing three times slower. So many
        new objects soon trigger a full garbage collection, which stops all threads for about
        0.3 s. It is run here, while the panel shows that it is loading, and not during the first
        coloring.
        """
        may_load = self._may_load

        def load() -> Any:
            may_load.wait(_MAX_WAIT_S)
            before = len(sys.modules)
            offer = find()
            if len(sys.modules) - before > _MANY_MODULES:
                gc.collect()
            return offer

        self._settle_timer.timeout.connect(self._check_settled)
        self._settle_timer.start(_POLL_INTERVAL_MS)
        self.loading.start(load, self.view.offer)

    def _check_settled(self) -> None:
        if is_settled(self.viewer):
            self._may_load.set()
            self._settle_timer.stop()

    def _show_loading(self, done: int, total: int, stage: str) -> None:
        if not self.running:
            self.view.progress.setVisible(True)
            self.view.show_progress(done, total, stage)

    def _loaded(self) -> None:
        if not self.running:
            self.view.progress.setVisible(False)

    def start(self, work: Work, returned: Callable[[Any], None]) -> None:
        """Start a job in a worker; ``returned`` is called with its result in the GUI thread."""
        self.view.show_running(True)
        self.jobs.start(work, returned)

    @property
    def running(self) -> bool:
        """Whether a job is running."""
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
        """Show an error in one sentence."""
        self.view.message.say(error_text(error, self.job_name), "error")

    def was_cancelled(self) -> None:
        """Report that the job was cancelled."""
        self.say("Cancelled; nothing was changed.")

    def ended(self) -> None:
        """Enable the fields again."""
        self.view.show_running(False)

    def cleanup(self) -> None:
        """Stop the job and drop the reference to the viewer."""
        self._settle_timer.stop()
        self._may_load.set()
        self.jobs.drop()
        self.loading.drop()
        self.viewer = None


class FormPanel(JobPanel):
    """A panel made from one typed function, ``work``.

    magicgui creates a field for each parameter. The function runs as a task (`tomochrome.runtime`)
    and may call `report` and `check`. The layer data tuples that it returns are added as layers.
    """

    work: ClassVar[Callable[..., Sequence[LayerTuple]]]
    action: ClassVar[str] = "Run"

    def make_view(self) -> JobView:
        """Create a field for each parameter of ``work``."""
        view = JobView(self, self.action)
        hints = get_type_hints(self.work, include_extras=True)
        fields = [
            create_widget(Undefined if p.default is p.empty else p.default, hints[name], name=name)
            for name, p in inspect.signature(self.work).parameters.items()
        ]
        self.form = Container(widgets=fields, labels=False)
        # magicgui itself does not align the fields, nor wrap or shrink them in a narrow panel.
        column = QWidget(view)
        form(*((f.label[:1].upper() + f.label[1:], f.native) for f in fields), parent=column)
        for box in column.findChildren(QComboBox):
            Elision(box)
        view.locked = (column,)
        view.fill(self, caution(view), column, view.buttons, view.progress, view.message)
        return view

    def reset_choices(self, _: object = None) -> None:
        """Update the layer choices; napari calls this when the layers change."""
        self.form.reset_choices()

    def run(self) -> None:
        """Call the function in a worker with the values of the fields."""
        self.start(partial(self.work, **self.form.asdict()), self._add)

    def _add(self, layers: Sequence[LayerTuple]) -> None:
        for data, keywords, kind in layers:
            self.viewer.add_layer(Layer.create(data, keywords, kind))

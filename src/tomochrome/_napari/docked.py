"""A panel in a dock: it shares tabs with the others, and lets go of its viewer at the end."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from tomochrome._napari.warm_up import let_go_of_removed


class DockedPanel(QWidget):
    """A widget that is told once, by `let_go`, that nobody will use it any more.

    When it is first shown beside another panel of this plugin, it becomes a tab of that one's
    dock. Where the user moves it later is left alone.
    """

    tab: ClassVar[str] = ""  #: what the tab says; the dock's own title if empty

    def __init__(self) -> None:
        super().__init__()
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
            self.let_go()
            let_go_of_removed()

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

"""A panel that lets go of its viewer when its dock or the main window closes."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QWidget

from tomochrome._napari.warm_up import let_go_of_removed


class DockedPanel(QWidget):
    """A widget that is told once, by `let_go`, that nobody will use it any more."""

    def __init__(self) -> None:
        super().__init__()
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
                self.entered(parent)

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

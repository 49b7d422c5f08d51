"""The line on the canvas that says which model made the colors, and what they are not for."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, QTimer

from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS

_LETTERS_AT_ONCE = 1
_PAUSE_MS = 20


class CanvasMark(QObject):
    """Writes "MODEL · not for diagnosis" in the canvas's corner, so that screenshots carry it.

    It is written letter by letter: the drawing library makes a picture of each letter when it
    first meets it, which takes some 20 ms, and the window must not stand still for all of them.

    Parameters
    ----------
    viewer
        The viewer whose text overlay is used, if nobody else uses it.
    """

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._overlay: Any = viewer.canvas.overlays.text
        self._text = ""
        self._timer = QTimer(self)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._write)

    def show_model(self, model: str) -> None:
        """Name the model; an empty name takes the line away."""
        text = f"{model} · {NOT_FOR_DIAGNOSIS}" if model else ""
        if text == self._text:
            return
        taken = self._overlay.visible and not self._text.startswith(self._overlay.text)
        self._text = "" if taken else text
        self._timer.stop()
        if taken:
            return
        self._overlay.visible = False
        self._overlay.text = ""
        if text:
            self._overlay.position = "bottom_right"
            self._timer.start()

    def release(self) -> None:
        """Take the line away and let go of the viewer."""
        self.show_model("")
        self._overlay = None

    def _write(self) -> None:
        written = len(self._overlay.text)
        if written >= len(self._text):
            self._timer.stop()
            return
        self._overlay.text = self._text[: written + _LETTERS_AT_ONCE]
        self._overlay.visible = True

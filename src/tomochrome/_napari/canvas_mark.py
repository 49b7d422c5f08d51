"""The line on the canvas that says which model made the colors, and what they are not for."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QObject, QTimer

from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS

_LETTERS_AT_ONCE = 1
_PAUSE_MS = 20
# Stands where a line was taken away. Hiding the overlay, or giving it no letter at all, frees
# vertices that the canvas still points to: with Mesa's software rendering the next picture then
# ends the process (napari 0.9.2, VisPy 0.17, Mesa 22.3).
_BLANK = " "


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
        shown = self._overlay.text.strip() if self._overlay.visible else ""
        taken = not self._text.startswith(shown)
        self._text = "" if taken else text
        self._timer.stop()
        if taken:
            return
        if self._overlay.visible:
            self._overlay.text = _BLANK
        if text:
            self._overlay.position = "bottom_right"
            self._timer.start()

    def release(self) -> None:
        """Take the line away and let go of the viewer."""
        self.show_model("")
        self._overlay = None

    def _write(self) -> None:
        written = 0 if self._overlay.text == _BLANK else len(self._overlay.text)
        if written >= len(self._text):
            self._timer.stop()
            return
        self._overlay.text = self._text[: written + _LETTERS_AT_ONCE]
        self._overlay.visible = True

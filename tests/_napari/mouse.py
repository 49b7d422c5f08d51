"""Mouse moves that do not go through the X server."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget


def move_mouse(
    qtbot: Any,
    widget: QWidget,
    point: QPoint,
    held: Qt.MouseButton = Qt.MouseButton.NoButton,
) -> None:
    """Move the mouse to a point, in pixels of a canvas, and wait until napari has handled it.

    `QTest.mouseMove` moves the pointer of the X server, whose event arrives some time later: on a
    busy machine after the next click. vispy drops a move within 10 ms of the one before it, and
    napari handles one 5 ms later.
    """
    qtbot.wait(20)
    QApplication.sendEvent(
        widget,
        QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(point),
            QPointF(widget.mapToGlobal(point)),
            Qt.MouseButton.NoButton,
            held,
            Qt.KeyboardModifier.NoModifier,
        ),
    )
    qtbot.wait(20)

"""What is drawn over a canvas with Qt: the plane's name, the crosshair, the value at the cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QEvent, QObject, QPointF, QRect, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

from tomochrome._napari.kit.events import Connections

#: Names and colors of the planes normal to z, y and x; the colors are those of 3D Slicer.
PLANES: Final = (("Axial", "#ff6b61"), ("Coronal", "#6fd36f"), ("Sagittal", "#f2d543"))
_GAP_PX: Final = 9  # the crosshair leaves the point itself free
_MARGIN_PX: Final = 6
_BOX: Final = QColor(0, 0, 0, 170)


def canvas_point(viewer: Any, position: Any) -> QPointF:
    """Return where a position in the world is on the canvas of a viewer in 2D, in pixels."""
    camera, (height, width) = viewer.scene.camera, viewer.canvas.size
    vertical, horizontal = camera.orientation2d
    row, column = (position[axis] for axis in viewer.dims.displayed)
    down = (row - camera.center[-2]) * camera.zoom * (1 if str(vertical) == "down" else -1)
    right = (column - camera.center[-1]) * camera.zoom * (1 if str(horizontal) == "right" else -1)
    return QPointF(width / 2 + right, height / 2 + down)


class CanvasMarks(QWidget):
    """A transparent widget over a canvas, which gets no mouse events.

    napari has no overlay with lines at a position, and each overlay compiles shaders in the GUI
    thread; lines of Qt cost nothing and are always one pixel wide.

    Parameters
    ----------
    viewer
        The viewer, or viewer model, of the canvas.
    canvas
        The widget of the canvas.
    """

    def __init__(self, viewer: Any, canvas: QWidget) -> None:
        super().__init__(canvas)
        for attribute in (
            Qt.WidgetAttribute.WA_TransparentForMouseEvents,
            Qt.WidgetAttribute.WA_NoSystemBackground,
        ):
            self.setAttribute(attribute)
        self.viewer = viewer
        self.title = ""
        self.color = "#ffffff"
        self.position: Any = None  #: of the crosshair in the world; None for no crosshair
        self.colors: tuple[str, ...] = ()  #: of the vertical and the horizontal line
        self.text = ""  #: at the cursor
        self.entered: Callable[[], None] | None = None  #: called when the cursor comes
        camera = viewer.scene.camera.events
        self._connections = Connections()
        self._connections.add(self._moved, camera.zoom, camera.center, camera.orientation)
        canvas.installEventFilter(self)
        self.resize(canvas.size())
        self.show()

    def release(self) -> None:
        """Disconnect from the viewer and remove the widget."""
        self._connections.release()
        self.hide()
        self.deleteLater()

    def _moved(self, _: object = None) -> None:
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Keep the size of the canvas, and the text at the cursor only while it is there.

        The event is not asked for its size: vispy keeps its mouse events, and PyQt then wraps a new
        event at the address of a deleted one as the old one's class.
        """
        if event.type() == QEvent.Type.Resize:
            self.resize(self.parentWidget().size())
        elif event.type() == QEvent.Type.Enter and self.entered is not None:
            self.entered()
        elif event.type() == QEvent.Type.Leave and self.text:
            self.text = ""
            self.update()
        return False

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the marks."""
        painter = QPainter(self)
        in_2d = self.viewer.dims.ndisplay == 2
        if self.position is not None and in_2d:
            self._draw_lines(painter, canvas_point(self.viewer, self.position))
        if self.title and in_2d:
            self._draw_text(painter, self.title, _MARGIN_PX, _MARGIN_PX, self.color)
        if self.text and in_2d:
            at = canvas_point(self.viewer, self.viewer.cursor.position)
            self._draw_text(painter, self.text, at.x() + 14, at.y() + 14, "#ffffff")

    def _draw_lines(self, painter: QPainter, at: QPointF) -> None:
        x, y, width, height = at.x(), at.y(), self.width(), self.height()
        for color, pairs in zip(
            self.colors,
            (((x, 0, x, y - _GAP_PX), (x, y + _GAP_PX, x, height)),
             ((0, y, x - _GAP_PX, y), (x + _GAP_PX, y, width, y))),
            strict=True,
        ):  # fmt: skip
            painter.setPen(QPen(QColor(color), 1))
            for x1, y1, x2, y2 in pairs:
                painter.drawLine(QPointF(x1, y1), QPointF(x2, y2))

    def _draw_text(self, painter: QPainter, text: str, x: float, y: float, color: str) -> None:
        """Draw the lines of a text on a dark box, moved into view."""
        lines = painter.fontMetrics().boundingRect(QRect(), Qt.AlignmentFlag.AlignLeft, text)
        box = QRectF(lines).adjusted(-5, -2, 5, 2)
        box.moveTo(
            max(0.0, min(x, self.width() - box.width())),
            max(0.0, min(y, self.height() - box.height())),
        )
        painter.fillRect(box, _BOX)
        painter.setPen(QColor(color))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)

"""A plot of the dissimilarity of the two volumes over the iterations of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from tomochrome._napari.kit.theme import is_dark

Sample = tuple[str, int, float]

_HEIGHT: Final = 92
_MARGIN: Final = 6
_LINE: Final = {True: QColor(255, 175, 84), False: QColor(176, 88, 0)}  # by dark background
_SPLIT: Final = QColor(128, 128, 128, 110)
_MIN_LABEL_WIDTH: Final = 46


class MetricCurve(QWidget):
    """Plots the curve of a run. Each stage has a separate scale, as their metrics differ."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stages: list[tuple[str, list[float]]] = []
        self.setFixedHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Dissimilarity of the two images during refinement: lower is better. "
            "Each resolution stage has its own scale"
        )

    @property
    def stages(self) -> Sequence[tuple[str, Sequence[float]]]:
        """The stages with their values."""
        return self._stages

    @property
    def count(self) -> int:
        """Number of values."""
        return sum(len(values) for _, values in self._stages)

    def clear(self) -> None:
        """Remove all values and hide the plot."""
        self._stages = []
        self.setVisible(False)

    def add(self, samples: Iterable[Sample]) -> None:
        """Add samples of stage, iteration and dissimilarity."""
        for stage, _, value in samples:
            if not self._stages or self._stages[-1][0] != stage:
                self._stages.append((stage, []))
            self._stages[-1][1].append(float(value))
        self.setVisible(self.count > 0)
        self.update()

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the stages side by side, each scaled to its value range."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(_SPLIT, 1))
        painter.drawRoundedRect(frame, 3, 3)
        font = painter.font()
        font.setPointSizeF(max(6.5, 0.8 * font.pointSizeF()))
        painter.setFont(font)
        inside = frame.adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN)
        letters = painter.fontMetrics().height()
        total, at = self.count, 0
        for number, (stage, values) in enumerate(self._stages):
            left = inside.left() + inside.width() * at / total
            right = inside.left() + inside.width() * (at + len(values)) / total
            if number:
                painter.setPen(QPen(_SPLIT, 1, Qt.PenStyle.DashLine))
                painter.drawLine(QPointF(left, frame.top()), QPointF(left, frame.bottom()))
            part = QRectF(left, inside.top() + letters, right - left, inside.height() - letters)
            self._draw_stage(painter, part, values)
            if part.width() >= _MIN_LABEL_WIDTH:
                self._label(painter, QRectF(left + 3, inside.top(), part.width() - 5, letters),
                            stage, values[-1])  # fmt: skip
            at += len(values)
        painter.end()

    def _draw_stage(self, painter: QPainter, part: QRectF, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        spread = high - low or 1.0
        step = part.width() / max(1, len(values) - 1)
        points = [
            QPointF(part.left() + i * step, part.bottom() - (v - low) / spread * part.height())
            for i, v in enumerate(values)
        ]
        painter.setPen(QPen(_LINE[is_dark(self)], 1.6))
        if len(points) == 1:
            painter.drawPoint(points[0])
        else:
            painter.drawPolyline(QPolygonF(points))

    def _label(self, painter: QPainter, box: QRectF, stage: str, last: float) -> None:
        painter.setPen(self.palette().color(self.foregroundRole()))
        metrics = painter.fontMetrics()
        number = f"{last:.4g}"
        room = box.width() - metrics.horizontalAdvance(number) - 6
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, number)
        if room > 20:
            name = metrics.elidedText(stage, Qt.TextElideMode.ElideRight, int(room))
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft, name)

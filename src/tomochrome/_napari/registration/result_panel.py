"""The result of a registration: its verdict, its table and the curve of its metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from qtpy.QtCore import QEvent, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QSizePolicy,
    QWidget,
)

from tomochrome._napari.kit.controls import MessageLabel, stacked
from tomochrome._napari.kit.theme import Tone, is_dark
from tomochrome._napari.registration.register_work import Sample
from tomochrome.notices import Notice, sentence
from tomochrome.registration.verdict import IN_VERDICT, rows_of, verdict_of

#: Text colors for better, worse and column headings, on a dark and on a light background.
_ON_DARK: Final = {1: "#8fd694", -1: "#ff7a6b", 0: "#9aa0a8"}
_ON_LIGHT: Final = {1: "#1d6b2a", -1: "#b3261e", 0: "#5a5f66"}
_SIGNS: Final = {1: ("✓", " (better)"), -1: ("✗", " (worse)"), 0: ("", "")}
_STYLE: Final[dict[str, Tone]] = {"good": "good", "caution": "warning", "bad": "error"}


class ResultPanel(QWidget):
    """Shows the verdict, the metrics and the warnings of a registration."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = MessageLabel("plain", self)
        self.verdict.setTextFormat(Qt.TextFormat.RichText)
        self.warnings = MessageLabel("warning", self)
        self.table = QGridLayout()
        self.table.setHorizontalSpacing(10)
        self.table.setVerticalSpacing(2)
        self.table.setColumnStretch(0, 1)
        self.cells: list[QLabel] = []
        self._report: Mapping[str, Any] | None = None
        self._colors: Mapping[int, str] = _ON_DARK
        stacked(self, self.verdict, self.table, self.warnings, margins=0)
        self.setVisible(False)

    def show_report(self, report: Mapping[str, Any], warnings: Sequence[Notice]) -> None:
        """Show a report: the verdict, the table, and warnings that are not in the verdict."""
        self._report, self._colors = report, self._readable()
        verdict = verdict_of(report, warnings)
        heading = f'<b style="font-size: large">{verdict.heading}</b>'
        self.verdict.say(f"{heading}<br>{escape(verdict.text)}", _STYLE[verdict.grade])
        rest = [sentence(notice) for notice in warnings if notice.code not in IN_VERDICT]
        self.warnings.say("\n".join(rest))
        self._fill(report)
        self.setVisible(True)

    def hide_report(self) -> None:
        """Hide the panel because the selected pair has no report."""
        self._report = None
        self.verdict.say("")
        self.warnings.say("")
        self._clear()
        self.setVisible(False)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Adapt the text colors to napari's theme."""
        super().changeEvent(event)
        themed = event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)
        if themed and self._report is not None and self._readable() is not self._colors:
            self._colors = self._readable()
            self._fill(self._report)

    def _readable(self) -> Mapping[int, str]:
        """Return text colors that are legible on the panel's background."""
        return _ON_DARK if is_dark(self) else _ON_LIGHT

    def _clear(self) -> None:
        for cell in self.cells:
            cell.hide()  # it is deleted later and would show through until then
            cell.deleteLater()
        self.cells = []

    def _fill(self, report: Mapping[str, Any]) -> None:
        self._clear()
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
        for column, text in ((1, "Before"), (2, "After")):
            self._cell(0, column, text, right, f"color: {self._colors[0]};")
        for number, row in enumerate(rows_of(report), 1):
            self._cell(number, 0, row.name, left, "", row.meaning)
            self._cell(number, 1, row.before, right, "", row.meaning)
            style = f"color: {self._colors[row.change]}; font-weight: 600;" if row.change else ""
            # the sign is also legible without color vision
            sign, word = _SIGNS[row.change]
            self._cell(number, 2, f"{sign} {row.after}".strip(), right, style, row.meaning + word)

    def _cell(
        self, row: int, column: int, text: str, align: Any, style: str, tip: str = ""
    ) -> None:
        cell = QLabel(text, self)
        cell.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        cell.setStyleSheet(style)
        cell.setToolTip(tip)
        cell.setAlignment(align)
        cell.setWordWrap(column == 0)  # names, so that the numbers fit into a narrow panel
        self.table.addWidget(cell, row, column)
        self.cells.append(cell)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table: name, before, after."""
        texts = [cell.text() for cell in self.cells[2:]]
        return [(texts[i], texts[i + 1], texts[i + 2]) for i in range(0, len(texts), 3)]


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
        width = box.width() - metrics.horizontalAdvance(number) - 6
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, number)
        if width > 20:
            name = metrics.elidedText(stage, Qt.TextElideMode.ElideRight, int(width))
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft, name)

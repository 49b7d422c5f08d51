"""What came of a registration: verdict and table; and what else to do with the transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.controls import Notice
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import behind
from tomochrome._napari.register_verdict import rows_of, verdict_of
from tomochrome._napari.theme import Tone, is_dark

#: Better, worse, and the heads of the columns, as read on a dark ground and on a light one.
_ON_DARK: Final = {1: "#8fd694", -1: "#ff7a6b", 0: "#9aa0a8"}
_ON_LIGHT: Final = {1: "#1d6b2a", -1: "#b3261e", 0: "#5a5f66"}
_STYLE: Final[dict[str, Tone]] = {"good": "plain", "caution": "warning", "bad": "error"}
_MOVABLE: Final = ("image", "labels", "points", "shapes")


class ResultPanel(QWidget):
    """Shows what came of a registration: whether to trust it, and its numbers."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = Notice("plain", self)
        self.verdict.setTextFormat(Qt.TextFormat.RichText)
        self.warnings = Notice("warning", self)
        self.table = QGridLayout()
        self.table.setHorizontalSpacing(10)
        self.table.setVerticalSpacing(2)
        self.table.setColumnStretch(0, 1)
        self._cells: list[QLabel] = []
        self._report: Mapping[str, Any] | None = None
        self._colors: Mapping[int, str] = _ON_DARK
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.verdict)
        column.addLayout(self.table)
        column.addWidget(self.warnings)
        self.setVisible(False)

    def show_report(self, report: Mapping[str, Any]) -> None:
        """Show a report: the verdict, the table, and warnings that are not in the verdict."""
        self._report, self._colors = report, self._readable()
        verdict = verdict_of(report)
        # On a ground in color the heading has the color of the text.
        color = f"color: {self._colors[1]};" if verdict.grade == "good" else ""
        heading = f'<b style="{color} font-size: large">{verdict.heading}</b>'
        self.verdict.say(f"{heading}<br>{verdict.text}", _STYLE[verdict.grade])
        rest = [
            text[:1].upper() + text[1:].rstrip(".") + "."
            for text in report.get("warnings", ())
            if text[1:].rstrip(".") not in verdict.text and "the deformation folds" not in text
        ]
        self.warnings.say("\n".join(rest))
        self._fill(report)
        self.setVisible(True)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Write in other colors when napari's theme has changed."""
        super().changeEvent(event)
        themed = event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)
        if themed and self._report is not None and self._readable() is not self._colors:
            self.show_report(self._report)

    def _readable(self) -> Mapping[int, str]:
        """Return colors that can be read on the ground that napari's theme gives the panel."""
        return _ON_DARK if is_dark(self) else _ON_LIGHT

    def _fill(self, report: Mapping[str, Any]) -> None:
        for cell in self._cells:
            cell.hide()  # until it is gone it would show through
            cell.deleteLater()
        self._cells = []
        right = Qt.AlignmentFlag.AlignRight
        for column, text in ((1, "before"), (2, "after")):
            self._cell(0, column, text, right, f"color: {self._colors[0]};")
        for number, row in enumerate(rows_of(report), 1):
            self._cell(number, 0, row.name, Qt.AlignmentFlag.AlignLeft, "", row.meaning)
            self._cell(number, 1, row.before, right, "", row.meaning)
            style = f"color: {self._colors[row.change]}; font-weight: 600;" if row.change else ""
            self._cell(number, 2, row.after, right, style, row.meaning)

    def _cell(
        self, row: int, column: int, text: str, align: Any, style: str, tip: str = ""
    ) -> None:
        cell = QLabel(text, self)
        cell.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        cell.setStyleSheet(style)
        cell.setToolTip(tip)
        self.table.addWidget(cell, row, column, align)
        self._cells.append(cell)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table's texts, line by line: name, before, after."""
        texts = [cell.text() for cell in self._cells[2:]]
        return [(texts[i], texts[i + 1], texts[i + 2]) for i in range(0, len(texts), 3)]


class UsePanel(QWidget):
    """Offers what can be done with the transform that was found or loaded.

    Parameters
    ----------
    viewer
        The viewer whose layers the transform can be applied to.
    """

    apply_asked = Signal(object, bool)  # the layer, and whether from moving to fixed
    jacobian_toggled = Signal(bool)
    grid_toggled = Signal(bool)
    save_asked = Signal(bool)  # whether the inverse is meant

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.jacobian = QCheckBox("Jacobian map", self)
        self.jacobian.setToolTip("Blue: smaller in the moving volume; orange: larger; red: folded")
        self.grid = QCheckBox("Deformation grid", self)
        self.grid.setToolTip(
            "A square grid of the moving volume, as it lies after the registration"
        )
        self.layer = LayerChoice(viewer, self, accepts=is_movable)
        self.direction = QComboBox(self)
        self.direction.addItems(["to the fixed volume", "to the moving volume"])
        self.direction.setToolTip("Where the layer is to go; it lies with the other volume now")
        self.apply = QPushButton("Apply", self)
        self.apply.setToolTip(
            "Make a moved copy of the layer: image, labels, points, shapes, color"
        )
        self.save = QPushButton("Save transform …", self)
        self.save.setToolTip("From fixed to moving points, for SimpleITK, ANTs and 3D Slicer")
        self.save_inverse = QPushButton("Save inverse …", self)
        self.save_inverse.setToolTip("From moving to fixed points")
        self._lay_out()
        self.apply.clicked.connect(self._apply)
        self.jacobian.toggled.connect(self.jacobian_toggled)
        self.grid.toggled.connect(self.grid_toggled)
        self.save.clicked.connect(lambda: self.save_asked.emit(False))
        self.save_inverse.clicked.connect(lambda: self.save_asked.emit(True))

    def _lay_out(self) -> None:
        for box in (self.layer, self.direction):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        checks, files = QHBoxLayout(), QHBoxLayout()
        checks.addWidget(self.jacobian)
        checks.addWidget(self.grid)
        checks.addStretch(1)
        files.addWidget(self.save)
        files.addWidget(self.save_inverse)
        row = QGridLayout()
        row.addWidget(QLabel("Apply to", self), 0, 0)
        row.addWidget(self.layer, 0, 1, 1, 2)
        row.addWidget(self.direction, 1, 1)
        row.addWidget(self.apply, 1, 2)
        row.setColumnStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(checks)
        column.addLayout(row)
        column.addLayout(files)

    def uncheck(self, box: QCheckBox) -> None:
        """Uncheck a box without telling anyone."""
        box.blockSignals(True)
        box.setChecked(False)
        box.blockSignals(False)

    def show_busy(self, busy: bool) -> None:
        """Switch off what cannot be done while something is under way."""
        for button in (self.apply, self.save, self.save_inverse):
            button.setEnabled(not busy)

    def release(self) -> None:
        """Let go of the viewer."""
        self.layer.release()

    def _apply(self) -> None:
        if self.layer.layer() is not None:
            self.apply_asked.emit(self.layer.layer(), self.direction.currentIndex() == 0)


def is_movable(layer: Any) -> bool:
    """Whether a transform can be applied to a layer."""
    known = behind(layer.metadata)
    return layer._type_string in _MOVABLE and (known is None or known.role != "derived")

"""The result of a registration: verdict and table, and the actions that use the transform."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from tomochrome._napari.kit.choice_boxes import LayerChoice
from tomochrome._napari.kit.controls import MessageLabel, stacked
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.messages import sentence
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow
from tomochrome._napari.kit.theme import Tone, is_dark
from tomochrome._napari.layers.volume_layers import source_of, world_affine
from tomochrome._napari.register_job import PairResult
from tomochrome._napari.register_verdict import OF_VERDICT, rows_of, verdict_of
from tomochrome.notices import Notice

#: Text colors for better, worse and column headings, on a dark and on a light background.
_ON_DARK: Final = {1: "#8fd694", -1: "#ff7a6b", 0: "#9aa0a8"}
_ON_LIGHT: Final = {1: "#1d6b2a", -1: "#b3261e", 0: "#5a5f66"}
_SIGNS: Final = {1: ("✓", " (better)"), -1: ("✗", " (worse)"), 0: ("", "")}
_STYLE: Final[dict[str, Tone]] = {"good": "good", "caution": "warning", "bad": "error"}
_NO_LAYER: Final = "Select a layer"
_UNRELATED: Final = 3  # rank of an image that does not belong to the pair
_MOVABLE: Final = ("image", "labels", "points", "shapes")


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
        self._cells: list[QLabel] = []
        self._report: Mapping[str, Any] | None = None
        self._colors: Mapping[int, str] = _ON_DARK
        stacked(self, self.verdict, self.table, self.warnings, margins=0)
        self.setVisible(False)

    def show_report(
        self, report: Mapping[str, Any], warnings: Sequence[Notice], *, loaded: bool = False
    ) -> None:
        """Show a report: the verdict, the table, and warnings that are not in the verdict.

        ``loaded`` says that the transform was loaded from a file, not found by a registration.
        """
        self._report, self._colors = report, self._readable()
        verdict = verdict_of(report, warnings, loaded=loaded)
        heading = f'<b style="font-size: large">{verdict.heading}</b>'
        self.verdict.say(f"{heading}<br>{escape(verdict.text)}", _STYLE[verdict.grade])
        rest = [sentence(notice) for notice in warnings if notice.code not in OF_VERDICT]
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
        for cell in self._cells:
            cell.hide()  # it is deleted later and would show through until then
            cell.deleteLater()
        self._cells = []

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
        self._cells.append(cell)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table: name, before, after."""
        texts = [cell.text() for cell in self._cells[2:]]
        return [(texts[i], texts[i + 1], texts[i + 2]) for i in range(0, len(texts), 3)]


class UsePanel(QWidget):
    """Applies and saves the transform of the selected pair."""

    apply_requested = Signal(object, bool)  # the layer, and whether from moving to fixed
    save_requested = Signal(bool)  # whether to save the inverse

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._result: PairResult | None = None
        self._busy = False
        self.belongs: Callable[[Any, Any], bool] = belongs_to  #: layer, image
        self.jacobian = QCheckBox("Jacobian map", self)
        self.jacobian.setToolTip(
            "Local volume change. Blue: smaller in the moving image; orange: larger; red: folded"
        )
        self.grid = QCheckBox("Deformation grid", self)
        self.grid.setToolTip("A regular grid of the moving image, deformed like the image")
        self.layer = LayerChoice(
            viewer, self, accepts=self._accepts, rank=self._rank, nothing=_NO_LAYER
        )
        self.direction = ElidedComboBox(self)
        self.direction.addItems(["onto the fixed image", "onto the moving image"])
        self.direction.setToolTip("Which image the copy is aligned with")
        self.apply = QPushButton("Apply", self)
        self.apply.setToolTip(
            "Add an aligned copy of this layer: image, color, labels, points or shapes"
        )
        self.save = QPushButton("Save transform …", self)
        self.save.setToolTip(
            "Maps points of the fixed image to the moving image, as SimpleITK, "
            "ANTs and 3D Slicer expect it"
        )
        self.save_inverse = QPushButton("Save inverse …", self)
        self.save_inverse.setToolTip("Maps points of the moving image to the fixed image")
        self._lay_out()
        self.apply.clicked.connect(self._apply)
        self.layer.chosen.connect(self._chosen)
        self._connections = Connections()
        self._connections.add(self._choose_added, viewer.layers.events.inserted)
        self.direction.currentIndexChanged.connect(self._choose_first)
        self.save.clicked.connect(lambda: self.save_requested.emit(False))
        self.save_inverse.clicked.connect(lambda: self.save_requested.emit(True))

    def _lay_out(self) -> None:
        for box in (self.layer, self.direction):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        grid = QGridLayout()
        grid.addWidget(QLabel("Apply to", self), 0, 0)
        grid.addWidget(self.layer, 0, 1, 1, 2)
        grid.addWidget(self.direction, 1, 1, 1, 2)
        grid.addWidget(self.apply, 2, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        checks, files = (
            WrappingRow(self.jacobian, self.grid),
            WrappingRow((self.save, 1), (self.save_inverse, 1)),
        )
        stacked(self, checks, grid, files, margins=0)

    @property
    def to_fixed(self) -> bool:
        """Whether a layer is to be moved from the moving image to the fixed one."""
        return self.direction.currentIndex() == 0

    def show_result(self, result: PairResult | None) -> None:
        """Offer the layers that the transform can be applied to, most likely first."""
        self._result = result
        self._choose_first()

    def refresh(self) -> None:
        """Update which layers are offered, after a change of what belongs to which image."""
        self.layer.refresh()
        self._choose_added()

    def show_busy(self, busy: bool) -> None:
        """Disable the buttons while a job is running."""
        self._busy = busy
        for button in (self.save, self.save_inverse):
            button.setEnabled(not busy)
        self._chosen()

    def release(self) -> None:
        """Disconnect from the viewer."""
        self._connections.release()
        self.layer.release()
        self._result = None

    def _choose_first(self, _: object = None) -> None:
        """Select a layer related to the image to be moved; never an image of another scan."""
        self.layer.refresh()
        related = [layer for layer in self.layer.layers() if self._rank(layer) < _UNRELATED]
        self.layer.choose(related[0] if related else None)

    def _choose_added(self, _: object = None) -> None:
        if self.layer.layer() is None:
            self._choose_first()

    def _chosen(self) -> None:
        self.apply.setEnabled(not self._busy and self.layer.layer() is not None)

    def _accepts(self, layer: Any) -> bool:
        """Whether a layer is offered: not if it belongs to the image that it would be moved onto.

        The moving image is not offered while its moved copy exists.
        """
        result = self._result
        if result is None or not is_movable(layer):
            return False
        source, target = self._source_and_target(result)
        if layer is target or (self.belongs(layer, target) and not self.belongs(layer, source)):
            return False
        return not (self.to_fixed and layer is source and result.alignment.layer is not None)

    def _source_and_target(self, result: PairResult) -> tuple[Any, Any]:
        """Return the image whose layers are moved, and the image onto which they are moved."""
        pair = (result.moving, result.fixed)
        return pair if self.to_fixed else pair[::-1]

    def _rank(self, layer: Any) -> int:
        """Rank a layer: first those of the image to be moved, then points and shapes."""
        if self._result is None:
            return 0
        image, _ = self._source_and_target(self._result)
        if layer is image:
            return 2
        if layer._type_string in ("points", "shapes"):
            return 1
        return 0 if self.belongs(layer, image) else _UNRELATED

    def _apply(self) -> None:
        if self.layer.layer() is not None:
            self.apply_requested.emit(self.layer.layer(), self.to_fixed)


def is_movable(layer: Any) -> bool:
    """Whether a transform can be applied to a layer."""
    known = source_of(layer.metadata)
    return layer._type_string in _MOVABLE and (known is None or known.role != "derived")


def belongs_to(layer: Any, image: Any) -> bool:
    """Whether a layer belongs to an image: its coloring, or labels or RGB on the same grid."""
    known, of_image = source_of(layer.metadata), source_of(image.metadata)
    if known is not None and of_image is not None and known.role == "color":
        return known.stored is of_image.stored
    drawn = layer._type_string == "labels" or getattr(layer, "rgb", False)
    if not drawn or layer.ndim != image.ndim:
        return False
    same = layer.data.shape[: layer.ndim] == image.data.shape[: image.ndim]
    return same and bool(np.allclose(world_affine(layer), world_affine(image), atol=1e-3))

"""The legend: the tissues of a scan with their colors and fractions, to show, dim or hide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QItemSelectionModel, QSize, Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)
from superqt.utils import signals_blocked

from tomochrome._napari.kit.controls import stacked
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow
from tomochrome.color.palettes import palette
from tomochrome.color.selection import TissueSelection
from tomochrome.tissue import Tissue

SHOWN_COLUMN, NAME_COLUMN, BODY_COLUMN, PLANE_COLUMN = range(4)
_SWATCH_PX: Final = 14
_MAX_ROWS: Final = 8
_HINT: Final = "Click: only this · Ctrl+click: add · Untick: grey, in 3D hidden"
_OTHERS: Final = {"dim": "Dim others", "grey": "Grey others", "hide": "Hide others (3D)"}
_MOUSE: Final = (
    QEvent.Type.MouseButtonPress,
    QEvent.Type.MouseButtonRelease,
    QEvent.Type.MouseButtonDblClick,
    QEvent.Type.MouseMove,
)


class Legend(QWidget):
    """Lists the tissues of a scan, largest first; emits `changed` when the selection changes.

    If rows are selected, all other tissues are dimmed or grey; in 3D they are translucent as well,
    or hidden. The checkbox of a row turns its color off and on. Keyboard: arrow keys, space,
    escape.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.list = _List(self)
        self.others = ElidedComboBox(self)
        for mode, title in _OTHERS.items():
            self.others.add(title, mode)
        self.others.setToolTip(
            "How to show the tissues that are not selected. In 3D, dimmed and grey tissues are "
            "translucent; hidden ones are grey in slices"
        )
        self.all = QPushButton("Show all", self)
        self.all.setToolTip("Show every tissue in color (Esc in the list)")
        self.hint = QLabel(_HINT, self)
        self.hint.setWordWrap(True)
        self.hint.setToolTip(
            "Click a tissue to show only this one, click again to show all; Ctrl+click adds one. "
            "Keyboard: arrow keys, space, and Esc to show all"
        )
        row = WrappingRow((self.others, 1), (self.all, 1))
        stacked(self, self.list, row, self.hint, margins=0)
        self.list.itemSelectionChanged.connect(self._tell)
        self.list.itemChanged.connect(self._ticked)
        self.list.escaped.connect(self.show_all)
        self.all.clicked.connect(self.show_all)
        self.others.currentIndexChanged.connect(self._tell)
        self.set_shares(np.zeros(len(Tissue)), "natural")

    @property
    def selection(self) -> TissueSelection:
        """The tissues shown in color."""
        alone, hidden = self.list.alone, self.list.hidden
        if not alone:
            return TissueSelection(hidden=hidden)
        base = TissueSelection.only(alone, self.others.currentData())
        return TissueSelection(base.hidden | hidden, base.dimmed, base.greyed)

    def set_selection(self, tissues: TissueSelection) -> None:
        """Show a selection without emitting a signal."""
        alone = frozenset(Tissue) - tissues.rest if tissues.isolates else frozenset()
        hidden = tissues.hidden if Tissue.AIR not in tissues.hidden else frozenset()
        with signals_blocked(self.list), signals_blocked(self.others):
            if alone:
                self.others.setCurrentIndex(self.others.findData(tissues.mode(Tissue.AIR)))
            self.list.show_modes(alone, hidden)
        self._enable()

    def set_shares(self, shares: NDArray[np.float64], palette_name: str) -> None:
        """List the tissues present, given their fractions (0 to 1) in the order of `Tissue`."""
        alone, hidden = self.list.alone, self.list.hidden
        with signals_blocked(self.list):
            self.list.fill(shares)
            self.list.paint_swatches(palette_name)
            self.list.show_modes(alone, hidden)
        self._enable()

    def set_palette(self, palette_name: str) -> None:
        """Show the colors of another palette."""
        with signals_blocked(self.list):
            self.list.paint_swatches(palette_name)

    def set_plane(self, shares: NDArray[np.float64] | None) -> None:
        """Show the tissue fractions in the displayed plane; None if no plane is displayed."""
        with signals_blocked(self.list):
            for line in self.list.rows():
                line.setText(PLANE_COLUMN, "" if shares is None else percent(shares[line.tissue]))

    def show_all(self) -> None:
        """Show every tissue in color."""
        if not self.selection.is_all:
            with signals_blocked(self.list):
                self.list.show_modes((), ())
            self._tell()

    def _ticked(self, _: QTreeWidgetItem, column: int) -> None:
        if column == SHOWN_COLUMN:
            self._tell()

    def _enable(self) -> None:
        self.all.setEnabled(not self.selection.is_all)

    def _tell(self, *_: object) -> None:
        self._enable()
        self.changed.emit()


class _Row(QTreeWidgetItem):
    """One tissue."""

    def __init__(self, tissue: Tissue, share: float) -> None:
        super().__init__(["", tissue.title, percent(share), ""])
        self.tissue = tissue
        self.setCheckState(SHOWN_COLUMN, Qt.CheckState.Checked)
        self.setToolTip(SHOWN_COLUMN, f"{tissue.title}: in color, or grey (hidden in 3D)")
        self.setToolTip(NAME_COLUMN, f"{tissue.label}: click to show only this tissue")
        for column in (BODY_COLUMN, PLANE_COLUMN):
            align = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            self.setTextAlignment(column, align)

    @property
    def ticked(self) -> bool:
        """Whether the tissue is in color."""
        return bool(self.checkState(SHOWN_COLUMN) == Qt.CheckState.Checked)

    def tick(self, ticked: bool) -> None:
        """Turn the color of the tissue on or off."""
        self.setCheckState(
            SHOWN_COLUMN, Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
        )


class _List(QTreeWidget):
    """Rows of tissues. Clicking a checkbox keeps the selection; the only selected row clears it."""

    escaped = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAccessibleName("Tissues")
        self.setColumnCount(4)
        self.setHeaderLabels(["", "Tissue", "Body", "Slice"])
        head = self.headerItem()
        head.setToolTip(BODY_COLUMN, "Percentage of the body volume in this scan (without air)")
        head.setToolTip(PLANE_COLUMN, "Percentage of the body in the displayed slice")
        self.setRootIsDecorated(False)
        self.setIndentation(0)
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionsMovable(False)
        header.setMinimumSectionSize(24)
        for column in (SHOWN_COLUMN, BODY_COLUMN, PLANE_COLUMN):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME_COLUMN, QHeaderView.ResizeMode.Stretch)

    def rows(self) -> list[_Row]:
        """Return the rows from top to bottom."""
        items = [self.topLevelItem(index) for index in range(self.topLevelItemCount())]
        return [row for row in items if isinstance(row, _Row)]

    @property
    def alone(self) -> frozenset[Tissue]:
        """The selected tissues; empty if all are shown."""
        return frozenset(row.tissue for row in self.rows() if row.isSelected())

    @property
    def hidden(self) -> frozenset[Tissue]:
        """Tissues whose color is turned off."""
        return frozenset(row.tissue for row in self.rows() if not row.ticked)

    def fill(self, shares: Sequence[float] | NDArray[np.float64]) -> None:
        """List the tissues whose fraction is not zero."""
        self.clear()
        present = [tissue for tissue in Tissue if shares[tissue] > 0]
        for tissue in sorted(present, key=lambda tissue: -shares[tissue]):
            self.addTopLevelItem(_Row(tissue, float(shares[tissue])))

    def _fit(self) -> None:
        """Set the height to that of the rows, at most `_MAX_ROWS` of them."""
        side = max(_SWATCH_PX, self.fontMetrics().ascent())
        self.setIconSize(QSize(side, side))
        rows = min(_MAX_ROWS, max(1, self.topLevelItemCount()))
        row_height = max(self.sizeHintForRow(0), self.fontMetrics().height())
        self.setFixedHeight(self.header().sizeHint().height() + rows * row_height + 4)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Adjust the height to another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit()

    def showEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Adjust the height once the style is known."""
        super().showEvent(event)
        self._fit()

    def show_modes(self, alone: Iterable[Tissue], hidden: Iterable[Tissue]) -> None:
        """Select and untick rows."""
        alone, hidden = frozenset(alone), frozenset(hidden)
        for row in self.rows():
            row.setSelected(row.tissue in alone)
            row.tick(row.tissue not in hidden)

    def paint_swatches(self, palette_name: str) -> None:
        """Draw each tissue's color."""
        rgb = palette(palette_name).rgb
        for row in self.rows():
            row.setIcon(NAME_COLUMN, _swatch(QColor(*(int(value) for value in rgb[row.tissue]))))
        self._fit()  # rows with an icon are higher

    def selectionCommand(  # noqa: N802 - Qt's name
        self, index: Any, event: Any = None
    ) -> QItemSelectionModel.SelectionFlag:
        """Return how a mouse or key event changes the selection.

        The event is asked for its type alone: PyQt may wrap it as the class of an older event that
        was at its address.
        """
        flags = QItemSelectionModel.SelectionFlag
        if event is not None and event.type() in _MOUSE:
            if index.isValid() and index.column() == SHOWN_COLUMN:
                return flags.NoUpdate
            plain = QGuiApplication.keyboardModifiers() == Qt.KeyboardModifier.NoModifier
            only = [self.indexFromItem(row).row() for row in self.selectedItems()]
            pressed = event.type() == QEvent.Type.MouseButtonPress
            if pressed and plain and only == [index.row()]:
                return flags.Clear
        return super().selectionCommand(index, event)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Toggle the current row on space; show all on escape."""
        row = self.currentItem()
        if event.key() == Qt.Key.Key_Escape:
            self.escaped.emit()
        elif event.key() == Qt.Key.Key_Space and isinstance(row, _Row):
            row.tick(not row.ticked)
        else:
            super().keyPressEvent(event)


def percent(share: float) -> str:
    """Format a fraction as a percentage with one decimal below 10 %."""
    value = 100 * float(share)
    if value == 0:
        return "–"
    if value < 0.1:
        return "<0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def _swatch(color: QColor) -> QIcon:
    picture = QPixmap(_SWATCH_PX, _SWATCH_PX)
    picture.fill(color)
    painter = QPainter(picture)
    painter.setPen(QColor(128, 128, 128))  # visible on light and dark backgrounds
    painter.drawRect(0, 0, _SWATCH_PX - 1, _SWATCH_PX - 1)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # otherwise Qt tints it in selected rows
    return icon

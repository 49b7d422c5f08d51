"""The list of series in the picker: its Qt model, and its rows as they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFont, QFontMetrics, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QWidget

from tomochrome._napari.kit.theme import Colors, colors_of, is_dark, mixed, text_and_background
from tomochrome._napari.series import scan_wording as wording
from tomochrome._napari.series.series_order import (
    Identities,
    Order,
    Row,
    arranged,
    best,
    can_be_opened,
    shown_verdict,
)

if TYPE_CHECKING:
    from tomochrome.io import Item

PICTURE = 76  #: side length of a preview in device-independent pixels
_MARGIN = 8
_GAP = 10
_LINE_GAP = 3
_MAX_LINES = 3  # of the verdict's explanation; the tooltip shows all of it
_CHOSEN = "#5a78e6"


_NO_INDEX = QModelIndex()


class Role(IntEnum):
    """Data roles of the model in addition to those of Qt."""

    ITEM = int(Qt.ItemDataRole.UserRole) + 1
    PICTURE = ITEM + 1
    OPENED = ITEM + 2
    HEADING = ITEM + 3


class SeriesModel(QAbstractListModel):
    """The items found, in groups; previews are added later, one by one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._all: list[Item] = []
        self._rows: list[Row] = []
        self._order: Order = "slices"
        self._search = ""
        self._identities: Identities = {}
        # Keyed by item, because sorting changes the rows.
        self._pictures: dict[Item, QPixmap] = {}
        self._opened: set[Item] = set()

    def show(self, items: Sequence[Item]) -> None:
        """List these items, replacing the previous ones."""
        self._all = list(items)
        self._pictures, self._opened, self._identities = {}, set(), {}
        self._arrange()

    def sort_by(self, order: Order) -> None:
        """Sort the items of each group."""
        self._order = order
        self._arrange()

    def search(self, text: str) -> None:
        """List only items that match the search words."""
        self._search = text
        self._arrange()

    def show_identities(self, identities: Identities) -> None:
        """Show the patients' identities in the headings; an empty mapping hides them."""
        self._identities = identities
        self._arrange()

    def _arrange(self) -> None:
        self.beginResetModel()
        self._rows = arranged(self._all, self._order, self._search, self._identities)
        self.endResetModel()

    @property
    def items(self) -> list[Item]:
        """The items that match the search, in the order of the rows."""
        return [row.item for row in self._rows]

    @property
    def all_items(self) -> Sequence[Item]:
        """All items, including those that do not match."""
        return self._all

    def set_picture(self, item: Item, grey: NDArray[np.uint8]) -> None:
        """Show the preview of an item, uint8 (y, x)."""
        height, width = grey.shape
        image = QImage(
            np.ascontiguousarray(grey).tobytes(), width, height, width,
            QImage.Format.Format_Grayscale8,
        )  # fmt: skip
        self._pictures[item] = QPixmap.fromImage(image)
        self._changed(item)

    def without_picture(self) -> list[Item]:
        """Return the items without a preview, those currently listed first."""
        order = dict.fromkeys((*self.items, *self._all))
        return [item for item in order if item not in self._pictures]

    def mark_opened(self, item: Item) -> None:
        """Mark an item as opened."""
        self._opened.add(item)
        self._changed(item)

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the data of a row for a role of Qt or of `Role`."""
        if not index.isValid():
            return None
        row = self._rows[index.row()]
        item = row.item
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return wording.title_of(item)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip(item)
        values = {
            Role.ITEM: item,
            Role.PICTURE: self._pictures.get(item),
            Role.OPENED: item in self._opened,
            Role.HEADING: row.heading,
        }
        return values.get(role)  # type: ignore[call-overload]

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Make only items that can be opened selectable."""
        if index.isValid() and can_be_opened(self._rows[index.row()].item):
            return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return Qt.ItemFlag.NoItemFlags

    def _changed(self, item: Item) -> None:
        for number, row in enumerate(self._rows):
            if row.item is item:
                index = self.index(number)
                self.dataChanged.emit(index, index)


def facts(item: Item) -> list[str]:
    """Return the lines below the title: modality and size, and spacing."""
    return [
        f"{wording.modality_of(item.modality)} · {wording.size_of(item.shape, item.present)}",
        wording.spacing_of(item.spacing),
    ]


def remark(item: Item) -> str:
    """Return the warnings about an item, or else the explanation of its verdict."""
    slices = item.shape[0] if item.shape else None
    warnings = " ".join(wording.remarks(item))
    return warnings or wording.describe_verdict(item.verdict, (), slices)


def tool_tip(item: Item) -> str:
    """Return the tooltip of an item, with one line for each fact and warning."""
    remarks = wording.remarks(item) or (remark(item),)
    verdict = wording.VERDICTS[shown_verdict(item)]
    lines = [wording.title_of(item), *facts(item), wording.number_of(item), verdict, *remarks]
    return "\n".join(line for line in lines if line)


class SeriesDelegate(QStyledItemDelegate):
    """Draws one item, with the heading above the first item of a group."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        # Qt queries the height of every row each time a preview arrives.
        self._heights: dict[Item, int] = {}
        self._drawn_for: tuple[int, str] = (0, "")

    def sizeHint(self, option: Any, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """Return the height that the text needs at the list's width."""
        view = option.widget
        width = view.viewport().width() if view is not None else 320
        drawn_for = (width, option.font.key())
        if drawn_for != self._drawn_for:
            self._heights, self._drawn_for = {}, drawn_for
        item = index.data(Role.ITEM)
        if item not in self._heights:
            self._heights[item] = self._height(item, QFontMetrics(option.font), width)
        above = heading_height(option.font, index.data(Role.HEADING))
        return QSize(width, above + self._heights[item])

    def forget_all_but(self, items: Sequence[Item]) -> None:
        """Drop the cached heights of all other items."""
        self._heights = {item: self._heights[item] for item in items if item in self._heights}

    def _height(self, item: Item, metrics: QFontMetrics, width: int) -> int:
        lines = 1 + len(facts(item)) + 1
        height = lines * (metrics.height() + _LINE_GAP) + _LINE_GAP
        height += _remark_height(metrics, remark(item), self._text_width(width))
        return max(height, PICTURE) + 2 * _MARGIN

    @staticmethod
    def _text_width(width: int) -> int:
        return width - 2 * _MARGIN - PICTURE - _GAP

    def paint(self, painter: QPainter, option: Any, index: QModelIndex) -> None:
        """Draw the row: heading, background, preview, title, facts, verdict and explanation."""
        item: Item = index.data(Role.ITEM)
        heading = index.data(Role.HEADING)
        painter.save()
        if heading:
            _draw_heading(painter, option, heading)
            option.rect = option.rect.adjusted(0, heading_height(option.font, heading), 0, 0)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        area = option.rect.adjusted(2, 2, -2, -2)
        _draw_background(painter, option, _panel(option), area)
        left, top = option.rect.left() + _MARGIN, option.rect.top() + _MARGIN
        _draw_picture(painter, QRect(left, top, PICTURE, PICTURE), index.data(Role.PICTURE), item)
        self._draw_words(painter, option, item, bool(index.data(Role.OPENED)))
        painter.restore()

    def _draw_words(self, painter: QPainter, option: Any, item: Item, opened: bool) -> None:
        dim = not can_be_opened(item) or item.verdict == "not-ct"
        strong, faint = text_colors(_panel(option), dim)
        left = option.rect.left() + _MARGIN + PICTURE + _GAP
        width = self._text_width(option.rect.width())
        top = option.rect.top() + _MARGIN
        bold = _bold(painter.font())
        title = wording.title_of(item)
        painter.setFont(bold)
        metrics = QFontMetrics(bold)
        painter.setPen(strong)
        shown = metrics.elidedText(title, Qt.TextElideMode.ElideRight, width)
        painter.drawText(left, top + metrics.ascent(), shown)
        painter.setFont(option.font)
        metrics = QFontMetrics(option.font)
        step = metrics.height() + _LINE_GAP
        painter.setPen(faint)
        for line in facts(item):
            top += step
            shown = metrics.elidedText(line, Qt.TextElideMode.ElideRight, width)
            painter.drawText(left, top + metrics.ascent(), shown)
        top += step + 1
        verdict = shown_verdict(item)
        colors = colors_of(wording.VERDICT_TONES[verdict], is_dark(_panel(option)))
        end = _draw_mark(painter, left, top, wording.VERDICTS[verdict], colors)
        painter.setPen(faint)
        beside = " · ".join(filter(None, (wording.number_of(item), "opened" if opened else "")))
        painter.drawText(end + 8, top + metrics.ascent(), beside)
        top += step + 1
        painter.setPen(faint)
        box = QRect(left, top, width, _remark_height(metrics, remark(item), width))
        painter.drawText(box, _WRAP, _cut(metrics, remark(item), width))


def heading_height(font: QFont, lines: Sequence[str]) -> int:
    """Return the height of a heading with these lines, 0 without lines."""
    step = QFontMetrics(_bold(font)).height() + _LINE_GAP
    return len(lines) * step + _MARGIN if lines else 0


def _bold(font: QFont) -> QFont:
    bold = QFont(font)
    bold.setBold(True)
    return bold


def _draw_heading(painter: QPainter, option: Any, lines: Sequence[str]) -> None:
    """Draw the lines, the first in bold, elided to the width of the row."""
    strong, faint = text_colors(_panel(option), False)
    left, top = option.rect.left() + 4, option.rect.top() + _MARGIN // 2
    for number, line in enumerate(lines):
        painter.setFont(option.font if number else _bold(option.font))
        painter.setPen(faint if number else strong)
        metrics = QFontMetrics(painter.font())
        width = option.rect.width() - 8
        shown = metrics.elidedText(line, Qt.TextElideMode.ElideRight, width)
        painter.drawText(left, top + metrics.ascent(), shown)
        top += metrics.height() + _LINE_GAP


def _panel(option: Any) -> QWidget:
    """Return the widget whose background shows through the transparent list."""
    panel: QWidget = option.widget.parentWidget() or option.widget
    return panel


_WRAP = int(Qt.TextFlag.TextWordWrap)


def _remark_height(metrics: QFontMetrics, text: str, width: int) -> int:
    if not text:
        return 0
    box = metrics.boundingRect(QRect(0, 0, width, 10_000), _WRAP, text)
    return min(box.height(), _MAX_LINES * metrics.lineSpacing())


def _cut(metrics: QFontMetrics, text: str, width: int) -> str:
    """Return the text, truncated with an ellipsis to `_MAX_LINES` lines."""
    max_height = _MAX_LINES * metrics.lineSpacing()

    def fits(shown: str) -> bool:
        return metrics.boundingRect(QRect(0, 0, width, 10_000), _WRAP, shown).height() <= max_height

    if fits(text):
        return text
    words = text.split()
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(" ".join(words[:middle]) + " …") else (low, middle)
    return " ".join(words[:low]) + " …"


def text_colors(panel: QWidget, dim: bool) -> tuple[QColor, QColor]:
    """Return the colors of the title and of the remaining text in the panel's theme."""
    text, background = text_and_background(panel)
    return mixed(text, background, 0.78 if dim else 1.0), mixed(
        text, background, 0.78 if dim else 0.88
    )


def background_of(panel: QWidget, *, chosen: bool = False, under_mouse: bool = False) -> QColor:
    """Return the background color of a row in the panel's theme."""
    text, background = text_and_background(panel)
    if chosen:
        return mixed(QColor(_CHOSEN), background, 0.30)
    return mixed(text, background, 0.09 if under_mouse else 0.04)


def _draw_background(painter: QPainter, option: Any, panel: QWidget, area: QRect) -> None:
    chosen = bool(option.state & QStyle.StateFlag.State_Selected)
    under_mouse = bool(option.state & QStyle.StateFlag.State_MouseOver)
    border = QColor(_CHOSEN) if chosen else mixed(*text_and_background(panel), 0.12)
    painter.setPen(QPen(border, 1))
    painter.setBrush(background_of(panel, chosen=chosen, under_mouse=under_mouse))
    painter.drawRoundedRect(area, 4, 4)


def _draw_picture(painter: QPainter, area: QRect, picture: QPixmap | None, item: Item) -> None:
    painter.fillRect(area, QColor("black"))
    if picture is not None:
        painter.setOpacity(1.0 if can_be_opened(item) and item.verdict != "not-ct" else 0.5)
        painter.drawPixmap(area, picture)
        painter.setOpacity(1.0)


def _draw_mark(painter: QPainter, left: int, top: int, text: str, colors: Colors) -> int:
    """Draw the verdict as a small rounded badge; return the x coordinate of its right edge."""
    metrics = QFontMetrics(painter.font())
    width = metrics.horizontalAdvance(text) + 12
    box = QRect(left, top - 1, width, metrics.height() + 2)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colors.background))
    painter.drawRoundedRect(box, 3, 3)
    painter.setPen(QColor(colors.text))
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)
    return left + width


class SeriesList(QListView):
    """The list widget, with multiple selection.

    Enter or a double click opens the selection; typed letters go to the search field.
    """

    opened = Signal()
    typed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.series = SeriesModel(self)
        self.setModel(self.series)
        delegate = SeriesDelegate(self)
        self.series.modelReset.connect(lambda: delegate.forget_all_but(self.series.all_items))
        self.setItemDelegate(delegate)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMouseTracking(True)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setStyleSheet("QListView { background: transparent; border: none; }")
        self.setMinimumSize(220, 160)
        self.verticalScrollBar().setSingleStep(16)
        self.doubleClicked.connect(lambda _: self.opened.emit())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a width that fits most descriptions."""
        return QSize(400, 560)

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Open the selection on Enter; pass typed letters to the search field."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit()
        elif event.text().strip() and event.text().isprintable():
            self.typed.emit(event.text())
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Select a row, unless the click is on a heading."""
        if not self._on_heading(event.position().toPoint()):
            super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Open a row, unless the click is on a heading."""
        if not self._on_heading(event.position().toPoint()):
            super().mouseDoubleClickEvent(event)

    def _on_heading(self, place: QPoint) -> bool:
        index = self.indexAt(place)
        height = heading_height(self.font(), index.data(Role.HEADING) or ())
        return place.y() < self.visualRect(index).top() + height

    def chosen(self) -> list[Item]:
        """Return the selected items in the order of the rows."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.series.items[row] for row in rows]

    def choose(self, rows: Sequence[int]) -> None:
        """Select exactly these rows and make the first of them current."""
        flags = QItemSelectionModel.SelectionFlag
        self.clearSelection()
        for row in rows:
            self.selectionModel().select(self.series.index(row), flags.Select)
        if rows:
            first = self.series.index(rows[0])
            self.selectionModel().setCurrentIndex(first, flags.NoUpdate)
            self.show_chosen()

    def show_chosen(self) -> None:
        """Scroll until the current row is visible."""
        self.scrollTo(self.currentIndex())

    def choose_items(self, items: Sequence[Item]) -> None:
        """Select those of these items that are listed, or else the best item listed."""
        listed = self.series.items
        rows = [row for row, item in enumerate(listed) if item in items]
        offered = best(listed)
        self.choose(rows or ([listed.index(offered)] if offered is not None else []))

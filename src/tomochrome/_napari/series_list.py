"""The list of series in the picker: a picture, the description, the size, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFontMetrics, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QStyle, QStyledItemDelegate, QWidget

from tomochrome._napari import wording
from tomochrome._napari.theme import Colors, colors_of, is_dark, mixed, text_and_ground
from tomochrome.volume import Verdict

if TYPE_CHECKING:
    from tomochrome.io import Item

PICTURE = 76  #: side of a preview, in pixels of the screen's scale
_MARGIN = 8
_GAP = 10
_LINE_GAP = 3
_MOST_LINES = 3  # of the verdict's sentence; the tool tip has all of it
_NO_INDEX = QModelIndex()

_CHOSEN = "#5a78e6"


class Role(IntEnum):
    """What the model holds beside Qt's own roles."""

    ITEM = int(Qt.ItemDataRole.UserRole) + 1
    PICTURE = ITEM + 1
    OPENED = ITEM + 2


def can_be_opened(item: Item) -> bool:
    """Whether `read` would read this item."""
    return not item.refusal and item.verdict != "unreadable"


def shown_verdict(item: Item) -> Verdict:
    """Return the verdict to show: whatever else is wrong, that it cannot be read comes first."""
    return item.verdict if can_be_opened(item) else "unreadable"


class SeriesModel(QAbstractListModel):
    """The items found, CT that can be opened first; previews come later, one by one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._items: list[Item] = []
        self._pictures: dict[int, QPixmap] = {}
        self._opened: set[int] = set()

    def show(self, items: Sequence[Item]) -> None:
        """List these items instead of what was listed before."""
        self.beginResetModel()
        self._items = sorted(items, key=_rank)
        self._pictures, self._opened = {}, set()
        self.endResetModel()

    @property
    def items(self) -> list[Item]:
        """The items in the order of the rows."""
        return self._items

    def set_picture(self, row: int, grey: NDArray[np.uint8]) -> None:
        """Show the preview of a row, uint8 (y, x)."""
        height, width = grey.shape
        image = QImage(
            np.ascontiguousarray(grey).tobytes(), width, height, width,
            QImage.Format.Format_Grayscale8,
        )  # fmt: skip
        self._pictures[row] = QPixmap.fromImage(image)
        self._changed(row)

    def without_picture(self) -> list[int]:
        """Return the rows that have no preview yet."""
        return [row for row in range(len(self._items)) if row not in self._pictures]

    def mark_opened(self, item: Item) -> None:
        """Note that an item was opened."""
        row = self._items.index(item)
        self._opened.add(row)
        self._changed(row)

    def rowCount(self, parent: QModelIndex = _NO_INDEX) -> int:  # noqa: N802 - Qt's name
        """Return how many items are listed."""
        return 0 if parent.isValid() else len(self._items)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what Qt or the delegate wants to know of a row."""
        if not index.isValid():
            return None
        item = self._items[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return wording.title_of(item)
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip(item)
        if role == Role.ITEM:
            return item
        if role == Role.PICTURE:
            return self._pictures.get(index.row())
        if role == Role.OPENED:
            return index.row() in self._opened
        return None

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """What cannot be opened cannot be chosen."""
        if index.isValid() and can_be_opened(self._items[index.row()]):
            return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return Qt.ItemFlag.NoItemFlags

    def _changed(self, row: int) -> None:
        index = self.index(row)
        self.dataChanged.emit(index, index)


def _rank(item: Item) -> tuple[int, int]:
    """CT before anything else, and what can be read before what cannot; else as found."""
    return (0 if can_be_opened(item) else 1) + (2 if item.verdict == "not-ct" else 0), 0


def facts(item: Item) -> list[str]:
    """Return the plain lines under the title."""
    return [
        f"{wording.modality_of(item.modality)} · {wording.size_of(item.shape)}",
        wording.spacing_of(item.spacing),
    ]


def remark(item: Item) -> str:
    """Return the sentence beside the verdict, with everything that is to be said."""
    slices = item.shape[0] if item.shape else None
    said = " ".join(wording.remarks(item))
    return said or wording.verdict_in_words(item.verdict, (), slices)


def tool_tip(item: Item) -> str:
    """Return everything about an item, one line each."""
    said = wording.remarks(item) or (remark(item),)
    verdict = wording.VERDICTS[shown_verdict(item)]
    lines = [wording.title_of(item), *facts(item), verdict, *said]
    return "\n".join(line for line in lines if line)


class SeriesDelegate(QStyledItemDelegate):
    """Draws one item."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        # Qt asks for every row's height each time that a picture comes in.
        self._heights: dict[Item, int] = {}
        self._drawn_for: tuple[int, str] = (0, "")

    def sizeHint(self, option: Any, index: QModelIndex) -> QSize:  # noqa: N802 - Qt's name
        """As high as the lines need at the list's width."""
        view = option.widget
        width = view.viewport().width() if view is not None else 320
        drawn_for = (width, option.font.key())
        if drawn_for != self._drawn_for:
            self._heights, self._drawn_for = {}, drawn_for
        item = index.data(Role.ITEM)
        if item not in self._heights:
            self._heights[item] = self._height(item, QFontMetrics(option.font), width)
        return QSize(width, self._heights[item])

    def forget(self) -> None:
        """Forget the items of an earlier list."""
        self._heights = {}

    def _height(self, item: Item, metrics: QFontMetrics, width: int) -> int:
        lines = 1 + len(facts(item)) + 1
        height = lines * (metrics.height() + _LINE_GAP) + _LINE_GAP
        height += _remark_height(metrics, remark(item), self._text_width(width))
        return max(height, PICTURE) + 2 * _MARGIN

    @staticmethod
    def _text_width(width: int) -> int:
        return width - 2 * _MARGIN - PICTURE - _GAP

    def paint(self, painter: QPainter, option: Any, index: QModelIndex) -> None:
        """Draw the row: ground, picture, title, facts, verdict and its sentence."""
        item: Item = index.data(Role.ITEM)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        area = option.rect.adjusted(2, 2, -2, -2)
        _draw_ground(painter, option, _panel(option), area)
        left, top = option.rect.left() + _MARGIN, option.rect.top() + _MARGIN
        _draw_picture(painter, QRect(left, top, PICTURE, PICTURE), index.data(Role.PICTURE), item)
        self._draw_words(painter, option, item, bool(index.data(Role.OPENED)))
        painter.restore()

    def _draw_words(self, painter: QPainter, option: Any, item: Item, opened: bool) -> None:
        dim = not can_be_opened(item) or item.verdict == "not-ct"
        strong, faint = inks(_panel(option), dim)
        left = option.rect.left() + _MARGIN + PICTURE + _GAP
        width = self._text_width(option.rect.width())
        top = option.rect.top() + _MARGIN
        bold = painter.font()
        bold.setBold(True)
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
        if opened:
            painter.setPen(faint)
            painter.drawText(end + 8, top + metrics.ascent(), "opened")
        top += step + 1
        painter.setPen(faint)
        box = QRect(left, top, width, _remark_height(metrics, remark(item), width))
        painter.drawText(box, _WRAP, _cut(metrics, remark(item), width))


def _panel(option: Any) -> QWidget:
    """Return what the list stands on: the list itself has no ground of its own."""
    panel: QWidget = option.widget.parentWidget() or option.widget
    return panel


_WRAP = int(Qt.TextFlag.TextWordWrap)


def _remark_height(metrics: QFontMetrics, text: str, width: int) -> int:
    if not text:
        return 0
    box = metrics.boundingRect(QRect(0, 0, width, 10_000), _WRAP, text)
    return min(box.height(), _MOST_LINES * metrics.lineSpacing())


def _cut(metrics: QFontMetrics, text: str, width: int) -> str:
    """Return as many words as fit into the lines there are, with dots where some do not."""
    most = _MOST_LINES * metrics.lineSpacing()

    def fits(shown: str) -> bool:
        return metrics.boundingRect(QRect(0, 0, width, 10_000), _WRAP, shown).height() <= most

    if fits(text):
        return text
    words = text.split()
    low, high = 0, len(words)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(" ".join(words[:middle]) + " …") else (low, middle)
    return " ".join(words[:low]) + " …"


def inks(panel: QWidget, dim: bool) -> tuple[QColor, QColor]:
    """Return the colors of the title and of the rest of the text, from the panel's theme."""
    text, ground = text_and_ground(panel)
    return mixed(text, ground, 0.78 if dim else 1.0), mixed(text, ground, 0.78 if dim else 0.88)


def ground_of(panel: QWidget, *, chosen: bool = False, under_mouse: bool = False) -> QColor:
    """Return the color that a row is drawn on, from the panel's theme."""
    text, ground = text_and_ground(panel)
    if chosen:
        return mixed(QColor(_CHOSEN), ground, 0.30)
    return mixed(text, ground, 0.09 if under_mouse else 0.04)


def _draw_ground(painter: QPainter, option: Any, panel: QWidget, area: QRect) -> None:
    chosen = bool(option.state & QStyle.StateFlag.State_Selected)
    under_mouse = bool(option.state & QStyle.StateFlag.State_MouseOver)
    border = QColor(_CHOSEN) if chosen else mixed(*text_and_ground(panel), 0.12)
    painter.setPen(QPen(border, 1))
    painter.setBrush(ground_of(panel, chosen=chosen, under_mouse=under_mouse))
    painter.drawRoundedRect(area, 4, 4)


def _draw_picture(painter: QPainter, area: QRect, picture: QPixmap | None, item: Item) -> None:
    painter.fillRect(area, QColor("black"))
    if picture is not None:
        painter.setOpacity(1.0 if can_be_opened(item) and item.verdict != "not-ct" else 0.5)
        painter.drawPixmap(area, picture)
        painter.setOpacity(1.0)


def _draw_mark(painter: QPainter, left: int, top: int, text: str, colors: Colors) -> int:
    """Draw the verdict as a small rounded mark; return where it ends."""
    metrics = QFontMetrics(painter.font())
    width = metrics.horizontalAdvance(text) + 12
    box = QRect(left, top - 1, width, metrics.height() + 2)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colors.ground))
    painter.drawRoundedRect(box, 3, 3)
    painter.setPen(QColor(colors.text))
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)
    return left + width


class SeriesList(QListView):
    """The list itself; several rows can be chosen."""

    opened = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.series = SeriesModel(self)
        self.setModel(self.series)
        delegate = SeriesDelegate(self)
        self.series.modelReset.connect(delegate.forget)
        self.setItemDelegate(delegate)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMouseTracking(True)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setStyleSheet("QListView { background: transparent; border: none; }")
        self.setMinimumSize(320, 160)
        self.verticalScrollBar().setSingleStep(16)
        self.activated.connect(lambda _: self.opened.emit())

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Wide enough for most descriptions."""
        return QSize(400, 560)

    def chosen(self) -> list[Item]:
        """Return the items that are chosen, in the order of the rows."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self.series.items[row] for row in rows]

    def choose(self, rows: Sequence[int]) -> None:
        """Choose these rows and no others."""
        from qtpy.QtCore import QItemSelectionModel

        self.clearSelection()
        for row in rows:
            self.selectionModel().select(
                self.series.index(row), QItemSelectionModel.SelectionFlag.Select
            )

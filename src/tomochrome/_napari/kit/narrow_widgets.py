"""Widgets for narrow panels: rows that wrap, elided texts, and napari's font size."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, QSize, Qt, QTimer
from qtpy.QtGui import QGuiApplication, QKeySequence
from qtpy.QtWidgets import (
    QComboBox,
    QLabel,
    QLayout,
    QLayoutItem,
    QLineEdit,
    QMenu,
    QPushButton,
    QStyle,
    QStyleOptionButton,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

#: A panel is never wider than this because of its content, which scrolls instead.
MAX_MINIMUM_PX: Final = 280
#: Width of a new panel, if its content does not need more and the window is wide enough.
USUAL_PX: Final = 360
#: Maximum width of a new panel as a fraction of the window.
SHARE_OF_WINDOW: Final = 0.264
#: Name of a label that is the title of a panel.
TITLE: Final = "tomochrome-title"
_TITLE_SCALE: Final = 1.2
_MIN_CHARACTERS: Final = 6
_LONG_WORD = re.compile(r"\S{22,}")
_BREAKS = re.compile(r"([/\\_.,;:=+-]|\w{20})(?=\S)")
_BREAK: Final = "\u200b"  # zero-width space


class WrappingRow(QLayout):
    """Lays out items side by side, and in further lines if the width is not sufficient.

    The remaining width of a line is divided by the stretch factors of its items.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self._items: list[QLayoutItem] = []
        self._stretch: list[int] = []
        self.setContentsMargins(0, 0, 0, 0)
        for part in parts:
            self.add(*(part if isinstance(part, tuple) else (part, 0)))

    def add(self, widget: QWidget, stretch: int = 0) -> None:
        """Append a widget."""
        self.addWidget(widget)
        self._stretch[-1] = stretch

    def addItem(self, item: QLayoutItem | None) -> None:  # noqa: N802 - Qt's name
        """Append an item; called by Qt."""
        if item is not None:
            self._items.append(item)
            self._stretch.append(0)

    def count(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def itemAt(self, index: int) -> QLayoutItem | None:  # noqa: N802 - Qt's name
        """Return an item, or None."""
        return self._items[index] if 0 <= index < len(self._items) else None

    def takeAt(self, index: int) -> QLayoutItem | None:  # noqa: N802 - Qt's name
        """Remove and return an item, or return None."""
        if not 0 <= index < len(self._items):
            return None
        self._stretch.pop(index)
        return self._items.pop(index)

    def expandingDirections(self) -> Qt.Orientation:  # noqa: N802 - Qt's name
        """Return that it uses more width, but not more height."""
        return Qt.Orientation.Horizontal

    def hasHeightForWidth(self) -> bool:  # noqa: N802 - Qt's name
        """Return that the height depends on the width."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802 - Qt's name
        """Return the height of all lines."""
        return self._arrange(QRect(0, 0, width, 0), move=False)

    def minimumSize(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of the largest item."""
        size = QSize()
        for item, _ in self._shown():
            size = size.expandedTo(item.minimumSize())
        return size

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size of a single line."""
        sizes = [_needed(item) for item, _ in self._shown()]
        width = sum(size.width() for size in sizes) + self._gap() * max(0, len(sizes) - 1)
        return QSize(width, max((size.height() for size in sizes), default=0))

    def setGeometry(self, rect: QRect) -> None:  # noqa: N802 - Qt's name
        """Place the items."""
        super().setGeometry(rect)
        self._arrange(rect, move=True)

    def _shown(self) -> list[tuple[QLayoutItem, int]]:
        pairs = zip(self._items, self._stretch, strict=True)
        return [(item, stretch) for item, stretch in pairs if not item.isEmpty()]

    def _gap(self) -> int:
        if self.spacing() >= 0:
            return int(self.spacing())
        parent = self.parentWidget()
        if parent is None:
            return 6
        metric = QStyle.PixelMetric.PM_LayoutHorizontalSpacing
        return max(0, int(parent.style().pixelMetric(metric, None, parent)))

    def _arrange(self, rect: QRect, *, move: bool) -> int:
        """Place the items in a rectangle and return the height of the lines."""
        gap, top = self._gap(), rect.y()
        for line in self._lines(rect.width(), gap):
            widths = _divide(rect.width() - gap * (len(line) - 1), line)
            heights = [_height(item, w) for (item, _), w in zip(line, widths, strict=True)]
            height, left = max(heights), rect.x()
            for (item, _), width in zip(line, widths, strict=True):
                if move:
                    size = QSize(width, height)
                    item.setGeometry(QRect(QPoint(left, top), size))
                left += width + gap
            top += height + gap
        return max(0, top - gap - rect.y())

    def _lines(self, width: int, gap: int) -> list[list[tuple[QLayoutItem, int]]]:
        lines: list[list[tuple[QLayoutItem, int]]] = []
        used = 0
        for item, stretch in self._shown():
            needed = _needed(item).width()
            if not lines or used + gap + needed > width:
                lines.append([])
                used = needed
            else:
                used += gap + needed
            lines[-1].append((item, stretch))
        return lines


def _needed(item: QLayoutItem) -> QSize:
    """Return the hint of a button or label, and the minimum of what can be narrower."""
    widget = item.widget()
    narrow = isinstance(widget, (QComboBox, QLineEdit))
    return item.minimumSize() if narrow else item.sizeHint().expandedTo(item.minimumSize())


def _height(item: QLayoutItem, width: int) -> int:
    if item.hasHeightForWidth():
        return int(item.heightForWidth(width))
    return int(item.sizeHint().height())


def _divide(width: int, line: list[tuple[QLayoutItem, int]]) -> list[int]:
    """Divide a width among the items of a line, none of which gets less than it needs."""
    needed = [_needed(item).width() for item, _ in line]
    stretches = [stretch for _, stretch in line]
    fixed = {index for index, stretch in enumerate(stretches) if not stretch}
    while True:
        rest = width - sum(needed[index] for index in fixed)
        free = [index for index in range(len(line)) if index not in fixed]
        total = sum(stretches[index] for index in free)
        tight = {index for index in free if needed[index] * total > rest * stretches[index]}
        if not tight or not free:
            break
        fixed |= tight
    return [
        min(width, needed[index]) if index in fixed else rest * stretches[index] // total
        for index in range(len(line))
    ]


def narrow(box: QComboBox) -> None:
    """Let a combo box be narrower than its items."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(_MIN_CHARACTERS)


def _draw_elided(box: QComboBox) -> None:
    """Draw a combo box whose text is elided in the middle."""
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    control, part = QStyle.ComplexControl.CC_ComboBox, QStyle.SubControl.SC_ComboBoxEditField
    field = box.style().subControlRect(control, option, part, box)
    option.currentText = elided(box, option.currentText, field.width() - 4)
    painter = QStylePainter(box)
    painter.drawComplexControl(control, option)
    painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


class Elision(QObject):
    """Makes a combo box of another library narrow, and elides its text as `ElidedComboBox` does."""

    def __init__(self, box: QComboBox) -> None:
        super().__init__(box)
        narrow(box)
        box.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Draw the box in place of Qt."""
        if event.type() != QEvent.Type.Paint:
            return False
        _draw_elided(watched)
        return True


class ElidedComboBox(QComboBox):
    """A combo box that may be narrower than its items; the shown one is elided in the middle."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        narrow(self)

    def add(self, text: str, data: Any = None, tip: str = "") -> None:
        """Append an item with its data and its tooltip."""
        self.addItem(text, data)
        self.setItemData(self.count() - 1, tip or None, Qt.ItemDataRole.ToolTipRole)

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the box with an elided text."""
        _draw_elided(self)

    def showPopup(self) -> None:  # noqa: N802 - Qt's name
        """Open a list that is as wide as its items."""
        view = self.view()
        if view is not None:
            view.setMinimumWidth(view.sizeHintForColumn(0) + 2 * self.fontMetrics().height())
        super().showPopup()


class ElidedButton(QPushButton):
    """A button that may be narrower than its text, which is then elided."""

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the size for a few characters."""
        hint = super().minimumSizeHint()
        few = self.fontMetrics().averageCharWidth() * 2 * _MIN_CHARACTERS
        return QSize(min(hint.width(), few), hint.height())

    def paintEvent(self, _: Any) -> None:  # noqa: N802 - Qt's name
        """Draw the button with an elided text."""
        option = QStyleOptionButton()
        self.initStyleOption(option)
        element = QStyle.SubElement.SE_PushButtonContents
        inside = self.style().subElementRect(element, option, self)
        option.text = elided(self, option.text, inside.width())
        QStylePainter(self).drawControl(QStyle.ControlElement.CE_PushButton, option)


def elided(widget: QWidget, text: str, width: int) -> str:
    """Return a text, with an ellipsis in the middle if it is wider than ``width`` pixels."""
    shown = widget.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, width)
    return str(shown)


def shortened(text: str, max_length: int) -> str:
    """Return a text with at most so many characters, ending in an ellipsis if it was cut."""
    return text if len(text) <= max_length else f"{text[: max_length - 1].rstrip()}…"


def breakable(text: str) -> str:
    """Return a text whose long words, such as paths, may be broken into lines anywhere."""
    return _LONG_WORD.sub(lambda word: _BREAKS.sub(rf"\1{_BREAK}", word[0]), text)


class BreakableLabel(QLabel):
    """A word-wrapped label, selectable with the mouse, that also breaks long words such as paths.

    `text` and what is copied are without these breaks. Call `wrap` once.
    """

    def wrap(self) -> None:
        """Turn on word wrap and selection."""
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text."""
        is_html = self.textFormat() == Qt.TextFormat.RichText
        super().setText(text if is_html else breakable(text))

    def text(self) -> str:
        """Return the text."""
        return str(super().text()).replace(_BREAK, "")

    def copy(self) -> None:
        """Copy the selected text, or all of it."""
        text = self.selectedText() if self.hasSelectedText() else self.text()
        QGuiApplication.clipboard().setText(text.replace(_BREAK, ""))

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Copy the text as it was given."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Offer to copy the text as it was given."""
        menu = QMenu(self)
        menu.addAction("Copy", self.copy)
        menu.exec(event.globalPos())


def style_sheet(points: float) -> str:
    """Return a style sheet for a panel whose labels have a font of this size.

    napari's own has no font size for tool buttons, trees and line edits, which would keep the size
    of the application, and a minimum width in pixels for number fields.
    """
    return (
        f"QToolButton, QLineEdit, QTreeWidget, QHeaderView {{ font-size: {points:g}pt; }}"
        f" QLabel#{TITLE} {{ font-size: {_TITLE_SCALE * points:.1f}pt; font-weight: 600; }}"
        f" QAbstractSpinBox {{ font-size: {points:g}pt; min-width: 5em; }}"
    )


class LabelFont(QLabel):
    """An invisible label that tells another widget the font size of napari's labels.

    Parameters
    ----------
    parent
        The widget.
    apply
        Called with the font size in points, now and whenever it changes.
    """

    def __init__(self, parent: QWidget, apply: Callable[[float], None]) -> None:
        super().__init__(parent)
        self._apply = apply
        self._size = 0.0
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._tell)
        self.hide()
        parent.installEventFilter(self)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Tell a new size, once Qt has applied the style to all widgets."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._soon.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Tell the size when the other widget is shown, once the style is known."""
        if event.type() == QEvent.Type.Show:
            self._soon.start()
        return False

    def _tell(self) -> None:
        self.ensurePolished()
        size = self.font().pointSizeF()
        if size > 0 and size != self._size:
            self._size = size
            self._apply(size)

"""The fields of the series picker and their layout; no application logic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)
from superqt.utils import signals_blocked

from tomochrome._napari import wording
from tomochrome._napari.kit.controls import MessageLabel, stacked
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox, WrappingRow
from tomochrome._napari.kit.panel_bases import JobView
from tomochrome._napari.kit.theme import mixed, text_and_background
from tomochrome._napari.series_list import SeriesList
from tomochrome._napari.series_order import ORDERS, can_be_opened, counts

if TYPE_CHECKING:
    from tomochrome.io import Found, Item

_HINT = "Open a folder, a scan, a DICOMDIR or a zip file from a CD."
_LIST_KEYS = (Qt.Key.Key_Down, Qt.Key.Key_Up, Qt.Key.Key_PageDown, Qt.Key.Key_PageUp)


class PickerView(JobView):
    """The fields, from top to bottom: source, summary, search, list, skipped files, Open."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, "Open")
        self.folder = QPushButton("Open folder …", self)
        self.file = QPushButton("Open file …", self)
        self.summary = QLabel(_HINT, self)
        self.summary.setWordWrap(True)
        self.search = QLineEdit(self)
        self.search.setPlaceholderText("Search: title, modality, size …")
        self.search.setToolTip(
            "Searches title, modality, size, verdict, series number and study description"
        )
        self.search.setClearButtonEnabled(True)
        self.search.installEventFilter(self)
        self.order = ElidedComboBox(self)
        self.order.setToolTip("Sort order of the series in each study; by slices lists CT first")
        for order, words in ORDERS.items():
            self.order.addItem(words, order)
        self.names = QCheckBox("Show patient names", self)
        self.names.setToolTip(
            "Show name, birth date, ID and study date in this list only; they are not stored"
        )
        self.series = SeriesList(self)
        self.skipped = QToolButton(self)
        self.skipped.setCheckable(True)
        self.skipped.setAutoRaise(True)
        self.skipped.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.reasons = MessageLabel("plain", self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.locked = self.series, self.search, self.order, self.names
        self._found: tuple[Item, ...] = ()
        stacked(
            self,
            WrappingRow((self.folder, 1), (self.file, 1)),
            self.summary,
            self.search,
            WrappingRow((self.order, 1), self.names),
            (self.series, 1),
            self.skipped,
            self.reasons,
            self.progress,
            self.message,
            self.buttons,
        )
        stacked(parent, self, margins=0)
        self.skipped.toggled.connect(self._show_reasons)
        self.search.textChanged.connect(self._search)
        self.search.returnPressed.connect(self.series.opened)
        self.order.activated.connect(self._sort)
        self.series.typed.connect(self._type)
        self._show_skipped("", [])
        self._show_tools()

    def show_found(self, found: Found) -> None:
        """List the items, their number and the number of skipped files."""
        self._found = found.items
        with signals_blocked(self.search), signals_blocked(self.names):
            self.search.clear()
            self.names.setChecked(False)
        self.series.series.search("")
        self.series.series.show(found.items)
        self._show_tools()
        self._show_summary()
        self._show_skipped(*wording.describe_skipped(found.skipped))
        self.message.say("", "plain")
        self.series.choose_items(())
        self.series.scrollToTop()
        # A panel that is being docked has no height yet, so scroll later.
        QTimer.singleShot(0, self.series.show_chosen)

    def changeEvent(self, event: Any) -> None:  # noqa: N802 - Qt's name
        """Make the placeholder text legible in a new theme; Qt's own color is half transparent."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange and hasattr(self, "search"):
            hint = mixed(*text_and_background(self.search), 0.8).name()
            style = f"placeholder-text-color: {hint};"
            if style != self.search.styleSheet():
                self.search.setStyleSheet(style)

    def _show_tools(self) -> None:
        several = len(self._found) > 1
        self.search.setVisible(several)
        self.order.setVisible(several)
        self.names.setVisible(any(item.patient for item in self._found))

    def _show_summary(self) -> None:
        shown, found = len(self.series.series.items), len(self._found)
        if shown < found:
            self.summary.setText(f"{shown} of {found} match the search.")
        else:
            self.summary.setText(_count(self._found))

    def _search(self, text: str) -> None:
        chosen = self.series.chosen()
        self.series.series.search(text)
        self.series.choose_items(chosen)
        self._show_summary()

    def _sort(self, index: int) -> None:
        chosen = self.series.chosen()
        self.series.series.sort_by(self.order.itemData(index))
        self.series.choose_items(chosen)

    def _type(self, text: str) -> None:
        if self.search.isVisible():
            self.search.setFocus()
            self.search.insert(text)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """In the search field, arrow keys move in the list and Escape clears the text."""
        if watched is self.search and event.type() == QEvent.Type.KeyPress:
            key: Any = event
            if key.key() in _LIST_KEYS:
                self.series.setFocus()
                self.series.keyPressEvent(event)
                return True
            if key.key() == Qt.Key.Key_Escape and self.search.text():
                self.search.clear()
                return True
        return False

    def _show_skipped(self, line: str, reasons: list[tuple[int, str]]) -> None:
        self.skipped.setText(line)
        self.skipped.setVisible(bool(line))
        self.skipped.setChecked(False)
        self._reasons = "\n".join(f"{count} × {reason}" for count, reason in reasons)
        self.skipped.setToolTip(self._reasons)
        self._show_reasons(False)

    def _show_reasons(self, shown: bool) -> None:
        self.skipped.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.reasons.say(self._reasons if shown else "")

    def show_running(self, running: bool, *, searching: bool = False) -> None:
        """Enable or disable the fields for a job; a running search can be replaced by another."""
        super().show_running(running)
        self.cancel.setVisible(running)
        for part in (self.folder, self.file):
            part.setEnabled(searching or not running)


def _count(items: tuple[Item, ...]) -> str:
    """Return a summary: the number of series, studies and patients, and how to open one."""
    if not items:
        return "No scan that can be opened was found here."
    patients, studies = counts(items)
    noun = "series" if all(item.study for item in items) else "series and volumes"
    found = f"{len(items)} {noun}"
    if studies > 1:
        of = f" of {patients} patients" if patients > 1 else " of one patient"
        found += f", {studies} studies{of}"
    readable = sum(map(can_be_opened, items))
    if readable < len(items):
        found += f"; {readable} can be opened"
    return f"{found}. Double-click one to open it."

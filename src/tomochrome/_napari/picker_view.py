"""Where the parts of the series picker lie. It draws and holds no logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari import wording
from tomochrome._napari.controls import Notice, StageBar
from tomochrome._napari.series_list import SeriesList, can_be_opened

if TYPE_CHECKING:
    from tomochrome.io import Found


class PickerView(QWidget):
    """From top to bottom: where to look, what was found, the list, what was left aside, Open."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.folder = QPushButton("Open folder …", self)
        self.file = QPushButton("Open file …", self)
        self.summary = QLabel("Choose a folder, a scan, a DICOMDIR or a zip from a CD.", self)
        self.summary.setWordWrap(True)
        self.series = SeriesList(self)
        self.aside = QToolButton(self)
        self.aside.setCheckable(True)
        self.aside.setAutoRaise(True)
        self.aside.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.reasons = Notice("plain", self)
        self.progress = StageBar(self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message = Notice("plain", self)
        self.open = QPushButton("Open", self)
        self.cancel = QPushButton("Cancel", self)
        self._lay_out(parent)
        self.aside.toggled.connect(self._show_reasons)
        self._say_aside("", [])

    def _lay_out(self, parent: QWidget) -> None:
        sources = QHBoxLayout()
        sources.addWidget(self.folder)
        sources.addWidget(self.file)
        buttons = QHBoxLayout()
        buttons.addWidget(self.open, 2)
        buttons.addWidget(self.cancel, 1)
        column = QVBoxLayout(self)
        column.addLayout(sources)
        column.addWidget(self.summary)
        column.addWidget(self.series, 1)
        column.addWidget(self.aside)
        column.addWidget(self.reasons)
        column.addWidget(self.progress)
        column.addWidget(self.message)
        column.addLayout(buttons)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self)

    def show_found(self, found: Found) -> None:
        """List the items, and say how many there are and what was left aside."""
        self.series.series.show(found.items)
        self.series.scrollToTop()
        readable = sum(map(can_be_opened, found.items))
        self.summary.setText(_count(len(found.items), readable))
        self._say_aside(*wording.left_aside(found.skipped))
        self.message.say("", "plain")
        first = [row for row, item in enumerate(self.series.series.items) if can_be_opened(item)]
        self.series.choose(first[:1])

    def _say_aside(self, line: str, reasons: list[str]) -> None:
        self.aside.setText(line)
        self.aside.setVisible(bool(line))
        self.aside.setChecked(False)
        self.aside.setToolTip("\n".join(reasons))
        self._reasons = reasons
        self._show_reasons(False)

    def _show_reasons(self, shown: bool) -> None:
        self.aside.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)
        self.reasons.say("\n".join(self._reasons) if shown else "")

    def show_running(self, running: bool) -> None:
        """Switch the parts between running and not."""
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        for part in (self.folder, self.file, self.series):
            part.setEnabled(not running)
        if running:
            self.open.setEnabled(False)
            self.message.say("", "plain")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, stage)


def _count(items: int, readable: int) -> str:
    series = "1 series or volume" if items == 1 else f"{items} series or volumes"
    if readable == items:
        return f"{series}. A double click opens one."
    return f"{series}, {readable} of which can be opened. A double click opens one."

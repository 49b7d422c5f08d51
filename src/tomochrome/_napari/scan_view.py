"""Where the parts of the panel "Scan" lie. It draws and holds no logic."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.controls import Notice, ScrollColumn
from tomochrome._napari.theme import ToneLabel
from tomochrome._napari.window_words import HELP, key_of, window_label, window_numbers
from tomochrome._napari.wording import VERDICT_TONES, VERDICTS
from tomochrome.volume import Verdict
from tomochrome.windowing import PRESETS, Window

_COLUMNS = 2
_CHOOSE = "More windows …"


class ScanView(QWidget):
    """From top to bottom: what it is, its facts, the verdict, warnings, windows."""

    window_chosen = Signal(str)  #: as `tomochrome.windowing.parse_window` reads it

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.title = QLabel(self)
        self.title.setWordWrap(True)
        self.title.setStyleSheet("font-weight: 600; font-size: 13pt;")
        self.facts = QFormLayout()
        self.facts.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        self.facts.setHorizontalSpacing(14)
        self.facts.setVerticalSpacing(4)
        self.verdict = ToneLabel(style="padding: 2px 8px; font-weight: 600;", parent=self)
        self.verdict.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.remark = Notice("plain", self)
        self.warnings = QVBoxLayout()
        self.windows = QGroupBox("Window", self)
        self._buttons = QGridLayout()
        self._buttons.setSpacing(6)
        self.presets = QComboBox(self)
        self.presets.setToolTip(HELP)
        self.presets.addItem(_CHOOSE)
        self.presets.addItem("Automatic", "auto")
        for name, window in PRESETS.items():
            self.presets.addItem("  ".join(window_label(window)), name)
            if key_of(name):
                hint = f"Key {key_of(name)}"
                self.presets.setItemData(self.presets.count() - 1, hint, 3)  # Qt.ToolTipRole
        self.presets.activated.connect(self._preset)
        inside = QVBoxLayout(self.windows)
        inside.setContentsMargins(8, 6, 8, 8)
        inside.addLayout(self._buttons)
        inside.addWidget(self.presets)
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addWidget(self.title)
        column.addLayout(self.facts)
        column.addWidget(self.verdict)
        column.addWidget(self.remark)
        column.addLayout(self.warnings)
        column.addWidget(self.windows)
        column.addStretch(1)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(ScrollColumn(self, parent))

    def show_facts(self, title: str, facts: Sequence[tuple[str, str]]) -> None:
        """Show the title and, row by row, what is known."""
        self.title.setText(title)
        while self.facts.rowCount():
            self.facts.removeRow(0)
        for name, value in facts:
            label = QLabel(value, self)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self.facts.addRow(QLabel(name, self), label)

    def set_fact(self, name: str, value: str) -> None:
        """Change the value of one row."""
        for row in range(self.facts.rowCount()):
            label = self.facts.itemAt(row, QFormLayout.ItemRole.LabelRole).widget()
            if label.text() == name:
                self.facts.itemAt(row, QFormLayout.ItemRole.FieldRole).widget().setText(value)

    def show_verdict(self, verdict: Verdict | None, remark: str, warnings: Sequence[str]) -> None:
        """Show the verdict as a mark, a plain sentence, and each warning in a box of its own."""
        self.verdict.setVisible(verdict is not None)
        if verdict is not None:
            self.verdict.setText(VERDICTS[verdict])
            self.verdict.set_tone(VERDICT_TONES[verdict])
        self.remark.say(remark)
        while self.warnings.count():
            self.warnings.takeAt(0).widget().deleteLater()
        for text in warnings:
            notice = Notice("warning", self)
            notice.say(text)
            self.warnings.addWidget(notice)

    def show_windows(self, windows: Sequence[Window] | None, *, is_ct: bool = True) -> None:
        """Offer the scanner's windows and, for CT, the presets; None where there are no windows."""
        while self._buttons.count():
            self._buttons.takeAt(0).widget().deleteLater()
        self.windows.setVisible(windows is not None)
        self.presets.setVisible(is_ct)
        for number, window in enumerate(windows or ()):
            label = "  ".join(part for part in window_label(window) if part)
            button = QPushButton(label.replace("&", "&&"), self.windows)
            tip = f"The scanner's window: center / width {window_numbers(window)}"
            button.setToolTip(f'{tip}, called "{window.name}"')
            choice = f"scanner:{number + 1}"
            button.clicked.connect(lambda _=False, c=choice: self.window_chosen.emit(c))
            self._buttons.addWidget(button, number // _COLUMNS, number % _COLUMNS)

    def _preset(self, index: int) -> None:
        choice = self.presets.itemData(index)
        self.presets.setCurrentIndex(0)
        if choice:
            self.window_chosen.emit(choice)

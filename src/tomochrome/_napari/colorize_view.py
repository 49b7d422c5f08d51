"""Where the fields of "Colorize volume" lie. It draws and holds no logic."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.color_panel import ColorPanel, refill
from tomochrome._napari.colorize_insist import InsistBox
from tomochrome._napari.controls import Notice, ScrollColumn, StageBar
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS
from tomochrome._napari.warm_up import Offer
from tomochrome._napari.window_panel import WindowPanel

# Shown until the worker has looked; these are always there.
_FIRST_OFFER = Offer(("tissue", "transfer-function"), ("natural",), ("body", "opaque"), ("auto",))


class ColorizeView(QFrame):
    """The fields, from top to bottom: caution, what to color, run, window, color, messages."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.caution = Notice("caution", self)
        self.layer = LayerChoice(viewer, self)
        self.model = QComboBox(self)
        self.device = QComboBox(self)
        self.run = QPushButton("Colorize", self)
        self.cancel = QPushButton("Cancel", self)
        self.export = QPushButton("Export…", self)
        self.progress = StageBar(self)
        self.window = WindowPanel(self)
        self.color = ColorPanel(_FIRST_OFFER.palettes, _FIRST_OFFER.alphas, self)
        self.message = Notice("plain", self)
        self.insist = InsistBox(self)
        self.info = Notice("plain", self)
        self.progress.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.device.setToolTip("Where the model runs; auto takes a graphics card if there is one")
        self.export.setToolTip("Save as NIfTI, NRRD, contact sheet or DICOM; also the maps")
        self._lay_out(parent)
        self.offer(_FIRST_OFFER)
        self.show_model("")
        self.show_running(False)

    def _lay_out(self, parent: QWidget) -> None:
        source = QFormLayout()
        source.addRow("CT", self.layer)
        source.addRow("Model", self.model)
        source.addRow("Device", self.device)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run, 2)
        buttons.addWidget(self.cancel, 1)
        buttons.addWidget(self.export, 1)
        column = QVBoxLayout(self)
        column.addWidget(self.caution)
        column.addLayout(source)
        column.addLayout(buttons)
        column.addWidget(self.progress)
        column.addWidget(self.message)
        column.addWidget(self.insist)
        column.addWidget(_group("Window", self.window))
        column.addWidget(_group("Color", self.color))
        column.addWidget(self.info)
        column.addStretch(1)
        scroll = ScrollColumn(self, parent)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    def offer(self, offer: Offer) -> None:
        """Fill the boxes with what there is, keeping what is chosen."""
        refill(self.model, offer.models)
        refill(self.device, offer.devices)
        self.color.offer(offer.palettes, offer.alphas)

    def show_model(self, model: str) -> None:
        """Say that this is not for diagnosis, and which model made the colors on screen."""
        caution = NOT_FOR_DIAGNOSIS.capitalize()
        self.caution.say(f"{caution} · {model}" if model else caution)

    def show_running(self, running: bool) -> None:
        """Switch the fields between running and not."""
        self.run.setEnabled(not running)
        self.cancel.setEnabled(running)
        for field in (self.layer, self.model, self.device, self.insist):
            field.setEnabled(not running)
        self.progress.setVisible(running)
        if running:
            self.message.say("")
            self.show_progress(0, 0, "Starting")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, stage)


def _group(title: str, content: QWidget) -> QGroupBox:
    box = QGroupBox(title)
    layout = QVBoxLayout(box)
    layout.setContentsMargins(8, 6, 8, 8)
    layout.addWidget(content)
    return box

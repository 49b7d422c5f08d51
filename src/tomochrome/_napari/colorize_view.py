"""Where the fields of "Colorize volume" lie. It draws and holds no logic."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.beside_grey import BesidePanel
from tomochrome._napari.color_panel import ColorPanel
from tomochrome._napari.colorize_insist import InsistBox
from tomochrome._napari.controls import Notice, ScrollColumn, Section, StageBar
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS
from tomochrome._napari.legend import Legend
from tomochrome._napari.named_choice import NamedChoice, device_choices, model_choices
from tomochrome._napari.readout import CursorReadout
from tomochrome._napari.settings import Key
from tomochrome._napari.warm_up import Offer
from tomochrome._napari.window_panel import WindowPanel

# Shown until the worker has looked; these are always there.
_FIRST_OFFER = Offer(("tissue", "transfer-function"), ("natural",), ("body", "opaque"), ("auto",))


class ColorizeView(QFrame):
    """The fields, from top to bottom: caution, what to color, run, result, how it is shown."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.caution = Notice("caution", self)
        self.layer = LayerChoice(viewer, self, follow=True)
        self.model = NamedChoice(parent=self)
        self.device = NamedChoice(parent=self)
        self.run = QPushButton("Colorize", self)
        self.cancel = QPushButton("Cancel", self)
        self.export = QPushButton("Export…", self)
        self.keep = QCheckBox("Keep earlier results", self)
        self.keep.setToolTip(
            "Add another layer for each run; otherwise a run replaces the result of the one before"
        )
        self.progress = StageBar(self)
        self.message = Notice("plain", self)
        self.insist = InsistBox(self)
        self.export.setToolTip("Save as NIfTI, NRRD, contact sheet or DICOM; also the maps")
        self.readout = CursorReadout(self)
        self.window = WindowPanel(self)
        self.color = ColorPanel(_FIRST_OFFER.palettes, _FIRST_OFFER.alphas, self)
        self.legend = Legend(self)
        self.beside = BesidePanel(self)
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
        self.tissues = Section("Tissues", self.legend, self)
        self.wipe = Section("Color beside grey", self.beside, self)
        column = QVBoxLayout(self)
        column.addWidget(self.caution)
        column.addLayout(source)
        column.addLayout(buttons)
        results = QHBoxLayout()
        results.addWidget(self.keep, 1)
        results.addWidget(self.export)
        column.addLayout(results)
        column.addWidget(self.progress)
        column.addWidget(self.message)
        column.addWidget(self.insist)
        column.addWidget(self.readout)
        column.addWidget(self.tissues)
        column.addWidget(self.wipe)
        column.addWidget(Section("Window", self.window, self))
        column.addWidget(Section("Color", self.color, self))
        column.addStretch(1)
        scroll = ScrollColumn(self, parent)
        outer = QVBoxLayout(parent)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    @property
    def remembered(self) -> dict[Key, NamedChoice]:
        """The boxes whose choice is kept between starts."""
        return {
            "model": self.model,
            "device": self.device,
            "palette": self.color.palette_box,
            "alpha": self.color.alpha_box,
        }

    def offer(self, offer: Offer) -> None:
        """Fill the boxes with what there is, keeping what is chosen."""
        self.model.offer(model_choices(offer.models))
        self.device.offer(device_choices(offer.devices))
        self.color.offer(offer.palettes, offer.alphas)

    def show_model(self, title: str, tissues: bool = True) -> None:
        """Say that this is not for diagnosis, and which model made the colors on screen.

        What is about colors is seen only when there are some; palette and legend need a model
        that names ``tissues``.
        """
        caution = NOT_FOR_DIAGNOSIS.capitalize()
        self.caution.say(f"{caution} · {title}" if title else caution)
        for part in (self.readout, self.tissues, self.wipe):
            part.setVisible(bool(title) and (tissues or part is not self.tissues))
        self.color.palette_box.setEnabled(tissues)

    def show_running(self, running: bool) -> None:
        """Switch the fields between running and not."""
        self.run.setEnabled(not running)
        self.cancel.setEnabled(running)
        for field in (self.layer, self.model, self.device, self.keep, self.insist):
            field.setEnabled(not running)
        self.progress.setVisible(running)
        if running:
            self.message.say("")
            self.show_progress(0, 0, "Starting")

    def show_progress(self, done: int, total: int, stage: str) -> None:
        """Show how far the work is; a total of 0 means that nobody knows."""
        self.progress.say(done, total, stage)

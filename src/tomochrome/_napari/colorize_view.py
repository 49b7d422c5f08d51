"""Where the fields of "Colorize volume" lie. It draws and holds no logic."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QPushButton, QWidget

from tomochrome._napari.beside_grey import BesidePanel
from tomochrome._napari.color_panel import ColorPanel
from tomochrome._napari.controls import MessageLabel, Section, form, side_by_side
from tomochrome._napari.hu_override import HUOverride
from tomochrome._napari.layer_choice import LayerChoice
from tomochrome._napari.layers import NOT_FOR_DIAGNOSIS
from tomochrome._napari.legend import Legend
from tomochrome._napari.named_choice import NamedChoice, device_choices, model_choices
from tomochrome._napari.offers import Offer
from tomochrome._napari.panel import JobView
from tomochrome._napari.readout import CursorReadout
from tomochrome._napari.settings import Key
from tomochrome._napari.window_panel import WindowPanel

# Shown until the worker has looked; these are always there.
_FIRST_OFFER = Offer(("tissue", "transfer-function"), ("auto",), ("natural",), ("body", "opaque"))


class ColorizeView(JobView):
    """The fields, from top to bottom: caution, what to color, run, result, how it is shown."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent, "Colorize")
        self.caution = MessageLabel("caution", self)
        self.layer = LayerChoice(viewer, self, follow=True)
        self.model = NamedChoice(parent=self)
        self.device = NamedChoice(parent=self)
        self.export = QPushButton("Export…", self)
        self.keep = QCheckBox("Keep earlier results", self)
        self.keep.setToolTip(
            "Add another layer for each run; otherwise a run replaces the result of the one before"
        )
        self.override = HUOverride(self)
        self.export.setToolTip("Save as NIfTI, NRRD, contact sheet or DICOM; also the maps")
        self.readout = CursorReadout(self)
        self.window = WindowPanel(self)
        self.color = ColorPanel(_FIRST_OFFER.palettes, _FIRST_OFFER.alphas, self)
        self.legend = Legend(self)
        self.beside = BesidePanel(self)
        self.tissues = Section("Tissues", self.legend, self)
        self.wipe = Section("Color beside grey", self.beside, self)
        self.locked = self.layer, self.model, self.device, self.keep, self.override
        self.fill(
            parent,
            self.caution,
            form(("CT", self.layer), ("Model", self.model), ("Device", self.device)),
            self.buttons,
            side_by_side((self.keep, 1), self.export),
            self.progress,
            self.message,
            self.override,
            self.readout,
            self.tissues,
            self.wipe,
            Section("Window", self.window, self),
            Section("Color", self.color, self),
        )
        self.offer(_FIRST_OFFER)
        self.show_model("")

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

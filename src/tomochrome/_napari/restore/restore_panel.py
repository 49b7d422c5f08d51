"""The "Restore" panel: finds defects of a CT, lets the user paint them, fills and compares them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QPushButton, QWidget

from tomochrome._napari.colorize.coloring import Coloring
from tomochrome._napari.compare.compare_control import CompareControl
from tomochrome._napari.compare.compare_modes import WIPE_ACROSS
from tomochrome._napari.compare.compare_panel import ComparePanel
from tomochrome._napari.kit.choice_boxes import LayerChoice, NamedChoice, Offer, device_choices
from tomochrome._napari.kit.controls import Section, form
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import WrappingRow
from tomochrome._napari.kit.panel_bases import JobPanel, JobView, caution
from tomochrome._napari.layers.layer_volumes import check_layer, labels_on
from tomochrome._napari.layers.volume_layers import colored_layers
from tomochrome._napari.restore.restore_work import (
    LIGHTNESS,
    MEASURED_LIGHTNESS,
    Repaired,
    color_restored,
    defect_labels,
    find_in_worker,
    kind_choices,
    model_choices,
    restore_in_worker,
    restore_offer,
    summary,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import TomochromeError
from tomochrome.notices import sentence
from tomochrome.restoration.defects import KINDS, DefectMap, code_of
from tomochrome.volume import RESTORED

_HELP: Final = (
    "Find the defects, paint and erase in their layer, and restore. The scan itself is not changed."
)
_BRUSH: Final = 10  # voxels


class RestoreView(JobView):
    """The fields, from top to bottom: scan, defects, run, comparison and color."""

    def __init__(self, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent, "Restore")
        self.layer = LayerChoice(viewer, self, follow=True)
        self.kind = NamedChoice(kind_choices(every=True), self, tip="Kinds of defects to look for")
        self.find = QPushButton("Find defects", self)
        self.find.setToolTip("Add a Labels layer of the defects, to paint and erase in")
        self.new = QPushButton("New mask", self)
        self.new.setToolTip("Add an empty Labels layer, to paint the defects by hand")
        self.defects = LayerChoice(
            viewer, self, accepts=lambda x: isinstance(x, Labels), nothing="None (find them)"
        )
        self.defects.setToolTip("What is restored: the labels of this layer")
        self.paint = NamedChoice(kind_choices(), self, tip="Kind of the defect that is painted")
        self.model, self.device = NamedChoice(parent=self), NamedChoice(parent=self)
        self.lightness = NamedChoice(LIGHTNESS, self)
        self.color = QPushButton("Color", self)
        self.color.setToolTip("Color the restored scan with the default model")
        self.compare = ComparePanel(viewer, self)
        self.compare.before.hide()
        self.compare.after.hide()
        self.compare.mode.setCurrentIndex(self.compare.mode.findData(WIPE_ACROSS))
        self.comparison = Section("Before and after", self.compare, self, opened=False)
        self.locked = (
            self.layer, self.kind, self.find, self.new, self.defects, self.model, self.device,
            self.lightness, self.color,
        )  # fmt: skip
        self.fill(
            parent,
            caution(self),
            form(("CT", self.layer), ("Look for", self.kind)),
            WrappingRow((self.find, 2), (self.new, 1)),
            form(
                ("Defects", self.defects),
                ("Paint", self.paint),
                ("Model", self.model),
                ("Device", self.device),
            ),
            self.buttons,
            self.progress,
            self.message,
            self.comparison,
            form(("Lightness", self.lightness)),
            self.color,
        )

    def offer(self, offer: Offer) -> None:
        """Offer the models and devices that were found."""
        self.model.offer(model_choices(offer.models))
        self.device.offer(device_choices(offer.devices))


class RestorePanel(JobPanel):
    """Restores a CT layer into a layer of its own."""

    tab = "Restore"
    job_name = "The restoration"

    def __init__(self, napari_viewer: Any) -> None:
        prepare_viewer(napari_viewer)
        super().__init__(napari_viewer)
        self.comparing = CompareControl(self.viewer, self.view.compare)
        self._painted = Connections()
        self._pair: tuple[Any, Any] = (None, None)  # the latest original and restored layer
        view = self.view
        view.find.clicked.connect(self.find)
        view.new.clicked.connect(self.add_mask)
        view.color.clicked.connect(self.color)
        view.paint.currentIndexChanged.connect(self._paint_with)
        view.defects.chosen.connect(self._defects_chosen)
        self.connections.add(self._update, self.viewer.layers.events.removed, last=True)
        self._defects_chosen()
        self._update()
        self.say(_HELP)
        self.load_engine(restore_offer)

    def make_view(self) -> RestoreView:
        """Create the fields."""
        return RestoreView(self.viewer, self)

    # Defects

    def find(self) -> None:
        """Find the defects in a worker and add them as a Labels layer."""
        layer = self._checked_layer()
        if layer is not None:
            kind, device = self.view.kind.name, self.view.device.name
            self.start(
                lambda: find_in_worker(layer, kind, device),
                lambda defects: self._show_defects(layer, defects),
            )

    def _show_defects(self, layer: Any, defects: DefectMap) -> None:
        if layer not in self.viewer.layers:
            self.say("The scan was closed meanwhile.")
        elif not defects.mask.any():
            self.say("No defects were found. Paint them in a new mask if there are some.")
        else:
            self._add_labels(layer, defects.code.copy())
            self.say(f"{summary(defects)} Paint and erase in the layer, then restore.")

    def add_mask(self) -> None:
        """Add an empty Labels layer over the CT and switch to painting."""
        layer = self._checked_layer()
        if layer is not None:
            labels = self._add_labels(layer, np.zeros(layer.data.shape[:3], np.uint8))
            labels.mode = "paint"
            self.say("Paint over what is damaged, then restore.")

    def _add_labels(self, layer: Any, code: Any) -> Any:
        labels = self.viewer.add_labels(**defect_labels(code, layer))
        labels.brush_size = _BRUSH
        used = np.flatnonzero(np.bincount(code.ravel(), minlength=len(KINDS) + 1)[1:])
        labels.selected_label = int(used[0]) + 1 if used.size else code_of("lines")
        self.view.defects.choose(labels)
        return labels

    def _defects_chosen(self) -> None:
        self._painted.release()
        labels = self.view.defects.layer()
        self.view.paint.setEnabled(labels is not None)
        if labels is not None:
            self._painted.add(self._label_changed, labels.events.selected_label)
            self._label_changed()

    def _paint_with(self, _: object = None) -> None:
        labels = self.view.defects.layer()
        if labels is not None:
            labels.selected_label = code_of(self.view.paint.name)

    def _label_changed(self, _: object = None) -> None:
        """Follow a label selected in napari's own controls."""
        label = int(self.view.defects.layer().selected_label)
        if 1 <= label <= len(KINDS):
            self.view.paint.choose(KINDS[label - 1])

    # Restoring

    def run(self) -> None:
        """Restore the CT in a worker."""
        view, layer = self.view, self._checked_layer()
        if layer is None:
            return
        labels = view.defects.layer()
        try:
            code = None if labels is None else labels_on(labels, layer, "paint in a new mask")
        except TomochromeError as error:
            self.show_error(error)
            return
        kind, model, device = view.kind.name, view.model.name, view.device.name
        self.start(
            lambda: restore_in_worker(layer, code, kind, model, device),
            lambda repaired: self._restored(layer, repaired),
        )

    def _restored(self, layer: Any, repaired: Repaired) -> None:
        result = repaired.result
        told = [sentence(n) for n in result.warnings if n.code != "restored"]
        if layer not in self.viewer.layers:
            self.say("The scan was closed meanwhile; nothing was changed.")
            return
        if repaired.layer is None:
            self.say(" ".join(told) or "Nothing was changed.")
            return
        labels = self.view.defects.layer()
        if labels is not None:
            labels.visible = False  # the hatching shows what was restored
        self.comparing.stop()
        restored = self.viewer.add_layer(repaired.layer)
        self._pair = layer, restored
        self.view.compare.choose(layer, restored)
        self.view.comparison.heading.setChecked(True)
        self._update()
        share = f"{result.restored_percent:.2g}\u00a0% of the voxels were {RESTORED} (hatched)."
        text = " ".join([summary(result.defects), share, *told])
        self.view.message.say(text, "warning")

    # Color

    def color(self) -> None:
        """Color the restored scan in a worker."""
        original, restored = self._pair
        if restored is None or self.running:
            return
        lightness, device = self.view.lightness.name, self.view.device.name
        below = original if lightness == MEASURED_LIGHTNESS else restored
        self.comparing.stop()
        self.start(
            lambda: color_restored(original, restored, lightness, device),
            lambda made: self._colored(below, made),
        )

    def _colored(self, below: Any, made: Any) -> None:
        layers = self.viewer.layers
        if below not in layers:
            self.say("The scan was closed meanwhile; nothing was changed.")
            return
        scans = [scan for scan in self._pair if scan in layers]
        earlier = [colors for scan in scans for colors in colored_layers(layers, scan)]
        Coloring.add(self.viewer, below, made, [*scans, *earlier])
        self.say(f"Added the layer '{made.name}'.")

    def _update(self, _: object = None) -> None:
        """Color needs a restored scan and its original."""
        if not all(layer is not None and layer in self.viewer.layers for layer in self._pair):
            self._pair = (None, None)
        ready = self._pair[1] is not None and not self.running
        self.view.color.setEnabled(ready)
        self.view.lightness.setEnabled(ready)

    def ended(self) -> None:
        """Enable the fields again."""
        super().ended()
        self._update()

    def _checked_layer(self) -> Any:
        """Return the chosen CT, or None after saying what is wrong with it."""
        layer = self.view.layer.layer()
        if self.running:
            return None
        try:
            check_layer(layer)
        except TomochromeError as error:
            self.show_error(error)
            return None
        return layer

    def cleanup(self) -> None:
        """Drop all references to the viewer and its layers."""
        self._painted.release()
        self.comparing.release()
        for box in (self.view.layer, self.view.defects):
            box.release()
        self._pair = (None, None)
        super().cleanup()

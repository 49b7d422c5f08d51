"""The "Scan" panel: geometry, verdict, warnings and windows of the selected layer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from tomochrome._napari.kit.controls import MessageLabel, ScrollColumn, stacked
from tomochrome._napari.kit.events import unwrapped
from tomochrome._napari.kit.jobs import JobRunner
from tomochrome._napari.kit.narrow_widgets import (
    TITLE,
    BreakableLabel,
    ElidedButton,
    ElidedComboBox,
    WrappingRow,
)
from tomochrome._napari.kit.panel_bases import DockedPanel
from tomochrome._napari.kit.theme import Tone, ToneLabel
from tomochrome._napari.layers.grey_window import show_window, value_range
from tomochrome._napari.layers.volume_layers import (
    display_name,
    grey_layer,
    kind_of,
    source_of,
    world_affine,
)
from tomochrome._napari.series import scan_wording as wording
from tomochrome._napari.series.scan_wording import VERDICT_TONES, VERDICTS
from tomochrome._napari.viewer.window_labels import HELP, add_choice, window_label, window_numbers
from tomochrome.errors import TomochromeError
from tomochrome.geometry.planes import slice_orientation
from tomochrome.notices import Notice, sentence
from tomochrome.volume import Verdict, Volume
from tomochrome.windowing import PRESETS, Window, parse_window, scanner_windows

_LOG = logging.getLogger(__name__)
_VALUES = "Values"
_CHOOSE = "More windows …"
_OTHER_READER = "Opened by another reader; no information from the scanner is available."


class ScanView(QWidget):
    """The fields, from top to bottom: title, facts, verdict, warnings, windows."""

    window_chosen = Signal(str)  #: as `tomochrome.windowing.parse_window` reads it

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.title = BreakableLabel(self)
        self.title.wrap()
        self.title.setObjectName(TITLE)
        self.facts = QGridLayout()  # a form layout gives some wrapped values too little height
        self.facts.setColumnStretch(1, 1)
        self.facts.setHorizontalSpacing(14)
        self.facts.setVerticalSpacing(4)
        self._values: dict[str, BreakableLabel] = {}
        self.verdict = ToneLabel(style="padding: 2px 8px; font-weight: 600;", parent=self)
        self.verdict.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.remark = MessageLabel("plain", self)
        self.warnings = QVBoxLayout()
        self.windows = QGroupBox("Window", self)
        self.buttons = WrappingRow()
        self.buttons.setSpacing(6)
        self.presets = ElidedComboBox(self)
        self.presets.setToolTip(HELP)
        self.presets.addItem(_CHOOSE)
        add_choice(self.presets, "auto", "Automatic")
        for name, window in PRESETS.items():
            add_choice(self.presets, name, *window_label(window))
        self.presets.activated.connect(self._preset)
        inside = stacked(self.windows, self.buttons, self.presets)
        inside.setContentsMargins(8, 6, 8, 8)
        parts = (self.title, self.facts, self.verdict, self.remark, self.warnings, self.windows)
        stacked(self, *parts, None).setSpacing(8)
        stacked(parent, ScrollColumn(self, parent), margins=0)

    def show_facts(self, title: str, facts: Sequence[tuple[str, str]]) -> None:
        """Show the title and a row for each fact."""
        self.title.setText(title)
        self._values = {}
        while item := self.facts.takeAt(0):
            item.widget().hide()  # it is deleted later and would show through until then
            item.widget().deleteLater()
        for row, (name, value) in enumerate(facts):
            label = BreakableLabel(self)
            label.wrap()
            label.setText(value)
            heading = QLabel(name, self)
            self.facts.addWidget(heading, row, 0, Qt.AlignmentFlag.AlignTop)
            self.facts.addWidget(label, row, 1)
            self._values[name] = label

    def set_fact(self, name: str, value: str) -> None:
        """Change the value of one row."""
        if name in self._values:
            self._values[name].setText(value)

    def show_verdict(self, verdict: Verdict | None, remark: str, notices: Sequence[Notice]) -> None:
        """Show the verdict as a badge with an explanation, and each notice in a separate box."""
        self.verdict.setVisible(verdict is not None)
        if verdict is not None:
            self.verdict.setText(VERDICTS[verdict])
            self.verdict.set_tone(VERDICT_TONES[verdict])
        self.remark.say(remark)
        while self.warnings.count():
            self.warnings.takeAt(0).widget().deleteLater()
        tones: dict[str, Tone] = {}  # by sentence, each once
        for notice in notices:
            tone: Tone = "warning" if notice.severity == "warning" else "neutral"
            tones.setdefault(sentence(notice), tone)
        for text, tone in tones.items():
            label = MessageLabel(tone, self)
            label.say(text)
            self.warnings.addWidget(label)

    def show_windows(self, windows: Sequence[Window] | None, *, is_ct: bool = True) -> None:
        """Offer the scanner's windows and, for CT, the presets; None hides the section."""
        while item := self.buttons.takeAt(0):
            item.widget().deleteLater()
        self.windows.setVisible(windows is not None)
        self.presets.setVisible(is_ct)
        for number, window in enumerate(windows or ()):
            label = "  ".join(part for part in window_label(window) if part)
            button = ElidedButton(label.replace("&", "&&"), self.windows)
            tip = f"The scanner's window: center / width {window_numbers(window)}"
            button.setToolTip(f'{tip}, called "{window.name}"')
            choice = f"scanner:{number + 1}"
            button.clicked.connect(lambda _=False, c=choice: self.window_chosen.emit(c))
            self.buttons.add(button, 1)

    def _preset(self, index: int) -> None:
        choice = self.presets.itemData(index)
        self.presets.setCurrentIndex(0)
        if choice:
            self.window_chosen.emit(choice)


class ScanPanel(DockedPanel):
    """Describes the selected layer."""

    tab = "Scan"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = unwrapped(napari_viewer)
        self.view = ScanView(self)
        self.layer: Any = None  #: the layer described, or None
        self.finding = JobRunner("tomochrome value range", self)
        self.finding.failed.connect(self._range_failed)
        self.view.window_chosen.connect(self._show_window)
        layers = self.viewer.layers
        self.connections.add(self._selected, layers.selection.events.active, layers.events.removed)
        self._selected()

    @property
    def running(self) -> bool:
        """Whether the value range is still being computed."""
        return self.finding.running

    def _selected(self, _: object = None) -> None:
        layer = self.viewer.layers.selection.active
        if layer is self.layer and layer is not None:
            return
        self.layer = layer
        self.finding.drop()
        source = None if layer is None else source_of(layer.metadata)
        if layer is None:
            self.view.show_facts("No scan", ())
            self.view.show_verdict(None, "Select a layer to see its details.", ())
            self.view.show_windows(None)
        elif source is not None:
            color_warnings = () if source.chroma is None else source.chroma.provenance.warnings
            self._describe(source.stored, color_warnings)
        else:
            self._describe_other(layer)

    def _describe(self, volume: Volume, color_warnings: tuple[Notice, ...] = ()) -> None:
        """Describe a volume that this plugin read or made."""
        provenance = volume.provenance
        facts = [
            ("Modality", wording.modality_of(provenance.modality)),
            ("Matrix", wording.size_of(volume.shape, provenance.present)),
            ("Slices", slice_orientation(volume.affine)),
            ("Spacing", wording.spacing_of(volume.spacing)),
            ("Extent", wording.extent_of(volume.shape, volume.spacing)),
            ("Unit", wording.unit_of(volume.unit)),
        ]
        if not volume.is_rgba:
            facts.append((_VALUES, "…"))
        remark = wording.describe_verdict(provenance.verdict, provenance.warnings, volume.shape[0])
        self.view.show_facts(display_name(volume), facts)
        self.view.show_verdict(provenance.verdict, remark, (*provenance.warnings, *color_warnings))
        is_ct = volume.unit == "HU"
        # The presets are for CT; other images have only their stored windows.
        stored = scanner_windows(volume)
        self.view.show_windows(stored if is_ct or stored else None, is_ct=is_ct)
        if not volume.is_rgba:
            self._find_range(volume.voxels, " HU" if is_ct else "")

    def _describe_other(self, layer: Any) -> None:
        """Describe a layer opened by another reader."""
        data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
        shape = tuple(getattr(data, "shape", ()))
        facts = [("Kind", kind_of(layer))]
        plain = isinstance(layer, (Image, Labels))
        if plain and layer.ndim == 3:
            spacing = np.linalg.norm(world_affine(layer)[:3, :3], axis=0)
            facts.append(("Matrix", wording.size_of(shape[:3])))
            facts.append(("Spacing", wording.spacing_of(tuple(map(float, spacing)))))
            facts.append(("Extent", wording.extent_of(shape[:3], tuple(map(float, spacing)))))
        elif plain:
            facts.append(("Matrix", " × ".join(map(str, shape))))
        scalar = plain and not getattr(layer, "rgb", False)
        if scalar:
            facts.append(("Unit", wording.unit_of("unknown")))
        # The values of lazy layers may be on a slow network disk: they are not loaded for this.
        in_memory = isinstance(data, np.ndarray)
        if scalar and in_memory:
            facts.append((_VALUES, "…"))
        self.view.show_facts(layer.name, facts)
        self.view.show_verdict(None, _OTHER_READER, ())
        self.view.show_windows(None)
        if scalar and in_memory:
            self._find_range(data, "")

    def _find_range(self, voxels: Any, suffix: str) -> None:
        """Compute the value range in a worker, because it takes a while for a large volume."""

        def work() -> str:
            low, high = value_range(voxels)
            return f"{low:g} to {high:g}{suffix}" if low <= high else "none"

        self.finding.start(work, partial(self.view.set_fact, _VALUES))

    def _range_failed(self, error: Exception) -> None:
        _LOG.error("the value range could not be computed", exc_info=error)

    def _show_window(self, choice: str) -> None:
        """Apply a window to the CT of the selected layer."""
        source = None if self.layer is None else source_of(self.layer.metadata)
        if source is None:
            return
        layer = grey_layer(self.viewer.layers, self.layer, source)
        if layer is None:
            return
        try:
            show_window(layer, parse_window(choice, source.shown), choice)
        except TomochromeError as error:
            self.view.remark.say(sentence(error))

    def cleanup(self) -> None:
        """Stop the worker and drop the references to layer and viewer."""
        self.finding.drop()
        self.layer = self.viewer = None

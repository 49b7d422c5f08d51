"""How the colors are shown: on or off, palette, saturation, confidence, opacity, alpha."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QWidget

from tomochrome._napari.controls import ValueSlider

COLOR_KEY = "Shift-C"


class ColorPanel(QWidget):
    """Fields of the lighting, apart from the window; tells of every change.

    Percentages are shown where the core takes fractions.
    """

    changed = Signal()
    opacity_changed = Signal(float)

    def __init__(
        self, palettes: Sequence[str], alphas: Sequence[str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.color = QCheckBox("Color", self)
        self.color.setChecked(True)
        self.color.setToolTip(
            f"Color on or off ({COLOR_KEY.replace('-', '+')}); the grey levels stay the same"
        )
        self.palette_box = QComboBox(self)
        self.palette_box.addItems(list(palettes))
        self.alpha_box = QComboBox(self)
        self.alpha_box.addItems(list(alphas))
        self.alpha_box.setToolTip("What is drawn: air is clear in 'body'; the others are for 3D")
        self.saturation_row = _percent(self, 100)
        self.confidence_row = _percent(self, 0)
        self.confidence_row.setToolTip("Where the model is less sure than this, show plain grey")
        self.opacity_row = _percent(self, 100)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("", self.color)
        form.addRow("Palette", self.palette_box)
        form.addRow("Saturation", self.saturation_row)
        form.addRow("Confidence", self.confidence_row)
        form.addRow("Opacity", self.opacity_row)
        form.addRow("Show", self.alpha_box)
        self.color.toggled.connect(self._tell)
        self.palette_box.currentIndexChanged.connect(self._tell)
        self.alpha_box.currentIndexChanged.connect(self._tell)
        self.saturation_row.valueChanged.connect(self._tell)
        self.confidence_row.valueChanged.connect(self._tell)
        self.opacity_row.valueChanged.connect(lambda value: self.opacity_changed.emit(value / 100))

    def offer(self, palettes: Sequence[str], alphas: Sequence[str]) -> None:
        """Offer these palettes and alpha curves, keeping what is chosen."""
        refill(self.palette_box, palettes)
        refill(self.alpha_box, alphas)

    @property
    def saturation(self) -> float:
        """Saturation 0 to 1, and 0 while color is off."""
        return self.saturation_row.value() / 100 if self.color.isChecked() else 0.0

    @property
    def min_confidence(self) -> float:
        """Least confidence, 0 to 1, that is shown in color."""
        return self.confidence_row.value() / 100

    @property
    def opacity(self) -> float:
        """Opacity of the colored layer, 0 to 1."""
        return self.opacity_row.value() / 100

    @property
    def palette_name(self) -> str:
        """Name of the palette."""
        return str(self.palette_box.currentText())

    @property
    def alpha(self) -> str:
        """Name of the alpha curve."""
        return str(self.alpha_box.currentText())

    def _tell(self, *_: object) -> None:
        self.changed.emit()


def refill(box: QComboBox, names: Sequence[str]) -> None:
    """Fill a box anew without telling anyone, keeping what is chosen where it still is there."""
    chosen = box.currentText()
    box.blockSignals(True)
    box.clear()
    box.addItems(list(names))
    box.setCurrentIndex(max(0, box.findText(chosen)))
    box.blockSignals(False)


def _percent(parent: QWidget, value: float) -> ValueSlider:
    row = ValueSlider(0, 100, suffix=" %", parent=parent)
    row.set_value(value)
    return row

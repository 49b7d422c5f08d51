"""How the colors are shown: on or off, palette, saturation, confidence, opacity, alpha."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QWidget

from tomochrome._napari.controls import ValueSlider, form
from tomochrome._napari.named_choice import NamedChoice, alpha_choices, palette_choices

COLOR_KEY = "Shift-C"


class ColorPanel(QWidget):
    """Fields of the lighting, apart from window and tissues; tells of every change.

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
            f"Color on or off ({COLOR_KEY.replace('-', '+')}); the grey levels never change"
        )
        self.palette_box = NamedChoice(palette_choices(palettes), self)
        self.alpha_box = NamedChoice(alpha_choices(alphas), self)
        self.saturation_row = _percent(self, 100)
        self.saturation_row.setToolTip("Strength of the colors; 0 % is grey")
        self.confidence_row = _percent(self, 0)
        self.confidence_row.setToolTip(
            "Least confidence: where the model is less sure than this, color fades to grey"
        )
        self.opacity_row = _percent(self, 100)
        self.opacity_row.setToolTip("Opacity of the colored layer over the scan")
        form(
            ("", self.color),
            ("Palette", self.palette_box),
            ("Saturation", self.saturation_row),
            ("Confidence ≥", self.confidence_row),
            ("Opacity", self.opacity_row),
            ("Show", self.alpha_box),
            parent=self,
        )
        self.color.toggled.connect(self._tell)
        for box in (self.palette_box, self.alpha_box):
            box.currentIndexChanged.connect(self._tell)
        for slider in (self.saturation_row, self.confidence_row):
            slider.valueChanged.connect(self._tell)
        self.opacity_row.valueChanged.connect(lambda value: self.opacity_changed.emit(value / 100))

    def offer(self, palettes: Sequence[str], alphas: Sequence[str]) -> None:
        """Offer these palettes and alpha curves, keeping what is chosen."""
        self.palette_box.offer(palette_choices(palettes))
        self.alpha_box.offer(alpha_choices(alphas))

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
        return self.palette_box.name

    @property
    def alpha(self) -> str:
        """Name of the alpha curve."""
        return self.alpha_box.name

    def _tell(self, *_: object) -> None:
        self.changed.emit()


def _percent(parent: QWidget, value: float) -> ValueSlider:
    row = ValueSlider(0, 100, suffix=" %", parent=parent)
    row.set_value(value)
    return row

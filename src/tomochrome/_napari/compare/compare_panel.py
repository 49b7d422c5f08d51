"""The fields of the comparison: two layers, the mode, and the settings of each mode."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from tomochrome._napari.compare.compare_modes import (
    BLEND,
    CHECKERBOARD,
    CONTOURS,
    DIFFERENCE,
    FLICKER,
    MODES,
    WIPE_ACROSS,
    WIPE_DOWN,
    Fields,
)
from tomochrome._napari.kit.choice_boxes import LayerChoice
from tomochrome._napari.kit.controls import (
    FieldRow,
    MessageLabel,
    NumberBox,
    ValueSlider,
    form,
    side_by_side,
)
from tomochrome._napari.kit.narrow_widgets import ElidedButton, ElidedComboBox, WrappingRow
from tomochrome._napari.layers.volume_layers import source_of

_MAX_OFFSET_MM = 500.0


class ComparePanel(QWidget):
    """Two layers, the mode and its settings; emits a signal on every change."""

    changed = Signal()
    layers_changed = Signal()
    curtain_moved = Signal(float)  # visible fraction of the first volume, 0 to 1

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.first = LayerChoice(viewer, self, accepts=is_comparable)
        self.second = LayerChoice(viewer, self, accepts=is_comparable)
        self.first.setToolTip("The comparison is on the voxel grid of this image")
        default = Fields()
        self.mode = ElidedComboBox(self)
        for name, (title, words) in MODES.items():
            self.mode.add(title, name, words)
        self.tile = ValueSlider(
            2, 100, power=2, decimals=1, suffix=" mm", box_low=0.1, box_high=1000,
            value=default.tile_mm, parent=self,
        )  # fmt: skip
        self.tile.setToolTip("Edge length of a tile in mm, the same in every plane")
        self.offset = FieldRow(self)
        self.offsets = [_offset_box(axis, self.offset) for axis in ("z", "y", "x")]
        self.share = ValueSlider(0, 100, suffix=" %", value=100 * default.share, parent=self)
        self.share.setToolTip("Weight of the second image in the blend")
        self.reach = QDoubleSpinBox(self)
        self.reach.setRange(0, 1e6)
        self.reach.setDecimals(3)  # images of other programs may range from 0 to 1
        self.reach.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.reach.setSpecialValueText("Automatic")
        self.reach.setKeyboardTracking(False)
        self.reach.setToolTip("Difference shown in the strongest color")
        self.levels = QLineEdit(self)
        self.levels.setPlaceholderText("Automatic")
        self.levels.setToolTip(
            "Values of the second image at which outlines are drawn, for example -300 200. "
            "Automatic: skin and bone in CT, otherwise from the histogram"
        )
        self.rate = ValueSlider(
            0.5, 10, decimals=1, step=0.5, suffix=" /s", value=default.rate, parent=self
        )
        self.rate.setToolTip("Changes per second")
        self.curtain = ValueSlider(0, 100, suffix=" %", value=50, parent=self)
        self.curtain.setToolTip("Part of the slice that shows the first image")
        self.handle = QLabel("In 2D you can also drag the amber line in the image.", self)
        self.handle.setWordWrap(True)
        self.show_button = QPushButton("Show comparison", self)
        self.show_button.setCheckable(True)
        self.before = QPushButton("Before", self)
        self.after = QPushButton("After", self)
        self.message = MessageLabel("plain", self)
        self.match = ElidedButton("Use the first image's window for both", self)
        self._rows: dict[QWidget, tuple[str, ...]] = {}
        self._lay_out()
        self._connect()
        self._mode_chosen()

    def _lay_out(self) -> None:
        offsets = side_by_side(*((box, 1) for box in self.offsets))
        offsets.setContentsMargins(0, 0, 0, 0)
        offsets.setSpacing(4)
        self.offset.setLayout(offsets)
        two = ("First image", self.first), ("Second image", self.second)
        self.form = form(*two, ("Mode", self.mode), parent=self)
        for name, widget, modes in (
            ("Tile size", self.tile, (CHECKERBOARD,)),
            ("Tile offset", self.offset, (CHECKERBOARD,)),
            ("Blend weight", self.share, (BLEND,)),
            ("Color range", self.reach, (DIFFERENCE,)),
            ("Contour levels", self.levels, (CONTOURS,)),
            ("Rate", self.rate, (FLICKER,)),
            ("Wipe position", self.curtain, (WIPE_ACROSS, WIPE_DOWN)),
            ("", self.handle, (WIPE_ACROSS, WIPE_DOWN)),
        ):
            self.form.addRow(name, widget)
            self._rows[widget] = modes
        self.form.addRow(WrappingRow((self.show_button, 2), (self.before, 1), (self.after, 1)))
        self.form.addRow(self.message)
        self.form.addRow(self.match)
        self.form.setRowVisible(self.match, False)
        for button in (self.before, self.after):
            button.setCheckable(True)
            button.setEnabled(False)  # visible, so that the panel does not grow wider later
        self.before.setToolTip("Compare with the moving image before registration")
        self.after.setToolTip("Compare with the moving image after registration")

    def _connect(self) -> None:
        self.mode.currentIndexChanged.connect(self._mode_chosen)
        changes: list[Any] = [
            self.tile.valueChanged,
            self.share.valueChanged,
            self.rate.valueChanged,
            self.reach.valueChanged,
            self.levels.editingFinished,
            *(box.valueChanged for box in self.offsets),
        ]
        for signal in changes:
            signal.connect(self.changed)
        self.curtain.valueChanged.connect(lambda value: self.curtain_moved.emit(value / 100))
        for choice in (self.first, self.second):
            choice.chosen.connect(self.layers_changed)

    @property
    def fields(self) -> Fields:
        """The current settings."""
        z, y, x = (box.value() for box in self.offsets)
        return Fields(
            mode=self.mode.currentData(),
            tile_mm=self.tile.value(),
            offset_mm=(z, y, x),
            share=self.share.value() / 100,
            reach=self.reach.value(),
            levels=self.levels.text().strip(),
            rate=self.rate.value(),
        )

    @property
    def two(self) -> tuple[Any, Any]:
        """The two selected layers, each a layer or None."""
        return self.first.layer(), self.second.layer()

    def choose(self, first: Any, second: Any) -> None:
        """Select two layers, emitting one signal for both."""
        before = self.two
        for choice, layer in ((self.first, first), (self.second, second)):
            choice.chosen.disconnect(self.layers_changed)
            choice.choose(layer)
            choice.chosen.connect(self.layers_changed)
        if self.two != before:
            self.layers_changed.emit()

    def offer_match(self, offered: bool) -> None:
        """Show or hide the button that shows both images in one window."""
        self.form.setRowVisible(self.match, offered)

    def release(self) -> None:
        """Disconnect from the viewer."""
        self.first.release()
        self.second.release()

    def _mode_chosen(self, *_: object) -> None:
        mode = self.mode.currentData()
        self.mode.setToolTip(MODES[mode][1])
        for widget, modes in self._rows.items():
            self.form.setRowVisible(widget, mode in modes)
        self.changed.emit()


def is_comparable(layer: Any) -> bool:
    """Whether a layer is a volume that can be compared: grey, colored or labels."""
    source = source_of(layer.metadata)
    volume = isinstance(layer, (Image, Labels)) and layer.ndim == 3
    return volume and (source is None or source.role != "derived")


def _offset_box(axis: str, parent: QWidget) -> QDoubleSpinBox:
    box = NumberBox(parent, widest="x 00.0")
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    box.setRange(-_MAX_OFFSET_MM, _MAX_OFFSET_MM)
    box.setDecimals(1)
    box.setPrefix(f"{axis} ")
    box.setToolTip(f"Offset of the tiles along {axis} in mm; the arrow keys change it")
    return box

"""Buttons and switches for the view: linked planes, slabs, fit to the body, wheel, cursor."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QCheckBox, QPushButton, QWidget

from tomochrome._napari.kit.controls import form, stacked
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.kit.narrow_widgets import WrappingRow
from tomochrome._napari.viewer.color_slabs import SlabField
from tomochrome._napari.viewer.linked_planes import (
    FIT_KEY,
    GREY_MODE,
    KEYS,
    PLANES_MODE,
    LinkedPlanes,
)
from tomochrome._napari.viewer.slice_wheel import set_wheel_scrolls, wheel_scrolls

_ABOUT = {
    PLANES_MODE: ("Planes", "Axial, coronal and sagittal side by side, linked by a crosshair"),
    GREY_MODE: ("Grayscale beside", "The same slice without color, beside it"),
}


class ViewControls(QWidget):
    """The fields of a section "View" in a panel."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._planes = planes = follower_of(viewer, LinkedPlanes)
        self.modes = {}
        for key, mode in KEYS.items():
            title, about = _ABOUT[mode]
            button = self.modes[mode] = QPushButton(title, self)
            button.setToolTip(f"{about} ({key.replace('-', '+')})")
            button.setCheckable(True)
            button.clicked.connect(lambda _, mode=mode: planes.toggle(mode))
        self.fit = QPushButton("Fit to body", self)
        self.fit.setToolTip(f"Fill the image with the body ({FIT_KEY.replace('-', '+')})")
        self.fit.clicked.connect(planes.fit)
        self.wheel = QCheckBox("Wheel scrolls slices", self)
        self.wheel.setToolTip("If not, the wheel zooms, and scrolls with Ctrl, as usual in napari")
        self.wheel.setChecked(wheel_scrolls())
        self.wheel.toggled.connect(set_wheel_scrolls)
        self.value = QCheckBox("Value at the cursor", self)
        self.value.setToolTip("Show Hounsfield units and tissue beside the cursor")
        self.value.setChecked(planes.shows_value)
        self.value.toggled.connect(lambda shows: setattr(planes, "shows_value", shows))
        self.slab = SlabField(viewer, self)
        row = WrappingRow(*((button, 1) for button in (*self.modes.values(), self.fit)))
        stacked(self, row, form(("Slab", self.slab)), self.wheel, self.value, margins=0)
        planes.changed.append(self._mode_changed)
        self._mode_changed()

    def _mode_changed(self) -> None:
        for mode, button in self.modes.items():
            button.setChecked(self._planes.mode == mode)
        self.value.setChecked(self._planes.shows_value)

    def release(self) -> None:
        """Stop following the viewer."""
        self._planes.changed.remove(self._mode_changed)
        self.slab.release()

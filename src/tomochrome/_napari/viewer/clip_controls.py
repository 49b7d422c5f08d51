"""The fields of the section "Clipping (3D)": a plane and a crop box in mm."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from qtpy.QtWidgets import QPushButton, QWidget
from superqt.utils import qdebounced

from tomochrome._napari.kit.choice_boxes import Named, NamedChoice
from tomochrome._napari.kit.controls import MessageLabel, RangeSlider, ValueSlider, form, stacked
from tomochrome._napari.kit.events import follower_of
from tomochrome._napari.kit.narrow_widgets import WrappingRow
from tomochrome._napari.viewer.clipping_3d import AS_SEEN, AXES, Clipping3D, corners_of
from tomochrome._napari.viewer.renderer_3d import renderer_of

NOTHING_LEFT: Final = "Clipping leaves nothing in view: move the plane or the box, or press Reset"
_CUTS: Final = (
    Named("", "Off", "Show both sides"),
    Named("x", "Sagittal", "Cut between left and right"),
    Named("y", "Coronal", "Cut between front and back"),
    Named("z", "Axial", "Cut between head and feet"),
    Named(AS_SEEN, "As seen", "Cut parallel to the screen as it is now"),
)
_ROWS: Final = {"x": "Right–left", "y": "Front–back", "z": "Feet–head"}
_CHECK_MS: Final = 250


class ClipControls(QWidget):
    """Fields for the clipping plane and the crop box of a viewer, in LPS mm."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._clipping = clipping = follower_of(viewer, Clipping3D)
        self._renderer = renderer_of(viewer)
        self.cut = NamedChoice(_CUTS, self)
        self.position = ValueSlider(-1, 1, decimals=1, suffix=" mm", parent=self)
        self.position.setToolTip("Position of the plane; or drag its yellow grip in the image")
        self.other = QPushButton("Other side", self)
        self.other.setToolTip("Remove the other side of the plane")
        self.reset = QPushButton("Reset", self)
        self.reset.setToolTip("Show everything: no plane, and no box")
        self.box = {axis: RangeSlider(self) for axis in AXES}
        for row in self.box.values():
            row.setToolTip("Start and end of the crop box in mm; what is inside is drawn finer")
        self.message = MessageLabel("warning", self)
        rows = ((_ROWS[axis], row) for axis, row in self.box.items())
        fields = form(("Plane", self.cut), ("Position", self.position), *rows)
        buttons = WrappingRow((self.other, 1), (self.reset, 1))
        stacked(self, fields, buttons, self.message, margins=0)
        self._check = qdebounced(self._say, timeout=_CHECK_MS)
        self.cut.currentIndexChanged.connect(self._cut_chosen)
        self.position.valueChanged.connect(self._moved)
        self.other.clicked.connect(clipping.turn)
        self.reset.clicked.connect(clipping.reset)
        for row in self.box.values():
            row.valueChanged.connect(self._cropped)
        clipping.changed.append(self._show)
        self._renderer.text_changed.connect(self._check)
        self._show()

    @property
    def _signed(self) -> tuple[float, float]:
        """The sign of the normal along the axis, and the position that is shown as 0."""
        plane, extent = self._clipping.plane, self._clipping.extent
        assert plane is not None
        assert extent is not None
        if self._clipping.axis == AS_SEEN:
            return 1.0, float(np.mean(extent, axis=0) @ plane.normal)
        return float(np.sum(plane.normal)), 0.0

    def _cut_chosen(self, _: object = None) -> None:
        self._clipping.cut(self.cut.name)

    def _moved(self, position: float) -> None:
        if self._clipping.plane is not None:
            sign, zero = self._signed
            self._clipping.move(sign * position + zero)

    def _cropped(self) -> None:
        self._clipping.crop(np.array([row.value() for row in self.box.values()]).T)

    def _show(self) -> None:
        clipping, extent = self._clipping, self._clipping.extent
        plane = clipping.plane if extent is not None else None
        self.setEnabled(extent is not None)
        self.cut.show_name(clipping.axis)
        self.position.setEnabled(plane is not None)
        self.other.setEnabled(plane is not None)
        if extent is not None:
            box = extent if clipping.box is None else clipping.box
            for (low, high), values, row in zip(extent.T, box.T, self.box.values(), strict=True):
                row.show_range(low, high, tuple(np.clip(values, low, high)))
            if plane is not None:
                sign, zero = self._signed
                ends = sorted((corners_of(extent) @ plane.normal - zero) * sign)
                self.position.set_range(ends[0], ends[-1], decimals=1, suffix=" mm")
                self.position.set_value((plane.at - zero) * sign)
        self._check()

    def _say(self, _: object = None) -> None:
        self.message.say(NOTHING_LEFT if self._clipping.nothing_left else "")

    def release(self) -> None:
        """Stop following the viewer."""
        self._clipping.changed.remove(self._show)
        self._renderer.text_changed.disconnect(self._check)
        self._check.cancel()

"""Color and grayscale in one image: a wipe with a draggable line, or a flicker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QLabel, QWidget

from tomochrome._napari.kit.controls import ValueSlider, form
from tomochrome._napari.kit.events import Connections
from tomochrome._napari.kit.narrow_widgets import ElidedComboBox
from tomochrome._napari.viewer.orientation import screen_of
from tomochrome._napari.viewer.wipe_handle import Edge, WipeHandle, screen_axis

OFF: Final = "Off"
WIPE: Final = "Wipe"
FLICKER: Final = "Flicker"
_MODES: Final = {
    OFF: "Color everywhere",
    WIPE: "Grayscale on the left, color on the right; drag the line in the image",
    FLICKER: "Alternates between grayscale and color",
}
_RATE: Final = 2.0  # changes per second


@dataclass(frozen=True)
class GreyPart:
    """The part of a plane that is shown in grayscale."""

    axis: int  #: axis of the volume (z, y, x) along which the plane is divided
    edge: float  #: voxel index of the boundary; -0.5 is the outer face of the first voxel
    above: bool = False  #: whether the voxels above the boundary are grey, rather than those below

    def holds(self, index: NDArray[np.int_]) -> NDArray[np.bool_]:
        """Return whether the voxels at these indices along the axis are grey."""
        return np.asarray((index > self.edge) if self.above else (index < self.edge))


#: The grey parts of the planes normal to z, y and x; None for a plane in color.
GreyParts = tuple[GreyPart | None, ...]
NO_PARTS: Final[GreyParts] = (None, None, None)
_ACROSS: Final = (2, 2, 1)  # horizontal axes of the planes normal to z, y and x


class GreySplitPanel(QWidget):
    """The fields: mode, position of the line, rate of the flicker."""

    changed = Signal()
    moved = Signal(float)  # grey fraction of the plane, 0 to 1

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mode = ElidedComboBox(self)
        for name, words in _MODES.items():
            self.mode.add(name, tip=words)
        self.place = ValueSlider(0, 100, suffix=" %", value=50, parent=self)
        self.place.setToolTip(
            "Grayscale part of the slice; you can also drag the line in the image"
        )
        self.rate = ValueSlider(
            0.5, 10, decimals=1, step=0.5, suffix=" /s", value=_RATE, parent=self
        )
        self.rate.setToolTip("Changes per second")
        self.only_2d = QLabel("2D only: 3D always shows color.", self)
        self.only_2d.setWordWrap(True)
        fields = ("Mode", self.mode), ("Grayscale", self.place), ("Rate", self.rate)
        self._form = form(*fields, self.only_2d, parent=self)
        self.mode.currentIndexChanged.connect(self._mode_chosen)
        self.rate.valueChanged.connect(self.changed)
        self.place.valueChanged.connect(lambda value: self.moved.emit(value / 100))
        self._mode_chosen()

    def show_3d(self, in_3d: bool) -> None:
        """Show the note that the mode has no effect in 3D."""
        self._form.setRowVisible(self.only_2d, in_3d and self.mode.currentText() != OFF)

    def _mode_chosen(self, _: object = None) -> None:
        mode = self.mode.currentText()
        self.mode.setToolTip(_MODES[mode])
        self._form.setRowVisible(self.place, mode == WIPE)
        self._form.setRowVisible(self.rate, mode == FLICKER)
        self.show_3d(False)
        self.changed.emit()


class GreySplit(QObject):
    """Shows a colored layer partly or alternately in grayscale, as set in the fields."""

    def __init__(self, viewer: Any, panel: GreySplitPanel) -> None:
        super().__init__(panel)
        self.viewer = viewer
        self.panel = panel
        self._layer: Any = None
        self._handle: WipeHandle | None = None
        self._shares: dict[int, float] = {}
        self._grey_turn = False
        self.timer = QTimer(self)
        self.timer.timeout.connect(self._alternate)
        panel.changed.connect(self._apply)
        panel.moved.connect(self._set_share)
        self._connections, self._of_layer = Connections(), Connections()
        dims, camera = viewer.dims.events, viewer.scene.camera.events
        self._connections.add(self._apply, dims.order, dims.ndisplay, camera.orientation)

    def follow(self, layer: Any) -> None:
        """Switch to another colored layer, or None."""
        if layer is not self._layer:
            self._leave()
            self._layer = layer
            self._shares = {}
            if layer is not None:
                self._of_layer.add(self._apply, layer.events.visible, layer.events.data)
            self._apply()

    def release(self) -> None:
        """Show color everywhere and disconnect from the viewer."""
        self.follow(None)
        self._connections.release()
        self.viewer = None

    def _leave(self) -> None:
        self.timer.stop()
        self._drop_handle()
        self._of_layer.release()
        if self._layer is not None:
            self._show(NO_PARTS)

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.release()
            self._handle = None

    def _apply(self, _: object = None) -> None:
        """Apply the fields to the displayed plane."""
        layer, mode = self._layer, self.panel.mode.currentText()
        in_2d = self.viewer is not None and self.viewer.dims.ndisplay == 2
        self.panel.show_3d(not in_2d)
        active = layer is not None and layer.visible and in_2d
        if active and mode == WIPE:
            if self._handle is None:
                self._handle = WipeHandle(self.viewer, layer, self._edge, self._dragged)
        else:
            self._drop_handle()
        if active and mode == FLICKER:
            self.timer.start(round(1000 / self.panel.rate.value()))
        else:
            self.timer.stop()
            self._grey_turn = False
        self._update()

    def _update(self) -> None:
        if self._layer is None:
            return
        axis = screen_axis(self.viewer, self._layer)
        if axis is not None and self._handle is not None:
            self.panel.place.set_value(100 * self._shares.get(axis, 0.5))
        self._show(self._parts(axis))
        if self._handle is not None:
            self._handle.update()

    def _parts(self, shown: int | None) -> GreyParts:
        """Return the grey part of the displayed plane, and of those of linked canvases.

        ``shown`` is the horizontal axis of the displayed plane, None in 3D.
        """
        if shown is None or not (self.timer.isActive() or self._handle is not None):
            return NO_PARTS
        dims, across = self.viewer.dims, list(_ACROSS)
        across[3 - sum(axis - (dims.ndim - 3) for axis in dims.displayed)] = shown
        if self.timer.isActive():
            whole = tuple(GreyPart(axis, math.inf) for axis in across)
            return whole if self._grey_turn else NO_PARTS
        return tuple(GreyPart(axis, self._index(axis), self._mirrored(axis)) for axis in across)

    def _show(self, parts: GreyParts) -> None:
        picture = self._layer.data
        if getattr(picture, "grey_parts", parts) != parts:
            picture.grey_parts = parts
            self._layer.refresh(extent=False, highlight=False, thumbnail=False)

    def _mirrored(self, axis: int) -> bool:
        """Whether the first voxels along an axis are on the right of the screen."""
        return screen_of(self.viewer, self._layer).mirrored[axis]

    # The line

    def _edge(self, viewer: Any) -> Edge | None:
        axis = screen_axis(viewer, self._layer)
        return None if axis is None else (axis, self._index(axis))

    def _index(self, axis: int) -> float:
        share = self._shares.get(axis, 0.5)
        if self._mirrored(axis):
            share = 1.0 - share
        return float(share * self._layer.data.shape[axis] - 0.5)

    def _dragged(self, _: Any, axis: int, index: float) -> None:
        share = (index + 0.5) / self._layer.data.shape[axis]
        self._shares[axis] = 1.0 - share if self._mirrored(axis) else share
        self._update()

    def _set_share(self, share: float) -> None:
        axis = None if self._layer is None else screen_axis(self.viewer, self._layer)
        if axis is not None:
            self._shares[axis] = share
            self._update()

    def _alternate(self) -> None:
        self._grey_turn = not self._grey_turn
        self._update()

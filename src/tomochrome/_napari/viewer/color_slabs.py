"""Slabs in color: the colored scans of a viewer as projections of several slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from qtpy.QtWidgets import QWidget
from superqt.utils import signals_blocked

from tomochrome._napari.kit.choice_boxes import Named, NamedChoice
from tomochrome._napari.kit.controls import FieldRow, NumberBox, side_by_side
from tomochrome._napari.kit.events import ViewerFollower, follower_of
from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.color import Slab
from tomochrome.formats import Projection

MAX_SHOWN_MM: Final = 50.0  #: thicker slabs would take too long while scrolling
OPENING_MM: Final = 10.0
_CHOICES: Final = (
    Named("", "Off", "Show single slices"),
    Named("mean", "Mean", "Less noise: the mean of the slab's Hounsfield values and colors"),
    Named("maximum", "Maximum", "Vessels and bone: the highest value, in its voxel's color"),
    Named("minimum", "Minimum", "Airways and lung: the lowest value, in its voxel's color"),
)


class ColorSlabs(ViewerFollower):
    """Shows the colored scans of a viewer, and hatching over them, as slabs."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._slab: Slab | None = None
        self.changed: list[Callable[[], None]] = []  #: called when the slab has changed
        self.each_layer(self._show)

    @property
    def slab(self) -> Slab | None:
        """The slab; None for single slices."""
        return self._slab

    @slab.setter
    def slab(self, slab: Slab | None) -> None:
        self._slab = slab
        for layer in self.viewer.layers:
            self._show(layer)
        for call in self.changed:
            call()

    def thickness_mm(self, axis: int) -> float:
        """Return the thickness of the slabs across an axis, no more than that of the scans."""
        assert self._slab is not None
        layers = [layer for layer in self.viewer.layers if hasattr(layer.data, "slab")]
        sources = filter(None, (source_of(layer.metadata) for layer in layers))
        shown = [self._slab.within(source.shown, axis).thickness_mm for source in sources]
        return max(shown, default=self._slab.thickness_mm)

    def _show(self, layer: Any) -> None:
        if hasattr(layer.data, "slab") and layer.data.slab != self._slab:
            layer.data.slab = self._slab
            layer.refresh(extent=False, highlight=False)


class SlabField(FieldRow):
    """Projection and thickness of the slabs of a viewer."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slabs = follower_of(viewer, ColorSlabs)
        self.projection = NamedChoice(_CHOICES, self)
        self.thickness = NumberBox(self, "50.0 mm")
        self.thickness.setDecimals(1)
        self.thickness.setRange(0.1, MAX_SHOWN_MM)
        self.thickness.setSuffix(" mm")
        self.thickness.setValue(OPENING_MM)
        self.thickness.setToolTip("Thickness of the slab; the crosshair is in its middle")
        row = side_by_side(self.projection, self.thickness)
        row.setContentsMargins(0, 0, 0, 0)
        self.setLayout(row)
        self._slabs.changed.append(self._show)
        self._show()
        self.projection.currentIndexChanged.connect(self._edited)
        self.thickness.valueChanged.connect(self._edited)

    def _edited(self, _: object = None) -> None:
        name = self.projection.name
        slab = Slab(cast("Projection", name), self.thickness.value()) if name else None
        self._slabs.slab = slab

    def _show(self) -> None:
        slab = self._slabs.slab
        self.projection.show_name(slab.projection if slab else "")
        with signals_blocked(self.thickness):
            self.thickness.setValue(slab.thickness_mm if slab else self.thickness.value())
        self.thickness.setEnabled(slab is not None)

    def release(self) -> None:
        """Stop following the viewer."""
        self._slabs.changed.remove(self._show)

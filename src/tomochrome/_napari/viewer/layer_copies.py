"""Copies of a viewer's layers on a second canvas; they share the data and follow the originals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from napari.layers import Image, Labels, Layer, Points, Shapes
from qtpy.QtCore import QTimer

from tomochrome._napari.kit.events import Connections

_REDRAW_INTERVAL_MS: Final = 15
#: Attributes that a copy takes over, in this order: the colormap first (see `show_window`).
_FOLLOWED: Final = (
    *("opacity", "blending", "colormap", "contrast_limits", "gamma", "interpolation2d"),
    *("scale", "translate", "rotate", "shear", "affine", "projection_mode", "contour"),
)
#: Attributes of points and of shapes beside their data and texts.
_OF_POINTS: Final = ("face_color", "border_color", "size", "symbol", "shown")
_OF_SHAPES: Final = ("edge_color", "face_color", "edge_width")


class LayerCopies:
    """Keeps images, labels, points and shapes of a viewer model equal to those of a viewer.

    napari's layers store which plane they show, so that two canvases cannot share them. The voxels
    are not copied. Points and shapes, such as landmarks and measurements, are drawn and moved in
    the viewer only.

    Parameters
    ----------
    source, target
        The viewer, and the viewer model of the other canvas, which must show slices only.
    accepts
        Returns whether a layer is copied.
    shows
        Returns whether the copy of a layer is visible.
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        accepts: Callable[[Any], bool] = lambda _: True,
        shows: Callable[[Any], bool] = lambda layer: bool(layer.visible),
    ) -> None:
        self.source, self.target = source, target
        self.of: dict[Any, Any] = {}  #: the copy of each layer
        self._accepts, self._shows = accepts, shows
        self._drawn: dict[Any, Any] = {}  # the plane for which a layer was drawn last
        self._outdated: set[Any] = set()
        self._viewer, self._layers = Connections(), Connections()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_INTERVAL_MS)
        self._timer.timeout.connect(self._redraw)
        events = source.layers.events
        self._viewer.add(self.update, events.inserted, events.removed, events.reordered, last=True)
        self.update()

    def release(self) -> None:
        """Stop following the viewer."""
        self._timer.stop()
        self._viewer.release()
        self._layers.release()

    def update(self, _: object = None) -> None:
        """Add, remove and sort the copies."""
        layers = [x for x in self.source.layers if _is_copied(x) and self._accepts(x)]
        for layer in [x for x in self.of if x not in layers]:
            self.target.layers.remove(self.of.pop(layer))
            del self._drawn[layer]
        for layer in [x for x in layers if x not in self.of]:
            copied = Layer.create(*layer.as_layer_data_tuple())
            # napari 0.9 makes one for each slice, and has no way to turn that off.
            copied._update_thumbnail = _no_thumbnail
            self.of[layer] = self.target.add_layer(copied)
            self._drawn[layer] = self._plane()
        for index, layer in enumerate(layers):
            place = self.target.layers.index(self.of[layer])
            if place != index:
                self.target.layers.move(place, index)
        self._layers.release()
        for layer in layers:
            for name in _FOLLOWED:
                emitter = getattr(layer.events, name, None)
                if emitter is not None:
                    self._layers.add(partial(self._follow, layer, name), emitter)
            self._layers.add(partial(self._replaced, layer), layer.events.data)
            self._layers.add(partial(self._redrawn, layer), layer.events.set_data)
            for name in ("paint", "features", "edge_color", "face_color", "size"):
                emitter = getattr(layer.events, name, None)
                if emitter is not None:
                    self._layers.add(partial(self._outdate, layer), emitter)
        for layer in self.source.layers:
            self._layers.add(self._show, layer.events.visible, last=True)
        self._show()

    def _show(self, _: object = None) -> None:
        for layer, copy in self.of.items():
            visible = self._shows(layer)
            if copy.visible != visible:
                copy.visible = visible

    def _follow(self, layer: Any, name: str, _: object) -> None:
        setattr(self.of[layer], name, getattr(layer, name))

    def _replaced(self, layer: Any, _: object) -> None:
        copy = self.of[layer]
        copy.metadata = layer.metadata
        if not isinstance(layer, Points | Shapes) and copy.data is not layer.data:
            copy.data = layer.data
        else:
            self._outdate(layer)

    def _redrawn(self, layer: Any, _: object) -> None:
        """Note that a layer was drawn again: if not for another plane, its content has changed."""
        plane = self._plane()
        if self._drawn[layer] == plane:
            self._outdate(layer)
        self._drawn[layer] = plane

    def _plane(self) -> tuple[Any, ...]:
        dims = self.source.dims
        return tuple(dims.point), tuple(dims.order), dims.ndisplay

    def _outdate(self, layer: Any, _: object = None) -> None:
        self._outdated.add(layer)
        if not self._timer.isActive():
            self._timer.start()

    def _redraw(self) -> None:
        outdated, self._outdated = self._outdated, set()
        for layer in outdated:
            if layer not in self.of:
                continue
            if isinstance(layer, Points | Shapes):
                _copy_marks(layer, self.of[layer])
            else:
                self.of[layer].refresh(extent=False, highlight=False, thumbnail=False)


def _no_thumbnail() -> None: ...


def _copy_marks(layer: Any, copy: Any) -> None:
    """Make points or shapes, and their texts, equal to those of a layer."""
    is_shapes = isinstance(layer, Shapes)
    copy.data = list(zip(layer.data, layer.shape_type, strict=True)) if is_shapes else layer.data
    copy.features = layer.features
    for name in _OF_SHAPES if is_shapes else _OF_POINTS:
        setattr(copy, name, getattr(layer, name))


def _is_copied(layer: Any) -> bool:
    return isinstance(layer, Image | Labels | Points | Shapes) and layer.ndim == 3

"""Brings scans that are opened into view, and keeps them there when the canvas changes size."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.kit.events import ViewerFollower, before_napari
from tomochrome._napari.layers.volume_layers import LayerSource, source_of
from tomochrome._napari.viewer.canvas_overlays import lettered_layer

#: Fraction along each side that must be in view, of a scan that is opened.
_MIN_SHARE_OF_OPENED: Final = 0.99
_MIN_SHARE_OF_DERIVED: Final = 0.5  #: the same for a layer that was made from others
_BODY_HU: Final = -300  #: between air with lung and fat
_BODY_SHARE: Final = 0.92  #: fraction of the canvas that the body gets along one side
_MIN_SIZE: Final = 0.25  #: fraction of the view that the scan must fill along one side


@dataclass(frozen=True)
class _Fit:
    """The camera after layers were fitted to the canvas."""

    layers: weakref.WeakSet[Any] | None  #: None for all layers
    order: tuple[int, ...]
    center: tuple[float, ...]
    zoom: float
    angles: tuple[float, ...]
    canvas: tuple[int, int]


class BringIntoView(ViewerFollower):
    """Brings each scan that is added to a viewer into view.

    The displayed planes are moved to the middle of the scan if they miss it. The camera is moved
    if a part of a scan that is opened is out of view, in 2D and in 3D, or the scan is too small to
    see. Layers made from others, such as the result of a registration, rarely need either.

    If the canvas changes its size, for example because a panel is docked, what has been fitted is
    fitted again, unless the user has moved the camera since.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._fits: dict[int, _Fit] = {}  # for 2D and 3D
        self._unmoved: dict[int, bool] = {}  # whether the camera was that of the fit when left
        self._fitting: weakref.WeakSet[Any] | None = None
        self._latest: weakref.WeakSet[Any] = weakref.WeakSet()  # the last scan opened
        if not len(viewer.layers):
            self._note_fit()
        viewer.layers.events.inserted.connect(self._inserted, position="last")
        before_napari(viewer.dims.events.ndisplay, self._leaving)
        viewer.dims.events.ndisplay.connect(self._ndisplay_changed, position="last")
        viewer.events.reset_view.connect(self._note_fit, position="last")
        viewer.canvas.events.size.connect(self._keep, position="last")

    def _inserted(self, event: Any) -> None:
        viewer, layer = self.viewer, event.value
        source = source_of(layer.metadata)
        if source is None or source.role == "derived" or layer.ndim < 3:
            return  # the metadata may be inherited, for example by a projection
        others = [x for x in viewer.layers if x is not layer]
        is_copy = any(source_of(x.metadata) is source for x in others)
        opened = is_opened(source) and not is_copy
        if others:
            move_planes(viewer, layer)
        if opened:
            self._latest = weakref.WeakSet([layer])
            self._unmoved = {}  # the other of 2D and 3D has to show it, too
        self._show(layer, _MIN_SHARE_OF_OPENED if opened else _MIN_SHARE_OF_DERIVED)

    def _show(self, layer: Any, share: float) -> None:
        if not is_seen(self.viewer, layer, share):
            self._fit(weakref.WeakSet([layer]))

    def _leaving(self, event: Any) -> None:
        """Note whether the user has moved the camera in 2D or 3D, which is being left."""
        left = 2 if event.value == 3 else 3
        before = self._fits.get(left)
        moved = before is None or not _same_camera(before, self._camera(before.layers, left))
        self._unmoved[left] = not moved

    def _ndisplay_changed(self, _: object = None) -> None:
        """Show in 3D what was opened last; return to the 2D view of before, if it was fitted."""
        viewer, now = self.viewer, self.viewer.dims.ndisplay
        for layer in [layer for layer in self._latest if layer in viewer.layers]:
            if now == 3 or now not in self._unmoved:
                move_planes(viewer, layer)
                self._show(layer, _MIN_SHARE_OF_OPENED)
        if now == 2 and self._unmoved.get(2) and self._unmoved.get(3):
            self._fit(self._fits[2].layers)

    def _fit(self, layers: weakref.WeakSet[Any] | None) -> None:
        viewer = self.viewer
        shown = None if layers is None else [x for x in layers if x in viewer.layers]
        if shown == []:
            return
        self._fitting = layers
        try:
            viewer.fit_to_view(layers=shown)
        finally:
            self._fitting = None

    def _note_fit(self, _: object = None) -> None:
        """Store the camera after napari, the user (Home) or this plugin has fitted layers."""
        self._fits[self.viewer.dims.ndisplay] = self._camera(self._fitting)

    def _camera(self, layers: weakref.WeakSet[Any] | None, ndisplay: int = 0) -> _Fit:
        viewer = self.viewer
        camera, in_3d = viewer.scene.camera, (ndisplay or viewer.dims.ndisplay) == 3
        return _Fit(
            layers=layers,
            order=tuple(viewer.dims.order),
            center=tuple(camera.center if in_3d else camera.center[-2:]),
            zoom=float(camera.zoom),
            angles=tuple(camera.angles) if in_3d else (),
            canvas=tuple(viewer.canvas.size),
        )

    def _keep(self, _: object = None) -> None:
        """Fit again if the canvas has changed its size but nobody has moved the camera."""
        before = self._fits.get(self.viewer.dims.ndisplay)
        if before is None or not len(self.viewer.layers):
            return
        now = self._camera(before.layers)
        if now.canvas != before.canvas and _same_camera(before, now):
            self._fit(before.layers)


def _same_camera(first: _Fit, second: _Fit) -> bool:
    pairs = (
        (first.center, second.center),
        ((first.zoom,), (second.zoom,)),
        (first.angles, second.angles),
    )
    return first.order == second.order and all(np.allclose(a, b) for a, b in pairs)


def is_opened(source: LayerSource) -> bool:
    """Whether a layer with this source is a scan that was opened, not one made from others."""
    return source.opened and source.chroma is None


def move_planes(viewer: Any, layer: Any) -> None:
    """Move displayed planes that miss a layer to its middle."""
    extent = _extent(viewer, layer)
    for axis in viewer.dims.not_displayed:
        low, high = extent[:, axis]
        if not low <= viewer.dims.point[axis] <= high:
            viewer.dims.set_point(axis, (low + high) / 2)


def is_seen(viewer: Any, layer: Any, share: float = _MIN_SHARE_OF_OPENED) -> bool:
    """Whether a layer is in view, and large enough.

    Parameters
    ----------
    viewer, layer
        The viewer and one of its layers.
    share
        Fraction of the layer's bounding box, along both sides of the screen, that is in view.
    """
    low, high = _on_screen(viewer, layer)
    half = np.array(viewer.canvas.viewbox_size(viewer.layers)) / 2 / viewer.scene.camera.zoom
    size = np.maximum(high - low, 1e-9)
    inside = np.minimum(high, half) - np.maximum(low, -half)
    return bool((inside >= share * size).all() and (size >= _MIN_SIZE * 2 * half).any())


def _on_screen(viewer: Any, layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return minimum and maximum of a layer on the screen, vertical and horizontal, in mm.

    They are relative to the center of the view. Their signs may be those of the opposite
    direction, which makes no difference to what is in view.
    """
    camera, shown = viewer.scene.camera, list(viewer.dims.displayed)
    corners = np.array(list(product(*_extent(viewer, layer)[:, shown].T)))
    if viewer.dims.ndisplay == 2:
        places = corners - np.array(camera.center[-2:])
    else:
        view, up = np.array(camera.view_direction), np.array(camera.up_direction)
        places = (corners - np.array(camera.center)) @ np.stack([up, np.cross(view, up)], axis=1)
    return places.min(axis=0), places.max(axis=0)


def _extent(viewer: Any, layer: Any) -> NDArray[np.float64]:
    """Return the minimum and maximum world coordinates of a layer on the viewer's axes."""
    own = viewer.layers.get_extent([layer]).world
    extra = viewer.dims.ndim - own.shape[1]
    ranges = np.array([(r.start, r.stop) for r in viewer.dims.range[:extra]]).reshape(-1, 2)
    return np.concatenate([ranges.T, own], axis=1)


def fit_to_body(viewer: Any) -> None:
    """Fill the canvas with the body in the displayed plane, without the table and the air.

    The body is the largest connected region above `_BODY_HU` of the scan whose letters are shown.
    """
    from scipy.ndimage import find_objects, label  # slow to import, and not needed to open a panel

    layer = lettered_layer(viewer.layers)
    source = None if layer is None else source_of(layer.metadata)
    if source is None or source.shown.is_rgba or viewer.dims.ndisplay != 2:
        viewer.fit_to_view()
        return
    axis, *shown = viewer.dims.order[-3:]
    at = int(np.rint(layer.world_to_data(viewer.dims.point)[axis]))
    plane = np.take(source.shown.voxels, np.clip(at, 0, source.shown.shape[axis] - 1), axis)
    regions, count = label(np.asarray(plane) > _BODY_HU)
    if not count:
        viewer.fit_to_view()
        return
    largest = np.argmax(np.bincount(regions.ravel())[1:]) + 1
    ranges = iter(find_objects((regions == largest).astype(np.uint8))[0])
    corners = np.zeros((2, 3))
    for other in sorted(shown):
        extent = next(ranges)
        corners[:, other] = extent.start - 0.5, extent.stop - 0.5
    low, high = (np.array(layer.data_to_world(corner))[shown] for corner in corners)
    room = np.array(viewer.canvas.size) * _BODY_SHARE
    viewer.scene.camera.center = (0.0, *((low + high) / 2))
    viewer.scene.camera.zoom = float((room / np.maximum(np.abs(high - low), 1e-6)).min())

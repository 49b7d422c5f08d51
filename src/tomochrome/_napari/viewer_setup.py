"""The one place that prepares a viewer for scans of ours."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any, Final

import numpy as np
from vispy.gloo import gl

from tomochrome._napari.canvas_overlays import CanvasOverlays
from tomochrome._napari.events import ViewerFollower, before_napari
from tomochrome._napari.layers import colored_layers, source_of
from tomochrome._napari.orientation import Orientation
from tomochrome._napari.readout import show_readout
from tomochrome._napari.saving import Saving
from tomochrome._napari.window_mouse import WindowMouse

#: Every desktop OpenGL has at least so many vertex arrays.
_ARRAYS: Final = 16


class CanvasContext:
    """The canvas deletes its buffers in its own OpenGL context, and draws with none that is gone.

    napari 0.9 deletes the buffers and textures of a removed layer at once
    (https://github.com/napari/napari/pull/8122), in whatever OpenGL context happens to be current.
    That is mostly the one in which Qt composes the window, while the objects are still bound in
    the canvas's own. With Mesa 22.3 a later drawing then read freed memory: a segmentation fault
    in ``glDrawArrays``.

    vispy 0.17 never switches off the vertex arrays of the last program. Once their buffer is
    deleted, they point to address 0, and some drivers read there:
    https://github.com/vispy/vispy/issues/1611.
    """

    def __init__(self, viewer: Any) -> None:
        with suppress(AttributeError):  # a model without a window, or another napari
            self._canvas = viewer.window._qt_viewer.canvas._scene_canvas
            self._canvas.events.draw.connect(self._switch_arrays_off, position="first")
            # napari deletes in `removed` and `end_batch`, before any callback of a plugin.
            viewer.layers.events.begin_batch.connect(self._make_current)
            viewer.layers.events.removing.connect(self._make_current)

    def _make_current(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be gone already
            if self._canvas.native.isValid():
                self._canvas.set_current()
                self._switch_arrays_off()

    def _switch_arrays_off(self, _: object = None) -> None:
        for array in range(_ARRAYS):
            gl.glDisableVertexAttribArray(array)


_LEAST_SEEN: Final = 0.5  #: share of the scan, along each side, that must be in the picture
_LEAST_SIZE: Final = 0.25  #: of the picture that the scan must fill, along one side


class IntoView(ViewerFollower):
    """Brings each scan that is added to a viewer into view, wherever in space it lies.

    The planes are moved to the scan's middle where they miss it, and the camera to the scan where
    most of it lies beside the picture, or it is too small to see. Layers that lie on another one
    (colors, results of a registration) hardly ever need either.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        viewer.layers.events.inserted.connect(self._inserted, position="last")

    def _inserted(self, event: Any) -> None:
        viewer, layer = self.viewer, event.value
        known = source_of(layer.metadata)
        if known is None or known.role == "derived" or layer.ndim < 3:
            return  # a projection may have inherited a scan's metadata
        if len(viewer.layers) < 2:
            return  # napari shows the first layer by itself
        move_planes(viewer, layer)
        if not is_seen(viewer, layer):
            viewer.fit_to_view(layers=[layer])


def move_planes(viewer: Any, layer: Any) -> None:
    """Move the planes that miss a layer to its middle."""
    extent = _extent(viewer, layer)
    for axis in viewer.dims.not_displayed:
        low, high = extent[:, axis]
        if not low <= viewer.dims.point[axis] <= high:
            viewer.dims.set_point(axis, (low + high) / 2)


def is_seen(viewer: Any, layer: Any) -> bool:
    """Whether enough of a layer lies within the picture, large enough."""
    shown = list(viewer.dims.displayed[-2:])
    camera = viewer.scene.camera
    low, high = _extent(viewer, layer)[:, shown]
    half = np.array(viewer.canvas.size) / 2 / camera.zoom
    center = np.array(camera.center[-2:])
    size = np.maximum(high - low, 1e-9)
    inside = np.minimum(high, center + half) - np.maximum(low, center - half)
    return bool((inside >= _LEAST_SEEN * size).all() and (size >= _LEAST_SIZE * 2 * half).any())


def _extent(viewer: Any, layer: Any) -> Any:
    """Return the least and the greatest world coordinates of a layer, on the viewer's axes."""
    own = viewer.layers.get_extent([layer]).world
    extra = viewer.dims.ndim - own.shape[1]
    ranges = np.array([(r.start, r.stop) for r in viewer.dims.range[:extra]]).reshape(-1, 2)
    return np.concatenate([ranges.T, own], axis=1)


def covered(layers: Any) -> list[Any]:
    """Return the grey layers over which a colored layer of ours is shown."""
    return [grey for grey in layers if any(x.visible for x in colored_layers(layers, grey))]


class GreyIn3D(ViewerFollower):
    """Hides the grey layers below colored ones in 3D, and shows them again afterwards.

    Their projection would show little but the table.

    A grey layer that the user shows or hides in 3D stays so until 3D is entered again.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._hidden: weakref.WeakSet[Any] = weakref.WeakSet()
        self._by_user: weakref.WeakSet[Any] = weakref.WeakSet()
        self._setting = False
        # Hidden before napari draws its volume, which takes long; shown again after that.
        before_napari(viewer.dims.events.ndisplay, self._entering_3d)
        viewer.dims.events.ndisplay.connect(self._turned, position="last")
        viewer.layers.events.removed.connect(self._update, position="last")
        self.each_layer(self._follow)

    def _entering_3d(self, event: Any) -> None:
        if event.value == 3:
            self._turned()

    def _turned(self, _: object = None) -> None:
        self._by_user.clear()
        self._update()

    def _follow(self, layer: Any) -> None:
        layer.events.visible.connect(self._visible_changed)
        self._update()

    def _visible_changed(self, event: Any) -> None:
        viewer, layer = self.viewer, event.source
        if self._setting or viewer.dims.ndisplay != 3:
            return
        self._hidden.discard(layer)
        self._by_user.add(layer)
        self._update()

    def _update(self, _: object = None) -> None:
        viewer = self.viewer
        wanted = covered(viewer.layers) if viewer.dims.ndisplay == 3 else []
        self._setting = True
        try:
            for layer in [*self._hidden]:
                if layer not in wanted:
                    self._hidden.discard(layer)
                    layer.visible = True
            for layer in wanted:
                if layer.visible and layer not in self._by_user:
                    self._hidden.add(layer)
                    layer.visible = False
        finally:
            self._setting = False


_FOLLOWERS: Final = (
    CanvasContext,
    Orientation,
    CanvasOverlays,
    GreyIn3D,
    Saving,
    IntoView,
    WindowMouse,
)
_PREPARED: weakref.WeakKeyDictionary[Any, tuple[object, ...]] = weakref.WeakKeyDictionary()


def prepare_viewer(viewer: Any) -> None:
    """Let a viewer show scans as a radiologist expects, from now on; once is enough.

    Patients stand upright and are never mirrored, letters say which side is which, a scale bar
    and the value under the cursor are shown, in 3D a colored scan hides its grey one, and File >
    Save keeps where a scan lies. A scan that is opened comes into view; the right mouse button and
    the number keys set its window. Viewers without a scan of ours are left as they are.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that napari gives to a plugin's widget.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _PREPARED:
        _PREPARED[viewer] = tuple(follower(viewer) for follower in _FOLLOWERS)
    show_readout(viewer)


def is_settled(viewer: Any) -> bool:
    """Return whether nothing is left to be drawn for the first time in a prepared viewer."""
    followers = _PREPARED.get(getattr(viewer, "__wrapped__", viewer), ())
    return all(f.settled for f in followers if isinstance(f, CanvasOverlays))

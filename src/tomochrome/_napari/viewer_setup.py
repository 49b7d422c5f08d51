"""Sets up a viewer to show the scans of this plugin."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any, Final

from vispy.gloo import gl

from tomochrome._napari.canvas_overlays import CanvasOverlays
from tomochrome._napari.events import ViewerFollower, before_napari, unwrapped
from tomochrome._napari.headlight import Headlight
from tomochrome._napari.layers.volume_layers import colored_layers
from tomochrome._napari.orientation import Orientation
from tomochrome._napari.readout import show_readout
from tomochrome._napari.saving import Saving
from tomochrome._napari.view_fit import BringIntoView
from tomochrome._napari.window_mouse import WindowMouse

#: Minimum number of vertex attribute arrays in every desktop OpenGL.
_ARRAYS: Final = 16


class CanvasContext:
    """Works around two OpenGL problems when layers are removed.

    napari 0.9 deletes the buffers and textures of a removed layer at once
    (https://github.com/napari/napari/pull/8122), in whatever OpenGL context is current. This is
    usually the one in which Qt composes the window, while the objects are still bound in the
    canvas's context. With Mesa 22.3, a later draw call then read freed memory: a segmentation
    fault in ``glDrawArrays``.

    vispy 0.17 never disables the vertex arrays of the last program. After their buffer has been
    deleted, they point to address 0, from which some drivers read:
    https://github.com/vispy/vispy/issues/1611.
    """

    def __init__(self, viewer: Any) -> None:
        with suppress(AttributeError):  # no window, or another version of napari
            self._canvas = viewer.window._qt_viewer.canvas._scene_canvas
            self._canvas.events.draw.connect(self._disable_arrays, position="first")
            # napari deletes objects in `removed` and `end_batch`, before the callbacks of plugins.
            viewer.layers.events.begin_batch.connect(self._make_current)
            viewer.layers.events.removing.connect(self._make_current)

    def _make_current(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be closed already
            if self._canvas.native.isValid():
                self._canvas.set_current()
                self._disable_arrays()

    def _disable_arrays(self, _: object = None) -> None:
        for array in range(_ARRAYS):
            gl.glDisableVertexAttribArray(array)


def covered(layers: Any) -> list[Any]:
    """Return the grey layers that have a visible colored layer."""
    return [grey for grey in layers if any(x.visible for x in colored_layers(layers, grey))]


def has_comparison(layers: Any) -> bool:
    """Return whether there is a comparison, which hides the layers below it."""
    return any(getattr(layer.data, "is_comparison", False) for layer in layers)


class GreyIn3D(ViewerFollower):
    """Hides the grey layers below colored ones in 3D, and shows them again in 2D.

    Their projection would show little but the patient table. If the user shows or hides a grey
    layer in 3D, it stays so until 3D is entered again. A comparison hides and shows layers by
    itself: they are left alone as long as it exists.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._hidden: weakref.WeakSet[Any] = weakref.WeakSet()
        self._by_user: weakref.WeakSet[Any] = weakref.WeakSet()
        self._setting = False
        # Hide before napari renders the volume, which is slow; show again afterwards.
        before_napari(viewer.dims.events.ndisplay, self._entering_3d)
        viewer.dims.events.ndisplay.connect(self._ndisplay_changed, position="last")
        viewer.layers.events.removed.connect(self._update, position="last")
        self.each_layer(self._follow)

    def _entering_3d(self, event: Any) -> None:
        if event.value == 3:
            self._ndisplay_changed()

    def _ndisplay_changed(self, _: object = None) -> None:
        self._by_user.clear()
        self._update()

    def _follow(self, layer: Any) -> None:
        layer.events.visible.connect(self._visible_changed)
        self._update()

    def _visible_changed(self, event: Any) -> None:
        viewer, layer = self.viewer, event.source
        if self._setting or viewer.dims.ndisplay != 3 or has_comparison(viewer.layers):
            return
        self._hidden.discard(layer)
        self._by_user.add(layer)
        self._update()

    def _update(self, _: object = None) -> None:
        viewer = self.viewer
        if has_comparison(viewer.layers):
            return
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
    Headlight,
    Saving,
    BringIntoView,
    WindowMouse,
)
_PREPARED: weakref.WeakKeyDictionary[Any, tuple[object, ...]] = weakref.WeakKeyDictionary()


def prepare_viewer(viewer: Any) -> None:
    """Set up a viewer to show scans in radiological convention; repeated calls have no effect.

    Patients are shown upright and never mirrored, with orientation letters, a scale bar and the
    value under the cursor. In 3D, a colored scan hides its grey layer and is lit from the viewer.
    File > Save preserves the position of a scan. A scan that is opened is brought into view as a
    whole; the right mouse button and the number keys set its window. Viewers without a scan of
    this plugin are not changed.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that napari gives to a plugin's widget.
    """
    viewer = unwrapped(viewer)
    if viewer not in _PREPARED:
        _PREPARED[viewer] = tuple(follower(viewer) for follower in _FOLLOWERS)
    show_readout(viewer)


def is_settled(viewer: Any) -> bool:
    """Return whether all overlays of a prepared viewer have been drawn for the first time."""
    followers = _PREPARED.get(unwrapped(viewer), ())
    return all(f.settled for f in followers if isinstance(f, CanvasOverlays))

"""Sets up a viewer to show the scans of this plugin."""

from __future__ import annotations

import weakref
from typing import Any, Final

from tomochrome._napari.export.saving import Saving
from tomochrome._napari.kit.events import ViewerFollower, before_napari, follower_of, unwrapped
from tomochrome._napari.layers.volume_layers import colored_layers
from tomochrome._napari.viewer.canvas_overlays import CanvasOverlays
from tomochrome._napari.viewer.gl_workaround import CanvasContext
from tomochrome._napari.viewer.headlight import Headlight
from tomochrome._napari.viewer.linked_planes import LinkedPlanes
from tomochrome._napari.viewer.measure_labels import LabelMeasuring
from tomochrome._napari.viewer.measure_shapes import Measuring
from tomochrome._napari.viewer.orientation import Orientation
from tomochrome._napari.viewer.readout import show_readout
from tomochrome._napari.viewer.restored_hatching import RestoredHatching
from tomochrome._napari.viewer.slice_wheel import SliceWheel
from tomochrome._napari.viewer.view_fit import BringIntoView
from tomochrome._napari.viewer.window_mouse import WindowMouse


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
        below = covered(viewer.layers) if viewer.dims.ndisplay == 3 else []
        self._setting = True
        try:
            for layer in [*self._hidden]:
                if layer not in below:
                    self._hidden.discard(layer)
                    layer.visible = True
            for layer in below:
                if layer.visible and layer not in self._by_user:
                    self._hidden.add(layer)
                    layer.visible = False
        finally:
            self._setting = False


_FOLLOWERS: Final[tuple[type[ViewerFollower], ...]] = (
    CanvasContext,
    Orientation,
    CanvasOverlays,
    GreyIn3D,
    Headlight,
    Saving,
    BringIntoView,
    WindowMouse,
    RestoredHatching,
    SliceWheel,
    LinkedPlanes,
    Measuring,
    LabelMeasuring,
)


def prepare_viewer(viewer: Any) -> None:
    """Set up a viewer to show scans in radiological convention; repeated calls have no effect.

    Patients are shown upright and never mirrored, with orientation letters, a scale bar and the
    value under the cursor. In 3D, a colored scan hides its grey layer and is lit from the viewer.
    Restored voxels are hatched in 2D. File > Save preserves the position of a scan. A scan that is
    opened is brought into view as a whole; the right mouse button and the number keys set its
    window. Viewers without a scan of this plugin are not changed.

    Parameters
    ----------
    viewer
        A napari viewer, or the proxy that napari gives to a plugin's widget.
    """
    viewer = unwrapped(viewer)
    for follower in _FOLLOWERS:
        follower_of(viewer, follower)
    show_readout(viewer)

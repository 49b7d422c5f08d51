"""The mouse wheel scrolls through the slices of a scan, and zooms with Ctrl; see `SliceWheel`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from qtpy.QtCore import QSettings

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.viewer.orientation import is_scan, scan_axes

_KEY: Final = "viewer/wheel scrolls"
_ZOOM_PER_NOTCH: Final = 1.15


def settings_store() -> QSettings:
    """Return the user's INI file with the settings of this plugin.

    It never holds patient data, but the paths of recent scans as the user chose them, unless that
    list is turned off.
    """
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "Tomochrome", "napari")


def wheel_scrolls() -> bool:
    """Whether the wheel scrolls slices; if not, it zooms and Ctrl scrolls, as usual in napari."""
    return settings_store().value(_KEY) != "no"


def set_wheel_scrolls(scrolls: bool) -> None:
    """Store whether the wheel scrolls slices, for all viewers."""
    settings_store().setValue(_KEY, "yes" if scrolls else "no")


class SliceWheel(ViewerFollower):
    """Lets the wheel scroll slices while a viewer shows a scan in 2D, as radiologists' viewers do.

    With Ctrl it zooms around the cursor. Elsewhere, and if the user prefers it, napari's own way is
    kept: the wheel zooms, and scrolls with Ctrl.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._rest = 0.0
        callbacks = viewer.mouse_wheel_callbacks
        # Called in place of napari's `dims_scroll`, which scrolls with Ctrl.
        self._napari = [call for call in callbacks if call.__name__ == "dims_scroll"]
        for call in self._napari:
            callbacks.remove(call)
        callbacks.insert(0, self.turned)

    def turned(self, viewer: Any, event: Any) -> None:
        """Scroll or zoom."""
        axes = scan_axes(viewer.dims.order, viewer.dims.ndisplay)
        shows_scan = viewer.dims.ndisplay == 2 and axes is not None
        if not (shows_scan and any(map(is_scan, viewer.layers)) and wheel_scrolls()):
            for call in self._napari:
                call(viewer, event)
        elif "Control" in event.modifiers:
            zoom_at(viewer, event.position, _ZOOM_PER_NOTCH ** float(event.delta[1]))
            event.handled = True
        elif not event.modifiers:
            self.scroll(viewer, event)
            event.handled = True

    def scroll(self, viewer: Any, event: Any) -> None:
        """Move by one slice for each notch, upwards to the head; touch pads send parts."""
        notch = float(np.clip(event.delta[1], -1, 1))
        self._rest += -notch if event.native.inverted() else notch
        steps = int(self._rest)
        if steps:
            self._rest -= steps
            axis = viewer.dims.order[-3]
            viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + steps)


def zoom_at(viewer: Any, position: Any, factor: float) -> None:
    """Zoom a viewer in 2D by a factor, so that a position in the world stays where it is."""
    camera = viewer.scene.camera
    at = np.array([position[axis] for axis in viewer.dims.displayed])
    center = np.array(camera.center[-2:])
    camera.zoom *= factor
    camera.center = (0.0, *(center + (at - center) * (1 - 1 / factor)))

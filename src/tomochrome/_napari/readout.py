"""What the scanner measured under the cursor, with its unit, in the status bar."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow

from tomochrome._napari.layers import behind
from tomochrome.volume import Volume

_NAME = "tomochrome-value"
_WIDTH_OF = "-1024.0 HU  "


def show_readout(viewer: Any) -> None:
    """Put the read-out into the status bar of a viewer with a window, once."""
    window = _main_window(viewer)
    if window is not None and window.findChild(QLabel, _NAME) is None:
        window.statusBar().addPermanentWidget(Readout(viewer))


def _main_window(viewer: Any) -> QMainWindow | None:
    """Return the main window of a viewer, found as anyone may find it, or None if in doubt.

    napari keeps its own way to it private.
    """
    windows = [
        window
        for window in QApplication.topLevelWidgets()
        if isinstance(window, QMainWindow)
        and window.isVisible()
        and window.windowTitle().startswith(viewer.title)
    ]
    if len(windows) > 1 and QApplication.activeWindow() in windows:
        return QApplication.activeWindow()
    return windows[0] if len(windows) == 1 else None


class Readout(QLabel):
    """Follows the cursor. napari's own text names a value too, but of the selected layer only.

    Over a colored layer napari shows red, green and blue; what a radiologist wants to know is
    the Hounsfield unit below.

    Parameters
    ----------
    viewer
        The viewer whose cursor is followed.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.setObjectName(_NAME)
        self.setToolTip("What the scanner measured under the cursor")
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance(_WIDTH_OF))
        self._viewer = viewer
        viewer.cursor.events.position.connect(self._point)
        viewer.layers.events.removed.connect(self._point)

    def _point(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be gone already
            viewer = self._viewer
            flat = viewer.dims.ndisplay == 2
            self.setText(value_at(viewer.layers, viewer.cursor.position) if flat else "")


def value_at(layers: Any, position: Any) -> str:
    """Return what the uppermost visible volume of ours holds at a world position, or nothing."""
    for layer in reversed(layers):
        known = behind(layer.metadata) if layer.visible else None
        if known is None or known.shown.is_rgba:
            continue
        index = np.rint(layer.world_to_data(position)).astype(int)[-3:]
        if (index >= 0).all() and (index < known.shown.shape).all():
            return in_words(known.shown, tuple(map(int, index)))
    return ""


def in_words(volume: Volume, index: tuple[int, ...]) -> str:
    """Return what a volume holds in a voxel (z, y, x), with its unit."""
    if volume.outside is not None and volume.outside[index]:
        return "outside the scan"
    value = float(volume.voxels[index])
    if not np.isfinite(value):
        return "no value"
    text = f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return f"{text} HU" if volume.unit == "HU" else f"{text} (not HU)"

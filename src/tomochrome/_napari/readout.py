"""What lies under the cursor: in the status bar the value, in the panel the tissue too."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow, QWidget

from tomochrome._napari.controls import stacked
from tomochrome._napari.layers import source_of
from tomochrome.volume import Volume

_NAME = "tomochrome-value"
_WIDTH_OF = "-1024.0 HU  "
_HINT = "Point at the scan to read a voxel"


class CursorReadout(QWidget):
    """Value and tissue at the cursor, and how sure the tissue is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.what, self.sure = QLabel(self), QLabel(self)
        self.what.setStyleSheet("font-weight: 600;")
        self.sure.setToolTip(
            "Probability of this tissue by the model, and confidence: how far to trust the model"
        )
        for label in (self.what, self.sure):
            label.setMinimumWidth(1)  # a long text must not widen the panel
        stacked(self, self.what, self.sure, margins=0).setSpacing(1)
        self.say()

    def say(self, what: str = _HINT, sure: str = "") -> None:
        """Show what is under the cursor; by default that it is no voxel of the scan."""
        self.what.setText(what)
        self.sure.setText(sure)


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
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.setObjectName(_NAME)
        self.setToolTip("What the scanner measured under the cursor")
        self.setMinimumWidth(self.fontMetrics().horizontalAdvance(_WIDTH_OF))
        self._viewer = viewer
        layers = viewer.layers
        for emitter in (
            viewer.cursor.events.position,
            viewer.dims.events.ndisplay,
            layers.events.removed,
            layers.selection.events.active,
        ):
            emitter.connect(self._point)

    def _point(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be gone already
            viewer = self._viewer
            flat = viewer.dims.ndisplay == 2
            self.setText(value_at(viewer.layers, viewer.cursor.position) if flat else "")


def value_at(layers: Any, position: Any) -> str:
    """Return what a visible volume of ours holds at a world position, or nothing.

    The layer that is chosen comes first, then the uppermost.
    """
    chosen = layers.selection.active
    for layer in [*([] if chosen is None else [chosen]), *reversed(layers)]:
        known = source_of(layer.metadata) if layer.visible else None
        if known is None or known.shown.is_rgba:
            continue
        voxel = voxel_in(layer, position)
        if voxel is not None:
            return in_words(known.shown, voxel)
    return ""


def voxel_in(layer: Any, position: Any) -> tuple[int, int, int] | None:
    """Return the voxel (z, y, x) of a layer at a world position, or None outside of it."""
    index = np.rint(layer.world_to_data(position)).astype(int)[-3:]
    if (index < 0).any() or (index >= layer.data.shape[:3]).any():
        return None
    z, y, x = (int(value) for value in index)
    return z, y, x


def in_words(volume: Volume, index: tuple[int, ...]) -> str:
    """Return what a volume holds in a voxel (z, y, x), with its unit."""
    if volume.outside is not None and volume.outside[index]:
        return "outside the scan"
    value = float(volume.voxels[index])
    if not np.isfinite(value):
        return "no value"
    text = f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return f"{text} HU" if volume.unit == "HU" else f"{text} (not HU)"

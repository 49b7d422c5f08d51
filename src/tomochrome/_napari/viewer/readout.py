"""Cursor readout: the value in the status bar, and also the tissue in the panel."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QLabel, QMainWindow, QWidget

from tomochrome._napari.kit.controls import stacked
from tomochrome._napari.layers.volume_layers import source_of
from tomochrome.color.codes import FreeColors
from tomochrome.tissue import NO_TISSUE, Tissue
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.color import Chroma

_NAME = "tomochrome-value"
_WIDTH_OF = "-1024.0 HU  "
MEASURED = "measured"  #: the feature of a Labels layer that holds what was measured of a label
_HINT = "Point at a voxel to see its value"
IN_3D = "Values are shown in 2D only"


class CursorReadout(QWidget):
    """Value and tissue at the cursor, with probability and confidence."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.finding, self.certainty = QLabel(self), QLabel(self)
        self.finding.setStyleSheet("font-weight: 600;")
        self.certainty.setToolTip(
            "Probability of this tissue according to the model, and confidence of the model"
        )
        for label in (self.finding, self.certainty):
            label.setWordWrap(True)  # a long text must not widen the panel
        stacked(self, self.finding, self.certainty, margins=0).setSpacing(1)
        self.say()

    def say(self, finding: str = _HINT, certainty: str = "") -> None:
        """Show the texts for the voxel under the cursor; by default a hint."""
        self.finding.setText(finding)
        self.certainty.setText(certainty)


def show_readout(viewer: Any) -> None:
    """Add the readout to the status bar of a viewer with a window, once."""
    window = main_window(viewer)
    if window is not None and window.findChild(QLabel, _NAME) is None:
        window.statusBar().addPermanentWidget(Readout(viewer))


def main_window(viewer: Any) -> QMainWindow | None:
    """Return the main window of a viewer, or None if it is ambiguous.

    napari has no public attribute for it.
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
    """Shows the value of the scan under the cursor.

    napari's own status text shows the value of the selected layer only, which is red, green and
    blue for a colored layer; a radiologist needs the Hounsfield units.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.setObjectName(_NAME)
        self.setToolTip("Value of the scan under the cursor")
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
        with suppress(RuntimeError):  # the window may be closed already
            viewer = self._viewer
            in_2d = viewer.dims.ndisplay == 2
            self.setText(value_at(viewer.layers, viewer.cursor.position) if in_2d else "")


def tissue_at(layers: Any, position: Any) -> str:
    """Return value and tissue of the topmost colored scan at a world position, or the value.

    A second line names the label of the topmost Labels layer that has one there.
    """
    return "\n".join(filter(None, (_scan_at(layers, position), label_at(layers, position))))


def label_at(layers: Any, position: Any) -> str:
    """Return layer and name, or what was measured, of the topmost label at a world position."""
    for layer in reversed(layers):
        painted = isinstance(layer, Labels) and layer.visible and layer.ndim == 3
        voxel = voxel_in(layer, position) if painted else None
        label = 0 if voxel is None else int(layer.data[voxel])
        if label:
            table = layer.features
            rows = table[table["index"] == label] if "index" in table else table.iloc[:0]
            values = {} if rows.empty else rows.iloc[0].astype(str).to_dict()
            measured = values.pop(MEASURED, "")
            names = [text for column, text in values.items() if column != "index" and text]
            name = ", ".join(names or [str(label)])
            return f"{name}: {measured}" if measured else f"{layer.name}: {name}"
    return ""


def _scan_at(layers: Any, position: Any) -> str:
    for layer in reversed(layers):
        source = source_of(layer.metadata) if layer.visible else None
        if source is not None and source.chroma is not None:
            voxel = voxel_in(layer, position)
            if voxel is not None:
                return finding(source.shown, source.chroma, voxel)[0]
    return value_at(layers, position)


def value_at(layers: Any, position: Any) -> str:
    """Return the value of a visible scan of this plugin at a world position, or "".

    The selected layer has priority, then the topmost layer.
    """
    chosen = layers.selection.active
    for layer in [*([] if chosen is None else [chosen]), *reversed(layers)]:
        source = source_of(layer.metadata) if layer.visible else None
        if source is None or source.shown.is_rgba:
            continue
        voxel = voxel_in(layer, position)
        if voxel is not None:
            return describe_values(source.shown, voxel)
    return ""


def finding(volume: Volume, chroma: Chroma, voxel: tuple[int, int, int]) -> tuple[str, str]:
    """Return two lines about a colored voxel: value and most likely tissue; how certain it is."""
    value = describe_values(volume, voxel)
    code, table = int(chroma.code[voxel]), chroma.table
    confidence = f"Confidence {100 * int(chroma.confidence[voxel]) / 255:.0f} %"
    if isinstance(table, FreeColors):
        a, b = table.ab[code]
        return (f"{value} · a* {a:.0f}, b* {b:.0f}", confidence) if code else (value, "")
    tissue = int(table.tissue[code])
    if tissue in (Tissue.AIR, NO_TISSUE):
        return value, ""
    probability = f"Probability {100 * float(table.weights[code, tissue]):.0f} %"
    return f"{value} · {Tissue(tissue).title}", f"{probability} · {confidence}"


def voxel_in(layer: Any, position: Any) -> tuple[int, int, int] | None:
    """Return the voxel (z, y, x) of a layer at a world position, or None outside the layer."""
    index = np.rint(layer.world_to_data(position)).astype(int)[-3:]
    if (index < 0).any() or (index >= layer.data.shape[:3]).any():
        return None
    z, y, x = (int(value) for value in index)
    return z, y, x


def describe_values(volume: Volume, index: tuple[int, ...]) -> str:
    """Format the value of a voxel (z, y, x) with its unit, and say if it was restored."""
    if volume.restored is not None and volume.restored[index]:
        return f"{describe_values(replace(volume, restored=None), index)} (restored)"
    if volume.outside is not None and volume.outside[index]:
        return "outside the scan"
    value = float(volume.voxels[index])
    if not np.isfinite(value):
        return "no value"
    text = f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return f"{text} HU" if volume.unit == "HU" else f"{text} (not HU)"

"""Measuring painted regions: volume and Hounsfield units of each label, while it is painted."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import napari
import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QTimer

from tomochrome._napari.kit.events import follower_of, weakly
from tomochrome._napari.kit.notifications import show_message
from tomochrome._napari.layers.layer_volumes import check_on_grid, place
from tomochrome._napari.layers.volume_layers import REGIONS, layer_transform
from tomochrome._napari.viewer.linked_planes import LinkedPlanes
from tomochrome._napari.viewer.measure_shapes import MeasuresScans, scan_to_measure
from tomochrome._napari.viewer.orientation import is_scan, scan_axes
from tomochrome._napari.viewer.readout import MEASURED
from tomochrome.errors import TomochromeError
from tomochrome.geometry.measurement import LabelStatistics, describe_label
from tomochrome.notices import sentence

_LATER_MS: Final = 150  # after a change elsewhere than in the slice on screen
_BRUSH: Final = 8


class _Measured:
    """The labels of a layer on a volume; slices are counted again only if they have changed."""

    def __init__(self, layer: Any, scan: Any) -> None:
        volume = place(scan).volume
        self.unit = volume.unit
        self.statistics = LabelStatistics(volume)
        self._sums = [0] * len(layer.data)  # of the bytes of each slice

    def count(self, layer: Any, slices: Any) -> None:
        """Count the labels of slices along the first axis."""
        for z in slices:
            labels = np.ascontiguousarray(layer.data[z])
            if (total := zlib.crc32(labels.data)) != self._sums[z]:
                self._sums[z] = total
                self.statistics.count(z, labels)


class LabelMeasuring(MeasuresScans[_Measured]):
    """The Labels layers of a viewer that are measured on its scans."""

    saved_as = REGIONS

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_LATER_MS)
        self._timer.timeout.connect(weakly(self.update))

    def _add_saved(self, scan: Any, saved: Sequence[Any]) -> None:
        for labels in saved:
            self._add(np.array(labels), scan)

    def _add(self, labels: Any, scan: Any) -> Labels:
        """Add a Labels layer on the grid of a scan, and measure it."""
        layer = Labels(labels, name=f"{scan.name} regions", **layer_transform(scan))
        self.viewer.add_layer(layer)
        layer.brush_size = _BRUSH
        self.measure(layer, scan)
        return layer

    def _keep(self, scan: Any) -> None:
        """Keep the label maps that are measured on a scan with it."""
        layers = [layer for layer, on in self._scans.items() if on is scan]
        scan.metadata[REGIONS] = tuple(layer.data for layer in layers)

    def _forget(self, scan: Any) -> None:
        if scan is not None:
            self._keep(scan)

    def measure(self, layer: Any, scan: Any) -> None:
        """Measure a Labels layer on a scan from now on.

        Raises
        ------
        InputError
            If it is not on the voxel grid of the scan.
        """
        check_on_grid(layer, scan, "measure a layer on the grid of the scan")
        if layer not in self._kept:
            changed, events = weakly(self._changed), layer.events
            for emitter in (events.labels_update, events.paint, events.set_data):
                emitter.connect(lambda event: changed(event.source))
        self._kept[layer], self._scans[layer] = _Measured(layer, scan), scan
        self.update()

    def chosen(self) -> Any:
        """Return the selected Labels layer, or a new one on the selected scan, being measured.

        Raises
        ------
        InputError
            If there is no scan, or none on the grid of the selected labels.
        """
        layers = self.viewer.layers
        active = layers.selection.active
        if isinstance(active, Labels):
            same = [x for x in layers if is_scan(x) and x.data.shape[:3] == active.data.shape]
            self.measure(active, scan_to_measure(layers, same[-1] if same else None))
            return active
        scan = scan_to_measure(layers, active)
        return self._add(np.zeros(scan.data.shape[:3], np.uint8), scan)

    def update(self) -> None:
        """Measure all labels that have changed."""
        for scan in {*self._scans.values()}:
            self._keep(scan)
        for layer, measured in self._kept.items():
            self._show(layer, measured, range(len(layer.data)))

    def _changed(self, layer: Any) -> None:
        """Measure the slice that is being painted in; other slices follow.

        After its scan was removed, nothing can be measured in the layer any more.
        """
        measured = self._kept.get(layer)
        if measured is None and MEASURED in layer.features:
            layer.features = layer.features.drop(columns=MEASURED)
        axes = scan_axes(self.viewer.dims.order, self.viewer.dims.ndisplay)
        if measured is not None and axes == (0, 1, 2) and self.viewer.dims.ndisplay == 2:
            z = int(np.rint(layer.world_to_data(self.viewer.dims.point)[-3:][0]))
            if 0 <= z < len(layer.data):
                self._show(layer, measured, [z])
        self._timer.start()

    def _show(self, layer: Any, measured: _Measured, slices: Any) -> None:
        """Put the readouts into the features of a layer, which napari shows at the cursor."""
        measured.count(layer, slices)
        texts = {
            label: describe_label(values, measured.unit)
            for label, values in measured.statistics.values().items()
        }
        table = layer.features
        labels = list(table["index"]) if "index" in table else []
        rows = sorted({*labels, *texts})
        column = [texts.get(label, "") for label in rows]
        if MEASURED in table and (labels, list(table[MEASURED])) == (rows, column):
            return
        others = {
            name: dict(zip(labels, table[name], strict=True))
            for name in table
            if labels and name not in ("index", MEASURED)
        }
        named = {name: [of.get(label, "") for label in rows] for name, of in others.items()}
        layer.features = {"index": rows, **named, MEASURED: column}


def measure_labels(viewer: napari.Viewer) -> None:
    """Measure the selected labels, or paint new ones on the selected scan: a menu entry."""
    try:
        layer = follower_of(viewer, LabelMeasuring).chosen()
    except TomochromeError as error:
        show_message(sentence(error), "error")
        return
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    follower_of(viewer, LinkedPlanes).shows_value = True
    show_message("Paint a region: its volume and HU are shown at the cursor.")

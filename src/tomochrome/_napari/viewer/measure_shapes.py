"""Measuring on a scan: a Shapes layer whose readouts in mm and HU follow the shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

import napari
import numpy as np
from napari.layers import Labels, Layer, Shapes
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from tomochrome._napari.kit.events import ViewerFollower, follower_of, weakly
from tomochrome._napari.kit.notifications import show_message
from tomochrome._napari.layers.layer_volumes import Placed, check_volume_layer, place
from tomochrome._napari.layers.volume_layers import (
    MEASUREMENTS,
    NOT_SAVED,
    grey_layer,
    layer_transform,
    source_of,
)
from tomochrome._napari.viewer.orientation import is_scan
from tomochrome.errors import InputError, TomochromeError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.measurement import Measurement, describe_measurement, measure
from tomochrome.io.measurement_file import read_measurements, write_measurements
from tomochrome.notices import sentence

COLUMN: Final = "measured"  #: the feature that holds the readouts
NOT_MEASURABLE: Final = "not measurable"
_COLOR: Final = "#ffe14d"
_WIDTH_MM: Final = 0.8
_FILES: Final = "Measurements (*.json)"


_Measured = TypeVar("_Measured")


class MeasuresScans(ViewerFollower, Generic[_Measured]):
    """The layers of a viewer that are measured on its scans, and what is kept for each.

    Subclasses show with a scan what its metadata say was measured on it.
    """

    saved_as: ClassVar[str]  #: the key in the metadata

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._kept: WeakKeyDictionary[Layer, _Measured] = WeakKeyDictionary()
        self._scans: WeakKeyDictionary[Layer, Layer] = WeakKeyDictionary()
        viewer.layers.events.removed.connect(weakly(self._removed))
        self.each_layer(self._opened)

    def _opened(self, scan: Any) -> None:
        """Show what was saved with a scan, once its other layers are there, below the new ones."""
        if scan.metadata.get(self.saved_as):
            show = weakly(self._show_saved)
            QTimer.singleShot(0, lambda: show(scan))

    def _show_saved(self, scan: Any) -> None:
        layers = self.viewer.layers
        if scan in layers and scan not in self._scans.values():
            active = layers.selection.active
            self._add_saved(scan, scan.metadata.get(self.saved_as, ()))
            layers.selection.active = active

    def _add_saved(self, scan: Any, saved: Sequence[Any]) -> None:
        """Add layers with what was saved with a scan."""
        raise NotImplementedError

    def _removed(self, event: Any) -> None:
        """Forget a removed scan, whose voxels would stay in memory; its readouts stay."""
        for layer in [x for x, scan in self._scans.items() if event.value in (x, scan)]:
            self._kept.pop(layer, None)
            self._forget(self._scans.pop(layer, None))

    def _forget(self, scan: Any) -> None:
        """Called with the scan of a layer that is measured no longer."""


class Measuring(MeasuresScans[Placed]):
    """The Shapes layers of a viewer that measure its scans."""

    saved_as = MEASUREMENTS

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._measured: WeakKeyDictionary[Layer, dict[tuple[str, bytes], Measurement | None]]
        self._measured = WeakKeyDictionary()

    def _add_saved(self, scan: Any, saved: Sequence[Measurement | None]) -> None:
        if shapes := [each for each in saved if each is not None]:
            self.add(shapes, self.layer_of(scan))

    def _forget(self, scan: Any) -> None:
        if scan is not None:
            scan.metadata.pop(MEASUREMENTS, None)

    def layer_of(self, scan: Layer) -> Any:
        """Return the Shapes layer of a scan, which is added at first."""
        for layer, measured in self._scans.items():
            if measured is scan and layer in self.viewer.layers:
                return layer
        placed = place(scan)
        layer = Shapes(
            ndim=3,
            name=f"{scan.name} measured",
            features={COLUMN: np.array([], dtype=object)},
            text={"string": f"{{{COLUMN}}}", "color": _COLOR, "size": 11, "anchor": "upper_left"},
            edge_color=_COLOR,
            face_color="transparent",
            opacity=1.0,
            edge_width=_WIDTH_MM / scan.scale[-1],
            **layer_transform(scan),
        )
        self._kept[layer], self._scans[layer] = placed, scan
        self.viewer.add_layer(layer)
        update = weakly(self._update)
        for emitter in (layer.events.data, layer.events.set_data):  # while dragging: set_data
            emitter.connect(lambda event: update(event.source))
        return layer

    def chosen(self) -> Any:
        """Return the Shapes layer of the selected scan, or the selected one.

        Raises
        ------
        InputError
            If no scan is selected, or a view of other layers.
        """
        active = self.viewer.layers.selection.active
        if active in self._kept:
            return active
        return self.layer_of(scan_to_measure(self.viewer.layers, active))

    def measurements(self, layer: Any) -> list[Measurement | None]:
        """Return what each shape of a layer measures; None for what is not measurable."""
        each = zip(layer.data, layer.shape_type, strict=True)
        return [self._measure(layer, data, kind) for data, kind in each]

    def _measure(self, layer: Any, data: Any, kind: str) -> Measurement | None:
        placed = self._kept[layer]
        points = placed.patient_points(layer, data)
        index = apply(np.linalg.inv(placed.volume.affine), points)
        try:
            return measure(placed.volume, kind, index)  # type: ignore[arg-type]
        except InputError:
            return None

    def _update(self, layer: Any) -> None:
        """Show the readouts of the shapes, measuring only those that have changed.

        Those that change after their scan was removed cannot be measured any more.
        """
        before, measured = self._measured.get(layer, {}), []
        for data, kind in zip(layer.data, layer.shape_type, strict=True):
            key = (kind, np.asarray(data).tobytes())
            if key not in before:
                before[key] = self._measure(layer, data, kind) if layer in self._kept else None
            measured.append((key, before[key]))
        self._measured[layer] = dict(measured)
        if layer in self._scans:
            self._scans[layer].metadata[MEASUREMENTS] = tuple(x for _, x in measured)
        readouts = [NOT_MEASURABLE if x is None else describe_measurement(x) for _, x in measured]
        if list(layer.features.get(COLUMN, ())) != readouts:
            layer.features = {COLUMN: np.array(readouts, dtype=object)}

    def save(self, path: str, *, force: bool = False) -> None:
        """Save what the chosen layer measures."""
        measured = self.measurements(self.chosen())
        if not any(measured):
            raise InputError("nothing is measured yet; draw a line or a region first")
        write_measurements([x for x in measured if x is not None], path, force=force)
        if None in measured:
            show_message(NOT_SAVED.format(measured.count(None)), "warning")

    def open(self, path: str) -> None:
        """Add the measurements of a file to the chosen layer; their values are measured anew."""
        saved = read_measurements(path)
        self.add(saved, self.chosen())

    def add(self, saved: Sequence[Measurement], layer: Any) -> None:
        """Add saved measurements to a layer of shapes; their values are measured anew."""
        placed, before = self._kept[layer], len(layer.data)
        # Rounded, because napari shows a shape in the slice on which all its points lie.
        data = [np.round(placed.layer_points(layer, each.points), 6) for each in saved]
        if data:
            layer.add(data, shape_type=[each.shape for each in saved])
        again = self.measurements(layer)[before:]
        pairs = zip(saved, again, strict=True)
        other = sum(new is None or not _agree(old, new) for old, new in pairs)
        if other:
            show_message(
                f"{other} of {len(saved)} measurements have other values here than in the file; "
                "check that it belongs to this scan.",
                "warning",
            )


def scan_to_measure(layers: Any, active: Any) -> Any:
    """Return the grey layer of the selected scan; with labels or nothing selected, of the topmost.

    Raises
    ------
    InputError
        If there is none, or a view of other layers is selected.
    """
    chosen = None if isinstance(active, Labels) else active
    scan = chosen or next(filter(is_scan, reversed(layers)), None)
    if scan is None:
        raise InputError("there is no scan to measure; open one first")
    check_volume_layer(scan)
    source = source_of(scan.metadata)
    if source is not None and source.role == "derived":
        raise InputError(f"'{scan.name}' shows other layers; select the scan to measure")
    grey = None if source is None else grey_layer(layers, scan, source)
    return scan if grey is None else grey


def _agree(saved: Measurement, measured: Measurement) -> bool:
    """Return whether two measurements have the same values, but for rounding."""
    return saved.values.keys() == measured.values.keys() and all(
        np.isclose(value, measured.values[name], rtol=1e-3, atol=1e-2)
        for name, value in saved.values.items()
    )


def _try(action: Callable[[], object]) -> None:
    try:
        action()
    except TomochromeError as error:
        show_message(sentence(error), "error")


def start_measuring(viewer: napari.Viewer) -> None:
    """Draw measurements on the selected scan: a menu entry."""

    def start() -> None:
        layer = follower_of(viewer, Measuring).chosen()
        viewer.layers.selection.active = layer
        layer.mode = "add_line"
        show_message("Line: mm. Polyline of 3 points (a double click ends it): angle. Area: HU.")

    _try(start)


def save_measurements(viewer: napari.Viewer) -> None:
    """Save the measurements of the selected scan: a menu entry."""
    path, _ = QFileDialog.getSaveFileName(None, "Save measurements", "measurements.json", _FILES)
    if path:
        named = path if Path(path).suffix else f"{path}.json"
        # The dialog has asked about the path as it was typed.
        _try(lambda: follower_of(viewer, Measuring).save(named, force=named == path))


def open_measurements(viewer: napari.Viewer) -> None:
    """Open measurements on the selected scan: a menu entry."""
    path, _ = QFileDialog.getOpenFileName(None, "Open measurements", "", _FILES)
    if path:
        _try(lambda: follower_of(viewer, Measuring).open(path))

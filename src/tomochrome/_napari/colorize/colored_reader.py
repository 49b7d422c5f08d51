"""Opening a scan that was saved with its colors: its grey layer and the colored one over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari import current_viewer
from napari.layers import Layer

from tomochrome import io
from tomochrome._napari.colorize.coloring import finished_layer
from tomochrome._napari.kit.jobs import run_waiting
from tomochrome._napari.layers.volume_layers import (
    MEASUREMENTS,
    REGIONS,
    LayerTuple,
    source_of,
    volume_layer,
)
from tomochrome._napari.viewer.viewer_setup import prepare_viewer
from tomochrome.errors import Cancelled
from tomochrome.geometry.orient import closest_axial
from tomochrome.volume import Volume

_NOTHING: list[LayerTuple] = [(None,)]  # type: ignore[list-item]  # npe2: no layer to add


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerTuple]] | None:
    """Return the function that reads ``path``, or None if it is no colored scan."""
    single = path if isinstance(path, str) else path[0] if len(path) == 1 else ""
    return (lambda _: read_layers(single)) if io.is_colored_scan(single) else None


def read_layers(path: str) -> list[LayerTuple]:
    """Read a colored scan in a worker; return its layers, or nothing if the user cancels.

    Raises `TomochromeError` if the file cannot be read.
    """

    def work() -> list[LayerTuple]:
        scan = io.open_colored(path)
        grey = Layer.create(*volume_layer(scan.volume, window=scan.settings.window))
        source = source_of(grey.metadata)
        assert source is not None
        chroma = scan.chroma.on_grid(source.shown)
        colored = finished_layer(grey, source, chroma, scan.settings)
        grey.metadata[MEASUREMENTS] = scan.measurements
        grey.metadata[REGIONS] = tuple(
            closest_axial(Volume(labels, scan.volume.affine, "unknown")).voxels
            for labels in scan.regions
        )
        return [grey.as_layer_data_tuple(), colored.as_layer_data_tuple()]

    viewer = current_viewer()
    if viewer is not None:
        prepare_viewer(viewer)
    try:
        return run_waiting(work, "Opening the scan")
    except Cancelled:
        return _NOTHING

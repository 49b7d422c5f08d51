"""A scan that is opened comes into view, wherever in space it lies."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tomochrome._napari.events import ViewerFollower
from tomochrome._napari.layers import source_of

_LEAST_SEEN: Final = 0.5  #: share of the scan, along each side, that must be in the picture
_LEAST_SIZE: Final = 0.25  #: of the picture that the scan must fill, along one side


class IntoView(ViewerFollower):
    """Brings each scan that is added to a viewer into view, if it is not there already.

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
        if viewer is None or known is None or known.role == "derived" or layer.ndim < 3:
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

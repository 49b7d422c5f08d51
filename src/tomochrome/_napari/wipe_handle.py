"""Dragging the edge of a wipe in the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from tomochrome._napari.compare_layer import Comparison
from tomochrome._napari.layers import layer_position

_REACH_PX: Final = 12.0


class WipeHandle:
    """Lets the user drag the curtain of a comparison; without a wipe on screen it does nothing.

    Parameters
    ----------
    viewer
        The viewer whose canvas is clicked into.
    comparison
        Returns the comparison shown, or None.
    moved
        Called while dragging, whenever the curtain has another place.
    """

    def __init__(
        self,
        viewer: Any,
        comparison: Callable[[], Comparison | None],
        moved: Callable[[Any], None],
    ) -> None:
        self._viewer = viewer
        self._comparison = comparison
        self._moved = moved
        viewer.mouse_drag_callbacks.append(self._drag)

    def release(self) -> None:
        """Let go of the viewer."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        comparison = self._comparison()
        if comparison is None or not self._near(comparison, event):
            return
        camera = viewer.scene.camera
        panning, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                self._follow(comparison, event)
                event.handled = True
                yield
        finally:
            camera.mouse_pan = panning

    def _near(self, comparison: Comparison, event: Any) -> bool:
        """Whether the mouse was pressed on the edge or within a few pixels of it."""
        viewer, layer = self._viewer, comparison.layer
        if event.button != 1 or viewer.dims.ndisplay != 2 or not layer.visible:
            return False
        found = self.plane(comparison)
        if found is None:
            return False
        plane, axis = found
        apart = abs(self._index(layer, event)[axis] - comparison.view.edge(plane))  # type: ignore[attr-defined]
        # In the layer's own units, whether its spacing is a scale or part of an affine.
        ends = [layer.data_to_world(end) for end in (np.zeros(3), np.eye(3)[axis])]
        step = float(np.linalg.norm(np.subtract(ends[1], ends[0])))
        reach = np.full(viewer.dims.ndim, _REACH_PX / float(viewer.scene.camera.zoom))
        return bool(apart * step <= max(layer_position(viewer, layer, reach)[axis], step))

    def _follow(self, comparison: Comparison, event: Any) -> None:
        found = self.plane(comparison)
        if found is None:
            return
        plane, axis = found
        view: Any = comparison.view
        position = view.position(plane, self._index(comparison.layer, event)[axis])
        self._moved(view.settings.moved(plane, position))

    def plane(self, comparison: Comparison) -> tuple[int, int] | None:
        """Return the plane on screen and the axis that the curtain moves along, if it is a wipe."""
        view: Any = comparison.view
        if getattr(view, "mode", "") != "wipe":
            return None
        extra = self._viewer.dims.ndim - comparison.layer.ndim
        hidden = [axis - extra for axis in self._viewer.dims.not_displayed if axis >= extra]
        if len(hidden) != 1:
            return None
        return hidden[0], view.axis(hidden[0])

    def _index(self, layer: Any, event: Any) -> Any:
        return layer.world_to_data(layer_position(self._viewer, layer, event.position))

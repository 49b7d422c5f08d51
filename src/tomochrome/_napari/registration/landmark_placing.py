"""Placing landmarks: one image alone on the canvas with a prompt, and what was shown before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Layer, Points

from tomochrome._napari.kit.events import Connections, before_napari
from tomochrome._napari.kit.narrow_widgets import shortened
from tomochrome._napari.viewer.view_fit import move_planes

PROMPT: Final = "landmark_prompt"  #: name of the overlay on the canvas
_FONT_SIZE: Final = 11
_BOX: Final = (0.1, 0.1, 0.1, 1.0)  # the colors of landmarks are for a dark background
_MAX_NAME: Final = 22  # characters of a layer's name in the prompt, for a narrow canvas


@dataclass(frozen=True)
class Position:
    """The displayed planes and the part of them that is in view, in 2D."""

    point: tuple[float, ...]
    center: tuple[float, ...]
    zoom: float

    @classmethod
    def of(cls, viewer: Any) -> Position:
        """Return the current position of a viewer."""
        camera = viewer.scene.camera
        return cls(tuple(viewer.dims.point), tuple(camera.center), float(camera.zoom))

    def show(self, viewer: Any) -> None:
        """Show this position again."""
        if len(self.point) == viewer.dims.ndim:
            viewer.dims.point = self.point
        viewer.scene.camera.center = self.center
        viewer.scene.camera.zoom = self.zoom


class OnScreen:
    """What a viewer shows: visible layers, planes, camera and selection, to be shown again.

    Creating it changes the viewer to 2D without napari's grid, but no layer and no plane.
    """

    def __init__(self, viewer: Any) -> None:
        dims = viewer.dims
        self._position, self._angles = Position.of(viewer), tuple(viewer.scene.camera.angles)
        self._ndisplay, self._order = dims.ndisplay, tuple(dims.order)
        self._grid = viewer.canvas.grid.enabled
        self._selected = set(viewer.layers.selection)
        self._active = viewer.layers.selection.active
        self._visible: dict[Layer, bool] = {x: x.visible for x in viewer.layers}
        viewer.canvas.grid.enabled = False
        if dims.ndisplay != 2:
            dims.ndisplay = 2
        # Layers can be hidden in 3D only: see `tomochrome._napari.viewer.viewer_setup.GreyIn3D`.
        self._visible_2d = {x: x.visible for x in viewer.layers}

    def add(self, layer: Any, visible: bool) -> None:
        """Include a layer that was added meanwhile."""
        self._visible[layer] = self._visible_2d[layer] = visible

    def forget(self, layer: Any) -> None:
        """Drop references to a removed layer."""
        self._visible.pop(layer, None)
        self._visible_2d.pop(layer, None)
        self._selected.discard(layer)
        if self._active is layer:
            self._active = None

    def show_layers(self, viewer: Any) -> None:
        """Show the layers that were visible, and hide all others."""
        self._show(viewer, self._visible_2d)

    def show(self, viewer: Any) -> None:
        """Show everything again."""
        dims = viewer.dims
        if len(self._order) == dims.ndim:
            dims.order = self._order
        self._position.show(viewer)  # before the layers, so that these are sliced only once
        self.show_layers(viewer)
        if dims.ndisplay != self._ndisplay:
            dims.ndisplay = self._ndisplay
            self._show(viewer, self._visible)
            viewer.scene.camera.angles = self._angles
        viewer.canvas.grid.enabled = self._grid
        self._position.show(viewer)  # napari moves the camera when the planes change
        selection = viewer.layers.selection
        selection.intersection_update(self._selected)
        selection.update(x for x in self._selected if x in viewer.layers)
        if self._active is not None:
            selection.active = self._active

    @staticmethod
    def _show(viewer: Any, visible: dict[Layer, bool]) -> None:
        for layer in viewer.layers:
            _set_visible(layer, visible.get(layer, False))


class Placing:
    """Shows one image at a time with its landmarks, until `end` shows what was there before.

    Layers that are added meanwhile are hidden until the end. It ends by itself when one of its
    layers is removed, and when the user changes to 3D.

    Parameters
    ----------
    viewer
        The viewer.
    ended
        Called after the end.
    """

    def __init__(self, viewer: Any, ended: Callable[[], None]) -> None:
        self._viewer = viewer
        self._ended = ended
        self._before: OnScreen | None = None
        self._shown: tuple[Any, Any] = (None, None)  # image and its Points layer
        self._layers: list[Any] = []
        self._positions: dict[Layer, Position] = {}  # of each image when it was last shown
        self._connections = Connections()
        self._overlay = TextOverlay(
            text=" ",
            position="top_center",  # below the orientation letter
            font_size=_FONT_SIZE,
            box=True,
            box_color=_BOX,
            visible=False,
        )

    @property
    def active(self) -> bool:
        """Whether landmarks are being placed."""
        return self._before is not None

    def begin(self) -> None:
        """Remember what is on screen."""
        if self._before is not None:
            return
        viewer = self._viewer
        self._before = OnScreen(viewer)
        if PROMPT not in viewer.canvas.overlays:
            viewer.canvas.overlays[PROMPT] = self._overlay
        self._connections.add(self._inserted, viewer.layers.events.inserted, last=True)
        self._connections.add(self._removed, viewer.layers.events.removed)
        self._to_3d = before_napari(viewer.dims.events.ndisplay, self._changing_ndisplay)

    def follow(self, *layers: Any) -> None:
        """End as soon as one of these layers is removed."""
        self._layers = list(layers)

    def show(self, image: Any, points: Any) -> None:
        """Show one image alone with its Points layer, and select the latter for adding points."""
        if self._before is None:
            return
        viewer = self._viewer
        if self._shown[0] is not None and self._shown[0] is not image:
            self._positions[self._shown[0]] = Position.of(viewer)
        for other in self._layers:
            if isinstance(other, Points) and other is not points and other is not image:
                other.mode = "pan_zoom"
        self._shown = (image, points)
        for layer in (image, points):
            _set_visible(layer, True)
        for layer in viewer.layers:
            if layer is not image and layer is not points:
                _set_visible(layer, False)
        if not _is_in_view(viewer, image):
            self._bring(image)
        viewer.layers.selection = {points}
        points.mode = "add"

    def prompt(self, text: str, color: str = "white") -> None:
        """Show a text on the canvas above the name of the image; an empty text hides both."""
        if text and self._shown[0] is not None:
            self._overlay.text = f"{text}\n{shortened(self._shown[0].name, _MAX_NAME)}"
            self._overlay.color = color
            self._overlay.visible = True
        else:
            self._overlay.visible = False

    def end(self, *, in_3d: bool = False) -> None:
        """Show what was on screen before; ``in_3d``: only the layers, because 3D is wanted now."""
        before, self._before = self._before, None
        if before is None:
            return
        viewer = self._viewer
        viewer.dims.events.ndisplay.disconnect(self._to_3d)
        self._connections.release()
        self._overlay.visible = False
        for layer in self._layers:
            if isinstance(layer, Points) and layer in viewer.layers:
                layer.mode = "pan_zoom"
        self._shown, self._layers = (None, None), []
        self._positions.clear()
        if in_3d:
            before.show_layers(viewer)
        else:
            before.show(viewer)
        self._ended()

    def release(self) -> None:
        """End, and remove the prompt from the canvas."""
        self.end()
        if self._viewer is not None:
            self._viewer.canvas.overlays.pop(PROMPT, None)
        self._viewer = None

    def _bring(self, image: Any) -> None:
        """Bring an image into view that is not: where it was last shown, or its middle."""
        last = self._positions.get(image)
        if last is not None:
            last.show(self._viewer)
        if last is None or not _is_in_view(self._viewer, image):
            move_planes(self._viewer, image)
            self._viewer.fit_to_view(layers=[image])

    def _inserted(self, event: Any) -> None:
        layer = event.value
        if self._before is not None and self._shown[0] is not None:
            self._before.add(layer, layer.visible)
            layer.visible = False

    def _removed(self, event: Any) -> None:
        if self._before is not None:
            self._before.forget(event.value)
        if any(event.value is layer for layer in self._layers):
            self.end()

    def _changing_ndisplay(self, event: Any) -> None:
        if event.value == 3:
            self.end(in_3d=True)


def _set_visible(layer: Any, visible: bool) -> None:
    """Show or hide a layer; napari updates its entire scene graph even if nothing changes."""
    if layer.visible != visible:
        layer.visible = visible


def _is_in_view(viewer: Any, layer: Any) -> bool:
    """Whether the displayed planes and the middle of the canvas are within a layer."""
    at = np.array(viewer.dims.point)
    at[list(viewer.dims.displayed[-2:])] = viewer.scene.camera.center[-2:]
    low, high = viewer.layers.get_extent([layer]).world
    at = at[-len(low) :]
    return bool((low <= at).all() and (at <= high).all())

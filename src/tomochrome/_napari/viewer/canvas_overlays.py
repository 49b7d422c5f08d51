"""Orientation letters at the edges of the canvas, a scale bar, and a note in 3D.

The texts are napari text overlays, so they appear in every screenshot and exported figure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import numpy as np
from napari.components.overlays import TextOverlay
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import EmitLoopError
from qtpy.QtCore import QTimer

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.layers.volume_layers import source_of, world_affine
from tomochrome._napari.viewer.orientation import is_scan, scan_axes, screen_directions
from tomochrome.color.photograph_look import NOT_FROM_SCANNER
from tomochrome.geometry import edge_letters

#: napari's position of the overlay at each edge.
POSITIONS: Final = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
}
#: Names of the overlays: this prefix and the edge.
PREFIX: Final = "orientation_"
_GLYPHS: Final = "RLAPHF 0123456789m"
_FONT_SIZE: Final = 15
_NOTE_SIZE: Final = 9
_PAUSE_MS: Final = 10
_NARROW: Final = 390  # pixels; narrower, the scale bar covers the letter at the top
_NARROW_FOR_NOTE: Final = 720  # pixels; narrower, the note covers the letter at the bottom
#: Positions of the scale bar: napari's own, ours (notifications cover the corner below), and ours
#: in a narrow canvas, where napari stacks it with the letter of this position.
_BAR_ALONE: Final = "bottom_right"
_BAR_WITH_SCAN: Final = "top_right"
_BAR_NARROW: Final = "top_center"
_NOTE_PLACE: Final = "bottom_left"
#: Text without a scan: the overlays are kept, because creating them is slow.
_BLANK: Final = " "
_CLEAR: Final = (0.0, 0.0, 0.0, 0.0)


def place_of_note(viewer: Any) -> Any:
    """Return where a note is: in a narrow canvas napari stacks it with the letter at the bottom."""
    is_narrow = viewer.canvas.size[1] < _NARROW_FOR_NOTE
    return POSITIONS["bottom"] if is_narrow else _NOTE_PLACE


def lettered_layer(layers: Any) -> Any:
    """Return the layer whose orientation is shown, or None without a scan.

    This is the selected layer if it is a visible scan, otherwise the topmost visible scan,
    otherwise the topmost scan.
    """
    active = layers.selection.active
    if active is not None and active.visible and is_scan(active):
        return active
    scans = [layer for layer in layers if is_scan(layer)]
    return ([layer for layer in scans if layer.visible] or scans or [None])[-1]


def patient_from_world(layer: Any) -> NDArray[np.float64]:
    """Return the 3x3 matrix from directions in napari's world to patient directions, both LPS.

    napari shows an oblique scan upright, but its letters are those of its true affine.
    """
    source = source_of(layer.metadata)
    assert source is not None
    return np.asarray(source.shown.affine @ np.linalg.inv(world_affine(layer)))[:3, :3]


class RenderedGlyphs:
    """Renders the glyphs of a font once for all canvases, each of which has a texture of its own.

    Parameters
    ----------
    renderer
        vispy's renderer of signed distance fields, which calculates each glyph from 256 x 256
        pixels in the GUI thread.
    """

    _rendered: Final[dict[tuple[object, ...], NDArray[np.uint8]]] = {}

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def render_to_texture(
        self, data: NDArray[np.uint8], texture: Any, offset: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """Write a glyph into a texture, as vispy's renderers do.

        Parameters
        ----------
        data
            The glyph: uint8 (y, x).
        texture
            vispy's texture.
        offset, size
            Horizontal and vertical position and size in the texture.
        """
        key = data.tobytes(), data.shape, size
        if key not in self._rendered:
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            self._renderer.render_to_texture(data, picture, (0, 0), size)
            self._rendered[key] = picture
        (x, y), (width, height) = offset, size
        texture[y : y + height, x : x + width, :] = self._rendered[key]


class CanvasOverlays(ViewerFollower):
    """The letters and the scale bar of a viewer while it holds a scan of this plugin.

    In 3D, a note says so if lightness is not the scanner's.

    The scale bar is turned on with the first scan and off with the last, unless the user has
    turned it on or off, and is at the top, where no notification covers it.

    Parameters
    ----------
    viewer
        The viewer, or the viewer model of another canvas.
    canvas
        napari's canvas; by default that of the viewer's window.
    """

    def __init__(self, viewer: Any, canvas: Any = None) -> None:
        super().__init__(viewer)
        self._overlays = {edge: _overlay(place) for edge, place in POSITIONS.items()}
        self._note = _overlay(_NOTE_PLACE, _NOTE_SIZE)
        self._canvas = canvas
        self._bar = viewer.canvas.overlays.scale_bar
        self._holds = False
        self._switching_bar = False
        self._bar_is_automatic = True
        self._bar_place = _BAR_ALONE  # where this class has put it
        self._steps: deque[Callable[[], None]] = deque()
        # A viewer model without a window draws nothing, so all steps can run at once.
        has_canvas = canvas is not None or hasattr(viewer, "window")
        self._timer = QTimer() if has_canvas else None
        if self._timer is not None:
            self._timer.setInterval(_PAUSE_MS)
            self._timer.timeout.connect(self._next_step)
        for edge, overlay in self._overlays.items():
            viewer.canvas.overlays[PREFIX + edge] = overlay
        viewer.canvas.overlays[PREFIX + "note"] = self._note
        self._load_glyphs(_GLYPHS)
        for overlay in self._overlays.values():
            self._soon(partial(setattr, overlay, "visible", True))
            self._soon(partial(setattr, overlay, "box", True))
        self._bar.events.visible.connect(self._bar_switched)
        viewer.canvas.events.size.connect(self._place_bar)
        viewer.canvas.events.size.connect(self._place_note)
        self._follow(viewer)
        self.update()

    def _load_glyphs(self, glyphs: str) -> None:
        """Render the glyphs one by one: in the first canvas each takes 60 ms."""
        # napari has no public name for its canvas, and renders each glyph when it is first drawn.
        with suppress(AttributeError):  # no window, or another version of napari
            canvas = self._canvas or self.viewer.window._qt_viewer.canvas
            info = canvas.font_info()
            font = info.font_manager.get_font(info.face)
            if not isinstance(font._renderer, RenderedGlyphs):
                font._renderer = RenderedGlyphs(font._renderer)
            for glyph in glyphs:
                self._soon(partial(font.__getitem__, glyph))

    @property
    def settled(self) -> bool:
        """Whether all letters have been drawn."""
        return not self._steps

    def stop(self) -> None:
        """Draw nothing more, because the canvas is being closed."""
        self._steps.clear()

    def _follow(self, viewer: Any) -> None:
        camera, dims, layers = viewer.scene.camera, viewer.dims, viewer.layers
        for emitter in (
            camera.events.angles,
            camera.events.orientation,
            dims.events.order,
            dims.events.ndisplay,
            viewer.canvas.grid.events.enabled,
            layers.events.inserted,
            layers.events.removed,
            layers.events.reordered,
            layers.selection.events.active,
        ):
            emitter.connect(self.update, position="last")
        for emitter in (dims.events.ndisplay, layers.events.inserting, layers.events.removing):
            emitter.connect(self._lift_boxes, position="first")
        self.each_layer(self._follow_transform)

    def _follow_transform(self, layer: Any) -> None:
        if is_scan(layer):
            events = layer.events
            for emitter in (events.visible, events.affine, events.rotate, events.scale):
                emitter.connect(self.update)
            events.set_data.connect(self._show_note)  # another preset was drawn

    def _lift_boxes(self, _: object = None) -> None:
        """Hide the boxes behind the letters before napari rebuilds its scene.

        napari would recompile the shaders of all boxes in one pass of the event loop, which takes
        100 ms. They are shown again one after the other.
        """
        for overlay in self._overlays.values() if self._timer is not None else ():
            if overlay.box:
                overlay.box = False
                self._soon(partial(setattr, overlay, "box", True))

    def update(self, _: object = None) -> None:
        """Show the letters for the current view."""
        viewer = self.viewer
        layer = lettered_layer(viewer.layers)
        holds = layer is not None
        if holds != self._holds:
            self._holds = holds
            self._soon(self._set_bar)
        side_by_side = viewer.canvas.grid.enabled
        letters = self._common_letters(viewer) if side_by_side else self._letters(viewer, layer)
        for edge, overlay in self._overlays.items():
            text = letters.get(edge) or _BLANK
            if text != overlay.text:
                overlay.text = text
                overlay.box_color = _CLEAR if text == _BLANK else None
        self._show_note()

    @property
    def _is_noted(self) -> bool:
        """Whether 3D shows colors whose lightness is not the scanner's."""
        return self.viewer.dims.ndisplay == 3 and any(
            layer.visible and getattr(layer.data, "has_own_lightness_in_3d", False)
            for layer in self.viewer.layers
        )

    def _show_note(self, _: object = None) -> None:
        if self._is_noted and self._note.text != NOT_FROM_SCANNER:
            self._load_glyphs("".join(sorted(set(NOT_FROM_SCANNER))))
            self._note.text = NOT_FROM_SCANNER
        if self._is_noted != self._note.visible:
            self._soon(self._switch_note)

    def _switch_note(self) -> None:
        self._place_note()
        self._note.visible = self._is_noted

    def _place_note(self, _: object = None) -> None:
        self._note.position = place_of_note(self.viewer)

    def _letters(self, viewer: Any, layer: Any) -> dict[str, str]:
        axes, camera = scan_axes(viewer.dims.order, viewer.dims.ndisplay), viewer.scene.camera
        if layer is None or axes is None:
            return {}
        view, up = None, None
        if viewer.dims.ndisplay == 3:
            view, up = camera.view_direction, camera.up_direction
        right, up = screen_directions(axes, camera.orientation, view, up)
        matrix = patient_from_world(layer)
        return edge_letters(matrix @ right, matrix @ up)

    def _common_letters(self, viewer: Any) -> dict[str, str]:
        """Return letters valid for all images: all cells of napari's grid show the same ones."""
        shown = [layer for layer in viewer.layers if layer.visible and isinstance(layer, Image)]
        each = [self._letters(viewer, layer if is_scan(layer) else None) for layer in shown]
        return each[0] if each and all(letters == each[0] for letters in each) else {}

    # The scale bar

    def _set_bar(self) -> None:
        self._place_bar()
        if self._bar_is_automatic:
            self._switching_bar = True
            try:
                self._bar.visible = self._holds
            finally:
                self._switching_bar = False

    def _place_bar(self, _: object = None) -> None:
        """Keep the bar clear of notifications and of the letters, unless the user has moved it."""
        if self._bar.position != self._bar_place:
            return
        place = _BAR_ALONE
        if self._holds:
            is_narrow = self.viewer.canvas.size[1] < _NARROW
            place = _BAR_NARROW if is_narrow else _BAR_WITH_SCAN
        self._bar.position = self._bar_place = place

    def _bar_switched(self, _: object = None) -> None:
        if not self._switching_bar:
            self._bar_is_automatic = False

    # Steps run one after the other, because drawing an overlay for the first time is slow

    def _soon(self, step: Callable[[], None]) -> None:
        if self._timer is None:
            step()
            return
        self._steps.append(step)
        if not self._timer.isActive():
            self._timer.start()

    def _next_step(self) -> None:
        if self._steps:
            with suppress(RuntimeError, EmitLoopError):  # the window may be closed already
                self._steps.popleft()()
        elif self._timer is not None:
            self._timer.stop()


def _overlay(position: str, size: float = _FONT_SIZE) -> TextOverlay:
    return TextOverlay(
        text=_BLANK,
        position=position,
        font_size=size,
        box=False,
        box_color=_CLEAR,
        gridded=True,
    )

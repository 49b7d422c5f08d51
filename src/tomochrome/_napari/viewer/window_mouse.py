"""Center and width by dragging with the right mouse button, presets by number keys, as in a PACS.

The keys are bound to the layers of this plugin, not to the viewer: they are active while such a
layer is selected, and all other layers keep napari's keys (1 and 2 for pan and transform mode of
an image, for which there are buttons too). In 3D the right button zooms, as usual in napari.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from napari.layers import Image
from superqt.utils import qdebounced

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.layers.grey_window import open_range, show_window, window_of
from tomochrome._napari.layers.volume_layers import colored_layers, grey_layer, source_of
from tomochrome._napari.viewer.window_labels import KEYS, SHORT_HELP, window_label
from tomochrome.errors import OptionError
from tomochrome.windowing import Window, parse_window

_RIGHT: Final = 2
_WIDTH_PX: Final = 250.0  #: dragging this far to the right multiplies the width by e
_WIDTHS_PER_PX: Final = 1 / 400  #: dragging up by one pixel lowers the center by this
_IDLE_MS: Final = 300


class WindowMouse(ViewerFollower):
    """Lets the right mouse button and the number keys set the window of a viewer's scans."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._changed: weakref.WeakSet[Any] = weakref.WeakSet()
        self._update_thumbnails = qdebounced(self._refresh_thumbnails, timeout=_IDLE_MS)
        viewer.mouse_drag_callbacks.append(self.drag)
        self.each_layer(self._bind)

    def _bind(self, layer: Any) -> None:
        source = source_of(layer.metadata)
        if source is None or source.role == "derived" or not isinstance(layer, Image):
            return  # napari's "Convert to Labels" copies the metadata
        if source.role == "ct":
            open_range(layer)
            layer.events.contrast_limits.connect(self._window_changed)
        for key, choice in KEYS.items():
            layer.bind_key(key, _Choose(self, choice), overwrite=True)
        layer.help = SHORT_HELP  # napari's help names mode keys, which are rebound here

    # Keys

    def choose(self, layer: Any, choice: str) -> None:
        """Apply a preset or the automatic window to the scan of a layer."""
        ct = self._grey_of(layer)
        source = None if ct is None else source_of(ct.metadata)
        if source is None:
            return
        if source.shown.unit != "HU" and choice != "auto":
            self.viewer.status = "This preset is for CT; the scan is not in Hounsfield units"
            return
        now = window_of(ct)
        if now is not None and now.function == "SIGMOID":
            choice = f"{choice}/sigmoid"
        try:
            window = parse_window(choice, source.shown)
        except OptionError:
            return
        self._show(ct, window, choice)

    def _grey_of(self, layer: Any) -> Any:
        """Return the grey layer of a scan: the layer itself, or the one below its colors."""
        source = None if layer is None else source_of(layer.metadata)
        if source is None or source.role == "derived":
            return None
        return grey_layer(self.viewer.layers, layer, source)

    # Dragging

    def drag(self, viewer: Any, event: Any) -> Iterator[None]:
        """Follow a drag with the right button: a callback for the mouse of napari."""
        if event.button != _RIGHT or viewer.dims.ndisplay != 2 or event.modifiers:
            return
        layer = self._grey_of(viewer.layers.selection.active)
        start = None if layer is None else window_of(layer)
        if start is None:
            return
        event.handled = True  # or napari zooms
        x, y = (float(value) for value in event.pos)
        yield
        while event.type == "mouse_move":
            event.handled = True
            across, down = float(event.pos[0]) - x, float(event.pos[1]) - y
            self._show(layer, dragged(start, across, down), None)
            yield

    # Showing

    def _show(self, layer: Any, window: Window, choice: str | None) -> None:
        show_window(layer, window, choice)
        name, numbers = window_label(window)
        if choice is not None and choice.startswith("auto"):
            name = "Automatic"
        if source_of(layer.metadata).shown.unit == "HU":  # type: ignore[union-attr]
            numbers += " HU"
        self.viewer.status = f"Window: {name} {numbers}" if name else f"Window: {numbers}"

    def _window_changed(self, event: Any) -> None:
        """Apply the window to the colored layers of the scan, also if no panel is open."""
        viewer, layer = self.viewer, event.source
        window = window_of(layer)
        if window is None:
            return
        for colored in colored_layers(viewer.layers, layer):
            lit = colored.data
            if not hasattr(lit, "settings") or lit.settings.window == window:
                continue  # a plain copy cannot be relit
            lit.settings = replace(lit.settings, window=window)
            if viewer.dims.ndisplay == 2:
                colored.refresh(extent=False, highlight=False, thumbnail=False)
            self._changed.add(colored)
        self._changed.add(layer)
        self._update_thumbnails()

    def _refresh_thumbnails(self) -> None:
        """Redraw the thumbnails after the last change."""
        for layer in list(self._changed):
            layer.refresh(data_displayed=False, extent=False, highlight=False, thumbnail=True)
        self._changed.clear()


class _Choose:
    """The action of a key on a layer, which does not keep the viewer alive."""

    def __init__(self, mouse: WindowMouse, choice: str) -> None:
        self._mouse = weakref.ref(mouse)
        self._choice = choice
        self.__name__ = f"tomochrome_window_{choice}"
        self.__doc__ = f"Window: {choice.replace('-', ' ')}"

    def __call__(self, layer: Any) -> None:
        mouse = self._mouse()
        if layer.mode != "pan_zoom" and self._choice == "auto":
            layer.mode = "pan_zoom"  # key 1 leaves transform mode, as napari's help says
        elif mouse is not None:
            mouse.choose(layer, self._choice)


def dragged(start: Window, across: float, down: float) -> Window:
    """Return the window after dragging by some pixels to the right and down.

    Dragging to the right widens the window, dragging up makes the image brighter. Both changes are
    relative to the window and thus suit any unit; the values of wide windows stay integers.
    """
    width = start.width * math.exp(across / _WIDTH_PX)
    center = start.center + down * _WIDTHS_PER_PX * start.width
    if start.width >= 2:
        width, center = max(2.0, round(width)), round(center)
    return Window(center, width, start.function)

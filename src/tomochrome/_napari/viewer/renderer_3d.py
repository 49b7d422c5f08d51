"""3D images of a viewer's layers, computed by workers: first at a coarse, then a finer resolution.

The time for a frame is spent in the graphics driver and grows with the number of voxels along each
ray and with the canvas size. A graphics card gets up to 100 million voxels. Mesa's software
renderer (llvmpipe) takes 6.6 s for a frame of 512 x 512 x 234 voxels on two cores, and 1.3 s for
an eighth along each axis; with it, 3D stays coarser.
"""

from __future__ import annotations

import logging
import weakref
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QLabel
from vispy.app import Canvas
from vispy.gloo import gl
from vispy.gloo.context import get_current_canvas

from tomochrome._napari.kit.events import ViewerFollower, before_napari, follower_of
from tomochrome._napari.kit.jobs import JobRunner
from tomochrome._napari.layers.lazy_picture import RenderedByWorker, Rendering, nothing
from tomochrome._napari.viewer.readout import main_window
from tomochrome.geometry.block_grids import Steps, block_steps

FIRST_VOXELS: Final = 1 << 20  #: size of the coarse image, computed in a fraction of a second
SOFTWARE_VOXELS: Final = 3_000_000
HARDWARE_VOXELS: Final = 100_000_000  #: 400 MB of RGBA; a scan of 512 x 512 x 380
_SOFTWARE: Final = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "gdi generic")
_GL_MAX_3D_TEXTURE_SIZE: Final = 0x8073  # which vispy does not define
NOTHING_SHOWN: Final = "3D shows nothing of this scan: choose another preset, or show more tissues"
_LOG = logging.getLogger(__name__)


def renderer_of(viewer: Any) -> Renderer3D:
    """Return the 3D renderer of a viewer, created at the first call."""
    return follower_of(viewer, Renderer3D)


class _Drawing:
    """A layer whose 3D image is computed by workers."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.levels: list[Steps] = []
        self.jobs = JobRunner("tomochrome 3D image")
        self.text = ""
        self.placing = before_napari(layer.events.set_data, self._place)

    def _place(self, _: object) -> None:
        """Place and scale the image, in which each voxel covers a block of the layer's voxels."""
        picture = self.layer.data
        if isinstance(picture, RenderedByWorker) and picture.in_3d:
            # napari has no public name for the transform of data at a reduced resolution.
            tile = self.layer._transforms["tile2data"]
            tile.scale, tile.translate = picture.tile

    def forget(self) -> None:
        """Free the memory of the 3D image, here and in napari's texture."""
        self.jobs.drop()
        self.text = ""
        picture = self.picture
        requested, picture.requested = picture.requested, nothing
        was_in_3d = picture.in_3d
        picture.forget()
        if was_in_3d:
            self.layer.refresh(extent=False, highlight=False, thumbnail=False)
            picture.forget()
        picture.requested = requested

    @property
    def picture(self) -> RenderedByWorker:
        """The current data of the layer, which can be replaced."""
        picture: RenderedByWorker = self.layer.data
        return picture


class Renderer3D(ViewerFollower, QObject):
    """Follows the layers and axes of a viewer without keeping the viewer alive.

    Parameters
    ----------
    viewer
        In 3D, workers compute the images of its layers whose data is a `RenderedByWorker`.
    """

    text_changed = Signal(str)  #: progress message, empty if there is none
    _requested = Signal(object)

    def __init__(self, viewer: Any) -> None:
        QObject.__init__(self)
        ViewerFollower.__init__(self, viewer)
        self.drawings: dict[Any, _Drawing] = {}
        self.text = ""  #: the current message
        self._label: QLabel | None = None
        # napari may slice in another thread; the signal is received in the GUI thread.
        self._requested.connect(self._start)
        before_napari(viewer.dims.events.ndisplay, self._axes_changed)
        viewer.layers.events.removed.connect(self._removed)
        self.each_layer(self._follow)

    # Following the viewer

    def _follow(self, layer: Any) -> None:
        if not isinstance(layer.data, RenderedByWorker) or layer in self.drawings:
            return
        self.drawings[layer] = _Drawing(layer)
        self._listen(layer)
        layer.events.data.connect(self._data_changed)

    def _data_changed(self, event: Any) -> None:
        layer = event.source
        self.drawings[layer].jobs.drop()
        if isinstance(layer.data, RenderedByWorker):
            self._listen(layer)
        else:
            self._disconnect(self.drawings.pop(layer))

    def _listen(self, layer: Any) -> None:
        """Start rendering whenever the layer's data requests it."""
        picture = layer.data
        layer_ref, self_ref = weakref.ref(layer), weakref.ref(self)

        def requested() -> None:
            layer, renderer = layer_ref(), self_ref()
            if layer is not None and renderer is not None:
                renderer._requested.emit(layer)

        picture.requested = requested
        if picture.in_3d and not picture.is_rendered:
            self._start(layer)

    def _removed(self, event: Any) -> None:
        drawing = self.drawings.pop(event.value, None)
        if drawing is None:
            return
        drawing.jobs.drop()
        drawing.picture.requested = nothing
        drawing.picture.forget()
        self._disconnect(drawing)

    def _disconnect(self, drawing: _Drawing) -> None:
        drawing.layer.events.set_data.disconnect(drawing.placing)
        drawing.layer.events.data.disconnect(self._data_changed)
        self._say()

    def _axes_changed(self, _: object = None) -> None:
        if self.viewer.dims.ndisplay == 3:
            return
        for drawing in self.drawings.values():
            drawing.forget()
        self._say()

    def stop(self) -> None:
        """Cancel all rendering because the window is closing."""
        for drawing in self.drawings.values():
            drawing.jobs.drop()

    # Drawing

    def _start(self, layer: Any) -> None:
        drawing = self.drawings.get(layer)
        if drawing is None:
            return
        drawing.jobs.drop()
        spacing = np.abs(np.asarray(layer.scale, dtype=float))[-3:]
        with suppress(AttributeError, RuntimeError):  # no window, or another version of napari
            # The context of a canvas that is closed, as of linked planes, answers no questions.
            self.viewer.window._qt_viewer.canvas._scene_canvas.set_current()
        drawing.picture.longest = longest_texture()
        drawing.levels = levels(layer.data.shape[:3], tuple(spacing))
        self._next(drawing)

    def _next(self, drawing: _Drawing) -> None:
        steps, *drawing.levels = drawing.levels
        picture = drawing.picture
        drawing.jobs.start(
            lambda: picture.render(steps),
            partial(self._done, drawing),
            partial(self._failed, drawing),
        )
        if picture.drawn is None:
            drawing.text = "Computing the 3D image"
        elif picture.is_rendered:
            drawing.text = (
                f"3D preview at {_mm(drawing.layer, picture.drawn.steps)}; computing a finer one"
            )
        else:
            drawing.text = "Updating the 3D image"
        self._say()

    def _done(self, drawing: _Drawing, rendering: Rendering) -> None:
        first = drawing.picture.drawn is None
        drawing.picture.keep(rendering)
        drawing.layer.refresh(extent=False, highlight=False, thumbnail=first)
        if drawing.levels and not rendering.note:
            self._next(drawing)
            return
        drawing.text = f"3D at {_mm(drawing.layer, rendering.steps)}"
        if not rendering.rgba[..., 3].any():
            drawing.text = f"Nothing in 3D: {rendering.note}" if rendering.note else NOTHING_SHOWN
        elif max(rendering.steps) < 1.01:
            drawing.text += ", full resolution"
        else:
            reason = "; no graphics card" if software_rendering() else ""
            drawing.text += f" (scan: {_mm(drawing.layer, (1, 1, 1))}{reason})"
        self._say()

    def _failed(self, drawing: _Drawing, error: Exception) -> None:
        _LOG.error("the 3D image could not be computed", exc_info=error)
        drawing.text = f"The 3D image could not be computed: {error}"
        self._say()

    def _say(self) -> None:
        texts = [drawing.text for drawing in self.drawings.values() if drawing.text]
        text = texts[-1] if texts else ""
        if text == self.text:
            return
        self.text = text
        self._show(text)
        self.text_changed.emit(text)

    def _show(self, text: str) -> None:
        """Show the message in the status bar, because the panel may be closed or covered."""
        window = main_window(self.viewer)
        if window is None:
            return
        if self._label is None:
            self._label = QLabel()
            self._label.setObjectName("tomochrome-3d")
            window.statusBar().addPermanentWidget(self._label)
            self._label.destroyed.connect(self._window_closed)
        self._label.setText(text)
        self._label.setVisible(bool(text))

    def _window_closed(self) -> None:
        self._label = None
        self.stop()


def levels(shape: tuple[int, ...], spacing: tuple[float, ...]) -> list[Steps]:
    """Return the block size of the coarse image, and of the finer one if it differs."""
    max_voxels = SOFTWARE_VOXELS if software_rendering() else HARDWARE_VOXELS
    along = longest_texture()
    coarse = block_steps(shape, spacing, FIRST_VOXELS, along)
    fine = block_steps(shape, spacing, max_voxels, along)
    return [coarse] if fine == coarse else [coarse, fine]


def software_rendering() -> bool:
    """Whether OpenGL draws without a graphics card."""
    return any(word in _graphics()[0].lower() for word in _SOFTWARE)


def longest_texture() -> int:
    """Return the maximum number of voxels along an axis of a 3D image."""
    return _graphics()[1] or 2048


@lru_cache
def _graphics() -> tuple[str, int]:
    """Return the name of the OpenGL renderer, and the maximum length of a 3D texture."""
    canvas = Canvas(show=False) if get_current_canvas() is None else None
    try:
        name, length = map(gl.glGetParameter, (gl.GL_RENDERER, _GL_MAX_3D_TEXTURE_SIZE))
    finally:
        if canvas is not None:
            canvas.close()
    return str(name), int(length or 0)


def _mm(layer: Any, steps: tuple[float, ...]) -> str:
    """Format the size of a block: across × down × between slices, or one number if equal."""
    sizes = np.abs(np.asarray(layer.scale, dtype=float)[-3:]) * steps
    words = [f"{float(f'{size:.2g}'):g}" for size in sizes[::-1]]
    return f"{' × '.join(words) if len(set(words)) > 1 else words[0]} mm"

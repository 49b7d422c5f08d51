"""Work-around for crashes in the graphics driver when layers are removed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from vispy.gloo import gl

from tomochrome._napari.kit.events import ViewerFollower

#: Minimum number of vertex attribute arrays in every desktop OpenGL.
_ARRAYS: Final = 16


class CanvasContext(ViewerFollower):
    """Works around two OpenGL problems when layers are removed.

    napari 0.9 deletes the buffers and textures of a removed layer at once
    (https://github.com/napari/napari/pull/8122), in whatever OpenGL context is current. This is
    usually the one in which Qt composes the window, while the objects are still bound in the
    canvas's context. With Mesa 22.3, a later draw call then read freed memory: a segmentation
    fault in ``glDrawArrays``.

    vispy 0.17 never disables the vertex arrays of the last program. After their buffer has been
    deleted, they point to address 0, from which some drivers read:
    https://github.com/vispy/vispy/issues/1611.

    Parameters
    ----------
    viewer
        The viewer, or the viewer model of another canvas.
    canvas
        napari's canvas; by default that of the viewer's window.
    """

    def __init__(self, viewer: Any, canvas: Any = None) -> None:
        super().__init__(viewer)
        with suppress(AttributeError):  # no window, or another version of napari
            canvas = viewer.window._qt_viewer.canvas if canvas is None else canvas
            self._canvas = canvas._scene_canvas
            self._canvas.events.draw.connect(self._disable_arrays, position="first")
            # napari deletes objects in `removed` and `end_batch`, before the callbacks of plugins.
            viewer.layers.events.begin_batch.connect(self._make_current)
            viewer.layers.events.removing.connect(self._make_current)

    def _make_current(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be closed already
            if self._canvas.native.isValid():
                self._canvas.set_current()
                self._disable_arrays()

    def _disable_arrays(self, _: object = None) -> None:
        for array in range(_ARRAYS):
            gl.glDisableVertexAttribArray(array)

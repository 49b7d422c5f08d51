"""The canvas deletes its buffers in its own OpenGL context, and draws with none that is gone.

napari 0.9 deletes the buffers and textures of a removed layer at once
(https://github.com/napari/napari/pull/8122), in whatever OpenGL context happens to be current.
That is mostly the one in which Qt composes the window, while the objects are still bound in the
canvas's own. With Mesa 22.3 a later drawing then read freed memory: a segmentation fault in
``glDrawArrays``.

vispy 0.17 never switches off the vertex arrays of the last program. Once their buffer is deleted,
they point to address 0, and some drivers read there: https://github.com/vispy/vispy/issues/1611.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from vispy.gloo import gl

#: Every desktop OpenGL has at least so many vertex arrays.
_ARRAYS: Final = 16


class CanvasContext:
    """Keeps the OpenGL context of a viewer's canvas in order.

    Parameters
    ----------
    viewer
        The viewer whose canvas is meant. A model without a window draws nothing.
    """

    def __init__(self, viewer: Any) -> None:
        with suppress(AttributeError):  # a model without a window, or another napari
            self._canvas = viewer.window._qt_viewer.canvas._scene_canvas
            self._canvas.events.draw.connect(self._switch_arrays_off, position="first")
            # napari deletes in `removed` and `end_batch`, before any callback of a plugin.
            viewer.layers.events.begin_batch.connect(self._make_current)
            viewer.layers.events.removing.connect(self._make_current)

    def _make_current(self, _: object = None) -> None:
        with suppress(RuntimeError):  # the window may be gone already
            if self._canvas.native.isValid():
                self._canvas.set_current()
                self._switch_arrays_off()

    def _switch_arrays_off(self, _: object = None) -> None:
        for array in range(_ARRAYS):
            gl.glDisableVertexAttribArray(array)

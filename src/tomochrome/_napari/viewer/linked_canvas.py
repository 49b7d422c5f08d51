"""A canvas of napari beside the viewer's own, with copies of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.qt import QtViewer
from qtpy.QtCore import QRegularExpression, Qt
from qtpy.QtWidgets import QWidget

from tomochrome._napari.kit.controls import stacked
from tomochrome._napari.kit.events import Connections, follower_of
from tomochrome._napari.viewer.canvas_marks import CanvasMarks
from tomochrome._napari.viewer.canvas_overlays import CanvasOverlays
from tomochrome._napari.viewer.gl_workaround import CanvasContext
from tomochrome._napari.viewer.layer_copies import LayerCopies
from tomochrome._napari.viewer.orientation import Orientation
from tomochrome._napari.viewer.slice_wheel import SliceWheel
from tomochrome._napari.viewer.view_fit import BringIntoView
from tomochrome._napari.viewer.window_mouse import WindowMouse
from tomochrome._napari.viewer.wipe_handle import WipeHandle, WipeHandles


class LinkedCanvas(QWidget):
    """Shows the scans of a viewer in another plane, or in another way, with its own camera.

    It has orientation letters, a scale bar, and the lines of wipes. The wheel scrolls, dragging
    with the right button changes the window of the viewer's scan, and the cursor is also that of
    the viewer, whose readouts thus show the value under it.

    Parameters
    ----------
    viewer
        The viewer.
    order
        Order of the axes: the one normal to the plane, vertical, horizontal.
    parent
        Parent widget.
    choose
        Options of `LayerCopies`: which layers are copied, and which copies are visible.
    """

    def __init__(
        self,
        viewer: Any,
        order: tuple[int, ...],
        parent: QWidget,
        **choose: Callable[[Any], bool],
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.model = ViewerModel(title="", ndisplay=2, order=order)
        self.model.theme = viewer.theme
        self.qt_viewer = QtViewer(self.model)
        self.qt_viewer.setAcceptDrops(False)  # files belong to the viewer, as do the keys
        self.native.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        stacked(self, self.qt_viewer, margins=0)
        for kind in (Orientation, BringIntoView, SliceWheel):
            follower_of(self.model, kind)
        self._context = CanvasContext(self.model, self.qt_viewer.canvas)
        self.overlays = CanvasOverlays(self.model, self.qt_viewer.canvas)
        self.copies = LayerCopies(viewer, self.model, **choose)
        self.model.dims.order = order  # adding the first layer resets it
        self.marks = CanvasMarks(self.model, self.native)
        self.model.mouse_drag_callbacks.append(self._drag_window)
        self._connections = Connections()
        self._connections.add(self._pointed, self.model.cursor.events.position)
        self._connections.add(self._theme_changed, viewer.events.theme)
        self._connections.add(self._hide_numbers, self.model.dims.events.ndim, last=True)
        self._hide_numbers()
        self._wipes: dict[WipeHandle, WipeHandle] = {}  # those of the viewer, and their copies
        self._of_viewer = follower_of(viewer, WipeHandles)
        self._of_viewer.changed.append(self._wipes_changed)
        self._wipes_changed()

    @property
    def native(self) -> Any:
        """The widget on which napari draws."""
        return self.qt_viewer.canvas.native

    def release(self) -> None:
        """Stop following the viewer, and close the canvas."""
        self._connections.release()
        self._of_viewer.changed.remove(self._wipes_changed)
        for copy in self._wipes.values():
            copy.release()
        self.overlays.stop()
        self.copies.release()
        self.marks.release()
        with suppress(RuntimeError):  # the window may be closed already
            self.qt_viewer.close()

    def _wipes_changed(self) -> None:
        handles = [x for x in self._of_viewer.all if x.layer in self.copies.of]
        for handle in [x for x in self._wipes if x not in handles]:
            self._wipes.pop(handle).release()
        for handle in handles:
            if handle in self._wipes:
                self._wipes[handle].update()
            else:
                copy = self.copies.of[handle.layer]
                self._wipes[handle] = WipeHandle(self.model, copy, handle.edge, handle.moved)

    def _theme_changed(self, _: object = None) -> None:
        self.model.theme = self.viewer.theme

    def _hide_numbers(self, _: object = None) -> None:
        show_numbers(self.qt_viewer, False)

    def _pointed(self, _: object = None) -> None:
        position = self.model.cursor.position
        if self.native.underMouse() and len(position) == self.viewer.dims.ndim:
            self.viewer.cursor.position = position

    def _drag_window(self, _: Any, event: Any) -> Iterator[None]:
        yield from follower_of(self.viewer, WindowMouse).drag(self.viewer, event)


def show_numbers(canvas: QtViewer, shown: bool) -> None:
    """Show or hide the numbers beside a canvas's sliders, which napari counts from 0.

    The name of a linked plane has the number of the slice, which napari would also cut off.
    """
    for slider in canvas.dims.slider_widgets:
        for label in slider.findChildren(QWidget, QRegularExpression("^slice_label")):
            label.setVisible(shown)


def drag_view(viewer: Any, event: Any) -> Iterator[None]:
    """Move the image with the middle button, or the left one and Shift: a callback for the mouse.

    napari itself moves it with the left button, which moves the crosshair of linked planes.
    """
    if event.button != 3 and not (event.button == 1 and "Shift" in event.modifiers):
        return
    camera = viewer.scene.camera
    shown = list(viewer.dims.displayed)
    start = np.array(event.position)[shown]
    event.handled = True
    yield
    while event.type == "mouse_move":
        event.handled = True
        # The position is that under the moved camera.
        center = np.array(camera.center[-2:]) + start - np.array(event.position)[shown]
        camera.center = (0.0, *center)
        yield

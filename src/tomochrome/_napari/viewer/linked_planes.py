"""Three planes side by side, linked by a crosshair; and grey beside color, linked by the view."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import napari
import numpy as np
from napari.qt import QtViewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QSplitter, QWidget

from tomochrome._napari.kit.controls import stacked
from tomochrome._napari.kit.events import Connections, ViewerFollower, follower_of, weakly
from tomochrome._napari.kit.panel_bases import DockedPanel
from tomochrome._napari.layers.volume_layers import colored_layers, source_of
from tomochrome._napari.viewer.canvas_marks import PLANES, CanvasMarks
from tomochrome._napari.viewer.color_slabs import ColorSlabs
from tomochrome._napari.viewer.linked_canvas import LinkedCanvas, drag_view, show_numbers
from tomochrome._napari.viewer.orientation import is_scan
from tomochrome._napari.viewer.readout import main_window, tissue_at
from tomochrome._napari.viewer.view_fit import fit_to_body

#: Orders of the axes of the axial, coronal and sagittal plane.
ORDERS: Final = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
OFF, PLANES_MODE, GREY_MODE = "off", "planes", "grey"
KEYS: Final = {"Shift-M": PLANES_MODE, "Shift-G": GREY_MODE}
FIT_KEY: Final = "Shift-F"
_SHORT: Final = {"mean": "mean", "maximum": "max", "minimum": "min"}
_PAUSE_MS: Final = 20  # in which the canvas added before is drawn
_WIDE: Final = 1.5  #: width to height of the window's middle from which canvases lie in a row


class CanvasColumn(DockedPanel):
    """The canvases beside the viewer's own; it is closed with the window."""

    def __init__(self, closed: Callable[[], None]) -> None:
        super().__init__()
        self.splitter = QSplitter(self)
        stacked(self, self.splitter, margins=0)
        self._closed = closed

    def cleanup(self) -> None:
        """Close the canvases."""
        self._closed()


class LinkedPlanes(ViewerFollower):
    """Opens and closes the canvases beside that of a viewer, and links them.

    With `PLANES_MODE`, the viewer and two more canvases show the axial, coronal and sagittal plane
    through one position; a click or a drag in one of them moves it. With `GREY_MODE`, a second
    canvas shows the same part of the same plane without color. A double click enlarges a plane.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.mode = OFF
        self.canvases: list[LinkedCanvas] = []
        self.position = np.zeros(3)  #: of the crosshair: world coordinates (z, y, x)
        self.changed: list[Callable[[], None]] = []  #: called when the mode has changed
        self.marks: CanvasMarks | None = None  #: over the canvas of the viewer, once needed
        self._shows_value = False
        self._slabs = follower_of(viewer, ColorSlabs)
        self._slabs.changed.append(weakly(self._slab_changed))
        self._column: CanvasColumn | None = None
        self._connections = Connections()
        self._order = ORDERS[0]  # of the viewer, when the planes were last arranged
        self._before: tuple[int, ...] | None = None  # of the viewer, before one was enlarged
        self._napari: list[Any] = []  # callbacks of a double click
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(weakly(self._catch_up))
        for key, mode in KEYS.items():
            viewer.bind_key(key, _toggle(mode), overwrite=True)
        viewer.bind_key(FIT_KEY, _fit, overwrite=True)
        viewer.cursor.events.position.connect(self._show_value)
        dims, layers = viewer.dims.events, viewer.layers.events
        for emitter in (dims.order, dims.ndisplay, dims.ndim, layers.inserted, layers.removed):
            emitter.connect(self._name_plane, position="last")
        self._name_plane()

    @property
    def is_enlarged(self) -> bool:
        """Whether the viewer's own canvas covers the others."""
        return self._column is not None and self._column.isHidden()

    @property
    def shows_value(self) -> bool:
        """Whether value and tissue are shown beside the cursor."""
        return self._shows_value

    @shows_value.setter
    def shows_value(self, shows: bool) -> None:
        self._shows_value = shows
        for notify in self.changed:
            notify()
        self._own()
        self._show_value()

    def _own(self) -> QtViewer | None:
        """Return the widget of the viewer's own canvas, after adding the marks over it."""
        window = main_window(self.viewer)
        own = None if window is None else window.centralWidget().findChild(QtViewer)
        if own is not None and self.marks is None:
            self.marks = CanvasMarks(self.viewer, own.canvas.native)
            self.marks.entered = weakly(self._show_value)
        return own

    def toggle(self, mode: str) -> None:
        """Open the canvases of a mode, or close them if they are open."""
        self.open(OFF if mode == self.mode else mode)

    def open(self, mode: str) -> None:
        """Show the canvases of a mode; `OFF` closes them."""
        self._close()
        own, viewer = self._own() if mode != OFF else None, self.viewer
        if mode != OFF and (viewer.dims.ndim != 3 or not self._holds_scan):
            viewer.status = "Linked planes need a scan: open one first"
        elif own is not None:
            self.mode = mode
            self._open(own)
        for call in self.changed:
            call()

    def _open(self, own: QtViewer) -> None:
        viewer = self.viewer
        self._order, self.position = tuple(viewer.dims.order), np.array(viewer.dims.point)
        self._column = CanvasColumn(partial(self.open, OFF))
        planes = self.mode == PLANES_MODE
        count = len(ORDERS) - 1 if planes else 1
        for _ in range(count):
            self._column.splitter.addWidget(QWidget())
        self._arrange(own, count)
        show_numbers(own, False)
        self._link(viewer, planes)
        self._napari = _without_zoom(viewer)
        scene = viewer.scene.camera.events
        self._connections.add(self._order_changed, viewer.dims.events.order, last=True)
        self._connections.add(self._layer_removed, viewer.layers.events.removed, last=True)
        self._connections.add(self._show_marks, viewer.dims.events.ndisplay, scene.orientation)
        self._add_canvas()

    def _add_canvas(self) -> None:
        """Add the next canvas; opening one blocks the event loop for half a second."""
        column, viewer, planes = self._column, self.viewer, self.mode == PLANES_MODE
        if column is None or not self._is_incomplete:
            return
        shown = [self._order[0], *(canvas.model.dims.order[0] for canvas in self.canvases)]
        order = next(x for x in ORDERS if x[0] not in shown) if planes else self._order
        choose = {} if planes else {"accepts": _is_no_coloring, "shows": self._shows_grey}
        canvas = LinkedCanvas(viewer, order, column, **choose)
        canvas.marks.entered = weakly(self._show_value)
        place = column.splitter.replaceWidget(len(self.canvases), canvas)
        place.deleteLater()
        self.canvases.append(canvas)
        self._link(canvas.model, planes)
        self.move(self.position)
        if not planes:
            self._camera_moved(viewer)
        # The objects of a canvas soon make Python collect all garbage, which takes 0.3 s: now, not
        # while the user scrolls.
        following = self._add_canvas if self._is_incomplete else self._collect
        QTimer.singleShot(_PAUSE_MS, weakly(following))

    def _collect(self) -> None:
        gc.collect()

    @property
    def _is_incomplete(self) -> bool:
        return self._column is not None and len(self.canvases) < self._column.splitter.count()

    def _arrange(self, own: QtViewer, others: int) -> None:
        """Give all canvases the same width if there is room for a row, else stack the others."""
        column, wide = self._column, own.width() > _WIDE * own.height()
        assert column is not None
        own.setOrientation(Qt.Orientation.Horizontal)
        own.addWidget(column)
        column.splitter.setOrientation(
            Qt.Orientation.Horizontal if wide else Qt.Orientation.Vertical
        )
        share = 1 / (others + 1) if wide or others == 1 else 0.55
        own.setSizes([round(share * own.width()), round((1 - share) * own.width())])
        column.splitter.setSizes([1000] * others)

    def _link(self, canvas: Any, planes: bool) -> None:
        add = self._connections.add
        add(partial(self._scrolled, canvas), canvas.dims.events.point, last=True)
        canvas.mouse_double_click_callbacks.append(self._enlarge)
        if planes:
            canvas.mouse_drag_callbacks += [self._drag, drag_view]
            return
        camera = canvas.scene.camera.events
        add(partial(self._camera_moved, canvas), camera.zoom, camera.center, last=True)
        add(self._pointed, canvas.cursor.events.position)

    def _close(self) -> None:
        if self._column is None:
            return
        viewer, column = self.viewer, self._column
        self._timer.stop()
        self.mode, self._column, self._before = OFF, None, None
        self._connections.release()
        for callbacks in (viewer.mouse_drag_callbacks, viewer.mouse_double_click_callbacks):
            for call in [x for x in callbacks if x in (self._drag, self._enlarge, drag_view)]:
                callbacks.remove(call)
        viewer.mouse_double_click_callbacks += self._napari
        if self.marks is not None:
            self.marks.position = None
        for canvas in self.canvases:
            canvas.release()
        self.canvases = []
        self._show_marks()
        own = self._own()
        if own is not None:
            show_numbers(own, True)
        column.setParent(None)
        column.deleteLater()

    def fit(self) -> None:
        """Fill each canvas with the body."""
        for canvas, _ in self._each():
            fit_to_body(canvas)

    # The position

    def move(self, position: Any) -> None:
        """Show the planes through a position in the world (z, y, x), clipped to the scans."""
        if self.viewer.dims.ndim != 3:
            return  # napari is removing the scan
        low, high, _ = np.array([tuple(each) for each in self.viewer.dims.range]).T
        self.position = np.clip(position, low, high)
        self._show_marks()
        self._timer.start(0)

    @property
    def is_current(self) -> bool:
        """Whether all canvases show the planes through the position."""
        return not self._timer.isActive()

    @property
    def settled(self) -> bool:
        """Whether all canvases show the planes through the position, with their letters."""
        drawn = all(canvas.overlays.settled for canvas in self.canvases)
        return self.is_current and not self._is_incomplete and drawn

    def _catch_up(self) -> None:
        """Move one canvas, so that the event loop can draw it before the next is moved.

        Only the axis normal to its plane is set: napari reads a slice again if another changes. It
        is set to a slice, because napari's sliders would round a position and read a second time.
        """
        for canvas, _ in self._each():
            dims, axis = canvas.dims, canvas.dims.order[-3]
            start, _, step = dims.range[axis]
            index = min(max(0, round((self.position[axis] - start) / step)), dims.nsteps[axis] - 1)
            if dims.current_step[axis] != index:
                dims.set_current_step(axis, index)
                self._timer.start(0)
                return
            self.position[axis] = dims.point[axis]

    def _scrolled(self, canvas: Any, _: object = None) -> None:
        if canvas.dims.ndim != 3:
            return
        axis = canvas.dims.order[-3]
        if canvas.dims.point[axis] != self.position[axis]:
            self.position[axis] = canvas.dims.point[axis]  # on a slice: napari's sliders round
            self._show_marks()
            self._timer.start(0)

    def _drag(self, canvas: Any, event: Any) -> Iterator[None]:
        active, camera = self.viewer.layers.selection.active, canvas.scene.camera
        uses_mouse = canvas is self.viewer and active is not None and active.mode != "pan_zoom"
        if event.button != 1 or event.modifiers or canvas.dims.ndisplay != 2 or uses_mouse:
            return
        yield
        if not camera.mouse_pan:  # the user has taken hold of something, such as a wipe
            return
        shown = list(canvas.dims.displayed)
        while True:
            event.handled = True
            position = self.position.copy()
            position[shown] = np.array(event.position)[shown]
            self.move(position)
            if event.type != "mouse_move":
                return
            yield

    # The planes

    def _enlarge(self, canvas: Any, event: Any) -> None:
        """Show a plane alone, in place of the viewer's own; or all planes again."""
        viewer, column = self.viewer, self._column
        assert column is not None
        event.handled = True
        enlarged = self.is_enlarged
        column.setVisible(enlarged)
        if enlarged and self._before is not None:
            viewer.dims.order, self._before = self._before, None
        elif not enlarged and canvas is not viewer and self.mode == PLANES_MODE:
            self._before = tuple(viewer.dims.order)
            viewer.dims.order = tuple(canvas.dims.order)

    def _order_changed(self, _: object = None) -> None:
        """Show the planes that the viewer does not show."""
        if self.viewer.dims.ndim != 3:
            return
        before, self._order = self._order, tuple(self.viewer.dims.order)
        for canvas in self.canvases:
            dims = canvas.model.dims
            if self.mode == GREY_MODE:
                dims.order = self._order
            elif dims.order[0] == self._order[0]:
                dims.order = ORDERS[before[0]]
        self.move(self.position)

    def _layer_removed(self, _: object = None) -> None:
        QTimer.singleShot(0, self._close_without_scan)  # napari has not removed it yet

    def _close_without_scan(self) -> None:
        if self.viewer is not None and not self._holds_scan:
            self.open(OFF)

    def _each(self) -> list[tuple[Any, CanvasMarks | None]]:
        """Return viewer and marks of each canvas; those without a volume are left out."""
        pairs = [(self.viewer, self.marks), *((x.model, x.marks) for x in self.canvases)]
        return [pair for pair in pairs if pair[0].dims.ndim == 3]

    def _show_value(self, _: object = None) -> None:
        """Show value and tissue beside the cursor, in the canvas where it is."""
        for canvas, marks in self._each():
            if marks is not None and (self._shows_value or marks.text):
                shown = self._shows_value and marks.parentWidget().underMouse()
                marks.text = tissue_at(self.viewer.layers, canvas.cursor.position) if shown else ""
                marks.update()

    def _slab_changed(self) -> None:
        """Name the slab on every canvas, without linked planes too."""
        self._own()
        self._show_marks()

    def _name_plane(self, _: object = None) -> None:
        """Name the plane that the viewer shows, without linked planes too."""
        if self.mode == OFF and (self.marks is not None or self._holds_scan):
            self._own()
            if self.marks is not None:
                self.marks.title = ""  # `_show_marks` leaves out a viewer with a time axis
            self._show_marks()

    @property
    def _holds_scan(self) -> bool:
        return any(map(is_scan, self.viewer.layers))

    def _show_marks(self, _: object = None) -> None:
        slab = self._slabs.slab
        for canvas, marks in self._each():
            if marks is None:
                continue
            dims = canvas.dims
            axis, *shown = dims.order[-3:]
            name, marks.color = PLANES[axis]
            # napari's own numbers are beside the slider of a single plane, and count from 0.
            number = f" {dims.current_step[axis] + 1}/{dims.nsteps[axis]}"
            parts = [f"{name}{number if self.mode != OFF else ''}"]
            if self.mode == GREY_MODE:
                parts.append("color" if canvas is self.viewer else "grayscale")
            elif self.mode == PLANES_MODE:
                marks.position = self.position
            elif not self._holds_scan:
                parts = []
            lines = [" · ".join(parts)] if parts else []
            if slab is not None and parts[1:] != ["grayscale"]:  # short, beside a letter on top
                mm = self._slabs.thickness_mm(axis)
                short = f"{_SHORT[slab.projection]} {mm:g} mm"
                lines.append(short if parts[1:] == ["color"] else f"color {short}")
            marks.title = "\n".join(lines)
            marks.colors = tuple(PLANES[line][1] for line in reversed(shown))
            marks.update()

    # Grey beside color

    def _shows_grey(self, layer: Any) -> bool:
        colored = colored_layers(self.viewer.layers, layer)
        return bool(layer.visible or any(x.visible for x in colored))

    def _camera_moved(self, canvas: Any, _: object = None) -> None:
        """Show the same part of the plane in the other canvas."""
        if not self.canvases:
            return
        other = self.canvases[0].model if canvas is self.viewer else self.viewer
        camera, same = canvas.scene.camera, other.scene.camera
        if canvas.dims.ndisplay == other.dims.ndisplay == 2:
            if not np.isclose(camera.zoom, same.zoom):
                same.zoom = camera.zoom
            if not np.allclose(camera.center[-2:], same.center[-2:]):
                same.center = camera.center

    def _pointed(self, _: object = None) -> None:
        """Mark the position of the cursor in the other canvas."""
        if self.mode == GREY_MODE and self.marks is not None and self.canvases:
            canvas = self.canvases[0]
            in_copy = canvas.native.underMouse()
            self.marks.position = self.viewer.cursor.position if in_copy else None
            canvas.marks.position = None if in_copy else self.viewer.cursor.position
            self.marks.update()
            canvas.marks.update()


def _toggle(mode: str) -> Callable[[Any], None]:
    """Return the function of a key of a viewer."""

    def toggle(viewer: Any) -> None:
        follower_of(viewer, LinkedPlanes).toggle(mode)

    toggle.__name__ = f"tomochrome_{mode}"
    return toggle


def _fit(viewer: Any) -> None:
    """Fill the canvas with the body."""
    follower_of(viewer, LinkedPlanes).fit()


def _without_zoom(viewer: Any) -> list[Any]:
    """Remove, and return, napari's zoom by a double click."""
    callbacks = viewer.mouse_double_click_callbacks
    zoom = [call for call in callbacks if call.__name__ == "double_click_to_zoom"]
    for call in zoom:
        callbacks.remove(call)
    return zoom


def _is_no_coloring(layer: Any) -> bool:
    source = source_of(layer.metadata)
    return source is None or source.role != "color"


def toggle_planes(viewer: napari.Viewer) -> None:
    """Show axial, coronal and sagittal planes side by side, or only one: a menu entry."""
    follower_of(viewer, LinkedPlanes).toggle(PLANES_MODE)


def toggle_grey(viewer: napari.Viewer) -> None:
    """Show grayscale beside color, or only color: a menu entry."""
    follower_of(viewer, LinkedPlanes).toggle(GREY_MODE)

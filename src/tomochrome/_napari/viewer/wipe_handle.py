"""The draggable line of a wipe on the canvas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import SceneOverlay
from numpy.typing import NDArray
from vispy.scene.visuals import Compound, Markers, Mesh

from tomochrome._napari.kit.events import Connections, ViewerFollower, follower_of
from tomochrome._napari.layers.volume_layers import covers, layer_position

#: Amber, visible on grey and on anatomical colors, with a dark outline.
LINE_COLOR: Final = (1.0, 196 / 255, 0.0, 1.0)
_DARK: Final = (0.05, 0.05, 0.05, 1.0)
_LINE_PX: Final = 2.0
_OUTLINE_PX: Final = 4.0
_GRIP_PX: Final = 28.0
#: Two arrowheads in the grip, in pixels: along the line, and across it.
_ARROW_PX: Final = np.array([[-5.0, 3.0], [5.0, 3.0], [0.0, 9.0]])

Point = tuple[float, float]


class WipeLine(SceneOverlay):
    """A line across the image with a round grip, in displayed world coordinates (row, column).

    Attributes
    ----------
    points
        Both ends of the line, and the position of the grip.
    zoom
        Canvas pixels per unit of the displayed world.
    """

    points: tuple[Point, Point, Point] = ((0.0, 0.0), (0.0, 1.0), (0.0, 0.5))
    zoom: float = 1.0


class VispyWipeLine(ViewerOverlayMixin, VispySceneOverlay):
    """Draws a `WipeLine`."""

    overlay: WipeLine

    def __init__(self, **kwargs: Any) -> None:
        self._line, self._grip, self._arrows = Mesh(), Markers(scaling="fixed"), Mesh()
        super().__init__(node=Compound([self._line, self._grip, self._arrows]), **kwargs)
        self.overlay.events.points.connect(self._draw)
        self.overlay.events.zoom.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Redraw the overlay."""
        super().reset()
        self._draw()

    def close(self) -> None:
        """Stop following the overlay."""
        self.overlay.events.points.disconnect(self._draw)
        self.overlay.events.zoom.disconnect(self._draw)
        super().close()

    def _draw(self, _: object = None) -> None:
        start, end, grip = (np.array(point[::-1]) for point in self.overlay.points)
        pixel = 1 / self.overlay.zoom
        length = max(float(np.linalg.norm(end - start)), 1e-9)
        along = (end - start) / length
        frame = np.array([along, [along[1], -along[0]]])  # along the line, across it
        corners = np.array([[0, -0.5], [length, -0.5], [length, 0.5], [0, 0.5]])
        bars = [corners * [1, width * pixel] for width in (_OUTLINE_PX, _LINE_PX)]
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        self._line.set_data(
            _flat(start + np.concatenate(bars) @ frame),
            np.concatenate([faces, faces + 4]),
            face_colors=np.repeat([_DARK, LINE_COLOR], 2, axis=0),
        )
        self._grip.set_data(
            grip[None], size=_GRIP_PX, face_color=LINE_COLOR, edge_color=_DARK, edge_width=2
        )
        arrows = np.concatenate([_ARROW_PX, _ARROW_PX * [1, -1]]) * pixel
        self._arrows.set_data(_flat(grip + arrows @ frame), np.arange(6).reshape(2, 3), color=_DARK)


def _flat(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return points (n, 2) as points (n, 3) in the image plane."""
    return np.pad(points, ((0, 0), (0, 1))).astype(np.float32)


# napari 0.9 has no public way to register how an overlay is drawn.
overlay_to_visual[WipeLine] = VispyWipeLine


_REACH_PX: Final = 14.0
_LAYER_EVENTS: Final = ("visible", "scale", "translate", "rotate", "shear", "affine")

Edge = tuple[int, float]


class WipeHandle:
    """A line with a grip over a layer, which the user can drag.

    It is drawn on the canvas, not into the voxels, and in 2D only. Example: a line through the
    middle of the layer, with one image on its left and another on its right::

        where = {"index": layer.data.shape[2] / 2}

        def edge(viewer):
            axis = screen_axis(viewer, layer)
            return None if axis is None else (axis, where["index"])

        def moved(viewer, axis, index):
            where["index"] = index
            ...  # show the two images divided there; the line is moved automatically

        handle = WipeHandle(viewer, layer, edge, moved)
        ...
        handle.update()   # if ``edge`` returns another value for a reason other than dragging
        handle.release()  # removes the line

    The line is updated automatically when the axes, the zoom, or the layer's position or
    visibility change. Linked canvases show it on their copies of the layer.

    Parameters
    ----------
    viewer
        The viewer on whose canvas the line is drawn.
    layer
        A layer with three dimensions (z, y, x).
    edge
        Returns for a viewer the axis of the layer along which the line moves and the voxel index
        of the line on it (-0.5 is the outer face of the first voxel), or None to hide the line.
    moved
        Called with viewer, axis and index when the user drags the line; the index is clipped to
        the layer.
    """

    def __init__(
        self,
        viewer: Any,
        layer: Any,
        edge: Callable[[Any], Edge | None],
        moved: Callable[[Any, int, float], None],
    ) -> None:
        self._viewer, self.layer = viewer, layer
        self.edge, self.moved = edge, moved
        self.line = WipeLine()
        self._key = f"tomochrome wipe {id(self)}"
        viewer.scene.overlays[self._key] = self.line
        viewer.mouse_drag_callbacks.append(self._drag)
        camera, dims = viewer.scene.camera.events, viewer.dims.events
        self._connections = Connections()
        self._connections.add(
            self.update,
            *(camera.zoom, camera.center, viewer.canvas.events.size),
            *(dims.order, dims.ndisplay, dims.point),
            *(getattr(layer.events, name) for name in _LAYER_EVENTS),
        )
        self._handles = follower_of(viewer, WipeHandles)
        self._handles.all.append(self)
        self.update()

    def release(self) -> None:
        """Remove the line and disconnect from the viewer."""
        self._connections.release()
        if self in self._handles.all:
            self._handles.all.remove(self)
            self._handles.tell()
        self.line.visible = False
        self._viewer.scene.overlays.pop(self._key, None)
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)

    def update(self, _: object = None) -> None:
        """Redraw the line at its current position."""
        self._handles.tell()
        ends = self._ends() if self.layer.visible and not self._is_covered() else None
        if ends is None:
            self.line.visible = False
            return
        start, end = ends
        grip = start + self._middle_on_screen(start, end) * (end - start)
        self.line.zoom = float(self._viewer.scene.camera.zoom)
        self.line.points = (_pair(start), _pair(end), _pair(grip))
        self.line.visible = True

    def _is_covered(self) -> bool:
        """Whether another scan lies above the layer, which the line would seem to divide."""
        layers = self._viewer.layers
        if self.layer not in layers:
            return False
        low, high = self.layer.extent.world
        return any(
            (other.extent.world[0] < high).all() and (other.extent.world[1] > low).all()
            for other in layers[layers.index(self.layer) + 1 :]
            if other.visible and other.ndim == self.layer.ndim and covers(other)
        )

    # Position in displayed world coordinates (row, column)

    def _ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        viewer, layer, edge = self._viewer, self.layer, self.edge(self._viewer)
        shown = _displayed(viewer, layer)
        if edge is None or shown is None or edge[0] not in shown:
            return None
        axis, index = edge
        along = shown[0] if axis == shown[1] else shown[1]
        at = np.array(self._index(viewer.dims.point))
        ends = []
        for place in (-0.5, layer.data.shape[along] - 0.5):
            at[axis], at[along] = index, place
            world = layer.data_to_world(at) / layer_position(viewer, layer, np.ones(layer.ndim))
            ends.append(np.array([world[row] for row in shown]))
        return ends[0], ends[1]

    def _middle_on_screen(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
        """Return the middle of the visible part of the line as a fraction of its length."""
        viewer = self._viewer
        half = np.array(viewer.canvas.size) / 2 / viewer.scene.camera.zoom
        center = np.array(viewer.scene.camera.center[-2:])
        low, high = 0.0, 1.0
        for begin, step, top, bottom in zip(
            start, end - start, center - half, center + half, strict=True
        ):
            if abs(step) > 1e-9:
                near, far = sorted(((top - begin) / step, (bottom - begin) / step))
                low, high = max(low, near), min(high, far)
        return (low + high) / 2 if low < high else 0.5

    def _index(self, position: Any) -> Any:
        return self.layer.world_to_data(layer_position(self._viewer, self.layer, position))

    # Dragging

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or not self.near(event.position):
            return
        camera = viewer.scene.camera
        panning, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                self._follow(event.position)
                event.handled = True
                yield
        finally:
            camera.mouse_pan = panning

    def near(self, position: Any) -> bool:
        """Whether a position in the viewer's world is on the line or within a few pixels of it."""
        if not self.line.visible:
            return False
        start, end = (np.array(point) for point in self.line.points[:2])
        point = np.array([position[axis] for axis in self._viewer.dims.displayed])
        along = end - start
        fraction = float(np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1))
        distance = float(np.linalg.norm(point - start - fraction * along))
        return distance * self.line.zoom <= _REACH_PX

    def _follow(self, position: Any) -> None:
        edge = self.edge(self._viewer)
        if edge is not None:
            axis = edge[0]
            index = float(self._index(position)[axis])
            self.moved(self._viewer, axis, min(max(index, -0.5), self.layer.data.shape[axis] - 0.5))
            self.update()


class WipeHandles(ViewerFollower):
    """The wipe handles of a viewer."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.all: list[WipeHandle] = []
        self.changed: list[Callable[[], None]] = []  #: called when one is added, moved or removed
        layers = viewer.layers.events
        for emitter in (layers.inserted, layers.removed, layers.reordered):
            emitter.connect(self._update, position="last")
        self.each_layer(self._follow)

    def _follow(self, layer: Any) -> None:
        for emitter in (layer.events.visible, layer.events.opacity):
            emitter.connect(self._update)

    def _update(self, _: object = None) -> None:
        for handle in list(self.all):
            handle.update()

    def tell(self) -> None:
        """Call what follows the handles."""
        for call in list(self.changed):
            call()


def screen_axis(viewer: Any, layer: Any) -> int | None:
    """Return the horizontal screen axis of a 3D layer; None in 3D."""
    shown = _displayed(viewer, layer)
    return None if shown is None else shown[1]


def _displayed(viewer: Any, layer: Any) -> tuple[int, int] | None:
    """Return a layer's vertical and horizontal screen axes, None if it is not shown in 2D."""
    extra = viewer.dims.ndim - layer.ndim
    shown = [axis - extra for axis in viewer.dims.displayed]
    return (shown[0], shown[1]) if len(shown) == 2 and min(shown) >= 0 else None


def _pair(point: NDArray[np.float64]) -> tuple[float, float]:
    return float(point[0]), float(point[1])

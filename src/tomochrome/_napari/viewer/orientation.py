"""Camera orientation of a viewer that holds a scan: upright and never mirrored.

The last three world axes (z, y, x) of such a viewer point to superior, posterior and left
(`tomochrome._napari.layers`). By the radiological convention, axial planes are viewed from the
feet with anterior at the top, coronal planes from the front and sagittal planes from the patient's
left, both with superior at the top. Transposed planes are rotated by 90 degrees, not mirrored.
The 3D view starts with the patient viewed from the front, head up.

napari maps the displayed axes (depth, vertical, horizontal) to the screen by its camera's
``orientation``. The default ("towards", "down", "right") mirrors the patient in half of the axis
orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.layers.volume_layers import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Axes = tuple[int, int, int]
Vector = NDArray[np.float64]

#: LPS directions of the world axes z, y and x, as rows.
LPS_OF_AXES: Final = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
#: Whether planes normal to z, y and x are viewed along that axis: from the feet, front and left.
_ALONG: Final = (True, True, False)
_SIGN: Final = {"right": 1, "left": -1, "up": 1, "down": -1, "towards": 1, "away": -1}

_AXIAL: Final = (0, 1, 2)
_SAGITTAL: Final = (2, 0, 1)
_CORONAL: Final = (1, 0, 2)
#: Rolling the axes gives planes rotated by 90 degrees: maps (order before, order after rolling)
#: to the order that shows the same plane upright.
_ROLLED: Final = {
    (_SAGITTAL, (1, 2, 0)): _CORONAL,
    (_AXIAL, (1, 2, 0)): _CORONAL,
    (_CORONAL, (2, 1, 0)): _AXIAL,
    (_CORONAL, (0, 2, 1)): _SAGITTAL,
}


def scan_axes(order: Sequence[int], ndisplay: int) -> Axes | None:
    """Return the axes of a scan (0: z, 1: y, 2: x) along (depth, vertical, horizontal).

    The scan's axes are the last three of the viewer's ``order``. In 2D the depth axis is the one
    normal to the plane. Returns None if another axis, such as time, is displayed.
    """
    extra = len(order) - 3
    displayed = [axis - extra for axis in order[-ndisplay:]]
    if extra < 0 or min(displayed) < 0:
        return None
    if ndisplay == 2:
        displayed.insert(0, 3 - sum(displayed))
    return displayed[0], displayed[1], displayed[2]


def camera_orientation(axes: Axes) -> tuple[str, str, str]:
    """Return the napari camera orientation for the radiological convention.

    ``axes`` are those (0: z, 1: y, 2: x) along depth, vertical and horizontal.
    """
    depth, vertical, horizontal = LPS_OF_AXES[list(axes)]
    towards = -depth if _ALONG[axes[0]] else depth
    # (right, up, towards the viewer) is right-handed, as is LPS.
    up = np.cross(towards, horizontal)
    return (
        "away" if _ALONG[axes[0]] else "towards",
        "up" if up @ vertical > 0 else "down",
        "right",
    )


def unmirrored_depth(axes: Axes, vertical: str, horizontal: str) -> str:
    """Return "away" or "towards", whichever does not mirror the patient in 3D."""
    right, up = screen_directions(axes, ("away", vertical, horizontal))
    return "towards" if np.cross(right, up) @ LPS_OF_AXES[axes[0]] > 0 else "away"


def front_view(axes: Axes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return view and up direction, in displayed axes, that show a patient from the front.

    The view direction is posterior, the up direction superior: arguments of napari's
    ``camera.set_view_direction``.
    """
    posterior, superior = np.eye(3)[list(axes)].T[[1, 0]]
    return tuple(map(float, posterior)), tuple(map(float, superior))


def screen_directions(
    axes: Axes,
    orientation: Sequence[str],
    view: ArrayLike | None = None,
    up: ArrayLike | None = None,
) -> tuple[Vector, Vector]:
    """Return the world directions of right and up on the screen, as LPS unit vectors.

    ``axes`` are those (0: z, 1: y, 2: x) along depth, vertical and horizontal, for which
    ``orientation`` is that of the camera. ``view`` and ``up`` are the camera's directions in
    displayed axes in 3D, None in 2D.
    """
    depth_sign, up_sign, right_sign = (_SIGN[str(way)] for way in orientation)
    displayed = LPS_OF_AXES[list(axes)]
    if view is None or up is None:
        return right_sign * displayed[2], up_sign * displayed[1]
    # napari rotates its home view, which looks along the depth axis. The right direction is the
    # cross product of view and up, with the sign that it has in the home view.
    view, up = np.asarray(view, np.float64), np.asarray(up, np.float64)
    right = -depth_sign * up_sign * right_sign * np.cross(view, up)
    return right @ displayed, up @ displayed


@dataclass(frozen=True)
class Screen:
    """Orientation of a comparison's plane on the screen.

    ``mirrored`` tells for the axes z, y and x whether they are reversed: towards the left, or
    upwards.
    """

    transposed: bool = False  #: whether the second of the plane's two axes is vertical
    mirrored: tuple[bool, bool, bool] = (False, False, False)


def screen_of(viewer: Any, layer: Any) -> Screen:
    """Return how the displayed plane of a 3D layer is oriented on the screen."""
    extra = viewer.dims.ndim - layer.ndim
    shown = [axis - extra for axis in viewer.dims.displayed]
    origin = layer.data_to_world((0, 0, 0))
    ends = [layer.data_to_world(end) for end in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    mirrored = [bool(end[axis] < origin[axis]) for axis, end in enumerate(ends)]
    if len(shown) != 2 or min(shown) < 0:  # in 3D, use the orientation of the slices
        return Screen(False, (mirrored[0], mirrored[1], mirrored[2]))
    for axis, runs, usual in zip(
        shown, viewer.scene.camera.orientation2d, ("down", "right"), strict=True
    ):
        mirrored[axis] ^= str(runs) != usual
    if 0 not in shown:
        mirrored[0] ^= True  # upwards in linked planes
    return Screen(shown[0] > shown[1], (mirrored[0], mirrored[1], mirrored[2]))


def is_scan(layer: Any) -> bool:
    """Whether a layer shows a scan opened by this plugin, or something derived from one."""
    return layer.ndim == 3 and source_of(layer.metadata) is not None


@dataclass(frozen=True)
class _Plane:
    """The 2D view when 3D was entered, and the initial 3D camera."""

    order: tuple[int, ...]
    point: tuple[float, ...]
    center: tuple[float, ...]
    zoom: float
    center_3d: tuple[float, ...]
    zoom_3d: float


class Orientation(ViewerFollower):
    """Shows the scans of a viewer upright and unmirrored, as long as it holds any.

    A rotation by the user, in 2D or 3D, is kept; 3D starts from the front whenever it is entered.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._order = tuple(viewer.dims.order)
        self._before: tuple[Any, ...] | None = None  # camera orientation without scans
        self._setting = False
        self._by_user = False
        self._plane: _Plane | None = None
        viewer.dims.events.order.connect(self._order_changed)
        # These run after napari's own handlers.
        viewer.dims.events.ndisplay.connect(self._ndisplay_changed, position="last")
        viewer.layers.events.inserted.connect(self._layers_changed, position="last")
        viewer.layers.events.removed.connect(self._layers_changed, position="last")
        viewer.scene.camera.events.orientation.connect(self._orientation_changed)
        viewer.events.reset_view.connect(self._view_reset, position="last")
        self._layers_changed()

    # Following the viewer

    def _layers_changed(self, _: object = None) -> None:
        viewer = self.viewer
        held, holds = self._before is not None, any(map(is_scan, viewer.layers))
        camera = viewer.scene.camera
        if holds and not held:
            self._before = tuple(camera.orientation)
            self._look(viewer)
            if viewer.dims.ndisplay == 3:
                self._show_front(viewer)
        elif held and not holds:
            if not self._by_user:
                camera.orientation = self._before
            self._before, self._by_user, self._plane = None, False, None

    def _order_changed(self, _: object = None) -> None:
        viewer = self.viewer
        before, self._order = self._order, tuple(viewer.dims.order)
        if self._before is None:
            return
        upright = _ROLLED.get((before, self._order))
        if upright is not None:
            viewer.dims.order = upright  # emits the event again
            return
        self._look(viewer)
        if viewer.dims.ndisplay == 3:
            self._show_front(viewer)

    def _ndisplay_changed(self, _: object = None) -> None:
        viewer = self.viewer
        if self._before is None:
            return
        self._look(viewer)
        if viewer.dims.ndisplay == 3:
            self._enter_3d(viewer)
        else:
            self._leave_3d(viewer)

    def _orientation_changed(self, _: object = None) -> None:
        if not self._setting and self._before is not None:
            self._by_user = True

    def _view_reset(self, _: object = None) -> None:
        """Show the patient from the front after a reset; napari's home view is from the feet."""
        viewer = self.viewer
        if self._before is None or self._setting or viewer.dims.ndisplay != 3:
            return
        camera = viewer.scene.camera
        axes = scan_axes(viewer.dims.order, 3)
        if axes is None or tuple(camera.angles) != (0.0, 0.0, 0.0):
            return
        directions = camera.view_direction, camera.up_direction
        if not np.allclose(directions, front_view(axes)):
            self._show_front(viewer)

    # Camera

    def _look(self, viewer: Any) -> None:
        """Set the camera orientation for the displayed axes."""
        axes, camera = scan_axes(viewer.dims.order, viewer.dims.ndisplay), viewer.scene.camera
        orientation = self._before if axes is None else camera_orientation(axes)
        if self._by_user:
            if axes is None or viewer.dims.ndisplay == 2:
                return
            vertical, horizontal = map(str, camera.orientation2d)
            orientation = (unmirrored_depth(axes, vertical, horizontal), vertical, horizontal)
        with self._by_plugin():
            camera.orientation = orientation

    def _show_front(self, viewer: Any) -> None:
        axes, camera = scan_axes(viewer.dims.order, 3), viewer.scene.camera
        if axes is None:
            return
        with self._by_plugin():
            camera.set_view_direction(*front_view(axes))
            viewer.fit_to_view()

    def _enter_3d(self, viewer: Any) -> None:
        """Show the patient from the front and store the 2D view to return to."""
        camera, dims = viewer.scene.camera, viewer.dims
        plane = tuple(dims.order), tuple(dims.point), tuple(camera.center), float(camera.zoom)
        self._show_front(viewer)
        self._plane = None
        if camera.synced:  # otherwise napari keeps separate cameras for 2D and 3D
            self._plane = _Plane(*plane, tuple(camera.center), float(camera.zoom))

    def _leave_3d(self, viewer: Any) -> None:
        """Restore the 2D view unless the user moved the camera in 3D.

        napari itself would show the middle of the volume at the zoom of 3D.
        """
        plane, self._plane = self._plane, None
        camera, dims = viewer.scene.camera, viewer.dims
        if plane is None or plane.order != tuple(dims.order):
            return
        if np.allclose(camera.zoom, plane.zoom_3d):
            camera.zoom = plane.zoom
        across = dims.order[-3]
        # napari has moved the slider to the camera center, limited to the slider's range.
        low, high, _ = dims.range[across]
        middle = float(np.clip(plane.center_3d[0], low, high))
        moved = abs(dims.point[across] - middle) > max(dims.range[across].step, 1e-6)
        if not moved and np.allclose(camera.center[1:], plane.center_3d[1:]):
            dims.set_point(across, plane.point[across])
            camera.center = (0.0, *plane.center[1:])

    @contextmanager
    def _by_plugin(self) -> Iterator[None]:
        """Mark camera changes as made by the plugin, not by the user."""
        before, self._setting = self._setting, True
        try:
            yield
        finally:
            self._setting = before

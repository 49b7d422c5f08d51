"""A clipping plane and a crop box in 3D, the same for all layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Final

import numpy as np
from napari.layers.utils.plane import ClippingPlane
from numpy.typing import NDArray
from superqt.utils import qdebounced

from tomochrome._napari.kit.events import ViewerFollower
from tomochrome._napari.layers.lazy_picture import RenderedByWorker
from tomochrome._napari.layers.volume_layers import source_of, world_affine
from tomochrome._napari.viewer.clip_frame import ClipFrame
from tomochrome._napari.viewer.orientation import LPS_OF_AXES, is_scan
from tomochrome.geometry.affine import apply
from tomochrome.rendering.camera import HalfSpace  # light: the rest compiles kernels

Vector = NDArray[np.float64]

AS_SEEN: Final = "view"
AXES: Final = ("x", "y", "z")
_DELAY_MS: Final = 400  #: until what is cropped is computed again, finer
_WHOLE_MM: Final = 0.5  #: a side of the box so near to the end of the scan does not crop it
_MIN_SEEN: Final = 8  #: opacity, of 255
_CHECKED: Final = 1 << 18  #: voxels that are looked at to find out whether any is left
_REACH_PX: Final = 18.0
_FLAT: Final = 0.25  #: sine of the angle to the screen below which a drag up moves a plane away


class Clipping3D(ViewerFollower):
    """Clips what 3D shows by a plane and by a box.

    napari's ``experimental_clipping_planes`` are in the world of the displayed axes, whatever the
    transform of the layer (vispy's coordinate system "scene"), so that all layers get the same.
    Positions and directions here are (x, y, z), LPS as those of the scans' layers.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.axis = ""  #: across which the plane was put, `AS_SEEN`, or "" without a plane
        self.plane: HalfSpace | None = None
        self.box: NDArray[np.float64] | None = None  #: lowest and highest corner, shape (2, 3)
        self.changed: list[Callable[[], None]] = []  #: called when plane, box or scans change
        self._own: list[NDArray[np.float64]] = []  #: position and normal of the planes of layers
        self._left_nothing = False  # when there was something that could be removed
        self.frame = viewer.scene.overlays["tomochrome clipping"] = ClipFrame(visible=False)
        self._refine = qdebounced(self._crop_pictures, timeout=_DELAY_MS)
        dims, camera, layers = viewer.dims.events, viewer.scene.camera.events, viewer.layers.events
        for emitter in (dims.ndisplay, dims.order):
            emitter.connect(self.update, position="last")
        layers.removed.connect(self.update, position="last")
        camera.zoom.connect(self._draw)
        viewer.mouse_drag_callbacks.append(self._drag)
        self.each_layer(self.update)

    # State

    @property
    def extent(self) -> NDArray[np.float64] | None:
        """Lowest and highest corner of the scans, shape (2, 3); None without a scan."""
        corners = [layer.extent.world for layer in self.viewer.layers if is_scan(layer)]
        if not corners:
            return None
        low, high = np.min([c[0] for c in corners], axis=0), np.max([c[1] for c in corners], axis=0)
        return np.asarray([low[::-1], high[::-1]])

    def cut(self, axis: str) -> None:
        """Cut through the middle of the scans across an axis or as seen; "" for no cut.

        The part towards the camera is removed, as by ``tomochrome render --cut``.
        """
        extent, away = self.extent, self.away_from_camera()
        self.axis = axis if extent is not None else ""
        if not self.axis or extent is None:
            self.plane = None
        else:
            if axis in AXES:
                unit = np.eye(3)[AXES.index(axis)]
                away = unit if away @ unit > -1e-6 else -unit
            self.plane = _half(away, away @ extent.mean(axis=0))
        self.update()

    def move(self, at: float) -> None:
        """Move the plane to a position along its normal, within the scans."""
        extent = self.extent
        if self.plane is not None and extent is not None:
            ends = corners_of(extent) @ self.plane.normal
            self.plane = replace(self.plane, at=float(np.clip(at, ends.min(), ends.max())))
            self.update()

    def turn(self) -> None:
        """Show the other side of the plane."""
        if self.plane is not None:
            self.plane = _half(-np.asarray(self.plane.normal), -self.plane.at)
            self.update()

    def crop(self, box: NDArray[np.float64] | None) -> None:
        """Set the corners of the crop box, or None."""
        self.box = box
        self.update()

    def reset(self) -> None:
        """Show everything."""
        self.axis, self.plane, self.box = "", None, None
        self.update()

    @property
    def halves(self) -> list[HalfSpace]:
        """The sides of planes that are seen."""
        return ([] if self.plane is None else [self.plane]) + self._sides()

    def _sides(self) -> list[HalfSpace]:
        extent = self.extent
        if self.box is None or extent is None:
            return []
        return [
            _half(sign * unit, sign * at)
            for sign, sides, ends in zip((1.0, -1.0), self.box, extent, strict=True)
            for unit, at, end in zip(np.eye(3), sides, ends, strict=True)
            if sign * (at - end) > _WHOLE_MM
        ]

    @property
    def nothing_left(self) -> bool:
        """Whether planes and box remove all that the visible layers show in 3D."""
        pictures = [
            (layer, layer.data.drawn)
            for layer in self.viewer.layers
            if layer.visible and isinstance(layer.data, RenderedByWorker)
            and layer.data.drawn is not None
        ]  # fmt: skip
        seen = [_seen_points(layer, drawn) for layer, drawn in pictures]
        points, halves = np.concatenate([np.empty((0, 3)), *seen]), self.halves
        left = np.ones(len(points), bool)
        for half in halves:
            left &= points @ half.normal >= half.at
        if len(points):  # none are left either when a layer has been computed for the box only
            self._left_nothing = not left.any()
        return self._left_nothing and bool(halves)

    # Showing it

    def update(self, _: object = None) -> None:
        """Clip all layers, and draw the outlines of plane and box.

        Both are forgotten with the last scan: the next one may be another patient's.
        """
        if self.extent is None:
            self.axis, self.plane, self.box = "", None, None
        in_3d = self._axes() is not None
        planes = [self._napari_plane(half) for half in self.halves] if in_3d else []
        for layer in self.viewer.layers:
            current = layer.experimental_clipping_planes
            kept = [plane for plane in current if not self._is_own(plane)]
            if planes or len(kept) < len(current):
                layer.experimental_clipping_planes = kept + planes
        self._own = [plane.as_array() for plane in planes]
        self._draw()
        self._refine()
        for call in self.changed:
            call()

    def _is_own(self, plane: ClippingPlane) -> bool:
        """Whether a plane of a layer was set by this object, not by the user; napari copies it."""
        return any(np.allclose(plane.as_array(), own) for own in self._own)

    def _napari_plane(self, half: HalfSpace) -> ClippingPlane:
        normal = self._displayed(np.asarray(half.normal))
        return ClippingPlane(position=tuple(half.at * normal), normal=tuple(normal))

    def _axes(self) -> list[int] | None:
        """Return the displayed axes of a scan (0: z, 1: y, 2: x), None if 3D is not shown."""
        dims = self.viewer.dims
        shown = [axis - (dims.ndim - 3) for axis in dims.displayed]
        return shown if len(shown) == 3 and min(shown) >= 0 else None

    def _displayed(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points or directions (..., 3) in the order of napari's displayed axes."""
        return points[..., ::-1][..., self._axes()]

    def away_from_camera(self) -> Vector:
        """Return the direction from the camera."""
        axes = self._axes()
        view = np.asarray(self.viewer.scene.camera.view_direction, np.float64)
        return view @ LPS_OF_AXES[axes] if axes is not None and len(view) == 3 else np.eye(3)[1]

    def _crop_pictures(self) -> None:
        """Let the images of colored layers be computed for the box only, and finer."""
        for layer in self.viewer.layers if self.viewer is not None else ():
            if hasattr(layer.data, "clip_in_3d"):
                layer.data.clip_in_3d = tuple(patient_half(layer, half) for half in self._sides())

    # The outlines, and the grip of the plane

    def _draw(self, _: object = None) -> None:
        extent = self.extent
        boxed = self.box is not None and bool(self._sides())
        if extent is None or self._axes() is None or not (boxed or self.plane is not None):
            self.frame.visible = False
            return
        frame, box = self.frame, extent if self.box is None else self.box
        frame.box = self._displayed(box[_EDGES, np.arange(3)]) if boxed else None
        frame.outline = frame.arrow = None
        if self.plane is not None:
            outline = plane_outline(box, self.plane)
            middle = self.grip()
            length = 36.0 / float(self.viewer.scene.camera.zoom)
            ends = middle + np.outer((-length, length), self.plane.normal)
            frame.outline = self._displayed(outline) if len(outline) else None
            frame.arrow = self._displayed(np.array([middle, *ends]))
        frame.visible = True
        frame.drawn()

    def grip(self) -> Vector:
        """Return the middle of the plane in the scans or the box."""
        assert self.plane is not None
        box = self.extent if self.box is None else self.box
        assert box is not None
        normal = np.asarray(self.plane.normal)
        outline = plane_outline(box, self.plane)
        middle = np.mean(box, axis=0)
        away = middle - (middle @ normal - self.plane.at) * normal
        return np.asarray(outline.mean(axis=0) if len(outline) else away)

    def _drag(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or self.plane is None or self._axes() is None:
            return
        away = self.away_from_camera()
        start = np.asarray(event.position)[-3:][::-1]
        apart = start - self.grip()
        apart -= (apart @ away) * away
        if float(np.linalg.norm(apart)) * viewer.scene.camera.zoom > _REACH_PX:
            return
        up = np.asarray(viewer.scene.camera.up_direction) @ LPS_OF_AXES[self._axes()]
        normal, at = np.asarray(self.plane.normal), self.plane.at
        along = normal - (normal @ away) * away
        if float(np.linalg.norm(along)) < _FLAT:
            along = up if normal @ away > 0 else -up
        along /= along @ along
        camera = viewer.scene.camera
        panning, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                self.move(at + float((np.asarray(event.position)[-3:][::-1] - start) @ along))
                event.handled = True
                yield
        finally:
            camera.mouse_pan = panning


#: Corners of the edges of a box, as rows of its lowest and highest corner for x, y and z.
_EDGES: Final = np.array(
    [
        [[*rest[:axis], end, *rest[axis:]] for end in (0, 1)]
        for axis in range(3)
        for rest in product((0, 1), repeat=2)
    ]
)


def corners_of(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of a box, shape (8, 3)."""
    return np.array(list(product(*box.T)))


def plane_outline(box: NDArray[np.float64], plane: HalfSpace) -> NDArray[np.float64]:
    """Return the corners, in order, of the polygon in which a plane meets a box, shape (n, 3)."""
    normal = np.asarray(plane.normal)
    ends = box[_EDGES, np.arange(3)]
    depth = ends @ normal - plane.at
    first, last = depth.T
    crossing = (first * last <= 0) & (first != last)
    share = first[crossing] / (first - last)[crossing]
    points = ends[crossing, 0] + share[:, None] * (ends[crossing, 1] - ends[crossing, 0])
    if not len(points):
        return points
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    apart = points - points.mean(axis=0)
    angle = np.arctan2(apart @ np.cross(normal, across), apart @ across)
    return np.asarray(points[angle.argsort()])


def patient_half(layer: Any, half: HalfSpace) -> HalfSpace:
    """Return a side of a plane in napari's world in LPS of the patient; oblique scans differ."""
    source = source_of(layer.metadata)
    assert source is not None
    matrix = source.shown.affine @ np.linalg.inv(world_affine(layer))
    normal = matrix[:3, :3] @ half.normal
    return _half(normal, normal @ apply(matrix, half.at * np.asarray(half.normal)))


def _half(normal: Any, at: Any) -> HalfSpace:
    x, y, z = map(float, normal)
    return HalfSpace((x, y, z), float(at))


def _seen_points(layer: Any, drawn: Any) -> NDArray[np.float64]:
    """Return where a layer's 3D image is not transparent, sampled, in napari's world as LPS."""
    step = int(np.ceil((drawn.rgba[..., 3].size / _CHECKED) ** (1 / 3)))
    index = np.argwhere(drawn.rgba[::step, ::step, ::step, 3] > _MIN_SEEN) * step
    return np.asarray(apply(world_affine(layer), index * drawn.steps + drawn.offset))

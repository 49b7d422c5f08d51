"""The line of a wipe on the canvas: drawn in screen pixels, so it is crisp at every zoom."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import SceneOverlay
from napari.layers.base._base_constants import Blending
from numpy.typing import NDArray
from vispy.scene.visuals import Compound, Markers, Mesh

#: Amber, seen on grey as on anatomical colors, with a dark outline.
LINE_COLOR: Final = (1.0, 196 / 255, 0.0, 1.0)
_DARK: Final = (0.05, 0.05, 0.05, 1.0)
_LINE_PX: Final = 2.0
_OUTLINE_PX: Final = 4.0
_GRIP_PX: Final = 28.0
#: Two arrowheads in the grip, in pixels: along the line, and across it.
_ARROW_PX: Final = np.array([[-5.0, 3.0], [5.0, 3.0], [0.0, 9.0]])

Point = tuple[float, float]


class WipeLine(SceneOverlay):
    """A line across the picture with a round grip, in the displayed world (row, column).

    Attributes
    ----------
    points
        Both ends of the line, and the place of the grip.
    zoom
        Canvas pixels per unit of the displayed world.
    """

    points: tuple[Point, Point, Point] = ((0.0, 0.0), (0.0, 1.0), (0.0, 0.5))
    zoom: float = 1.0
    blending: Blending = Blending.TRANSLUCENT_NO_DEPTH


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
        """Draw it from the overlay's state."""
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
    """Return points (n, 2) as points (n, 3) in the plane of the picture."""
    return np.pad(points, ((0, 0), (0, 1))).astype(np.float32)


overlay_to_visual[WipeLine] = VispyWipeLine

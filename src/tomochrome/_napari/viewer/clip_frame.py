"""The outlines of a clipping plane and a crop box in 3D, with the grip of the plane."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from napari._vispy.overlays.base import ViewerOverlayMixin, VispySceneOverlay
from napari._vispy.utils.visual import overlay_to_visual
from napari.components.overlays import SceneOverlay
from napari.utils.events import Event
from vispy.scene.visuals import Compound, Line, Markers

from tomochrome._napari.viewer.wipe_handle import LINE_COLOR

_BOX_COLOR: Final = (0.75, 0.78, 0.82, 0.7)
_DARK: Final = (0.05, 0.05, 0.05, 1.0)
_GRIP_PX: Final = 22.0


class ClipFrame(SceneOverlay):
    """What is drawn of plane and box, in displayed world coordinates; call `drawn` after changes.

    Attributes
    ----------
    box
        Edges of the box, shape (12, 2, 3), or None.
    outline
        Corners of the plane's outline, shape (n, 3), or None.
    arrow
        The grip in the middle of the plane, and the ends of the arrow through it, shape (3, 3), or
        None.
    """

    blending: Any = "translucent_no_depth"
    box: Any = None
    outline: Any = None
    arrow: Any = None
    revision: int = 0

    def drawn(self) -> None:
        """Draw the current state."""
        self.revision += 1


class VispyClipFrame(ViewerOverlayMixin, VispySceneOverlay):
    """Draws a `ClipFrame`."""

    overlay: ClipFrame

    def __init__(self, **kwargs: Any) -> None:
        self._box = Line(color=_BOX_COLOR, width=1, connect="segments")
        self._plane = Line(color=LINE_COLOR, width=2, connect="segments")
        self._grip = Markers(scaling="fixed")
        super().__init__(node=Compound([self._box, self._plane, self._grip]), **kwargs)
        self.overlay.events.revision.connect(self._draw)
        self.reset()

    def reset(self) -> None:
        """Redraw the overlay."""
        super().reset()
        self._draw()

    def close(self) -> None:
        """Stop following the overlay."""
        self.overlay.events.revision.disconnect(self._draw)
        super().close()

    def _draw(self, _: Event | None = None) -> None:
        frame = self.overlay
        self._box.visible = frame.box is not None
        if frame.box is not None:
            self._box.set_data(_xyz(frame.box))
        self._plane.visible = self._grip.visible = frame.arrow is not None
        if frame.arrow is None:
            return
        lines = [frame.arrow[1:]]
        if frame.outline is not None:
            lines.append(np.stack([frame.outline, np.roll(frame.outline, -1, 0)], axis=1))
        self._plane.set_data(_xyz(np.concatenate([line.reshape(-1, 3) for line in lines])))
        self._grip.set_data(
            _xyz(frame.arrow[:1]),
            size=_GRIP_PX,
            face_color=LINE_COLOR,
            edge_color=_DARK,
            edge_width=2,
        )


def _xyz(points: Any) -> Any:
    """Return points (..., 3) as vispy's (n, 3)."""
    return np.ascontiguousarray(points.reshape(-1, 3)[:, ::-1], np.float32)


# napari 0.9 has no public way to register how an overlay is drawn.
overlay_to_visual[ClipFrame] = VispyClipFrame

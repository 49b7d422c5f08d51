"""What a comparison layer holds: a view of two volumes, and the handle of a wipe drawn on it."""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.lazy_picture import LazyPicture
from tomochrome.compare.base import View
from tomochrome.compare.region import Region
from tomochrome.compare.select import Wipe
from tomochrome.runtime import CancelToken, Progress, check

#: Amber, seen on grey as on anatomical colors.
HANDLE_COLOR: Final = (255, 196, 0, 255)
_LINE_OF_EXTENT: Final = 1 / 450  # how thick the line is
_GRIP_OF_EXTENT: Final = 1 / 45  # radius of the grip in its middle


class ComparePicture(LazyPicture):
    """A view that can be exchanged for another of the same pair.

    Parameters
    ----------
    view
        Of a pair made with ``color=True``: always RGBA.
    """

    def __init__(self, view: View[Any]) -> None:
        super().__init__(view.pair.shape)
        self._view = view

    @property
    def view(self) -> View[Any]:
        """The comparison shown; assign another to change it."""
        return self._view

    @view.setter
    def view(self, view: View[Any]) -> None:
        self._view = view
        self.keep_whole(None)

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region, in a plane with the handle of a wipe."""
        view = self._view
        rgba = view.compute(region)
        if not isinstance(view, Wipe) or region.plane is None:
            return rgba
        return _with_handle(rgba, view, region)

    def solid(
        self, *, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> NDArray[np.uint8]:
        """Compute all of it, clear where it is dark: air would be a black box about the body.

        The opacity goes with the square of the brightness: noise, seen along a whole ray, would
        be a fog.
        """
        whole = self.whole(progress=progress, cancel=cancel)
        opacity = np.rint(np.arange(256) ** 2 / 255).astype(np.uint8)
        for plane in whole:
            check(cancel)
            np.minimum(plane[..., 3], opacity[plane[..., :3].max(axis=-1)], out=plane[..., 3])
        return whole

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return a picture that stays as it is when this one is changed, as a duplicate should."""
        twin: Any = super().__deepcopy__(memo)
        twin._view = copy.copy(self._view)
        twin._view.pair = copy.copy(self._view.pair)
        return twin


def _with_handle(rgba: NDArray[np.uint8], view: Wipe, region: Region) -> NDArray[np.uint8]:
    """Return a copy with the curtain's edge drawn as a line, with a grip in its middle."""
    plane = region.plane or 0
    axis = view.axis(plane)
    along = 3 - plane - axis
    spacing, shape = view.pair.volume.spacing, view.pair.shape
    extent = max(spacing[axis] * shape[axis], spacing[along] * shape[along])
    across_mm = (np.asarray(region.axes[axis]) - view.edge(plane)) * spacing[axis]
    middle = (shape[along] - 1) / 2
    along_mm = np.abs(np.asarray(region.axes[along]) - middle) * spacing[along]
    half_line = max(0.5 * spacing[axis], extent * _LINE_OF_EXTENT / 2)
    radius = max(extent * _GRIP_OF_EXTENT, 1.5 * spacing[axis], 1.5 * spacing[along])
    sizes = [1, 1, 1]
    sizes[axis] = -1
    across = across_mm.reshape(sizes)
    sizes[axis], sizes[along] = 1, -1
    line = (across > -half_line) & (across <= half_line)  # one voxel, also between two
    grip = np.hypot(across, along_mm.reshape(sizes)) <= radius
    out = np.array(rgba)
    out[np.broadcast_to(line | grip, out.shape[:3])] = HANDLE_COLOR
    return out

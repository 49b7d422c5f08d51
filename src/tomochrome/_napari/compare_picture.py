"""What a comparison layer holds: a view of two volumes, computed where it is looked at."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.lazy_picture import LazyPicture, Rendering
from tomochrome.compare.base import View
from tomochrome.compare.region import Region
from tomochrome.geometry.blocks import Steps
from tomochrome.runtime import check


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
        self.outdate()

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region."""
        return self._view.compute(region)

    def render(self, steps: Steps) -> Rendering:
        """Compute all of it, clear where it is dark: air would be a black box about the body.

        The opacity goes with the square of the brightness: noise, seen along a whole ray, would
        be a fog.
        """
        rendering = super().render(steps)
        opacity = np.rint(np.arange(256) ** 2 / 255).astype(np.uint8)
        for plane in rendering.rgba:
            check()
            np.minimum(plane[..., 3], opacity[plane[..., :3].max(axis=-1)], out=plane[..., 3])
        return rendering

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return a picture that stays as it is when this one is changed, as a duplicate should."""
        twin: Any = super().__deepcopy__(memo)
        twin._view = copy.copy(self._view)
        twin._view.pair = copy.copy(self._view.pair)
        return twin

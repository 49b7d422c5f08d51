"""The data of a colored layer: slices are lit on access, 3D images by a worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from tomochrome._napari.colorize.grey_split import GreyPart
from tomochrome._napari.layers.lazy_picture import RenderedByWorker, Rendering, is_block
from tomochrome.color import Chroma, Lighting, LitVolume
from tomochrome.color.alpha import AlphaCurve, alpha_curve, opening_curve
from tomochrome.color.shading import settings_for_3d
from tomochrome.geometry.block_grids import Steps
from tomochrome.geometry.computed import full_index
from tomochrome.volume import Volume


class ColoredPicture(RenderedByWorker, LitVolume):
    """A `LitVolume` whose 3D image, with shaded surfaces, is computed by a worker.

    Slices can be partly grey in the same window and opacity (see `GreyPart`). Blocks, as read for
    a file, are always in color.
    """

    relit = Signal()  #: emitted when settings are assigned, even if no layer is visible

    def __init__(self, volume: Volume, chroma: Chroma, settings: Lighting | None = None) -> None:
        RenderedByWorker.__init__(self)
        LitVolume.__init__(self, volume, chroma, settings)
        self.grey_side: GreyPart | None = None
        self._grey: tuple[Any, LitVolume] | None = None
        self._curve_in_3d: AlphaCurve | None = None
        self._lit_by_viewer = False

    @property
    def lit_by_viewer(self) -> bool:
        """Whether the light of the 3D image comes from the viewer (see `headlight`)."""
        return self._lit_by_viewer

    @lit_by_viewer.setter
    def lit_by_viewer(self, lit: bool) -> None:
        if lit != self._lit_by_viewer:
            self._lit_by_viewer = lit
            self.outdate()

    @property
    def shaded_in_3d(self) -> bool:
        """Whether the light is in the 3D image."""
        return not self._lit_by_viewer

    @property
    def curve_in_3d(self) -> AlphaCurve:
        """Opacity curve of the 3D image.

        Until one is assigned, it is that of the settings, or `opening_curve` if that is for slices.
        """
        if self._curve_in_3d is not None:
            return self._curve_in_3d
        curve = self.settings.alpha
        return opening_curve(self.chroma.tissue_shares()) if curve.for_slices else curve

    @curve_in_3d.setter
    def curve_in_3d(self, curve: str | AlphaCurve) -> None:
        before = self.curve_in_3d
        self._curve_in_3d = alpha_curve(curve)
        if self._curve_in_3d != before:
            self.outdate()

    def keep_curve(self, other: ColoredPicture) -> None:
        """Take over the opacity curve that was assigned to another picture of the same scan."""
        self._curve_in_3d = other._curve_in_3d

    @property
    def settings_in_3d(self) -> Lighting:
        """Rendering settings of the 3D image."""
        return self.settings.replace(alpha=self.curve_in_3d)

    @property
    def settings(self) -> Lighting:
        """The lighting; assign another `Lighting` to change it."""
        return self._state.settings

    @settings.setter
    def settings(self, settings: Lighting) -> None:
        before = settings_for_3d(self.settings_in_3d)
        LitVolume.settings.__set__(self, settings)  # type: ignore[attr-defined]
        if settings_for_3d(self.settings_in_3d) != before:
            self.outdate()
        self.relit.emit()

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return RGBA of the indexed voxels; napari uses the index ``[:, :, :]`` for 3D."""
        if is_block(key):
            return self.block()
        index = full_index(key, 4)
        spatial, channel = index[:3], index[3]
        side, state = self.grey_side, self._state
        picture = self._relit(spatial, state)
        fixed = [axis for axis, index in enumerate(spatial) if not isinstance(index, slice)]
        if side is None or len(fixed) != 1 or side.axis == fixed[0]:
            return picture[..., channel]
        grey = side.holds(np.arange(self.shape[side.axis])[spatial[side.axis]])
        if grey.any():
            down = [axis for axis in range(3) if axis != fixed[0]].index(side.axis) == 0
            mask = grey[:, None, None] if down else grey[None, :, None]
            picture = np.where(mask, self._grey_of(state)[spatial], picture)
        return picture[..., channel]

    def _grey_of(self, state: Any) -> LitVolume:
        """Return the volume without color in a state of the lighting, cached for the next slice."""
        if self._grey is None or self._grey[0] is not state:
            settings = state.settings.replace(saturation=0.0)
            self._grey = state, LitVolume(self.volume, self.chroma, settings)
        self._grey[1].slab = self.slab
        return self._grey[1]

    def render(self, steps: Steps) -> Rendering:
        """Compute the 3D image."""
        rgba = self.lit_in_3d(steps)
        return Rendering(rgba, steps, tuple((step - 1) / 2 for step in steps))

    def __deepcopy__(self, memo: Any) -> ColoredPicture:
        """Return an independent object for another layer that shares the volume."""
        twin = ColoredPicture(self.volume, self.chroma, self.settings)
        twin.keep_curve(self)
        return twin

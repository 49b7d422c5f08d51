"""The data of a colored layer: slices are lit on access, 3D images by a worker."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from tomochrome._napari.colorize.grey_split import NO_PARTS, GreyParts
from tomochrome._napari.layers.lazy_picture import RenderedByWorker, Rendering, is_block
from tomochrome.color import Chroma, Lighting, LitVolume
from tomochrome.color.alpha import AlphaCurve, alpha_curve, opening_curve
from tomochrome.color.photograph_look import colors_of_look
from tomochrome.color.shading import settings_for_3d, shade
from tomochrome.errors import OptionError
from tomochrome.geometry.block_grids import Steps
from tomochrome.geometry.computed import full_index
from tomochrome.rendering import (
    RENDER_PRESETS,
    HalfSpace,
    RenderPreset,
    body_field,
    render_preset,
    selected_preset,
)
from tomochrome.volume import Volume

Preset = RenderPreset | AlphaCurve


class ColoredPicture(RenderedByWorker, LitVolume):
    """A `LitVolume` whose 3D image is computed by a worker.

    The 3D image shows a preset of `tomochrome.rendering`, as pictures do; or the surfaces of an
    opacity curve, for models that do not recognize tissues.

    Slices can be partly grey in the same window and opacity (`grey_parts`, see `GreyPart`).
    Blocks, as read for a file, are always in color.
    """

    relit = Signal()  #: emitted when settings are assigned, even if no layer is visible

    def __init__(self, volume: Volume, chroma: Chroma, settings: Lighting | None = None) -> None:
        RenderedByWorker.__init__(self)
        LitVolume.__init__(self, volume, chroma, settings)
        self.grey_parts: GreyParts = NO_PARTS
        self._grey: tuple[Any, LitVolume] | None = None
        self._preset_in_3d: Preset | None = None
        self._look_in_3d = "standard"
        self._clip: tuple[HalfSpace, ...] = ()
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
    def preset_in_3d(self) -> Preset:
        """What the 3D image shows; assign a preset, an opacity curve, or the name of one.

        Until one is assigned, it is the opacity curve of the settings, or the preset for the region
        of the body if that curve is for slices.
        """
        if self._preset_in_3d is not None:
            return self._preset_in_3d
        curve = self.settings.alpha
        if not curve.for_slices:
            return curve
        shares = self.chroma.tissue_shares()
        return render_preset(shares=shares) if self.chroma.has_tissues else opening_curve(shares)

    @preset_in_3d.setter
    def preset_in_3d(self, preset: str | Preset) -> None:
        before = self.preset_in_3d
        if isinstance(preset, str) and self.chroma.has_tissues:
            preset = RENDER_PRESETS.get(preset, preset)
        self._preset_in_3d = preset if isinstance(preset, RenderPreset) else alpha_curve(preset)
        if self._preset_in_3d != before:
            self.outdate()

    @property
    def look_in_3d(self) -> str:
        """Look of the 3D image of a preset, one of `tomochrome.color.photograph_look.LOOKS`."""
        return self._look_in_3d

    @look_in_3d.setter
    def look_in_3d(self, look: str) -> None:
        if look != self._look_in_3d:
            self._look_in_3d = look
            self.outdate()

    @property
    def has_own_lightness_in_3d(self) -> bool:
        """Whether the lightness of the 3D image is the palette's, and not the scanner's."""
        return isinstance(self.preset_in_3d, RenderPreset)

    @property
    def clip_in_3d(self) -> tuple[HalfSpace, ...]:
        """Sides of planes outside which the 3D image of a preset need not be computed, in LPS."""
        return self._clip

    @clip_in_3d.setter
    def clip_in_3d(self, clip: tuple[HalfSpace, ...]) -> None:
        before, self._clip = self._clip, clip
        if clip != before and isinstance(self.preset_in_3d, RenderPreset):
            self.outdate()

    def keep_preset(self, other: ColoredPicture) -> None:
        """Take over what was assigned to another picture of the same scan."""
        self._preset_in_3d = other._preset_in_3d
        self._look_in_3d = other._look_in_3d

    @property
    def settings_in_3d(self) -> Lighting:
        """Rendering settings of the 3D image."""
        preset, settings = self.preset_in_3d, self.settings
        return settings.replace(alpha=preset) if isinstance(preset, AlphaCurve) else settings

    @property
    def settings(self) -> Lighting:
        """The lighting; assign another `Lighting` to change it."""
        return self._state.settings

    @settings.setter
    def settings(self, settings: Lighting) -> None:
        before = settings_for_3d(self.settings_in_3d), self.preset_in_3d
        LitVolume.settings.__set__(self, settings)  # type: ignore[attr-defined]
        if (settings_for_3d(self.settings_in_3d), self.preset_in_3d) != before:
            self.outdate()
        self.relit.emit()

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return RGBA of the indexed voxels; napari uses the index ``[:, :, :]`` for 3D."""
        if is_block(key):
            return self.block()
        index = full_index(key, 4)
        spatial, channel = index[:3], index[3]
        state = self._state
        picture = self._relit(spatial, state)
        fixed = [axis for axis, index in enumerate(spatial) if not isinstance(index, slice)]
        side = self.grey_parts[fixed[0]] if len(fixed) == 1 else None
        if side is None or side.axis == fixed[0]:
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
        """Compute the 3D image; one of a preset has cubic voxels, about as many as blocks."""
        preset = self.preset_in_3d
        if isinstance(preset, AlphaCurve):
            rgba = self.lit_in_3d(steps)
            return Rendering(rgba, steps, tuple((step - 1) / 2 for step in steps))
        settings = self.settings
        colors, texture = colors_of_look(
            self._look_in_3d, settings.palette, self.volume, self.chroma
        )
        try:
            body = body_field(
                self.volume,
                self.chroma,
                selected_preset(preset, settings.tissues),
                colors,
                saturation=settings.saturation,
                min_confidence=settings.min_confidence,
                texture=texture,
                clip=self._clip,
                longest=self.longest,
                most_voxels=math.prod(-(-n // s) for n, s in zip(self.shape, steps, strict=False)),
            )
        except OptionError as error:
            clear = np.zeros((1, 1, 1, 4), np.uint8)
            middle = tuple((n - 1) / 2 for n in self.shape[:3])
            return Rendering(clear, self.shape[:3], middle, str(error))
        rgba = np.empty((*body.opacity.shape, 4), np.uint8)
        rgba[..., :3] = body.color
        if self.shaded_in_3d:
            rgba[..., :3] = body.color * shade(body.opacity, body.affine, (0.0, 1.0))[..., None]
        rgba[..., 3] = np.rint(255 * (1 - np.power(1 - np.minimum(body.opacity, 1), body.spacing)))
        index = np.linalg.inv(self.volume.affine) @ body.affine  # of the center of a voxel
        return Rendering(rgba, tuple(np.diag(index)[:3]), tuple(index[:3, 3]))

    def __deepcopy__(self, memo: Any) -> ColoredPicture:
        """Return an independent object for another layer that shares the volume."""
        twin = ColoredPicture(self.volume, self.chroma, self.settings)
        twin.keep_preset(self)
        return twin

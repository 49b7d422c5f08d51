"""The layers that show a deformation and a change: Jacobian map, grid, difference of HU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from napari.utils import Colormap
from numpy.typing import NDArray

from tomochrome._napari.layers.layer_volumes import Placed, derived_layer
from tomochrome._napari.layers.lazy_picture import LazyPicture
from tomochrome._napari.layers.volume_layers import LayerTuple, source_of
from tomochrome._napari.registration.register_work import volume_on
from tomochrome.compare.region import Region
from tomochrome.geometry.affine import apply
from tomochrome.registration.change import Spread
from tomochrome.transform import Transform
from tomochrome.volume import Volume

#: Determinants: 0 or less is folded, 1 keeps the volume, 2 doubles it. Blue and orange as in the
#: difference view.
_JACOBIAN_LIMITS: Final = (0.0, 2.0)
_JACOBIAN_COLORS: Final = (
    (1.0, 0.0, 0.3, 1.0),
    (0.0, 0.44, 0.69, 1.0),
    (0.58, 0.77, 1.0, 0.8),
    (0.0, 0.0, 0.0, 0.0),
    (1.0, 0.69, 0.48, 0.8),
    (0.67, 0.32, 0.03, 1.0),
)
_JACOBIAN_PLACES: Final = (0.0, 0.005, 0.25, 0.5, 0.75, 1.0)


def jacobian_layer(jacobian: Volume, fixed: Placed) -> LayerTuple:
    """Build the layer of the Jacobian: transparent where volume is preserved, red where folded."""
    colormap = Colormap(
        np.array(_JACOBIAN_COLORS), controls=list(_JACOBIAN_PLACES), name="tomochrome jacobian"
    )
    if jacobian.outside is not None:  # undefined there: shown as no volume change
        voxels = np.where(jacobian.outside, np.float32(1), jacobian.voxels)
        jacobian = replace(jacobian, voxels=voxels, outside=None)
    return volume_on(
        jacobian,
        fixed,
        "Jacobian map",
        role="derived",
        colormap=colormap,
        contrast_limits=_JACOBIAN_LIMITS,
        blending="translucent",
        opacity=0.6,
    )


def grid_layer(forward: Transform, fixed: Placed) -> LayerTuple:
    """Build the layer of the deformation grid, a `GridPicture`."""
    return derived_layer(GridPicture(forward, fixed.volume), fixed, "Deformation grid")


def change_layer(moved: Any, fixed: Placed, spread: Spread | None) -> LayerTuple:
    """Build the layer of the HU that changed beyond the noise, a `ChangePicture`."""
    source = source_of(moved.metadata)
    assert source is not None and spread is not None
    return derived_layer(ChangePicture(fixed.volume, source.shown, spread), fixed, "Change of HU")


_LESS_MORE: Final = np.array([[0, 112, 176], [232, 120, 20]], np.uint8)  # blue, orange
_STRONGEST_HU: Final = 200.0
_MIN_OPACITY: Final = 90


class ChangePicture(LazyPicture):
    """The moved minus the fixed HU beyond the noise: blue for less, orange for more.

    Parameters
    ----------
    fixed, moved
        Two volumes on one grid.
    spread
        Of what did not change.
    """

    def __init__(self, fixed: Volume, moved: Volume, spread: Spread) -> None:
        super().__init__(fixed.shape)
        self._volumes, self._spread = (fixed, moved), spread

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region, transparent where nothing changed."""
        part = tuple(slice(axis.start, axis.stop, axis.step) for axis in region.axes)
        change = self._spread.beyond(*self._volumes, part)
        strength = np.minimum(np.abs(change) / _STRONGEST_HU, 1)
        out = np.empty((*change.shape, 4), np.uint8)
        out[..., :3] = _LESS_MORE[(change > 0).astype(np.intp)]
        alpha = _MIN_OPACITY + (255 - _MIN_OPACITY) * strength
        out[..., 3] = np.where(change == 0, 0, np.rint(alpha))
        return out


_COLOR: Final = (255, 226, 120)
_LINE_OF_EXTENT: Final = 1 / 500
_OPACITY: Final = 210
_STEPS_MM: Final = (5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
_MIN_STEP_VOXELS: Final = 5  # between lines, so that they stay distinct
_MAX_LINES: Final = 40


class GridPicture(LazyPicture):
    """A regular grid of the moving volume, deformed onto the grid of the fixed volume.

    A slice shows the lines in which it intersects the grid planes of the two in-plane axes. In 3D,
    the edges where two families of grid planes intersect are drawn.

    Parameters
    ----------
    forward
        Transform from points of the fixed volume to points of the moving volume (LPS mm).
    fixed
        The volume whose grid the image has.
    step_mm
        Distance between grid lines in mm of the moving volume; by default a round number that
        suits the grid.
    """

    def __init__(self, forward: Transform, fixed: Volume, step_mm: float | None = None) -> None:
        super().__init__(fixed.shape)
        self._forward = forward
        self._affine = fixed.affine
        self._spacing = np.array(fixed.spacing)
        # Without deformation, the lines are parallel to the axes of the fixed grid.
        self._axes = fixed.affine[:3, :3] / self._spacing
        self._origin = fixed.origin
        extent = float(max(n * s for n, s in zip(fixed.shape, fixed.spacing, strict=True)))
        min_step = max(_MIN_STEP_VOXELS * float(self._spacing.max()), extent / _MAX_LINES)
        default = next((step for step in _STEPS_MM if step >= min_step), min_step)
        self.step_mm = default if step_mm is None else step_mm
        self._width = np.maximum(self._spacing, extent * _LINE_OF_EXTENT)

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region, transparent except for the lines."""
        index = np.stack(np.meshgrid(*map(np.asarray, region.axes), indexing="ij"), axis=-1)
        points = apply(self._affine, index.reshape(-1, 3).astype(np.float64))
        steps = (self._forward.points(points) - self._origin) @ self._axes / self.step_mm
        distances = np.abs(steps - np.rint(steps)) * self.step_mm / self._width
        distances = distances.reshape((*region.shape, 3))
        plane = region.plane
        if plane is None:
            distance = np.sort(distances, axis=-1)[..., 1]
        else:
            distance = np.delete(distances, plane, axis=-1).min(axis=-1)
        cover = np.clip(1.1 - distance, 0, 1)
        out = np.empty((*region.shape, 4), np.uint8)
        out[..., :3] = _COLOR
        out[..., 3] = np.rint(_OPACITY * cover)
        return out

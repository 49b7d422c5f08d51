"""The layers made by a registration: moved volumes and shapes, Jacobian map, deformation grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.layers.grey_window import RANGE_KEY, value_range
from tomochrome._napari.layers.layer_volumes import (
    Placed,
    check_volume_layer,
    patient_affine,
    place,
)
from tomochrome._napari.layers.lazy_picture import LazyPicture
from tomochrome._napari.layers.volume_layers import (
    METADATA_KEY,
    LayerSource,
    LayerTuple,
    color_layer,
    without_path,
)
from tomochrome.compare.region import Region
from tomochrome.errors import InputError
from tomochrome.geometry import reorient_like
from tomochrome.geometry.affine import apply
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.transform import Transform

_ELLIPSE_VERTICES: Final = 48
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


def volume_on(
    volume: Volume, grid: Placed, name: str, *, role: str = "ct", **look: Any
) -> LayerTuple:
    """Build the layer tuple of a volume on the grid of another layer, placed exactly over it.

    ``role`` is that of its `LayerSource`, and ``look`` are additional keywords of the layer.
    """
    volume = without_path(volume)
    kind: Any = "color" if volume.is_rgba else role
    source = LayerSource(kind, reorient_like(volume, grid.stored), volume)
    if volume.is_rgba:
        return color_layer(volume.voxels, source, grid.transform, name)
    metadata: dict[str, Any] = {METADATA_KEY: source}
    if role == "ct":
        metadata[RANGE_KEY] = value_range(volume.voxels)
    keywords = {"name": name, "interpolation2d": "linear", "metadata": metadata}
    return volume.voxels, {**keywords, **grid.transform, **look}, "image"


def look_of(layer: Any) -> dict[str, Any]:
    """Return the display settings of a grey image layer, for a layer that is to look the same."""
    if layer._type_string != "image" or layer.rgb:
        return {}
    low, high = layer.contrast_limits
    return {
        "colormap": layer.colormap,
        "contrast_limits": (float(low), float(high)),
        "gamma": float(layer.gamma),
    }


def moved_volume(layer: Any, source: Placed, target: Placed, to_source: Transform) -> LayerTuple:
    """Resample an image or labels layer, shown over ``source``, onto the grid of ``target``.

    ``to_source`` maps points of ``target`` to points of ``source``.
    """
    check_volume_layer(layer)
    volume = _volume_with(layer, source)
    labels = layer._type_string == "labels"
    order: Any = "nearest" if labels else "linear"
    moved = to_source.apply(volume, target.volume, order=order)
    name = f"{layer.name} · moved"
    if not labels:
        return volume_on(moved, target, name, **look_of(layer))
    _, state, kind = layer.as_layer_data_tuple()
    kept = {"colormap", "opacity", "blending", "contour", "visible"}
    keywords = {key: value for key, value in state.items() if key in kept}
    return moved.voxels, {**keywords, "name": name, **target.transform}, kind


def _volume_with(layer: Any, over: Placed) -> Volume:
    """Return the volume of a layer shown over another one, in patient coordinates."""
    from tomochrome.compare.source import as_volume

    placed = place(layer)
    volume = as_volume(placed.source)
    if volume.is_rgba:
        volume = replace(volume, voxels=np.asarray(volume.voxels))
    if volume.provenance.kind != "napari-layer":
        return volume
    return replace(volume, affine=patient_affine(layer, over))


def moved_drawing(layer: Any, source: Placed, target: Placed, to_target: Transform) -> LayerTuple:
    """Return a Points or Shapes layer, drawn over ``source``, with all points transformed.

    ``to_target`` maps points of ``source`` to points of ``target``. Raises `InputError` if the
    layer does not have three dimensions.
    """
    if layer.ndim != 3:
        raise InputError(
            f"the layer '{layer.name}' has {layer.ndim} dimensions; a transform needs 3D points"
        )

    def move(data: Any) -> NDArray[np.float64]:
        return target.layer_points(layer, to_target.points(source.patient_points(layer, data)))

    data, state, kind = layer.as_layer_data_tuple()
    state = {**state, "name": f"{layer.name} · moved"}
    if kind == "points":
        return (move(data) if len(data) else data), state, kind
    outlines, kinds = [], []
    for corners, shape in zip(data, state["shape_type"], strict=True):
        outlines.append(move(_outline(np.asarray(corners), shape)))
        kinds.append("polygon" if shape in ("ellipse", "rectangle") else shape)
    return outlines, {**state, "shape_type": kinds}, kind


def _outline(corners: NDArray[Any], shape: str) -> NDArray[np.float64]:
    """Return the vertices of a shape; an ellipse, given by its bounding box, becomes a polygon."""
    if shape != "ellipse":
        return np.asarray(corners, dtype=np.float64)
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_VERTICES, endpoint=False)[:, None]
    across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angle) * across + np.sin(angle) * down)


def jacobian_layer(jacobian: Volume, fixed: Placed) -> LayerTuple:
    """Build the layer of the Jacobian: transparent where volume is preserved, red where folded."""
    from napari.utils import Colormap

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


def grid_layer(picture: Any, fixed: Placed) -> LayerTuple:
    """Build the layer of the deformation grid, a `GridPicture`."""
    volume = fixed.volume
    shown = Volume(picture, volume.affine, "RGBA", volume.provenance)
    source = LayerSource("derived", fixed.stored, shown)
    return color_layer(picture, source, fixed.transform, "Deformation grid")


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

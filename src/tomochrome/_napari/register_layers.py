"""The layers that a registration gives: moved volumes and drawings, the Jacobian, the grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.grey_window import RANGE_KEY, value_range
from tomochrome._napari.layers import (
    METADATA_KEY,
    LayerSource,
    LayerTuple,
    color_layer,
    without_path,
)
from tomochrome._napari.lazy_picture import LazyPicture
from tomochrome._napari.register_place import (
    Placed,
    check_volume_layer,
    place,
    true_affine,
)
from tomochrome.compare.region import Region
from tomochrome.errors import InputError
from tomochrome.geometry import reorient_like
from tomochrome.geometry.affine import apply
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.transform import Transform

_ROUND: Final = 48  # corners of the polygon that an ellipse becomes
#: Determinants: folded, shrunk to nothing, kept, doubled. Blue and orange as in a difference.
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
    """Build the layer tuple of a volume that lies on a layer's grid, exactly over that layer.

    Parameters
    ----------
    volume
        On the grid of ``grid.volume``.
    grid
        What it lies over.
    name
        Name of the layer.
    role
        Of `LayerSource`.
    **look
        More keywords of the layer.
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
    """Return how a grey image layer is shown, for a layer that is to look alike."""
    if layer._type_string != "image" or layer.rgb:
        return {}
    low, high = layer.contrast_limits
    return {
        "colormap": layer.colormap,
        "contrast_limits": (float(low), float(high)),
        "gamma": float(layer.gamma),
    }


def moved_volume(layer: Any, there: Placed, here: Placed, fetch: Transform) -> LayerTuple:
    """Return an image or labels layer brought onto another grid.

    Parameters
    ----------
    layer
        It lies with ``there``.
    there, here
        Where it comes from, and on whose grid it goes.
    fetch
        From points of ``here`` to points of ``there``.
    """
    check_volume_layer(layer)
    volume = _volume_with(layer, there)
    labels = layer._type_string == "labels"
    order: Any = "nearest" if labels else "linear"
    moved = fetch.apply(volume, here.volume, order=order)
    name = f"{layer.name} · moved"
    if not labels:
        return volume_on(moved, here, name, **look_of(layer))
    _, state, kind = layer.as_layer_data_tuple()
    kept = {"colormap", "opacity", "blending", "contour", "visible"}
    keywords = {key: value for key, value in state.items() if key in kept}
    return moved.voxels, {**keywords, "name": name, **here.transform}, kind


def _volume_with(layer: Any, there: Placed) -> Volume:
    """Return the volume of a layer, at its true place if it lies with ``there``."""
    from tomochrome.compare.source import as_volume

    placed = place(layer)
    volume = as_volume(placed.source)
    if volume.is_rgba:
        volume = replace(volume, voxels=np.asarray(volume.voxels))
    if volume.provenance.kind != "napari-layer":
        return volume
    return replace(volume, affine=true_affine(layer, there))


def moved_drawing(layer: Any, there: Placed, here: Placed, send: Transform) -> LayerTuple:
    """Return a Points or Shapes layer with every point moved.

    Parameters
    ----------
    layer
        Drawn over ``there``.
    there, here
        Where it was drawn, and where it goes.
    send
        From points of ``there`` to points of ``here``.

    Raises
    ------
    InputError
        If it has not three dimensions.
    """
    if layer.ndim != 3:
        raise InputError(
            f"the layer '{layer.name}' has {layer.ndim} dimensions; a transform moves points with 3"
        )

    def move(data: Any) -> NDArray[np.float64]:
        return here.layer_points(layer, send.points(there.true_points(layer, data)))

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
    """Return points along a shape: an ellipse is a polygon that touches its four corners' box."""
    if shape != "ellipse":
        return np.asarray(corners, dtype=np.float64)
    angle = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)[:, None]
    across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(angle) * across + np.sin(angle) * down)


def jacobian_layer(jacobian: Volume, fixed: Placed) -> LayerTuple:
    """Build the layer of the Jacobian: clear where volume is kept, red where it folds."""
    from napari.utils import Colormap

    colormap = Colormap(
        np.array(_JACOBIAN_COLORS), controls=list(_JACOBIAN_PLACES), name="tomochrome jacobian"
    )
    if jacobian.outside is not None:  # no change of volume is known there
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
_LEAST_VOXELS: Final = 5  # from line to line: less is a thicket
_MOST_LINES: Final = 40


class GridPicture(LazyPicture):
    """Lines on the fixed grid wherever the moving volume has a whole number of steps.

    The lines of a plane are those of the two axes that lie in it: the moving volume's planes cut
    the slice there. In a block (3D), the edges where two families meet are drawn.

    Parameters
    ----------
    forward
        From the fixed volume's points to the moving volume's, LPS mm.
    fixed
        Its grid is that of the picture.
    step_mm
        Distance between lines, in mm of the moving volume; None: a round number that the grid
        can show.
    """

    def __init__(self, forward: Transform, fixed: Volume, step_mm: float | None = None) -> None:
        super().__init__(fixed.shape)
        self._forward = forward
        self._affine = fixed.affine
        self._spacing = np.array(fixed.spacing)
        # The lines run along the fixed grid's own axes where nothing is deformed.
        self._axes = fixed.affine[:3, :3] / self._spacing
        self._origin = fixed.origin
        extent = float(max(n * s for n, s in zip(fixed.shape, fixed.spacing, strict=True)))
        least = max(_LEAST_VOXELS * float(self._spacing.max()), extent / _MOST_LINES)
        usual = next((step for step in _STEPS_MM if step >= least), least)
        self.step_mm = usual if step_mm is None else step_mm
        self._width = np.maximum(self._spacing, extent * _LINE_OF_EXTENT)

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region: clear but for the lines."""
        index = np.stack(np.meshgrid(*map(np.asarray, region.axes), indexing="ij"), axis=-1)
        points = apply(self._affine, index.reshape(-1, 3).astype(np.float64))
        steps = (self._forward.points(points) - self._origin) @ self._axes / self.step_mm
        apart = np.abs(steps - np.rint(steps)) * self.step_mm / self._width
        apart = apart.reshape((*region.shape, 3))
        plane = region.plane
        if plane is None:
            distance = np.sort(apart, axis=-1)[..., 1]
        else:
            distance = np.delete(apart, plane, axis=-1).min(axis=-1)
        cover = np.clip(1.1 - distance, 0, 1)
        out = np.empty((*region.shape, 4), np.uint8)
        out[..., :3] = _COLOR
        out[..., 3] = np.rint(_OPACITY * cover)
        return out

"""The layers that a registration gives: moved volumes and drawings, the Jacobian, the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.grey_window import RANGE_KEY, value_range
from tomochrome._napari.layers import (
    METADATA_KEY,
    LayerSource,
    LayerTuple,
    color_keywords,
    without_path,
)
from tomochrome._napari.register_place import (
    Placed,
    check_volume_layer,
    place,
    true_affine,
)
from tomochrome.errors import InputError
from tomochrome.geometry import reorient_like
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.transform import Transform

_PLACE: Final = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
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
    stored = reorient_like(volume, grid.stored)
    kind: Any = "color" if volume.is_rgba else role
    keywords: dict[str, Any] = {
        "name": name,
        "interpolation2d": "linear",
        "metadata": {METADATA_KEY: LayerSource(kind, stored, volume)},
        **grid.transform,
    }
    if volume.is_rgba:
        keywords.update(color_keywords())
    else:
        keywords.update(look)
        if role == "ct":
            keywords["metadata"][RANGE_KEY] = value_range(volume.voxels)
    return volume.voxels, keywords, "image"


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
    keywords: Mapping[str, Any] = {
        "name": "Deformation grid",
        "metadata": {METADATA_KEY: LayerSource("derived", fixed.stored, shown)},
        **color_keywords(),
        **fixed.transform,
    }
    return picture, dict(keywords), "image"

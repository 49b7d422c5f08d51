"""The work of the panel: register, load, apply and save a transform, and the layers moved by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes
from numpy.typing import NDArray

from tomochrome._napari.layers.grey_window import RANGE_KEY, is_grey_image, value_range
from tomochrome._napari.layers.layer_volumes import (
    Placed,
    check_grey_layer,
    check_two,
    mask_of,
    moved_by_hand,
    patient_affine,
    place,
)
from tomochrome._napari.layers.volume_layers import (
    METADATA_KEY,
    LayerSource,
    LayerTuple,
    color_layer,
    kind_of,
    without_path,
)
from tomochrome.errors import InputError
from tomochrome.geometry import reorient_like
from tomochrome.notices import Notice
from tomochrome.registration.change import Spread, noise_of_difference
from tomochrome.runtime import check, report
from tomochrome.transform import Transform
from tomochrome.volume import Volume

if TYPE_CHECKING:
    from tomochrome.registration.pairwise import Registration

Sample = tuple[str, int, float]  #: stage, iteration and dissimilarity
_ELLIPSE_VERTICES: Final = 48
_MASKS: Final = ("fixed_mask", "moving_mask")  # whose values are not told apart
_MAX_SAMPLED: Final = 4_000_000  # voxels of which the noise is estimated


@dataclass(frozen=True, eq=False)
class Request:
    """The input of a registration, read from the fields in the GUI thread.

    Parameters
    ----------
    fixed, moving
        Layers.
    options
        Keywords of `tomochrome.register`: init, model, refine, similarity, backbone, use_points,
        device.
    volumes
        Layers of masks and labels by the keywords of `tomochrome.register`: fixed_mask,
        moving_mask, fixed_labels, moving_labels, rigid_mask.
    fixed_points, moving_points
        Points layers of landmarks, or None.
    look
        Keywords for the layer of the moved volume: colormap and contrast limits.
    number
        Number of the result, part of the layer's name if several results of a pair are kept.
    """

    fixed: Any
    moving: Any
    options: Mapping[str, Any]
    volumes: Mapping[str, Any] = field(default_factory=dict)
    fixed_points: Any = None
    moving_points: Any = None
    look: Mapping[str, Any] = field(default_factory=dict)
    number: int = 1

    @property
    def name(self) -> str:
        """Name of the moved layer."""
        return f"{self.moving.name} · moved{f' {self.number}' if self.number > 1 else ''}"


@dataclass(frozen=True, eq=False)
class Alignment:
    """The result of a registration or of loading a transform."""

    fixed: Placed
    moving: Placed
    forward: Transform  #: from points of the fixed to points of the moving volume (LPS mm)
    inverse: Transform  #: from points of the moving to points of the fixed volume
    jacobian: Volume  #: determinant of ``forward`` on the fixed grid
    report: Mapping[str, Any]  #: as in ``report.json``
    warnings: tuple[Notice, ...]
    layer: Any  #: napari layer of the moved volume on the fixed grid; None once removed
    spread: Spread | None  #: of the HU that did not change; None for other values


@dataclass(eq=False)
class PairResult:
    """A registration result or a loaded transform for one pair of layers.

    ``shown`` are the views that were on screen when another pair was selected: ``"comparison"``,
    ``"jacobian"``, ``"change"``, ``"grid"``. ``copies`` are the layers that the transform was
    applied to: the layer, whether it was moved to the fixed image, and the moved copy.
    """

    fixed: Any
    moving: Any
    alignment: Alignment  #: its ``layer`` is None after that layer was removed
    message: str  #: message shown with the result
    settings: str = ""  #: distinguishes it from other results of the same pair
    number: int = 1  #: 1 for the first result of the pair that is kept, 2 for the next
    samples: list[Sample] = field(default_factory=list)  #: metric values; empty if loaded
    shown: frozenset[str] = frozenset({"comparison"})
    copies: list[tuple[Any, bool, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the result in a list."""
        return f"{self.number}: {self.settings}"

    def is_of(self, fixed: Any, moving: Any) -> bool:
        """Whether this is a result of these two layers in these roles."""
        return self.fixed is fixed and self.moving is moving

    def copy_of(self, layer: Any, to_fixed: bool) -> Any:
        """Return the moved copy of a layer, or None."""
        return next((c for x, to, c in self.copies if x is layer and to == to_fixed), None)

    def add_copy(self, layer: Any, to_fixed: bool, copy: Any) -> None:
        """Record a moved copy, replacing an earlier one of the same layer."""
        self.copies = [c for c in self.copies if c[:2] != (layer, to_fixed)]
        self.copies.append((layer, to_fixed, copy))

    def forget(self, layer: Any) -> None:
        """Drop references to a removed layer other than the pair itself."""
        if self.alignment.layer is layer:
            self.alignment = replace(self.alignment, layer=None)
        self.copies = [c for c in self.copies if layer is not c[0] and layer is not c[2]]


def check_request(request: Request) -> None:
    """Check the layers of a request without reading any voxel.

    Raises `InputError` if the two layers cannot be registered.
    """
    check_two(request.fixed, request.moving, "register")
    check_grey_layer(request.fixed)
    check_grey_layer(request.moving)


def _read(request: Request) -> tuple[Placed, Placed, dict[str, Any]]:
    """Read a request's layers, and its masks and points as keywords of `register`."""
    report(0, 0, "Reading the layers")
    fixed = place(request.fixed)
    check()
    moving = place(request.moving)
    check()
    extras: dict[str, Any] = {}
    for role, layer in request.volumes.items():
        over = moving if role.startswith("moving") else fixed
        extras[role] = mask_of(layer, over, keep_labels=role not in _MASKS)
    points = (request.fixed_points, request.moving_points)
    if all(p is not None and len(p.data) for p in points) and len(points[0].data) == len(
        points[1].data
    ):
        extras["fixed_points"] = fixed.points_of(points[0])
        extras["moving_points"] = moving.points_of(points[1])
    return fixed, moving, extras


def register_in_worker(request: Request, samples: list[Sample]) -> Alignment:
    """Register two layers. Runs in a worker and accesses no widget.

    Metric values are appended to ``samples`` as they are computed. Raises `TomochromeError` if the
    two cannot be registered; `Cancelled` if the task was cancelled.
    """
    report(0, 0, "Loading the registration software")
    from tomochrome.registration.pairwise import register

    fixed, moving, extras = _read(request)
    result = register(
        fixed.volume,
        moving.volume,
        **extras,
        **request.options,
        metric=lambda stage, iteration, value: samples.append((stage, iteration, value)),
    )
    check()
    return _alignment(fixed, moving, result, request)


def load_in_worker(path: str, request: Request, samples: list[Sample]) -> Alignment:
    """Load a transform of this or another tool, apply it and evaluate it.

    ``samples`` stays empty: a loaded transform has no metric curve.

    Raises `TomochromeError` if the file does not hold a transform, or the transform does not fit
    the layers; `Cancelled` if the task was cancelled.
    """
    report(0, 0, "Loading the registration software")
    from tomochrome.registration.pairwise import evaluate_transform

    fixed, moving, extras = _read(request)
    report(0, 0, "Loading the transform")
    forward = Transform.load(path)
    check()
    result = evaluate_transform(fixed.volume, moving.volume, forward, **extras)
    return _alignment(fixed, moving, result, request)


def _alignment(fixed: Placed, moving: Placed, result: Registration, request: Request) -> Alignment:
    """Return a result with its layer, and a notice about layers that were moved by hand."""
    note = moved_by_hand(fixed, moving)
    layer = Layer.create(*volume_on(result.moved, fixed, request.name, **request.look))
    return Alignment(
        fixed,
        moving,
        result.forward,
        result.inverse,
        result.jacobian,
        result.report,
        (*result.warnings, *((Notice("geometry", "warning", note),) if note else ())),
        layer,
        _spread_of(fixed.volume, result.moved),
    )


def _spread_of(fixed: Volume, moved: Volume) -> Spread | None:
    """Return the noise of the difference of two CT, from up to some millions of voxels."""
    if fixed.unit != "HU" or moved.unit != "HU":
        return None
    step = int(np.ceil((np.prod(fixed.shape) / _MAX_SAMPLED) ** (1 / 3)))
    return noise_of_difference(fixed, moved, max(step, 1))


def apply_in_worker(layer: Any, alignment: Alignment, to_fixed: bool) -> Any:
    """Return a moved copy of an Image, Labels, Points or Shapes layer. Runs in a worker.

    The copy is moved from the moving to the fixed volume if ``to_fixed``, otherwise the other way.
    Raises `TomochromeError` if a transform cannot be applied to the layer; `Cancelled` if the task
    was cancelled.
    """
    source, target = alignment.moving, alignment.fixed
    # Volumes are resampled with the transform from target to source points; points need its
    # inverse.
    to_source, to_target = alignment.forward, alignment.inverse
    if not to_fixed:
        source, target, to_source, to_target = target, source, to_target, to_source
    report(0, 0, "Reading the layer")
    if isinstance(layer, (Image, Labels)):
        parts = moved_volume(layer, source, target, to_source)
    elif isinstance(layer, (Points, Shapes)):
        parts = moved_drawing(layer, source, target, to_target)
    else:
        raise InputError(
            f"the layer '{layer.name}' is a {kind_of(layer)} layer; "
            "a transform can be applied to image, labels, points and shapes layers"
        )
    check()
    data, keywords, kind = parts
    ending = "moved" if to_fixed else "moved back"
    return Layer.create(data, {**keywords, "name": f"{layer.name} · {ending}"}, kind)


def save_in_worker(path: str, alignment: Alignment, inverse: bool) -> Path:
    """Write a transform, overwriting an existing file: the save dialog has already asked.

    Raises `OutputError` if the extension is not that of a transform file, or the file cannot be
    written.
    """
    report(0, 0, "Writing the transform")
    transform, like = alignment.forward, alignment.fixed.volume
    if inverse:
        transform, like = alignment.inverse, alignment.moving.volume
    check()
    transform.save(path, like=like, force=True)
    return Path(path)


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
    if not is_grey_image(layer):
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
    from tomochrome.compare.source import as_volume

    volume = as_volume(place(layer).source)
    if volume.is_rgba:
        volume = replace(volume, voxels=np.asarray(volume.voxels))
    if volume.provenance.kind == "napari-layer":
        volume = replace(volume, affine=patient_affine(layer, source))
    labels = isinstance(layer, Labels)
    order: Any = "nearest" if labels else "linear"
    moved = to_source.apply(volume, target.volume, order=order)
    name = f"{layer.name} · moved"
    if not labels:
        return volume_on(moved, target, name, **look_of(layer))
    _, state, kind = layer.as_layer_data_tuple()
    kept = {"colormap", "opacity", "blending", "contour", "visible"}
    keywords = {key: value for key, value in state.items() if key in kept}
    return moved.voxels, {**keywords, "name": name, **target.transform}, kind


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

"""The volumes of napari layers and their placement in patient coordinates (LPS mm).

A CT layer gives a volume in Hounsfield units for coloring (`ct_source`), any layer a volume for
registration and comparison (`place`).

napari shows an oblique scan of this plugin upright (`tomochrome._napari.layers.volume_layers`),
that is, rotated a little from its position in the patient. Points or a mask that the user draws
over it are rotated along with it. Everything drawn over a volume's layer is therefore taken to
belong to that volume, and is converted to patient coordinates by the same rotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import ArrayLike, NDArray

from tomochrome import color
from tomochrome._napari.layers.volume_layers import (
    LayerSource,
    LayerTuple,
    check_dimensions,
    color_layer,
    kind_of,
    layer_transform,
    placement,
    source_of,
    world_affine,
)
from tomochrome.errors import InputError, NotCTError
from tomochrome.geometry.affine import apply
from tomochrome.io.units import unit_of
from tomochrome.volume import Provenance, Unit, Volume

_TOLERANCE_MM: Final = 0.01


@dataclass(frozen=True, eq=False)
class Placed:
    """A layer's volume and its placement in napari."""

    name: str  #: the layer's name
    source: Volume | color.LitVolume  #: on the layer's grid with its true affine, or lit when read
    stored: Volume  #: the volume on the grid on which files are written
    transform: Mapping[str, Any]  #: the layer's transform, for layers to be placed exactly over it
    world: NDArray[np.float64]  #: 4x4 affine from the layer's index (z, y, x) to LPS mm in napari

    @property
    def volume(self) -> Volume:
        """The scalar volume on the layer's grid, also if the layer is shown in color."""
        return self.source if isinstance(self.source, Volume) else self.source.volume

    @property
    def patient_from_world(self) -> NDArray[np.float64]:
        """4x4 affine from napari's world to patient coordinates, both in LPS mm."""
        return np.asarray(self.volume.affine @ np.linalg.inv(self.world))

    def points_of(self, layer: Any) -> NDArray[np.float64]:
        """Return the points (n, 3) of a Points layer drawn over this one, in LPS mm."""
        return self.patient_points(layer, layer.data)

    def patient_points(self, layer: Any, data: ArrayLike) -> NDArray[np.float64]:
        """Return coordinates (n, 3) of a layer drawn over this one, in LPS mm."""
        points = np.asarray(data, dtype=np.float64).reshape(-1, 3)
        return np.asarray(apply(self.patient_from_world @ world_affine(layer), points))

    def layer_points(self, layer: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert patient coordinates (LPS mm) to those of a layer drawn over this one."""
        return np.asarray(
            apply(np.linalg.inv(self.patient_from_world @ world_affine(layer)), points)
        )


def moved_by_hand(first: Placed, second: Placed) -> str:
    """Return a warning if the user has moved one of two scans in napari; otherwise "".

    Transforms and comparisons use the geometry of the scans, so that they are valid for the files.
    Two layers that were moved together, such as a result and its fixed image, need no warning.
    """
    if _same(first.patient_from_world, second.patient_from_world):
        return ""
    moved = [f"'{placed.name}'" for placed in (first, second) if not _is_in_place(placed)]
    if not moved:
        return ""
    were = "was" if len(moved) == 1 else "were"
    return (
        f"{' and '.join(moved)} {were} moved by hand in the viewer; "
        "this is ignored: the position stored in the file is used"
    )


def _is_in_place(placed: Placed) -> bool:
    """Whether a layer is shown at its volume's position, or upright as this plugin places it."""
    own, upright = placement(placed.volume), np.eye(4)
    upright[:3, :3] = np.diag(own["scale"])[::-1]
    upright[:3, 3] = own["translate"][::-1]
    return _same(placed.world, upright) or _same(placed.world, placed.volume.affine)


def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=1e-3))


def check_volume_layer(layer: Any) -> None:
    """Check that a layer is a volume, without reading any voxel.

    Raises `InputError` if it is not, with a message that says what to choose instead.
    """
    if not isinstance(layer, (Image, Labels)):
        raise InputError(
            f"the layer '{layer.name}' is a {kind_of(layer)} layer, not a volume; "
            "choose an image layer"
        )
    check_dimensions(layer, "a volume", InputError)


def check_grey_layer(layer: Any) -> None:
    """Check that a layer can be registered, without reading any voxel.

    Raises `InputError` if it cannot, with a message that says what to choose instead.
    """
    check_volume_layer(layer)
    source = source_of(layer.metadata)
    if getattr(layer, "rgb", False) or (source is not None and source.role == "color"):
        raise InputError(
            f"the layer '{layer.name}' is in color; register the grey layer that it was made from, "
            "then apply the transform to the colored layer"
        )
    if isinstance(layer, Labels) or np.dtype(layer.dtype).kind not in "iufb":
        raise InputError(
            f"the layer '{layer.name}' has no grey values; choose an image layer, then apply the "
            "transform to this layer"
        )


def check_two(fixed: Any, moving: Any, action: str) -> None:
    """Check that two different layers are selected.

    Raises `InputError` if one is missing, or both are the same layer.
    """
    if fixed is None or moving is None:
        raise InputError(
            f"open two images first to {action} them (File > Open, or File > Open Sample)"
        )
    if fixed is moving:
        raise InputError(
            f"the layer '{fixed.name}' was chosen twice; choose two different layers to {action} "
            "(open a second image if there is only one)"
        )


def place(layer: Any) -> Placed:
    """Return a layer's volume and placement.

    For a layer of another reader, the volume is built and lazy data is loaded, which can be slow:
    call it from a worker.

    Raises `InputError` if the layer is not a volume.
    """
    check_volume_layer(layer)
    transform, world = layer_transform(layer), world_affine(layer)
    source = source_of(layer.metadata)
    if source is not None and isinstance(layer.data, color.LitVolume):
        return Placed(layer.name, layer.data, source.stored, transform, world)
    if source is not None and source.shown.voxels is layer.data:
        return Placed(layer.name, source.shown, source.stored, transform, world)
    volume = volume_of(layer, source.shown.affine if source is not None else world)
    volume = replace(volume, restored=_restored(source, volume.shape))
    return Placed(layer.name, volume, volume, transform, world)


def _restored(source: LayerSource | None, shape: tuple[int, int, int]) -> NDArray[np.bool_] | None:
    """Return the mask of restored voxels of a layer with other data, as a copy in another type."""
    mask = None if source is None else source.shown.restored
    return mask if mask is not None and mask.shape == shape else None


def derived_layer(picture: Any, on: Placed, name: str) -> LayerTuple:
    """Build the layer tuple of a view of other layers, RGBA (z, y, x, 4) on the grid of one."""
    shown = Volume(picture, on.volume.affine, "RGBA", on.volume.provenance)
    return color_layer(picture, LayerSource("derived", on.stored, shown), on.transform, name)


def volume_of(layer: Any, affine: NDArray[np.float64]) -> Volume:
    """Build a volume from a layer's data: HU if the values are plausible, labels, or RGBA."""
    data = np.asarray(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    provenance = Provenance(source=layer.name, kind="napari-layer")
    if isinstance(layer, Labels):
        return Volume(data, affine, "tissue", provenance)
    if getattr(layer, "rgb", False):
        return Volume(_as_rgba(data), affine, "RGBA", provenance)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        return Volume(data, affine, "unknown", provenance)
    unit, _ = unit_of(data)
    return Volume(data, affine, unit, provenance)


def mask_of(layer: Any, over: Placed, *, keep_labels: bool = False) -> Volume:
    """Return a mask drawn over a volume (1 inside) on the mask's own grid, or its labels.

    Raises `InputError` if the layer is not a volume, or is empty.
    """
    check_volume_layer(layer)
    if getattr(layer, "rgb", False):
        raise InputError(f"the layer '{layer.name}' is in color, not a mask; choose labels")
    data = np.asarray(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    marked = data > 0
    if not marked.any():
        raise InputError(f"the mask '{layer.name}' is empty; paint in it, or select no mask")
    provenance = Provenance(source=layer.name, kind="napari-layer")
    voxels = np.where(marked, data, 0) if keep_labels else marked.astype(np.uint8)
    return Volume(voxels, patient_affine(layer, over), "unknown", provenance)


def labels_on(labels: Any, layer: Any, advice: str) -> NDArray[Any]:
    """Return a copy of painted labels after checking that they are on the grid of a CT's layer.

    Raises `InputError` with the ``advice`` if they are not.
    """
    check_on_grid(labels, layer, advice)
    return np.array(labels.data)


def check_on_grid(labels: Any, layer: Any, advice: str) -> None:
    """Check that painted labels are on the grid of a CT's layer.

    Raises `InputError` with the ``advice`` if they are not.
    """
    same = tuple(labels.data.shape) == tuple(layer.data.shape)
    if not same or np.abs(world_affine(labels) - world_affine(layer)).max() > _TOLERANCE_MM:
        raise InputError(
            f"the layer '{labels.name}' is not on the same voxel grid as '{layer.name}'; {advice}"
        )


def patient_affine(layer: Any, over: Placed) -> NDArray[np.float64]:
    """Return a layer's affine to patient coordinates, taken from ``over`` for other readers'."""
    source = source_of(layer.metadata)
    if source is not None and tuple(layer.data.shape[:3]) == source.shown.shape:
        return source.shown.affine
    return np.asarray(over.patient_from_world @ world_affine(layer))


def _as_rgba(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert RGB or RGBA data of any type that napari accepts to uint8 RGBA."""
    if data.dtype.kind == "f":
        data = np.rint(255 * np.clip(data, 0, 1))
    elif data.dtype != np.uint8:
        data = data // 257 if data.dtype == np.uint16 else np.clip(data, 0, 255)
    data = data.astype(np.uint8)
    if data.shape[-1] == 4:
        return data
    return np.concatenate([data, np.full((*data.shape[:-1], 1), 255, np.uint8)], axis=-1)


class UnknownUnitError(NotCTError):
    """The unit of a volume is unknown; the user can declare it to be Hounsfield units."""


def check_layer(layer: Any, *, as_hu: bool = False) -> None:
    """Check that a layer can be CT, without reading any voxel.

    Raises `InputError` if there is no layer; `UnknownUnitError` if the unit is unknown, unless the
    user declares it to be HU (``as_hu``); `NotCTError` if the layer is not CT, with a message that
    says what to choose instead.
    """
    if layer is None:
        raise InputError("open a CT first (File > Open Folder, or a sample)")
    name = f"the layer '{layer.name}'"
    source = source_of(layer.metadata)
    if not isinstance(layer, Image):
        raise NotCTError(
            f"{name} is a {kind_of(layer)} layer, not CT; choose the image layer of a CT"
        )
    if source is not None and source.role == "color":
        raise NotCTError(f"{name} is already colored; choose the CT below it")
    if layer.rgb:
        raise NotCTError(f"{name} is a color image, not CT; choose a CT in Hounsfield units")
    check_dimensions(layer, "a CT volume", NotCTError)
    dtype = np.dtype(layer.dtype)
    if dtype.kind not in "iuf":
        raise NotCTError(
            f"{name} holds {dtype} values, which cannot be Hounsfield units; "
            "choose a CT in Hounsfield units"
        )
    if as_hu:
        return
    if source is not None and source.shown.unit != "HU":
        said = [str(n) for n in source.shown.provenance.warnings if n.code == "unit"]
        reason = said[-1] if said else "its file does not say that it is CT"
        raise UnknownUnitError(f"{name} is not in Hounsfield units ({reason}); choose a CT series")
    if dtype.kind == "u":
        raise UnknownUnitError(
            f"{name} holds {dtype} values, probably not Hounsfield units (air is -1000); "
            "choose a CT in Hounsfield units"
        )


def ct_source(layer: Any, *, as_hu: bool = False) -> LayerSource:
    """Return the CT of a layer, which is only read.

    For a layer of another reader, the volume is built from the layer's data with the affine of
    `world_affine`, and dask and other lazy data is loaded, which can be slow. With ``as_hu``,
    values of an unknown unit are accepted; the unit of the volume stays unknown.

    Raises `UnknownUnitError` if the unit is unknown and not ``as_hu``; `NotCTError` if the layer is
    not a 3D volume in Hounsfield units.
    """
    check_layer(layer, as_hu=as_hu)
    source = source_of(layer.metadata)
    if source is not None and source.shown.voxels is layer.data:
        return source
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    unit = _unit(data, layer.name, as_hu=as_hu)
    provenance = Provenance(source=layer.name, kind="napari-layer")
    volume = Volume(_exact(data), world_affine(layer), unit, provenance)
    volume = replace(volume, restored=_restored(source, volume.shape))
    return LayerSource("ct", volume, volume)


def _unit(data: np.ndarray[Any, Any], name: str, *, as_hu: bool) -> Unit:
    """Return the unit of values judged by their range, or raise an error."""
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise NotCTError(
            f"the layer '{name}' holds values that are not finite numbers; "
            "fill them (with -1024 for air) before coloring"
        )
    unit, reason = unit_of(data)
    if unit != "HU" and not as_hu:
        raise UnknownUnitError(
            f"the layer '{name}' is not in Hounsfield units: {reason}; "
            "choose a CT in Hounsfield units"
        )
    return unit


def _exact(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert integer values to int16 and other values to float32.

    Other values are not rounded: in a narrow window, half a HU exceeds the permitted difference of
    0.5 L* between a colored and a grey voxel.
    """
    if data.dtype == np.int16:
        return data
    limits = np.iinfo(np.int16)
    clipped = np.clip(data, limits.min, limits.max)
    integral = data.dtype.kind in "iu" or bool(np.equal(np.rint(clipped), clipped).all())
    return clipped.astype(np.int16 if integral else np.float32)

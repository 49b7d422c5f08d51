"""Where any napari layer truly lies, and from layers to volumes and points in LPS mm.

A layer of an oblique scan of ours lies upright in napari (`tomochrome._napari.layers`), turned
a little from where the patient lay. What a user draws over it, points or a mask, is turned along
with it. So everything drawn over a volume's layer is taken to lie with that volume, and is brought
to its true place by the same turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome._napari.layers import (
    check_dimensions,
    layer_transform,
    placement,
    source_of,
    world_affine,
)
from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply
from tomochrome.volume import Provenance, Volume

if TYPE_CHECKING:
    from tomochrome.color import LitVolume


@dataclass(frozen=True, eq=False)
class Placed:
    """A layer's volume, and where napari shows it.

    Parameters
    ----------
    name
        The layer's name.
    source
        On the grid that the layer shows, with its true affine: a volume, or a view lit when read.
    stored
        On the grid that files are written on.
    transform
        The layer's own transform, for layers that are to lie exactly over it.
    world
        4x4 from the layer's index (z, y, x) to where napari shows it, LPS mm.
    """

    name: str
    source: Volume | LitVolume
    stored: Volume
    transform: Mapping[str, Any]
    world: NDArray[np.float64]

    @property
    def volume(self) -> Volume:
        """The volume that has the grid; its voxels are grey even if they are shown in color."""
        return self.source if isinstance(self.source, Volume) else self.source.volume

    @property
    def turn(self) -> NDArray[np.float64]:
        """4x4 from where napari shows things to where they truly are, LPS mm."""
        return np.asarray(self.volume.affine @ np.linalg.inv(self.world))

    def points_of(self, layer: Any) -> NDArray[np.float64]:
        """Return the points (n, 3) of a Points layer drawn over this one, in true LPS mm."""
        return self.true_points(layer, layer.data)

    def true_points(self, layer: Any, data: ArrayLike) -> NDArray[np.float64]:
        """Return coordinates (n, 3) of a layer drawn over this one, in true LPS mm."""
        points = np.asarray(data, dtype=np.float64).reshape(-1, 3)
        return np.asarray(apply(self.turn @ world_affine(layer), points))

    def layer_points(self, layer: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return true LPS mm as coordinates of a layer, so that they show over this one."""
        return np.asarray(apply(np.linalg.inv(self.turn @ world_affine(layer)), points))


def moved_by_hand(first: Placed, second: Placed) -> str:
    """Say which of two scans of ours napari shows elsewhere than it lies; empty if neither.

    Transforms and comparisons are those of the scans themselves, so that they hold for the files.
    Two layers that were moved together, as a result with what it lies over, lie as they are shown.
    """
    if _same(first.turn, second.turn):
        return ""
    moved = [f"'{here.name}'" for here in (first, second) if not _at_home(here)]
    if not moved:
        return ""
    were = "was" if len(moved) == 1 else "were"
    return (
        f"{' and '.join(moved)} {were} moved by hand in the window; "
        "this is not used here: the position in the file counts"
    )


def _at_home(here: Placed) -> bool:
    """Whether a layer lies where its volume does, or where an oblique one of ours is put."""
    own, put = placement(here.volume), np.eye(4)
    put[:3, :3] = np.diag(own["scale"])[::-1]
    put[:3, 3] = own["translate"][::-1]
    return _same(here.world, put) or _same(here.world, here.volume.affine)


def _same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=1e-3))


def check_volume_layer(layer: Any) -> None:
    """Refuse at once a layer that is no volume. Looks at no voxel.

    Raises
    ------
    InputError
        With one sentence: what the layer is, and what to choose instead.
    """
    kind = layer._type_string
    if kind not in ("image", "labels"):
        raise InputError(
            f"the layer '{layer.name}' is a {kind} layer, not a volume; choose an image layer"
        )
    check_dimensions(layer, "a volume", InputError)


def check_grey_layer(layer: Any) -> None:
    """Refuse at once a layer that cannot be registered. Looks at no voxel.

    Raises
    ------
    InputError
        With one sentence: what the layer is, and what to choose instead.
    """
    check_volume_layer(layer)
    known = source_of(layer.metadata)
    if getattr(layer, "rgb", False) or (known is not None and known.role == "color"):
        raise InputError(
            f"the layer '{layer.name}' is in color; register the grey layer it was made of, then "
            "apply the transform to the color"
        )
    if layer._type_string == "labels" or np.dtype(layer.dtype).kind not in "iufb":
        raise InputError(
            f"the layer '{layer.name}' holds no grey values; choose an image layer, and apply the "
            "transform to this one afterwards"
        )


def check_two(fixed: Any, moving: Any, what: str) -> None:
    """Refuse a choice of two layers that makes no sense.

    Raises
    ------
    InputError
        If one is missing, or both are the same.
    """
    if fixed is None or moving is None:
        raise InputError(
            f"open two images first to {what} them (File > Open, or File > Open Sample)"
        )
    if fixed is moving:
        raise InputError(
            f"the layer '{fixed.name}' was chosen twice; choose two different layers to {what}"
        )


def place(layer: Any) -> Placed:
    """Return where a layer's volume lies; for another reader's layer, build it. Takes a while.

    Lazy data of other readers is loaded here; call it from a worker.

    Raises
    ------
    InputError
        If the layer is no volume.
    """
    check_volume_layer(layer)
    from tomochrome.color import LitVolume

    transform, world = layer_transform(layer), world_affine(layer)
    known = source_of(layer.metadata)
    if known is not None and isinstance(layer.data, LitVolume):
        return Placed(layer.name, layer.data, known.stored, transform, world)
    if known is not None and known.shown.voxels is layer.data:
        return Placed(layer.name, known.shown, known.stored, transform, world)
    volume = volume_of(layer, known.shown.affine if known is not None else world)
    return Placed(layer.name, volume, volume, transform, world)


def volume_of(layer: Any, affine: NDArray[np.float64]) -> Volume:
    """Build a volume of what a layer holds: Hounsfield units if they can be, labels, or RGBA."""
    from tomochrome.io.units import unit_of

    data = np.asarray(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    provenance = Provenance(source=layer.name, kind="napari-layer")
    if layer._type_string == "labels":
        return Volume(data, affine, "tissue", provenance)
    if getattr(layer, "rgb", False):
        return Volume(_as_rgba(data), affine, "RGBA", provenance)
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        return Volume(data, affine, "unknown", provenance)
    unit, _ = unit_of(data)
    return Volume(data, affine, unit, provenance)


def mask_of(layer: Any, over: Placed) -> Volume:
    """Return a mask drawn over a volume (1 inside) on its own grid, at its true place.

    Raises
    ------
    InputError
        If the layer is no volume, or nothing in it is marked.
    """
    check_volume_layer(layer)
    if getattr(layer, "rgb", False):
        raise InputError(f"the layer '{layer.name}' is in color, not a mask; choose labels")
    data = np.asarray(layer.data[0] if getattr(layer, "multiscale", False) else layer.data)
    marked = data > 0
    if not marked.any():
        raise InputError(f"nothing is marked in the mask '{layer.name}'; paint in it, or use none")
    provenance = Provenance(source=layer.name, kind="napari-layer")
    return Volume(marked.astype(np.uint8), true_affine(layer, over), "unknown", provenance)


def true_affine(layer: Any, over: Placed) -> NDArray[np.float64]:
    """Return a layer's affine to true LPS mm: its own if it is ours, else with ``over``'s turn."""
    known = source_of(layer.metadata)
    if known is not None and tuple(layer.data.shape[:3]) == known.shown.shape:
        return known.shown.affine
    return np.asarray(over.turn @ world_affine(layer))


def _as_rgba(data: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 RGBA of RGB or RGBA of any kind, as napari takes them."""
    if data.dtype.kind == "f":
        data = np.rint(255 * np.clip(data, 0, 1))
    elif data.dtype != np.uint8:
        data = data // 257 if data.dtype == np.uint16 else np.clip(data, 0, 255)
    data = data.astype(np.uint8)
    if data.shape[-1] == 4:
        return data
    return np.concatenate([data, np.full((*data.shape[:-1], 1), 255, np.uint8)], axis=-1)

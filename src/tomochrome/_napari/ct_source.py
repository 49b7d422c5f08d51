"""From any napari layer to a CT volume in Hounsfield units, or a sentence why not."""

from __future__ import annotations

from typing import Any

import numpy as np

from tomochrome._napari.layers import Behind, behind, world_affine
from tomochrome.errors import NotCTError
from tomochrome.volume import Provenance, Volume


def check_layer(layer: Any) -> None:
    """Refuse at once, by what the layer is, one that cannot be CT. Looks at no voxel.

    Raises
    ------
    NotCTError
        With one sentence: what the layer is, and what to choose instead.
    """
    name = f"the layer '{layer.name}'"
    kind = layer._type_string
    known = behind(layer.metadata)
    if kind != "image":
        raise NotCTError(f"{name} is a {kind} layer, not CT; choose the image layer of a CT")
    if known is not None and known.role == "color":
        raise NotCTError(f"{name} is already colored; choose the CT below it")
    if layer.rgb:
        raise NotCTError(f"{name} is a color picture, not CT; choose a CT in Hounsfield units")
    if layer.ndim != 3:
        hint = (
            "open the whole series"
            if layer.ndim < 3
            else "split it along its extra axes into volumes"
        )
        raise NotCTError(f"{name} has {layer.ndim} dimensions, a CT volume has 3; {hint}")
    if known is not None and known.shown.unit != "HU":
        raise NotCTError(
            f"{name} is not in Hounsfield units (its file does not say that it is CT); "
            "choose a CT series"
        )
    dtype = np.dtype(layer.dtype)
    if dtype.kind not in "if":
        raise NotCTError(
            f"{name} holds {dtype} values, which cannot be Hounsfield units (air is -1000); "
            "choose a CT in Hounsfield units"
        )


def ct_behind(layer: Any) -> Behind:
    """Return the CT behind a layer; for another reader's layer, build it. May take a while.

    The volume of another reader's layer lies on the layer's own axes. Its place comes from
    the layer's scale, rotation, shear, translation, affine and units (see
    `tomochrome._napari.layers.world_affine`); dask and other lazy data is loaded here.

    Raises
    ------
    NotCTError
        If the layer is not a 3D volume in Hounsfield units.
    """
    check_layer(layer)
    known = behind(layer.metadata)
    if known is not None and known.shown.voxels is layer.data:
        return known
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    voxels = _as_hounsfield(data, layer.name)
    provenance = Provenance(source=layer.name, kind="napari-layer")
    volume = Volume(voxels, world_affine(layer), "HU", provenance)
    return Behind("ct", volume, volume)


def _as_hounsfield(data: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Check the range of the values; return whole numbers as int16, others as float32.

    Others are not rounded: in a narrow window half a HU is more than the 0.5 L* that a colored
    voxel may differ by.
    """
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise NotCTError(
            f"the layer '{name}' holds values that are not finite numbers; "
            "fill them (with -1024 for air) before coloring"
        )
    from tomochrome.io.units import unit_of

    unit, reason = unit_of(data)
    if unit != "HU":
        raise NotCTError(
            f"the layer '{name}' is not in Hounsfield units: {reason}; "
            "choose a CT in Hounsfield units"
        )
    if data.dtype == np.int16:
        return data
    limits = np.iinfo(np.int16)
    clipped = np.clip(data, limits.min, limits.max)
    whole = data.dtype.kind in "iu" or bool(np.equal(np.rint(clipped), clipped).all())
    return clipped.astype(np.int16 if whole else np.float32)

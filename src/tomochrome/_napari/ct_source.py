"""From any napari layer to a CT volume in Hounsfield units, or a sentence why not."""

from __future__ import annotations

from typing import Any

import numpy as np

from tomochrome._napari.layers import LayerSource, check_dimensions, source_of, world_affine
from tomochrome.errors import NotCTError
from tomochrome.volume import Provenance, Unit, Volume


class UnknownUnitError(NotCTError):
    """A volume of which nothing says that it is in Hounsfield units; its user may know better."""


def check_layer(layer: Any, *, as_hu: bool = False) -> None:
    """Refuse at once, by what the layer is, one that cannot be CT. Looks at no voxel.

    Parameters
    ----------
    layer
        The napari layer.
    as_hu
        The user says that values of an unknown unit are Hounsfield units.

    Raises
    ------
    UnknownUnitError
        If the user may override this.
    NotCTError
        With one sentence: what the layer is, and what to choose instead.
    """
    name = f"the layer '{layer.name}'"
    kind = layer._type_string
    known = source_of(layer.metadata)
    if kind != "image":
        raise NotCTError(f"{name} is a {kind} layer, not CT; choose the image layer of a CT")
    if known is not None and known.role == "color":
        raise NotCTError(f"{name} is already colored; choose the CT below it")
    if layer.rgb:
        raise NotCTError(f"{name} is a color picture, not CT; choose a CT in Hounsfield units")
    check_dimensions(layer, "a CT volume", NotCTError)
    dtype = np.dtype(layer.dtype)
    if dtype.kind not in "iuf":
        raise NotCTError(
            f"{name} holds {dtype} values, which cannot be Hounsfield units; "
            "choose a CT in Hounsfield units"
        )
    if as_hu:
        return
    if known is not None and known.shown.unit != "HU":
        raise UnknownUnitError(
            f"{name} is not in Hounsfield units (its file does not say that it is CT); "
            "choose a CT series"
        )
    if dtype.kind == "u":
        raise UnknownUnitError(
            f"{name} holds {dtype} values, which can hardly be Hounsfield units (air is -1000); "
            "choose a CT in Hounsfield units"
        )


def ct_source(layer: Any, *, as_hu: bool = False) -> LayerSource:
    """Return the CT behind a layer; for another reader's layer, build it. May take a while.

    The volume of another reader's layer lies on the layer's own axes. Its place comes from
    the layer's scale, rotation, shear, translation, affine and units (see
    `tomochrome._napari.layers.world_affine`); dask and other lazy data is loaded here.

    Parameters
    ----------
    layer
        The napari layer; it is only read.
    as_hu
        The user says that values of an unknown unit are Hounsfield units. The volume still
        says that its unit is unknown.

    Raises
    ------
    UnknownUnitError
        If the user may override this.
    NotCTError
        If the layer is not a 3D volume in Hounsfield units.
    """
    check_layer(layer, as_hu=as_hu)
    known = source_of(layer.metadata)
    if known is not None and known.shown.voxels is layer.data:
        return known
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    unit = _unit(data, layer.name, as_hu=as_hu)
    provenance = Provenance(source=layer.name, kind="napari-layer")
    volume = Volume(_exact(data), world_affine(layer), unit, provenance)
    return LayerSource("ct", volume, volume)


def _unit(data: np.ndarray[Any, Any], name: str, *, as_hu: bool) -> Unit:
    """Return the unit of values that come without one, judged by their range; or refuse them."""
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise NotCTError(
            f"the layer '{name}' holds values that are not finite numbers; "
            "fill them (with -1024 for air) before coloring"
        )
    from tomochrome.io.units import unit_of

    unit, reason = unit_of(data)
    if unit != "HU" and not as_hu:
        raise UnknownUnitError(
            f"the layer '{name}' is not in Hounsfield units: {reason}; "
            "choose a CT in Hounsfield units"
        )
    return unit


def _exact(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return whole numbers as int16, others as float32.

    Others are not rounded: in a narrow window half a HU is more than the 0.5 L* that a colored
    voxel may differ by.
    """
    if data.dtype == np.int16:
        return data
    limits = np.iinfo(np.int16)
    clipped = np.clip(data, limits.min, limits.max)
    whole = data.dtype.kind in "iu" or bool(np.equal(np.rint(clipped), clipped).all())
    return clipped.astype(np.int16 if whole else np.float32)

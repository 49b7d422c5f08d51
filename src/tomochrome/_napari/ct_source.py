"""Conversion of any napari layer to a CT volume in Hounsfield units."""

from __future__ import annotations

from typing import Any

import numpy as np

from tomochrome._napari.layers import LayerSource, check_dimensions, source_of, world_affine
from tomochrome.errors import NotCTError
from tomochrome.volume import Provenance, Unit, Volume


class UnknownUnitError(NotCTError):
    """The unit of a volume is unknown; the user can declare it to be Hounsfield units."""


def check_layer(layer: Any, *, as_hu: bool = False) -> None:
    """Check that a layer can be CT, without reading any voxel.

    Raises `UnknownUnitError` if the unit is unknown, unless the user declares it to be HU
    (``as_hu``); `NotCTError` if the layer is not CT, with a message that says what to choose
    instead.
    """
    name = f"the layer '{layer.name}'"
    kind = layer._type_string
    known = source_of(layer.metadata)
    if kind != "image":
        raise NotCTError(f"{name} is a {kind} layer, not CT; choose the image layer of a CT")
    if known is not None and known.role == "color":
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
    if known is not None and known.shown.unit != "HU":
        said = [str(n) for n in known.shown.provenance.warnings if n.code == "unit"]
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
    `tomochrome._napari.layers.world_affine`, and dask and other lazy data is loaded, which can be
    slow. With ``as_hu``, values of an unknown unit are accepted; the unit of the volume stays
    unknown.

    Raises `UnknownUnitError` if the unit is unknown and not ``as_hu``; `NotCTError` if the layer is
    not a 3D volume in Hounsfield units.
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
    """Return the unit of values judged by their range, or raise an error."""
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

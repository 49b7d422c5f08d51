"""The one place where volumes become napari layers, and layers become volumes again.

napari's world is (z, y, x) in millimetres. A layer of ours shows the volume turned losslessly
upright (`tomochrome.geometry.closest_axial`), so that an axial slice has the patient's right
on the left of the screen and anterior on top, and the slider runs to superior. Such a layer
has a scale and a translation only: napari slices rotated layers along the wrong planes. The
true, possibly oblique affine stays with the volume, in ``layer.metadata["tomochrome"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.grey_window import (
    RANGE_KEY,
    WINDOW_KEY,
    Shown,
    value_range,
    window_keywords,
)
from tomochrome.errors import InputError
from tomochrome.geometry import closest_axial
from tomochrome.volume import Volume
from tomochrome.windowing import Window, auto_window, opening_window

if TYPE_CHECKING:
    from tomochrome.color import Chroma

LayerTuple = tuple[Any, dict[str, Any], str]

METADATA_KEY = "tomochrome"
AXIS_LABELS = ("z", "y", "x")
UNITS = ("mm", "mm", "mm")
NOT_FOR_DIAGNOSIS = "not for diagnosis"
VOLUME_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True, eq=False)
class LayerSource:
    """What a layer of ours was made of.

    Parameters
    ----------
    role
        ``"ct"``, ``"color"``, or ``"derived"``: made of others to be looked at, as a comparison
        or a map of a deformation, and no input of anything.
    stored
        The CT as it was read: its own axes and true affine. Files are written on this grid.
    shown
        The same CT on the grid that the layer shows.
    chroma
        For a colored layer, the chroma on the grid of ``shown``.
    """

    role: Literal["ct", "color", "derived"]
    stored: Volume
    shown: Volume
    chroma: Chroma | None = None


def source_of(metadata: Mapping[str, Any]) -> LayerSource | None:
    """Return what a layer with this metadata was made of, or None if it is not one of ours."""
    value = metadata.get(METADATA_KEY)
    return value if isinstance(value, LayerSource) else None


def grey_layer(layers: Any, layer: Any, known: LayerSource) -> Any:
    """Return the grey layer of a source: the layer itself, or the one below its colors."""
    if known.role == "ct":
        return layer
    return next((x for x in layers if x.data is known.shown.voxels), None)


def colored_layers(layers: Any, grey: Any) -> list[Any]:
    """Return the layers that color a grey layer."""
    return [
        layer
        for layer in layers
        if (known := source_of(layer.metadata)) is not None
        and known.chroma is not None
        and grey.data is known.shown.voxels
    ]


def check_dimensions(layer: Any, what: str, error: type[InputError]) -> None:
    """Refuse a layer that has not three dimensions.

    Raises
    ------
    InputError
        Of the type ``error``, in one sentence; ``what`` was expected.
    """
    if layer.ndim != 3:
        flat = layer.ndim < 3
        hint = "open the whole series" if flat else "split it along its extra axes into volumes"
        raise error(f"the layer '{layer.name}' has {layer.ndim} dimensions, {what} has 3; {hint}")


def placement(volume: Volume) -> dict[str, Any]:
    """Return the napari transform of an upright volume: scale, translate, units, axis labels.

    The scale is the spacing in mm. The translation puts the volume's centre where it truly
    is: exact in every voxel of an upright volume, and closest overall for an oblique one.
    """
    scale = np.array(volume.spacing)
    middle = (np.array(volume.shape) - 1) / 2
    centre_xyz = volume.affine[:3, :3] @ middle + volume.affine[:3, 3]
    translate = centre_xyz[::-1] - scale * middle
    return {
        "scale": tuple(map(float, scale)),
        "translate": tuple(map(float, translate)),
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
    }


def display_name(volume: Volume) -> str:
    """Return a short name for a volume's layer.

    DICOM series are called what the scanner calls them, never by their file or folder: these
    often hold the patient's name. napari itself numbers layers of the same name.
    """
    provenance = volume.provenance
    if provenance.title:
        return provenance.title
    if provenance.kind.startswith("dicom"):
        return "Series" if provenance.modality == "unknown" else f"{provenance.modality} series"
    source = Path(provenance.source)
    name = source.name or provenance.kind
    for ending in VOLUME_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def without_path(volume: Volume) -> Volume:
    """Return a DICOM volume without the path it came from, which can hold the patient's name."""
    provenance = volume.provenance
    if not provenance.kind.startswith("dicom") or not provenance.source:
        return volume
    return replace(volume, provenance=replace(provenance, source=""))


def volume_layer(volume: Volume, name: str = "", *, window: Window | None = None) -> LayerTuple:
    """Build the napari layer tuple of a scalar volume, or of a colored one read from a file.

    Parameters
    ----------
    volume
        Voxels (z, y, x), or RGBA (z, y, x, 4), on any axes.
    name
        Name of the layer; `display_name` when empty.
    window
        The window that it is shown in; `tomochrome.windowing.opening_window` by default.

    Returns
    -------
    tuple
        ``(data, keywords, "image")``, always with units, axis labels, placement and metadata.
    """
    volume = without_path(volume)
    shown = closest_axial(volume)
    keywords: dict[str, Any] = {
        "name": name or display_name(volume),
        "interpolation2d": "linear",
        "metadata": {METADATA_KEY: LayerSource("color" if volume.is_rgba else "ct", volume, shown)},
        **placement(shown),
    }
    if volume.is_rgba:
        keywords |= {"rgb": True, "rendering": "translucent"}
    else:
        look, metadata = grey_look(shown, window)
        keywords.update(look)
        keywords["metadata"].update(metadata)
        # A plain maximum in 3D cannot tell the front from the back.
        keywords |= {"rendering": "attenuated_mip", "attenuation": 0.05}
    return shown.voxels, keywords, "image"


def grey_look(shown: Volume, window: Window | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how napari shows a scalar volume, and metadata: its window and range of values."""
    window = window or opening_window(shown)
    auto_window(shown)  # known from here on: the panel asks for it in the window's thread
    metadata = {WINDOW_KEY: Shown(window, ""), RANGE_KEY: value_range(shown.voxels)}
    return window_keywords(window), metadata


def color_layer(
    picture: Any, source: LayerSource, transform: Mapping[str, Any], name: str
) -> LayerTuple:
    """Build the napari layer tuple of an RGBA picture over another layer.

    Parameters
    ----------
    picture
        RGBA data (z, y, x, 4) on the other layer's grid.
    source
        What the layer is made of.
    transform
        The other layer's own transform (see `layer_transform`), taken over as it is.
    name
        Name of the layer.
    """
    keywords = {
        "name": name,
        "metadata": {METADATA_KEY: source},
        "rgb": True,
        "blending": "translucent",
        "interpolation2d": "linear",
        "rendering": "translucent",
        "projection_mode": "none",
        **transform,
    }
    return picture, keywords, "image"


def layer_transform(layer: Any) -> dict[str, Any]:
    """Return all of a layer's own transform, so that another layer can lie exactly over it."""
    return {
        "scale": tuple(layer.scale),
        "translate": tuple(layer.translate),
        "rotate": np.array(layer.rotate),
        "shear": np.array(layer.shear),
        "affine": np.array(layer.affine.affine_matrix),
        "units": tuple(layer.units),
        "axis_labels": tuple(layer.axis_labels),
    }


def world_affine(layer: Any) -> NDArray[np.float64]:
    """Return the affine of a 3D layer from voxel index (z, y, x) to LPS millimetres.

    napari's world axes (z, y, x) are taken to be superior, posterior and left, which is how
    this package places its own layers; scale, rotation, shear, translation and affine of the
    layer are all in it. Units of length are converted; pixels count as millimetres.
    """
    to_mm = np.array([mm_of(unit) for unit in layer.units[-3:]])
    origin = np.array(layer.data_to_world((0.0, 0.0, 0.0)), dtype=np.float64)
    affine = np.eye(4)
    for axis, point in enumerate(np.eye(3)):
        step = np.array(layer.data_to_world(tuple(point)), dtype=np.float64) - origin
        affine[:3, axis] = (step * to_mm)[::-1]
    affine[:3, 3] = (origin * to_mm)[::-1]
    return affine


def layer_position(viewer: Any, layer: Any, position: Any) -> NDArray[np.float64]:
    """Return a position in the viewer's world in a layer's own units.

    napari shows all layers in the units of one of them, if all have units of one kind.
    """
    here = np.asarray(position, dtype=np.float64)[-layer.ndim :]
    shown = viewer.layers.units
    if shown is None:
        return here
    theirs = np.array([mm_of(unit) for unit in shown[-layer.ndim :]])
    return here * theirs / np.array([mm_of(unit) for unit in layer.units])


def mm_of(unit: Any) -> float:
    """Return how many mm a unit of length is; pixels count as millimetres."""
    import pint

    quantity = pint.get_application_registry().Quantity(1.0, str(unit))
    try:
        return float(quantity.to("millimeter").magnitude)
    except pint.DimensionalityError:
        return 1.0

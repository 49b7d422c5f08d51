"""Conversion of volumes to napari layers, and of layers to their source volumes and affines.

napari's world is (z, y, x) in millimeters. This plugin's layers show the volume reoriented without
resampling (`tomochrome.geometry.closest_axial`), so that axial slices have the patient's right
on the left of the screen and anterior at the top, and the slider moves towards superior. These
layers have only a scale and a translation, because napari slices rotated layers along the wrong
planes. The true, possibly oblique affine is kept with the volume in
``layer.metadata["tomochrome"]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pint
from napari.layers import Image
from numpy.typing import NDArray

from tomochrome import color
from tomochrome._napari.layers.grey_window import (
    RANGE_KEY,
    WINDOW_KEY,
    Shown,
    value_range,
    window_keywords,
)
from tomochrome.errors import InputError
from tomochrome.geometry import closest_axial
from tomochrome.volume import Volume
from tomochrome.windowing import (
    Window,
    auto_window,
    describe_window,
    opening_choice,
    opening_window,
)

LayerTuple = tuple[Any, dict[str, Any], str]

METADATA_KEY = "tomochrome"
#: In the metadata of a scan: what was measured on it, a tuple of `Measurement`, None for a shape
#: that is not measurable.
MEASUREMENTS = "tomochrome measurements"
#: Label maps of regions that were painted on it, on the grid of the layer.
REGIONS = "tomochrome regions"
NOT_SAVED = "{} of the shapes are not measurable and were not saved."
AXIS_LABELS = ("z", "y", "x")
UNITS = ("mm", "mm", "mm")
NOT_FOR_DIAGNOSIS = "not for diagnosis"
VOLUME_ENDINGS = (
    ".nii.gz",
    ".nii",
    ".hdr",
    ".img",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".tomochrome",
)


@dataclass(frozen=True, eq=False)
class LayerSource:
    """The volumes from which a layer of this plugin was made.

    Parameters
    ----------
    role
        ``"ct"``, ``"color"``, or ``"derived"``: a view of other layers, such as a comparison or a
        deformation map, which cannot be used as an input.
    stored
        The CT as read, with its original axes and true affine. Files are written on this grid.
    shown
        The same CT on the grid of the layer.
    chroma
        For a colored layer, the chroma on the grid of ``shown``.
    opened
        Whether the volume was read from a file or generated, not made from other layers.
    """

    role: Literal["ct", "color", "derived"]
    stored: Volume
    shown: Volume
    chroma: color.Chroma | None = None
    opened: bool = False


def source_of(metadata: Mapping[str, Any]) -> LayerSource | None:
    """Return the source of a layer with this metadata; None if this plugin did not make it."""
    value = metadata.get(METADATA_KEY)
    return value if isinstance(value, LayerSource) else None


def grey_layer(layers: Any, layer: Any, source: LayerSource) -> Any:
    """Return the grey layer of a source: the layer itself, or the one below its colors."""
    if source.role == "ct":
        return layer
    return next((x for x in layers if x.data is source.shown.voxels), None)


def colored_layers(layers: Any, grey: Any) -> list[Any]:
    """Return the colored layers of a grey layer."""
    return [
        layer
        for layer in layers
        if (source := source_of(layer.metadata)) is not None
        and source.chroma is not None
        and grey.data is source.shown.voxels
    ]


def covers(layer: Any) -> bool:
    """Whether a layer hides the layers below it, unlike points, outlines or a heat map."""
    source = source_of(layer.metadata)
    overlaid = source is not None and source.role == "derived"
    solid = isinstance(layer, Image) and layer.opacity == 1 and not overlaid
    return bool(solid and layer.blending in ("translucent", "translucent_no_depth", "opaque"))


def kind_of(layer: Any) -> str:
    """Return napari's word for the type of a layer, such as "image" or "labels"."""
    return type(layer).__name__.lower()


def check_dimensions(layer: Any, what: str, error: type[InputError]) -> None:
    """Check that a layer has three dimensions.

    Otherwise raises an ``error`` with a message that ``what`` has 3 dimensions.
    """
    if layer.ndim != 3:
        flat = layer.ndim < 3
        hint = "open the entire series" if flat else "split it along its extra axes into volumes"
        raise error(f"the layer '{layer.name}' has {layer.ndim} dimensions, {what} has 3; {hint}")


def placement(volume: Volume) -> dict[str, Any]:
    """Return the napari transform of an upright volume: scale, translate, units, axis labels.

    The scale is the spacing in mm. The translation places the center of the volume correctly,
    which is exact for every voxel of an upright volume and the best fit for an oblique one.
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

    DICOM series are named by their series description, never by their file or folder, whose
    names often contain the patient's name. napari numbers layers of the same name.
    """
    provenance = volume.provenance
    if provenance.title:
        return provenance.title
    if provenance.kind.startswith("dicom"):
        return untitled_series(provenance.modality)
    source = Path(provenance.source)
    name = source.name or provenance.kind
    for ending in VOLUME_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def untitled_series(modality: str) -> str:
    """Return the name of a DICOM series without a description, such as "CT series"."""
    return "Series" if modality == "unknown" else f"{modality} series"


def without_path(volume: Volume) -> Volume:
    """Return a DICOM volume without its source path, which can contain the patient's name."""
    provenance = volume.provenance
    if not provenance.kind.startswith("dicom") or not provenance.source:
        return volume
    return replace(volume, provenance=replace(provenance, source=""))


def volume_layer(volume: Volume, name: str = "", *, window: Window | None = None) -> LayerTuple:
    """Build the napari layer tuple of a scalar volume, or of a colored one read from a file.

    The voxels are scalars (z, y, x) or RGBA (z, y, x, 4), with any axis directions. By default, the
    name is `display_name` and the window `tomochrome.windowing.opening_window`. The keywords always
    include units, axis labels, placement and metadata.
    """
    volume = without_path(volume)
    shown = closest_axial(volume)
    keywords: dict[str, Any] = {
        "name": name or display_name(volume),
        "interpolation2d": "linear",
        "metadata": {
            METADATA_KEY: LayerSource(
                "color" if volume.is_rgba else "ct", volume, shown, opened=True
            )
        },
        **placement(shown),
    }
    if volume.is_rgba:
        keywords |= {"rgb": True, "rendering": "translucent"}
    else:
        look, metadata = grey_look(shown, window)
        keywords.update(look)
        keywords["metadata"].update(metadata)
        # A plain maximum intensity projection does not distinguish front from back.
        keywords |= {"rendering": "attenuated_mip", "attenuation": 0.05}
    return shown.voxels, keywords, "image"


def grey_look(shown: Volume, window: Window | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a scalar volume's layer keywords, and metadata: its window and value range."""
    choice = opening_choice(shown) if window is None else describe_window(window)
    window = window or opening_window(shown)
    auto_window(shown)  # fills the cache: the panel needs this window in the GUI thread
    metadata = {WINDOW_KEY: Shown(window, choice), RANGE_KEY: value_range(shown.voxels)}
    return window_keywords(window), metadata


def color_layer(
    picture: Any, source: LayerSource, transform: Mapping[str, Any], name: str
) -> LayerTuple:
    """Build the napari layer tuple of an RGBA picture (z, y, x, 4) on the grid of another layer.

    ``transform`` is that of the other layer (see `layer_transform`).
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
    """Return the keywords of a layer's transform, to place another layer exactly over it."""
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
    """Return the affine of a 3D layer from voxel index (z, y, x) to LPS millimeters.

    napari's world axes (z, y, x) are assumed to be superior, posterior and left, as in layers of
    this plugin. The affine combines scale, rotation, shear, translation and affine of the layer.
    Units of length are converted; pixels are taken as millimeters.
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
    """Convert a position in the viewer's world to a layer's units.

    napari shows all layers in the units of one of them, if all units have the same dimension.
    """
    position = np.asarray(position, dtype=np.float64)[-layer.ndim :]
    units = viewer.layers.units
    if units is None:
        return position
    viewer_mm = np.array([mm_of(unit) for unit in units[-layer.ndim :]])
    return position * viewer_mm / np.array([mm_of(unit) for unit in layer.units])


def mm_of(unit: Any) -> float:
    """Return the length of a unit in mm; a pixel is taken as 1 mm."""
    quantity = pint.get_application_registry().Quantity(1.0, str(unit))
    try:
        return float(quantity.to("millimeter").magnitude)
    except pint.DimensionalityError:
        return 1.0

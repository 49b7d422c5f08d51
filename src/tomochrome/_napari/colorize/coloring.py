"""The colored layer over a CT layer: created by a worker, then relit in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from tomochrome import color, colorization
from tomochrome._napari.layers.layer_volumes import ct_source
from tomochrome._napari.layers.volume_layers import (
    LayerSource,
    color_layer,
    colored_layers,
    layer_transform,
    source_of,
)
from tomochrome._napari.viewer.readout import finding
from tomochrome.color.palettes import palette_names
from tomochrome.colorization.cards import model_title
from tomochrome.runtime import check, report

if TYPE_CHECKING:
    from tomochrome._napari.colorize.colored_picture import ColoredPicture


def color_in_worker(
    layer: Any,
    model: str,
    device: str,
    fields: Mapping[str, Any],
    *,
    as_hu: bool = False,
    pictures: tuple[Path, Path | None] | None = None,
) -> Any:
    """Return a new colored layer over a CT layer. Runs in a worker, accesses no widget.

    ``model`` and ``device`` are those of `tomochrome.colorize`; ``fields`` are keywords of
    `tomochrome.color.Lighting`, which is created here because importing its module compiles
    kernels. With ``as_hu``, values of an unknown unit are treated as Hounsfield units; the warnings
    and the name of the layer then say so. ``pictures`` are the reference photograph, its label
    image and its mask (the latter two may be None) for models that need a photograph.

    Raises `TomochromeError` if the layer is not CT, the model or device is not available, or the
    photograph and its label image do not match; `Cancelled` if the task was cancelled.
    """
    report(0, 0, "Reading the layer")
    ct = ct_source(layer, as_hu=as_hu)
    check()
    forced = as_hu and ct.shown.unit != "HU"
    reference = None if pictures is None else colorization.Reference.read(*pictures)
    chroma = colorization.colorize(
        ct.shown, model, device=device, force=forced, reference=reference
    )
    check()
    note = " (taken as HU)" if forced else ""
    return finished_layer(layer, ct, chroma, lighting(fields, chroma), note)


def unused_options(chroma: color.Chroma) -> str:
    """Return " " and a sentence about options that the last step did not use, or ""."""
    texts = [str(w) for w in chroma.provenance.warnings if w.code == "option-unused"]
    return "".join(f" {text[:1].upper()}{text[1:]}." for text in texts[-1:])


def finished_layer(
    layer: Any, ct: LayerSource, chroma: color.Chroma, settings: color.Lighting, note: str = ""
) -> Any:
    """Return a new layer that shows a chroma over a CT layer. Runs in a worker.

    ``ct`` is the source of the CT layer, ``chroma`` is on the grid of ``ct.shown``, and ``note`` is
    a suffix of the layer's name.
    """
    from tomochrome._napari.colorize.colored_picture import ColoredPicture

    lit = ColoredPicture(ct.shown, chroma, settings)
    chroma.tissue_shares()  # fills the cache for the legend
    # Prepare the color tables of all palettes and compile the kernels of a slice here, so that
    # the sliders respond at once.
    for name in palette_names():
        check()
        lit.prepare(lit.settings.replace(palette=name))
    for slab in (color.Slab("mean", 10), color.Slab("maximum", 10), None):
        lit.slab = slab
        _ = lit[ct.shown.shape[0] // 2]
    # Creating a layer slices it and renders its thumbnail; only adding it needs the GUI thread.
    name = f"{layer.name} · {model_title(chroma.model)}{note}"
    source = LayerSource("color", ct.stored, ct.shown, chroma)
    parts = color_layer(lit, source, layer_transform(layer), name)
    return Layer.create(*parts)


def lighting(fields: Mapping[str, Any], chroma: color.Chroma) -> color.Lighting:
    """Create the lighting from the fields.

    The first call imports compiled kernels. The tissue selection is ignored for models that predict
    colors rather than tissues.
    """
    return color.Lighting(**fields if chroma.has_tissues else {**fields, "tissues": None})


class Coloring:
    """The colored layer of one CT layer.

    Parameters
    ----------
    ct_layer
        The napari layer that was colored.
    layer
        The RGBA layer over it, whose data is a `ColoredPicture`.
    """

    def __init__(self, ct_layer: Any, layer: Any) -> None:
        self.ct_layer = ct_layer
        self.layer = layer

    @property
    def chroma(self) -> color.Chroma:
        """The chroma, on the grid of both layers."""
        source = source_of(self.layer.metadata)
        assert source is not None
        assert source.chroma is not None
        return source.chroma

    @classmethod
    def add(cls, viewer: Any, ct_layer: Any, layer: Any, earlier: Sequence[Any]) -> Coloring:
        """Add a colored layer directly above its CT layer and earlier colorings of the same CT."""
        top = max(viewer.layers.index(below) for below in (ct_layer, *earlier))
        layer.name = _new_name(layer.name, [other.name for other in viewer.layers])
        viewer.layers.insert(top + 1, layer)
        return cls(ct_layer, layer)

    def replace(self, viewer: Any, layer: Any) -> None:
        """Replace the content of the layer, keeping its position and visibility."""
        others = [other.name for other in viewer.layers if other is not self.layer]
        self.layer.metadata = layer.metadata
        self.layer.data = layer.data
        self.layer.name = _new_name(layer.name, others)

    @classmethod
    def find(cls, viewer: Any) -> list[Coloring]:
        """Return the colorings in a viewer, which other panels may have made."""
        layers = viewer.layers
        return [cls(below, layer) for below in layers for layer in colored_layers(layers, below)]

    def relight(self, fields: Mapping[str, Any]) -> None:
        """Change the lighting; only what is on screen is recomputed."""
        lit: ColoredPicture = self.layer.data
        settings = lighting(fields, self.chroma)
        if settings != lit.settings:
            lit.settings = settings
            if not lit.in_3d:  # in 3D, a worker does it
                self.layer.refresh(extent=False, highlight=False, thumbnail=False)

    def refresh_thumbnail(self) -> None:
        """Redraw the thumbnail in the layer list, which `relight` does not."""
        self.layer.refresh(extent=False, highlight=False, data_displayed=False)

    def plane_shares(self, dims: Any) -> NDArray[np.float64] | None:
        """Return the tissue fractions in the displayed plane; None in 3D."""
        layer = self.layer
        hidden = [axis for axis in dims.not_displayed if axis >= dims.ndim - layer.ndim]
        if len(hidden) != 1:
            return None
        axis = hidden[0] - (dims.ndim - layer.ndim)
        at = int(np.rint(layer.world_to_data(dims.point[-layer.ndim :])[axis]))
        if not 0 <= at < layer.data.shape[axis]:
            return None
        return self.chroma.tissue_shares((*[slice(None)] * axis, at))

    def finding(self, voxel: tuple[int, int, int]) -> tuple[str, str]:
        """Return two lines about a voxel: value and most likely tissue; probability, confidence."""
        return finding(self.layer.data.volume, self.chroma, voxel)


def _new_name(name: str, taken: Sequence[str]) -> str:
    """Return the name, with the number of the run if it is taken."""
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}, run {number}"
    return unique

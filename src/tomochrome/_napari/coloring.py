"""A colored layer over its CT: made once, lit again as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.ct_source import ct_source
from tomochrome._napari.layers import (
    LayerSource,
    color_layer,
    colored_layers,
    layer_transform,
    source_of,
)
from tomochrome._napari.readout import in_words
from tomochrome.color.codes import FreeColors
from tomochrome.runtime import check, report
from tomochrome.tissue import NO_TISSUE, Tissue

if TYPE_CHECKING:
    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import Chroma, Lighting


def color_in_worker(
    layer: Any,
    model: str,
    device: str,
    fields: Mapping[str, Any],
    *,
    as_hu: bool = False,
    pictures: tuple[Path, Path | None] | None = None,
) -> Any:
    """Return a finished layer that colors the CT of a layer; for a worker: touches no widget.

    Parameters
    ----------
    layer
        The napari layer; it is only read.
    model, device
        As for `tomochrome.colorize`.
    fields
        Keywords of `tomochrome.color.Lighting`; the settings are made here because importing
        that module compiles kernels, which is not for the GUI thread.
    as_hu
        The user says that values of an unknown unit are Hounsfield units. The colors' own
        warnings and the name of the layer say so.
    pictures
        The photograph that the model's colors come from, its label picture and its mask (or None
        each); None if the model needs no photograph.

    Raises
    ------
    TomochromeError
        If the layer is not CT, the model or device cannot be had, or the pictures do not fit
        together.
    Cancelled
        If the task was cancelled.
    """
    from tomochrome.colorization import Reference, colorize

    report(0, 0, "Reading the layer")
    ct = ct_source(layer, as_hu=as_hu)
    check()
    forced = as_hu and ct.shown.unit != "HU"
    reference = None if pictures is None else Reference.read(*pictures)
    chroma = colorize(ct.shown, model, device=device, force=forced, reference=reference)
    check()
    note = " (taken as HU)" if forced else ""
    return finished_layer(layer, ct, chroma, lighting(fields, chroma), note)


def unused_options(chroma: Chroma) -> str:
    """Return a sentence, after a space, on what the last step could not use; perhaps nothing."""
    said = [str(w) for w in chroma.provenance.warnings if w.code == "option-unused"]
    return "".join(f" {text[:1].upper()}{text[1:]}." for text in said[-1:])


def finished_layer(
    layer: Any, ct: LayerSource, chroma: Chroma, settings: Lighting, note: str = ""
) -> Any:
    """Return a layer that shows colors over the CT of a layer; for a worker.

    Parameters
    ----------
    layer
        The CT's napari layer; it is only read.
    ct
        The CT behind it.
    chroma
        The colors, on the grid of ``ct.shown``.
    settings
        The light.
    note
        The end of the layer's name.
    """
    from napari.layers import Layer

    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import palette_names
    from tomochrome.colorization import model_title

    lit = ColoredPicture(ct.shown, chroma, settings)
    chroma.tissue_shares()  # kept, so that the legend need not wait
    # The slow firsts happen here, so that no slider waits for them: the colors of every palette
    # at every saturation, and the kernels of one slice.
    for name in palette_names():
        check()
        lit.prepare(lit.settings.but(palette=name))
    _ = lit[ct.shown.shape[0] // 2]
    # Making the layer slices it and draws its thumbnail; only adding it is for the GUI thread.
    name = f"{layer.name} · {model_title(chroma.model)}{note}"
    source = LayerSource("color", ct.stored, ct.shown, chroma)
    parts = color_layer(lit, source, layer_transform(layer), name)
    return Layer.create(*parts)


def lighting(fields: Mapping[str, Any], chroma: Chroma) -> Lighting:
    """Make the settings of the light from the fields; only once the color room is imported.

    A model that gives colors itself names no tissues: none can be chosen then.
    """
    from tomochrome.color import Lighting

    return Lighting(**fields if chroma.has_tissues else {**fields, "tissues": None})


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
    def chroma(self) -> Chroma:
        """The colors, on the grid of both layers."""
        known = source_of(self.layer.metadata)
        assert known is not None
        assert known.chroma is not None
        return known.chroma

    @classmethod
    def add(cls, viewer: Any, ct_layer: Any, layer: Any, above: Sequence[Any]) -> Coloring:
        """Add the colored layer right above its CT, and above these other layers.

        Parameters
        ----------
        viewer
            The viewer that holds the CT layer.
        ct_layer
            The layer that was colored.
        layer
            What the worker made of it.
        above
            Layers that must lie below the new one: earlier colorings of the same CT.
        """
        top = max(viewer.layers.index(below) for below in (ct_layer, *above))
        layer.name = _new_name(layer.name, [known.name for known in viewer.layers])
        viewer.layers.insert(top + 1, layer)
        return cls(ct_layer, layer)

    def replace(self, layer: Any) -> None:
        """Show other colors in the same layer: where and whether it is seen stays as it was."""
        self.layer.metadata = layer.metadata
        self.layer.data = layer.data
        self.layer.name = layer.name

    @classmethod
    def find(cls, viewer: Any) -> list[Coloring]:
        """Return the colorings that the viewer holds already, from an earlier panel."""
        layers = viewer.layers
        return [cls(below, layer) for below in layers for layer in colored_layers(layers, below)]

    def relight(self, fields: Mapping[str, Any]) -> None:
        """Show the volume in another light: what is on screen is computed again, no more."""
        lit: ColoredPicture = self.layer.data
        settings = lighting(fields, self.chroma)
        if settings != lit.settings:
            lit.settings = settings
            if not lit.in_3d:  # there a worker does it
                self.layer.refresh(extent=False, highlight=False, thumbnail=False)

    def refresh_thumbnail(self) -> None:
        """Draw the thumbnail in the layer list anew, which `relight` leaves as it was."""
        self.layer.refresh(extent=False, highlight=False, data_displayed=False)

    def plane_shares(self, dims: Any) -> NDArray[np.float64] | None:
        """Return the tissues' shares in the plane on screen, None in 3D."""
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
        """Return what is in a voxel, its value and likeliest tissue, and how sure that is."""
        value, chroma = in_words(self.layer.data.volume, voxel), self.chroma
        code, table = int(chroma.code[voxel]), chroma.table
        sure = f"Confidence {100 * int(chroma.confidence[voxel]) / 255:.0f} %"
        if isinstance(table, FreeColors):
            a, b = table.ab[code]
            return (f"{value} · a* {a:.0f}, b* {b:.0f}", sure) if code else (value, "")
        tissue = int(table.tissue[code])
        if tissue in (Tissue.AIR, NO_TISSUE):
            return value, ""
        likely = f"Probability {100 * float(table.weights[code, tissue]):.0f} %"
        return f"{value} · {Tissue(tissue).title}", f"{likely} · {sure}"


def _new_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that says which run it was, if the name is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}, run {number}"
    return found

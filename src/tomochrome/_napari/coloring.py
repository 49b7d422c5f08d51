"""A colored layer over its CT: made once, lit again as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome._napari.ct_source import ct_source
from tomochrome._napari.layers import (
    color_layer,
    layer_transform,
    source_of,
)
from tomochrome._napari.readout import Finding, in_words
from tomochrome.color.codes import FreeColors
from tomochrome.runtime import check, report
from tomochrome.tissue import NO_TISSUE, Tissue

if TYPE_CHECKING:
    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import Chroma, Lighting


@dataclass(frozen=True, eq=False)
class Colored:
    """What the worker hands to the GUI thread: the colors, and a finished layer to add."""

    chroma: Chroma
    layer: Any


def color_in_worker(
    layer: Any, model: str, device: str, fields: Mapping[str, Any], *, as_hu: bool = False
) -> Colored:
    """Color the CT of a layer. Runs in a worker thread and touches no widget.

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

    Raises
    ------
    TomochromeError
        If the layer is not CT, or the model or device cannot be had.
    Cancelled
        If the task was cancelled.
    """
    from napari.layers import Layer

    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import palette_names
    from tomochrome.colorization import colorize, model_title

    report(0, 0, "Reading the layer")
    ct = ct_source(layer, as_hu=as_hu)
    check()
    forced = as_hu and ct.shown.unit != "HU"
    chroma = colorize(ct.shown, model, device=device, force=forced)
    check()
    lit = ColoredPicture(ct.shown, chroma, lighting(fields, chroma))
    chroma.tissue_shares()  # kept, so that the legend need not wait
    # The slow firsts happen here, so that no slider waits for them: the colors of every palette
    # at every saturation, and the kernels of one slice.
    for name in palette_names():
        check()
        lit.prepare(lit.settings.but(palette=name))
    _ = lit[ct.shown.shape[0] // 2]
    # Making the layer slices it and draws its thumbnail; only adding it is for the GUI thread.
    name = f"{layer.name} · {model_title(chroma.model)}{' (taken as HU)' if forced else ''}"
    parts = color_layer(lit, ct, chroma, layer_transform(layer), name)
    return Colored(chroma, Layer.create(*parts))


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
    chroma
        The colors, on the grid of both layers.
    """

    def __init__(self, ct_layer: Any, layer: Any, chroma: Chroma) -> None:
        self.ct_layer = ct_layer
        self.layer = layer
        self.chroma = chroma

    @classmethod
    def add(cls, viewer: Any, ct_layer: Any, colored: Colored, above: Sequence[Any]) -> Coloring:
        """Add the colored layer right above its CT, and above these other layers.

        Parameters
        ----------
        viewer
            The viewer that holds the CT layer.
        ct_layer
            The layer that was colored.
        colored
            What the worker made of it.
        above
            Layers that must lie below the new one: earlier colorings of the same CT.
        """
        top = max(viewer.layers.index(below) for below in (ct_layer, *above))
        colored.layer.name = _new_name(colored.layer.name, [layer.name for layer in viewer.layers])
        viewer.layers.insert(top + 1, colored.layer)
        return cls(ct_layer, colored.layer, colored.chroma)

    def replace(self, colored: Colored) -> None:
        """Show other colors in the same layer: where and whether it is seen stays as it was."""
        self.chroma = colored.chroma
        self.layer.metadata = colored.layer.metadata
        self.layer.data = colored.layer.data
        self.layer.name = colored.layer.name

    @classmethod
    def find(cls, viewer: Any) -> list[Coloring]:
        """Return the colorings that the viewer holds already, from an earlier panel."""
        found = []
        for layer in viewer.layers:
            known = source_of(layer.metadata)
            if known is None or known.role != "color" or known.chroma is None:
                continue
            for below in viewer.layers:
                if below.data is known.shown.voxels:
                    found.append(cls(below, layer, known.chroma))
                    break
        return found

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

    def finding(self, voxel: tuple[int, int, int]) -> Finding:
        """Return what is in a voxel: its value, its likeliest tissue and how sure that is."""
        value = in_words(self.layer.data.volume, voxel)
        code, table = int(self.chroma.code[voxel]), self.chroma.table
        confidence = int(self.chroma.confidence[voxel]) / 255
        if isinstance(table, FreeColors):
            a, b = table.ab[code]
            return Finding(value, f"a* {a:.0f}, b* {b:.0f}" if code else "", None, confidence)
        tissue = int(table.tissue[code])
        if tissue in (Tissue.AIR, NO_TISSUE):
            return Finding(value)
        share = float(table.weights[code, tissue])
        return Finding(value, Tissue(tissue).title, share, confidence)


def _new_name(name: str, taken: Sequence[str]) -> str:
    """Return a name that says which run it was, if the name is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}, run {number}"
    return found

"""A colored layer over its CT: made once, lit again as often as one likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tomochrome._napari.ct_source import ct_behind
from tomochrome._napari.layers import (
    behind,
    color_layer,
    layer_transform,
    limits,
)
from tomochrome._napari.readout import in_words
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES

if TYPE_CHECKING:
    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import Chroma, Lighting
    from tomochrome.windowing import Window


@dataclass(frozen=True, eq=False)
class Colored:
    """What the worker hands to the GUI thread: the colors, and a finished layer to add."""

    chroma: Chroma
    layer: Any


def color_in_worker(
    layer: Any,
    model: str,
    device: str,
    fields: Mapping[str, Any],
    *,
    as_hu: bool = False,
    progress: Progress,
    cancel: CancelToken,
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
        The user insists that values of an unknown unit are Hounsfield units. The colors' own
        warnings and the name of the layer say so.
    progress, cancel
        As for every long function.

    Raises
    ------
    TomochromeError
        If the layer is not CT, or the model or device cannot be had.
    Cancelled
        If the token says so.
    """
    from napari.layers import Layer

    from tomochrome._napari.colored_picture import ColoredPicture
    from tomochrome.color import palette_names
    from tomochrome.colorization import colorize

    report(progress, 0, 0, "Reading the layer")
    ct = ct_behind(layer, as_hu=as_hu)
    check(cancel)
    forced = as_hu and ct.shown.unit != "HU"
    chroma = colorize(
        ct.shown, model, device=device, force=forced, progress=progress, cancel=cancel
    )
    check(cancel)
    lit = ColoredPicture(ct.shown, chroma, lighting(fields))
    # The slow firsts happen here, so that no slider waits for them: the colors of every palette
    # at every saturation, and the kernels of one slice.
    for name in palette_names():
        check(cancel)
        lit.prepare(lit.settings.but(palette=name))
    _ = lit[ct.shown.shape[0] // 2]
    # Making the layer slices it and draws its thumbnail; only adding it is for the GUI thread.
    name = f"{layer.name} · {chroma.model}{' (taken as HU)' if forced else ''}"
    parts = color_layer(lit, ct, chroma, layer_transform(layer), name)
    return Colored(chroma, Layer.create(*parts))


def lighting(fields: Mapping[str, Any]) -> Lighting:
    """Make the settings of the light from the fields; only once the color room is imported."""
    from tomochrome.color import Lighting

    return Lighting(**fields)


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
        viewer.layers.insert(top + 1, colored.layer)
        return cls(ct_layer, colored.layer, colored.chroma)

    @classmethod
    def find(cls, viewer: Any) -> list[Coloring]:
        """Return the colorings that the viewer holds already, from an earlier panel."""
        found = []
        for layer in viewer.layers:
            known = behind(layer.metadata)
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
        settings = lighting(fields)
        if settings != lit.settings:
            lit.settings = settings
            if not lit.in_3d:  # there a worker does it
                self.layer.refresh(extent=False, highlight=False, thumbnail=False)

    def voxel_at(self, position: Any) -> tuple[int, int, int] | None:
        """Return the voxel (z, y, x) at a world position, or None outside the volume."""
        index = np.rint(self.layer.world_to_data(position)).astype(int)
        if (index < 0).any() or (index >= self.layer.data.shape[:3]).any():
            return None
        z, y, x = (int(value) for value in index)
        return z, y, x

    def describe(self, voxel: tuple[int, int, int]) -> str:
        """Return what is in a voxel: its value, its likeliest tissue and the confidence."""
        value = in_words(self.layer.data.volume, voxel)
        shares = self.chroma.mixtures[int(self.chroma.code[voxel])][:N_TISSUES]
        tissue = int(np.argmax(shares))
        if tissue == 0 or not float(shares[tissue]) > 0.0:
            return value
        confidence = int(self.chroma.confidence[voxel]) / 255
        return f"{value} · {TISSUE_NAMES[tissue].replace('-', ' ')} {confidence:.0%}"


def show_window(ct_layer: Any, window: Window) -> None:
    """Give the CT layer the contrast limits of a window."""
    ct_layer.contrast_limits = limits(window)

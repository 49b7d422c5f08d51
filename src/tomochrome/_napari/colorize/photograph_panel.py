"""The "Color a photograph" panel: gives a grey photograph of a section its colors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

import tomochrome
from tomochrome._napari.kit.panel_bases import FormPanel
from tomochrome._napari.layers.volume_layers import (
    NOT_FOR_DIAGNOSIS,
    LayerTuple,
    layer_transform,
    source_of,
)
from tomochrome.colorization.cards import model_title
from tomochrome.errors import InputError


def model_names(_: Any = None) -> list[str]:
    """Return the models that color photographs."""
    from tomochrome.colorization.photograph_coloring import photograph_models

    return photograph_models()


def color_photograph(
    photograph: Image, model: Annotated[str, {"choices": model_names}]
) -> list[LayerTuple]:
    """Return the photograph of a 2D layer in color; only its lightness is used."""
    if not model:
        raise InputError("no model that colors photographs is installed")
    colored = tomochrome.colorize_photograph(photograph_of(photograph), model)
    keywords = {
        "name": f"{photograph.name} · {model_title(model)}",
        "metadata": {"not measured": f"colors predicted by {model}, {NOT_FOR_DIAGNOSIS}"},
        **layer_transform(photograph),
    }
    return [(colored, keywords, "image")]


def photograph_of(layer: Image) -> NDArray[np.uint8]:
    """Return a 2D layer as it is displayed: uint8 (y, x), or (y, x, 3) of a layer in color.

    Raises
    ------
    InputError
        If the layer has slices, or is a CT.
    """
    values = np.asarray(layer.data)
    if layer.ndim != 2 or layer.multiscale or source_of(layer.metadata) is not None:
        raise InputError(
            f"the layer '{layer.name}' is not a photograph: choose a 2D layer in grey or color, "
            "and color a CT with 'Colorize volume'"
        )
    if layer.rgb:
        values = values[..., :3]
    if values.dtype == np.uint8:
        return values
    low, high = layer.contrast_limits
    if layer.rgb:  # as napari displays it
        low, high = 0.0, 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / max(high - low, 1e-12)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), np.uint8)


class PhotographPanel(FormPanel):
    """Colors a photograph."""

    tab, action, job_name = "Color a photograph", "Color", "Coloring the photograph"
    work = staticmethod(color_photograph)

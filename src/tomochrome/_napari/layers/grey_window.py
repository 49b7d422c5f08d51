"""Display windows of grey layers: contrast limits, and colormaps that are linear in L*.

napari maps the contrast limits linearly onto a colormap. Its own ``gray`` is linear in 8-bit sRGB
values. The colormaps here are linear in lightness, so that a grey layer has the same L* as its
colored layer. DICOM's sigmoid VOI function is also a colormap, over wider contrast limits.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from napari.layers import Image
from napari.utils.colormaps import Colormap

from tomochrome.color.space import GREY_L
from tomochrome.runtime import check
from tomochrome.windowing import Window, luminance

WINDOW_KEY: Final = "tomochrome window"
RANGE_KEY: Final = "tomochrome range"  #: metadata key of the value range of the data
GREY: Final = "gray (L*)"
SIGMOID: Final = "gray (L*, sigmoid)"
REACH: Final = 1.75
"""Half the width of a sigmoid's contrast limits, where L* is 0.1 and 99.9, in window widths."""
_STEPS: Final = 512
_SLAB: Final = 16


class Shown(NamedTuple):
    """The window of a layer, stored in its metadata."""

    window: Window
    choice: str  #: what was chosen, as text for `parse_window`


def is_grey_image(layer: Any) -> bool:
    """Whether a layer is an image of one value per voxel, not of colors."""
    return isinstance(layer, Image) and not layer.rgb


@cache
def grey_colormap(name: str) -> Any:
    """Return the napari colormap `GREY` or `SIGMOID`."""
    at = np.linspace(0.0, 1.0, _STEPS)
    if name == SIGMOID:
        lightness = luminance(at, Window(0.5, 0.5 / REACH, "SIGMOID")).astype(np.float64)
    else:
        lightness = 100 * at
    grey = np.interp(lightness, GREY_L, np.linspace(0.0, 1.0, len(GREY_L)))
    colors = np.stack([grey, grey, grey, np.ones(_STEPS)], axis=1)
    return Colormap(colors, name=name, display_name=name, controls=at)


def limits(window: Window) -> tuple[float, float]:
    """Return the contrast limits (black, white) of a window."""
    half = window.width * (REACH if window.function == "SIGMOID" else 0.5)
    return window.center - half, window.center + half


def window_keywords(window: Window) -> dict[str, Any]:
    """Return the contrast limits and the colormap that show a grey layer in a window."""
    name = SIGMOID if window.function == "SIGMOID" else GREY
    return {"contrast_limits": limits(window), "colormap": grey_colormap(name)}


def window_of(layer: Any) -> Window | None:
    """Return the display window of a grey layer, None for other layers.

    It is the window set by `show_window`, unless the contrast limits have been changed since.
    """
    if not is_grey_image(layer):
        return None
    low, high = map(float, layer.contrast_limits)
    sigmoid = layer.colormap.name == SIGMOID
    shown = layer.metadata.get(WINDOW_KEY)
    if isinstance(shown, Shown):
        same = np.allclose(limits(shown.window), (low, high), rtol=1e-6, atol=1e-9)
        if same and sigmoid == (shown.window.function == "SIGMOID"):
            return shown.window
    width = max(high - low, 1e-6 * max(1.0, abs(low), abs(high)))
    if sigmoid:
        return Window((low + high) / 2, width / (2 * REACH), "SIGMOID")
    linear = np.dtype(layer.dtype).kind in "iu" and width >= 1
    return Window((low + high) / 2, width, "LINEAR" if linear else "LINEAR_EXACT")


def choice_of(layer: Any) -> str | None:
    """Return the choice of a layer's window, as text for `parse_window`.

    It is ``"scanner:1"`` or ``"auto"`` as opened; None if the contrast limits were changed by hand.
    """
    shown = layer.metadata.get(WINDOW_KEY)
    if not isinstance(shown, Shown) or window_of(layer) != shown.window:
        return None
    return shown.choice


def show_window(layer: Any, window: Window, choice: str | None = None) -> None:
    """Show a grey layer in a window; ``choice`` is for `choice_of`, None for plain numbers.

    A colormap that the user chose is kept as long as the window is linear.
    """
    keywords = window_keywords(window)
    if choice is None:
        layer.metadata.pop(WINDOW_KEY, None)
    else:
        layer.metadata[WINDOW_KEY] = Shown(window, choice)
    ours = layer.colormap.name in (GREY, SIGMOID, "gray")
    colormap = keywords["colormap"]
    if (ours or window.function == "SIGMOID") and layer.colormap.name != colormap.name:
        # Blocked, because the limits do not match the colormap yet.
        with layer.events.contrast_limits.blocker():
            layer.contrast_limits = keywords["contrast_limits"]
        layer.colormap = colormap
    if tuple(layer.contrast_limits) != tuple(keywords["contrast_limits"]):
        layer.contrast_limits = keywords["contrast_limits"]


def open_range(layer: Any) -> None:
    """Extend napari's contrast slider to all values of a layer of this plugin, and its window."""
    values = layer.metadata.get(RANGE_KEY)
    if values is None or not is_grey_image(layer):
        return
    low, high = layer.contrast_limits
    minimum, maximum = min(values[0], low), max(values[1], high)
    if minimum < maximum:
        layer.contrast_limits_range = (minimum, maximum)


def value_range(voxels: Any) -> tuple[float, float]:
    """Return the minimum and maximum finite value, computed a few slices at a time."""
    low, high = np.inf, -np.inf
    for start in range(0, len(voxels), _SLAB):
        check()
        slab = np.asarray(voxels[start : start + _SLAB])
        if slab.dtype.kind == "f":
            slab = slab[np.isfinite(slab)]
        if slab.size:
            low, high = min(low, float(slab.min())), max(high, float(slab.max()))
    return low, high

"""A window on a grey layer: contrast limits and a colormap whose L* is the window's.

napari maps contrast limits linearly onto a colormap. Its own ``gray`` is linear in 8-bit values,
which are not lightness; the colormaps here are, so that a grey layer is as light as its colored
twin. DICOM's sigmoid function is a colormap too, over contrast limits as wide as the sigmoid.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from tomochrome.color.space import GREY_L
from tomochrome.runtime import check
from tomochrome.windowing import Window, luminance

WINDOW_KEY: Final = "tomochrome window"
RANGE_KEY: Final = "tomochrome range"  #: metadata: least and greatest value of the data
GREY: Final = "gray (L*)"
SIGMOID: Final = "gray (L*, sigmoid)"
REACH: Final = 1.75
"""Half the width of a sigmoid's contrast limits over its window width: L* is 0.1 and 99.9 there."""
_STEPS: Final = 512
_SLAB: Final = 16


class Shown(NamedTuple):
    """The window that a layer was given, kept in its metadata."""

    window: Window
    choice: str  #: what the user chose, as `parse_window` reads it; empty if nobody did yet


@cache
def grey_colormap(name: str) -> Any:
    """Return the napari colormap `GREY` or `SIGMOID`."""
    from napari.utils.colormaps import Colormap

    at = np.linspace(0.0, 1.0, _STEPS)
    if name == SIGMOID:
        lightness = luminance(at, Window(0.5, 0.5 / REACH, "SIGMOID")).astype(np.float64)
    else:
        lightness = 100 * at
    grey = np.interp(lightness, GREY_L, np.linspace(0.0, 1.0, len(GREY_L)))
    colors = np.stack([grey, grey, grey, np.ones(_STEPS)], axis=1)
    return Colormap(colors, name=name, display_name=name, controls=at)


def limits(window: Window) -> tuple[float, float]:
    """Return the contrast limits of a window: from black to white."""
    half = window.width * (REACH if window.function == "SIGMOID" else 0.5)
    return window.center - half, window.center + half


def window_keywords(window: Window) -> dict[str, Any]:
    """Return how napari shows a grey layer in a window: contrast limits and colormap."""
    name = SIGMOID if window.function == "SIGMOID" else GREY
    return {"contrast_limits": limits(window), "colormap": grey_colormap(name)}


def window_of(layer: Any) -> Window | None:
    """Return the window that a grey layer is shown in, None for others.

    It is the one that `show_window` gave it, unless the contrast limits were moved since.
    """
    if layer._type_string != "image" or layer.rgb:
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
    """Return what the user chose for a layer, as text that `parse_window` reads.

    Empty while the layer is in the window that it was opened in, None if its contrast limits
    were moved by hand.
    """
    shown = layer.metadata.get(WINDOW_KEY)
    if not isinstance(shown, Shown) or window_of(layer) != shown.window:
        return None
    return shown.choice


def show_window(layer: Any, window: Window, choice: str | None = None) -> None:
    """Show a grey layer in a window.

    Parameters
    ----------
    layer
        The layer; a colormap that the user chose is kept as long as the window is linear.
    window
        The window.
    choice
        What the user chose, for `choice_of`; None if it was only numbers.
    """
    keywords = window_keywords(window)
    if choice is None:
        layer.metadata.pop(WINDOW_KEY, None)
    else:
        layer.metadata[WINDOW_KEY] = Shown(window, choice)
    ours = layer.colormap.name in (GREY, SIGMOID, "gray")
    wanted = keywords["colormap"]
    if (ours or window.function == "SIGMOID") and layer.colormap.name != wanted.name:
        with layer.events.contrast_limits.blocker():  # or followers see limits of another function
            layer.contrast_limits = keywords["contrast_limits"]
        layer.colormap = wanted
    if tuple(layer.contrast_limits) != tuple(keywords["contrast_limits"]):
        layer.contrast_limits = keywords["contrast_limits"]


def open_range(layer: Any) -> None:
    """Let napari's contrast slider go over all values of a layer of ours, and its window."""
    known = layer.metadata.get(RANGE_KEY)
    if known is None or layer._type_string != "image" or layer.rgb:
        return
    low, high = layer.contrast_limits
    least, greatest = min(known[0], low), max(known[1], high)
    if least < greatest:
        layer.contrast_limits_range = (least, greatest)


def value_range(voxels: Any) -> tuple[float, float]:
    """Return the least and the greatest finite value, looking at a few slices at a time."""
    low, high = np.inf, -np.inf
    for start in range(0, len(voxels), _SLAB):
        check()
        slab = np.asarray(voxels[start : start + _SLAB])
        if slab.dtype.kind == "f":
            slab = slab[np.isfinite(slab)]
        if slab.size:
            low, high = min(low, float(slab.min())), max(high, float(slab.max()))
    return low, high

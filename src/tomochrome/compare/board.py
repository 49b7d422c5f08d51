"""Comparisons by name, and the checkerboard as one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomochrome.color.view import LitVolume
from tomochrome.compare.base import View, render
from tomochrome.compare.contours import Contours
from tomochrome.compare.mix import Blend, Difference, RedCyan
from tomochrome.compare.pair import Pair, WindowName
from tomochrome.compare.select import Checkerboard, Flicker, Tiles, Wipe
from tomochrome.errors import OptionError
from tomochrome.geometry.sampling import Order
from tomochrome.volume import Volume

MODES: Mapping[str, type[View[Any]]] = {
    view.mode: view for view in (Checkerboard, Wipe, Blend, RedCyan, Difference, Contours, Flicker)
}
"""Every comparison by its name."""


def view(mode: str, pair: Pair, settings: Any = None) -> View[Any]:
    """Return the comparison called ``mode`` of a pair, to be computed where it is looked at.

    Parameters
    ----------
    mode
        ``"checkerboard"``, ``"wipe"``, ``"blend"``, ``"red-cyan"``, ``"difference"``,
        ``"contour"`` or ``"flicker"``.
    pair
        What is compared.
    settings
        An object of the comparison's own settings class; its defaults if None.

    Returns
    -------
    View
        Nothing is computed yet.

    Raises
    ------
    OptionError
        If there is no such comparison.
    InputError
        If the pair cannot be compared so.
    """
    if mode not in MODES:
        raise OptionError(f"unknown comparison '{mode}': choose one of {', '.join(MODES)}")
    return MODES[mode](pair, settings)


def checkerboard(
    a: Volume | LitVolume,
    b: Volume | LitVolume,
    *,
    tile_mm: float = 20.0,
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    window: WindowName | tuple[WindowName, WindowName] = None,
    color: bool = False,
    order: Order | None = None,
) -> Volume:
    """Return two volumes in turn, tile by tile, on the grid of the first.

    Parameters
    ----------
    a, b
        Volumes, grey or colored, on any two grids; see `Pair`.
    tile_mm
        Edge of a tile in mm along all three axes: tiles are cubes, so squares in every plane.
    offset_mm
        By how much the tiles are moved along (z, y, x), in mm; see `Checkerboard`.
    window
        How grey volumes are shown; None keeps two volumes of one unit in their own numbers.
    color
        RGBA in any case.
    order
        How ``b`` is read between its voxels.

    Returns
    -------
    Volume
        In the unit of both if they share one and ``window`` is None, else uint8 RGBA. Where the
        tile's volume measured nothing: ``outside``, or transparent.

    Raises
    ------
    GeometryError
        If the two do not overlap anywhere.
    OptionError
        If the tiles are smaller than the voxels, or an option has no meaning.
    Cancelled
        If the task was cancelled.

    Examples
    --------
    >>> board = tc.checkerboard(fixed, result.moved, tile_mm=20)      # doctest: +SKIP
    """
    settings = Tiles(tile_mm, offset_mm)
    pair = Pair(a, b, window=window, color=color, order=order)
    return render(Checkerboard(pair, settings))

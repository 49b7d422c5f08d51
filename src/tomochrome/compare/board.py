"""Comparisons by name, and the function `checkerboard`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomochrome.color.view import LitVolume
from tomochrome.compare.base import View, render
from tomochrome.compare.contours import Contours
from tomochrome.compare.mix import Blend, Difference, RedCyan
from tomochrome.compare.pair import Pair, WindowName
from tomochrome.compare.select import Checkerboard, CheckerboardSettings, Flicker, Wipe
from tomochrome.errors import OptionError
from tomochrome.geometry.sampling import Order
from tomochrome.volume import Volume

MODES: Mapping[str, type[View[Any]]] = {
    view.mode: view for view in (Checkerboard, Wipe, Blend, RedCyan, Difference, Contours, Flicker)
}
"""All comparisons by name."""


def view(mode: str, pair: Pair, settings: Any = None) -> View[Any]:
    """Return a comparison of a pair, which is computed lazily.

    Parameters
    ----------
    mode
        ``"checkerboard"``, ``"wipe"``, ``"blend"``, ``"red-cyan"``, ``"difference"``,
        ``"contour"`` or ``"flicker"``.
    pair
        The volumes to compare.
    settings
        An object of the comparison's settings class; None for its defaults.

    Returns
    -------
    View
        The comparison.

    Raises
    ------
    OptionError
        If the mode is unknown.
    InputError
        If the comparison is not possible for the pair.
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
    """Return a checkerboard of two volumes on the grid of the first.

    Parameters
    ----------
    a, b
        Volumes, grey or colored, on any two grids; see `Pair`.
    tile_mm
        Edge length of a tile in mm; tiles are cubes, and squares in every plane.
    offset_mm
        Shift of the tiles along (z, y, x) in mm; see `Checkerboard`.
    window
        Window for grey volumes; None keeps the values of two volumes with the same unit.
    color
        Always return RGBA.
    order
        Interpolation of ``b``.

    Returns
    -------
    Volume
        With the unit of both if it is the same and ``window`` is None, else uint8 RGBA. Voxels
        that the tile's volume did not measure are ``outside``, or transparent.

    Raises
    ------
    GeometryError
        If the volumes do not overlap.
    OptionError
        If the tiles are smaller than the voxels, or an option is invalid.
    Cancelled
        If the user cancelled.

    Examples
    --------
    >>> board = tc.checkerboard(fixed, result.moved, tile_mm=20)      # doctest: +SKIP
    """
    settings = CheckerboardSettings(tile_mm, offset_mm)
    pair = Pair(a, b, window=window, color=color, order=order)
    return render(Checkerboard(pair, settings))

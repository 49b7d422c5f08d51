"""Axial, coronal and sagittal slices: names, axes on screen, and the slice at a position."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply, plane_normal
from tomochrome.geometry.orient import axis_map
from tomochrome.volume import Volume

PLANES: Final = ("sagittal", "coronal", "axial")
"""The planes across the LPS axes x, y and z."""
_MIN_OBLIQUE_DEGREES: Final = 1.0


def slice_orientation(affine: NDArray[np.float64], axis: int = 0) -> str:
    """Return ``"axial"``, or ``"coronal, oblique by 12 degrees"``, for slices across an index axis.

    Parameters
    ----------
    affine
        4x4 of the volume.
    axis
        The index axis across the slices, 0 to 2 for z, y, x.
    """
    cosines = np.abs(plane_normal(affine, axis))
    nearest = int(cosines.argmax())
    angle = float(np.degrees(np.arccos(min(1.0, cosines[nearest]))))
    oblique = "" if angle < _MIN_OBLIQUE_DEGREES else f", oblique by {angle:.0f} degrees"
    return f"{PLANES[nearest]}{oblique}"


def parse_position(text: str, what: str) -> tuple[int, float]:
    """Return the LPS axis (0 to 2 for x to z) and the position in mm of a plane.

    Parameters
    ----------
    text
        ``"x=MM"``, ``"y=MM"`` or ``"z=MM"``.
    what
        The option, for the error.

    Raises
    ------
    OptionError
        If it is not like ``"x=-20"``.
    """
    name, equals, position = text.partition("=")
    try:
        axis, mm = ("x", "y", "z").index(name.strip()), float(position)
    except ValueError:
        axis, mm = 0, math.nan
    if not equals or not math.isfinite(mm):
        raise OptionError(f"{what} must be x=MM, y=MM or z=MM in LPS mm, not '{text}'")
    return axis, mm


def plane_map(
    affine: NDArray[np.float64], axis: int
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return the permutation and flips that give slices (slice, down, right) as on screen.

    The patient's right (in sagittal slices: the front) is on the left, and the head, in axial
    slices the front, is up.

    Parameters
    ----------
    affine
        4x4 of the volume.
    axis
        The LPS axis across the slices, as the index of `PLANES`.

    Returns
    -------
    order, flips
        For each new axis, the old axis and whether it is reversed, as for `reorient`.
    """
    (z, y, x), (down, back, left) = axis_map(affine)
    if axis == 2:
        return (z, y, x), (down, back, left)
    if axis == 1:
        return (y, z, x), (back, not down, left)
    return (x, z, y), (left, not down, back)


def slice_positions(volume: Volume, axis: int) -> NDArray[np.float64]:
    """Return the LPS position in mm along an axis of the center of each slice across it.

    Parameters
    ----------
    volume
        A volume in any orientation; if it is oblique, slices are those of its closest axis.
    axis
        0 to 2 for x to z.
    """
    old = plane_map(volume.affine, axis)[0][0]
    centers = np.tile((np.array(volume.shape[:3]) - 1) / 2, (volume.shape[old], 1))
    centers[:, old] = np.arange(volume.shape[old])
    return np.asarray(apply(volume.affine, centers)[:, axis])


def nearest_slice(volume: Volume, axis: int, mm: float) -> int:
    """Return the index of the slice at a position.

    Parameters
    ----------
    volume, axis
        As for `slice_positions`.
    mm
        LPS position along the axis.

    Raises
    ------
    OptionError
        If the position is outside the volume.
    """
    positions = slice_positions(volume, axis)
    index = int(np.argmin(np.abs(positions - mm)))
    thickness = abs(positions[-1] - positions[0]) / max(1, len(positions) - 1)
    if len(positions) > 1 and abs(positions[index] - mm) > thickness:
        name, low, high = "xyz"[axis], positions.min(), positions.max()
        raise OptionError(
            f"there is no {PLANES[axis]} slice at {name}={mm:g}: the scan reaches from "
            f"{name}={low:.0f} to {name}={high:.0f}; choose a position between them"
        )
    return index

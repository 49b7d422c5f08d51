"""Masks of measures: a volume on any grid, an array on the same grid, or None."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.resample import resample
from tomochrome.volume import Volume

Mask = Volume | NDArray[Any] | None
"""Nonzero inside; None for everywhere."""


def on_grid(mask: Mask, like: Volume) -> NDArray[np.bool_] | None:
    """Return a mask as booleans (z, y, x) on the grid of ``like`` (nearest), or None.

    Raises
    ------
    GeometryError
        If an array has another shape than the grid, or the mask is empty on the grid.
    """
    if mask is None:
        return None
    if isinstance(mask, Volume):
        binary = (np.asarray(mask.voxels) != 0).astype(np.uint8)
        plain = replace(mask, voxels=binary, unit="unknown", outside=None)
        inside = np.asarray(resample(plain, like, order="nearest", fill=0).voxels) != 0
    else:
        inside = np.asarray(mask) != 0
        if inside.shape != like.shape:
            raise GeometryError(
                f"the mask's shape {inside.shape} is not that of the volume, {like.shape}"
            )
    if not inside.any():
        raise GeometryError("the mask contains no voxel of the fixed volume; check its position")
    return inside

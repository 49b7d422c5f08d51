"""Masks as measures take them: a volume on any grid, an array on this one, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.resample import resample
from tomochrome.volume import Volume

Mask = Volume | NDArray[Any] | None
"""Not 0 where something counts; None: everywhere."""


def on_grid(mask: Mask, like: Volume) -> NDArray[np.bool_] | None:
    """Return a mask as booleans (z, y, x) on the grid of ``like`` (nearest), or None.

    Raises
    ------
    GeometryError
        If an array is of another shape than the grid, or the mask holds nothing on it.
    """
    if mask is None:
        return None
    if isinstance(mask, Volume):
        wanted = (np.asarray(mask.voxels) != 0).astype(np.uint8)
        plain = replace(mask, voxels=wanted, unit="unknown", outside=None)
        there = np.asarray(resample(plain, like, order="nearest", fill=0).voxels) != 0
    else:
        there = np.asarray(mask) != 0
        if there.shape != like.shape:
            raise GeometryError(
                f"the mask's shape {there.shape} is not that of the volume, {like.shape}"
            )
    if not there.any():
        raise GeometryError("the mask contains no voxel of the fixed volume; check its position")
    return there

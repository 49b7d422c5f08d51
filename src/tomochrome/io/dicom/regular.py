"""From slices at uneven or tilted positions to a regular upright grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Plan:
    """How to resample the slices of a stack onto a regular upright grid.

    Parameters
    ----------
    affine
        4x4 matrix from (z, y, x) index of the regular grid to LPS mm.
    shape
        Voxels of the regular grid along (z, y, x).
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]

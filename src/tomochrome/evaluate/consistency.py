"""Inverse consistency of a pair of transforms."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.sampling import grid_slabs
from tomochrome.transform import Transform, follow
from tomochrome.volume import Volume

_MOST: Final = 12_000_000  # maximum number of points; displacement fields are not finer


def inverse_consistency(
    forward: Transform, inverse: Transform, like: Volume, mask: Mask = None
) -> dict[str, float]:
    """Return the distance of points from their images under ``forward`` followed by ``inverse``.

    Parameters
    ----------
    forward, inverse
        Transforms of points from the fixed to the moving image, and back.
    like
        Volume with the fixed grid; the points are its voxel centers.
    mask
        Mask of the points: a volume on any grid, or an array (z, y, x); 0 is excluded.

    Returns
    -------
    dict
        ``mean``, ``max`` and ``p99`` (99th percentile) in mm, over the points that stay inside the
        domains of both transforms. Empty if there are none.

    Notes
    -----
    Grids of more than twelve million voxels are subsampled with an integer step on each axis.
    """
    wanted = on_grid(mask, like)
    step = int(np.ceil((np.prod(like.shape, dtype=np.float64) / _MOST) ** (1 / 3)))
    wanted = None if wanted is None else wanted[::step, ::step, ::step]
    affine = like.affine @ np.diag([step, step, step, 1.0])
    depth, height, width = (-(-n // step) for n in like.shape)
    found: list[NDArray[np.float32]] = []
    for rows, points in grid_slabs((depth, height, width), affine):
        start = points if wanted is None else points[wanted[rows].ravel()]
        known = np.ones(len(start), dtype=bool)
        end = follow((*forward.steps, *inverse.steps), start.copy(), known)
        apart = np.linalg.norm(end - start, axis=1).astype(np.float32)
        found.append(apart if known.all() else apart[known])
    distance = np.concatenate(found)
    if len(distance) == 0:
        return {}
    return {
        "mean": float(distance.mean(dtype=np.float64)),
        "max": float(distance.max()),
        "p99": float(np.percentile(distance, 99)),
    }

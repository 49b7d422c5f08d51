"""Whether the way back leads home: inverse consistency of a pair of transforms."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.registration.transform import Transform
from tomochrome.runtime import CancelToken, check
from tomochrome.volume import Volume

_SLAB: Final = 500_000  # voxels looked at at a time


def inverse_consistency(
    forward: Transform,
    inverse: Transform,
    like: Volume,
    mask: Mask = None,
    *,
    cancel: CancelToken | None = None,
) -> dict[str, float]:
    """Distance between a point and where it ends up after ``forward``, then ``inverse``.

    Parameters
    ----------
    forward, inverse
        From the fixed image to the moving one, and back.
    like
        The fixed grid, whose voxel centres are followed; its voxels are not looked at.
    mask
        Where to look: a volume on any grid, or an array (z, y, x); not 0 where it counts.
    cancel
        Looked at several times a second.

    Returns
    -------
    dict
        ``mean``, ``max`` and ``p99`` (99th percentile) in mm, over the points that stay where both
        transforms are known (points that leave the moving image's field do not count). Empty if
        there are none.
    """
    wanted = on_grid(mask, like)
    depth, height, width = like.shape
    few = max(1, _SLAB // (height * width))
    found: list[NDArray[np.float32]] = []
    for first in range(0, depth, few):
        check(cancel)
        last = min(first + few, depth)
        start = _points(like, first, last)
        if wanted is not None:
            start = start[wanted[first:last].ravel()]
        if len(start) == 0:
            continue
        there = forward.points(start)
        known = forward.covers(start) & inverse.covers(there)
        back = inverse.points(there[known])
        found.append(np.linalg.norm(back - start[known], axis=1).astype(np.float32))
    distance = np.concatenate(found) if found else np.empty(0, np.float32)
    if len(distance) == 0:
        return {}
    return {
        "mean": float(distance.mean(dtype=np.float64)),
        "max": float(distance.max()),
        "p99": float(np.percentile(distance, 99)),
    }


def _points(like: Volume, first: int, last: int) -> NDArray[np.float64]:
    """LPS mm (n, 3) of the voxels of some slices."""
    z, y, x = (np.arange(n, dtype=np.float64) for n in like.shape)
    columns = like.affine[:3, :3].T
    points = (
        z[first:last, None, None, None] * columns[0]
        + y[:, None, None] * columns[1]
        + (x[:, None] * columns[2] + like.affine[:3, 3])
    )
    return np.ascontiguousarray(points.reshape(-1, 3))

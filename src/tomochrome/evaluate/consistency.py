"""Whether the way back leads home: inverse consistency of a pair of transforms."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.registration.transform import Transform, Warp
from tomochrome.runtime import CancelToken, check, watched
from tomochrome.volume import Volume

_SLAB: Final = 500_000  # voxels looked at at a time
_MOST: Final = 12_000_000  # points followed: fields are no finer than that


@watched
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

    Notes
    -----
    Of grids of more than twelve million voxels every second (third...) one along each axis is
    followed.
    """
    from tomochrome.evaluate import kernels
    from tomochrome.registration import transform_kernels

    wanted = on_grid(mask, like)
    step = int(np.ceil((np.prod(like.shape, dtype=np.float64) / _MOST) ** (1 / 3)))
    wanted = None if wanted is None else wanted[::step, ::step, ::step]
    affine = like.affine @ np.diag([step, step, step, 1.0])
    depth, height, width = (-(-n // step) for n in like.shape)
    few = max(1, _SLAB // (height * width))
    found: list[NDArray[np.float32]] = []
    for first in range(0, depth, few):
        check(cancel)
        count = min(few, depth - first)
        start = np.empty((count * height * width, 3))
        transform_kernels.grid_points(affine, first, count, height, width, start)
        if wanted is not None:
            start = start[wanted[first : first + count].ravel()]
        known = np.ones(len(start), dtype=bool)
        end = _followed(inverse, _followed(forward, start.copy(), known), known)
        apart = np.empty(len(start), np.float32)
        kernels.distances(start, end, known, apart)
        found.append(apart if known.all() else apart[known])
    distance = np.concatenate(found)
    if len(distance) == 0:
        return {}
    return {
        "mean": float(distance.mean(dtype=np.float64)),
        "max": float(distance.max()),
        "p99": float(np.percentile(distance, 99)),
    }


def _followed(
    transform: Transform, points: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Take points (n, 3) through a transform, in place if possible; clear ``known`` off its fields.

    As `Transform.points` and `Transform.covers`, in one go and compiled.
    """
    from tomochrome.evaluate import kernels
    from tomochrome.registration import transform_kernels

    for step in transform.steps:
        if isinstance(step, np.ndarray):
            transform_kernels.carry(points, np.ascontiguousarray(step))
            continue
        if not isinstance(step, Warp):
            back = Transform((step,))
            known &= back.covers(points)
            points = back.points(points)
            continue
        field = step.forward
        to_index = np.ascontiguousarray(np.linalg.inv(field.affine)[:3])
        kernels.mark_covered(points, to_index, field.shape, known)
        transform_kernels.displace(points, field.vectors, to_index)
    return points

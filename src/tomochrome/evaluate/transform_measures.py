"""Measures of a transform: its Jacobian determinant, inverse consistency, and landmarks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.sampling import grid_slabs
from tomochrome.runtime import check
from tomochrome.transform import Transform, follow
from tomochrome.volume import Volume

_MAX_POINTS: Final = 12_000_000  # displacement fields are not finer
_SLAB: Final = 1_000_000  # voxels processed at a time


def jacobian_measures(jacobian: Volume, mask: Mask = None) -> dict[str, float]:
    """Return measures of a transform's `tomochrome.transform.jacobian_map`.

    Parameters
    ----------
    jacobian
        Jacobian determinants; voxels ``outside`` are excluded.
    mask
        A volume on any grid, or an array (z, y, x); 0 is excluded.

    Returns
    -------
    dict
        ``folded_percent``: percentage of voxels whose determinant is 0 or less.
        ``sd_log``: standard deviation of the natural logarithm of the others.

    Raises
    ------
    InputError
        If no voxel is left.
    """
    from tomochrome.evaluate import measure_kernels

    inside = on_grid(mask, jacobian)
    values = np.asarray(jacobian.voxels)
    if jacobian.outside is not None:
        inside = ~jacobian.outside if inside is None else inside & ~jacobian.outside
    moments = np.empty((len(values), 4))
    few = max(1, _SLAB // (values.shape[1] * values.shape[2]))
    for first in range(0, len(values), few):
        check()
        rows = slice(first, first + few)
        part = np.empty((0, 0, 0), np.bool_) if inside is None else inside[rows]
        measure_kernels.log_moments(values[rows], part, inside is None, moments[rows])
    count, above, mean, squares = moments.T
    if not count.any():
        raise InputError(
            "the transform is not defined anywhere in the volume, so it cannot be evaluated"
        )
    spread = 0.0
    if above.any():
        middle = np.average(mean, weights=above)
        spread = float(np.sqrt((squares + above * (mean - middle) ** 2).sum() / above.sum()))
    folded = float(count.sum() - above.sum())
    return {"folded_percent": 100.0 * folded / float(count.sum()), "sd_log": spread}


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
    inside = on_grid(mask, like)
    step = int(np.ceil((np.prod(like.shape, dtype=np.float64) / _MAX_POINTS) ** (1 / 3)))
    inside = None if inside is None else inside[::step, ::step, ::step]
    affine = like.affine @ np.diag([step, step, step, 1.0])
    depth, height, width = (-(-n // step) for n in like.shape)
    distances: list[NDArray[np.float32]] = []
    for rows, points in grid_slabs((depth, height, width), affine):
        start = points if inside is None else points[inside[rows].ravel()]
        valid = np.ones(len(start), dtype=bool)
        end = follow((*forward.steps, *inverse.steps), start.copy(), valid)
        apart = np.linalg.norm(end - start, axis=1).astype(np.float32)
        distances.append(apart if valid.all() else apart[valid])
    distance = np.concatenate(distances)
    if len(distance) == 0:
        return {}
    return {
        "mean": float(distance.mean(dtype=np.float64)),
        "max": float(distance.max()),
        "p99": float(np.percentile(distance, 99)),
    }


def landmark_errors(
    fixed_points: ArrayLike, moving_points: ArrayLike, transform: Transform | None = None
) -> dict[str, float]:
    """Return the distances of moving landmarks from the transformed fixed landmarks.

    Parameters
    ----------
    fixed_points, moving_points
        (n, 3), LPS mm; equal rows correspond.
    transform
        From points of the fixed image to the moving image; None for the identity.

    Returns
    -------
    dict
        ``mean``, ``median`` and ``max`` in mm, and ``count``.

    Raises
    ------
    InputError
        If there are no points, their counts differ, or a coordinate is not finite.

    Notes
    -----
    Fitzpatrick, West, "The distribution of target registration error in rigid-body point-based
    registration", IEEE TMI 20 (2001).
    """
    fixed, moving = _points(fixed_points, "fixed"), _points(moving_points, "moving")
    if len(fixed) != len(moving):
        raise InputError(
            f"the landmarks do not match: {len(fixed)} in the fixed image and {len(moving)} in "
            "the moving one; give the same number of each, in the same order"
        )
    mapped = fixed if transform is None else transform.points(fixed)
    distance = np.linalg.norm(mapped - moving, axis=1)
    return {
        "mean": float(distance.mean()),
        "median": float(np.median(distance)),
        "max": float(distance.max()),
        "count": len(distance),
    }


def _points(points: ArrayLike, role: str) -> NDArray[np.float64]:
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != 3 or len(given) == 0:
        raise InputError(
            f"the {role} landmarks are not a list of points with three coordinates each (LPS mm): "
            f"their shape is {given.shape}"
        )
    if not np.isfinite(given).all():
        raise InputError(f"a coordinate of the {role} landmarks is not a finite number")
    return given

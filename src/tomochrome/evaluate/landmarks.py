"""Target registration error: how far landmarks are from where they should be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError
from tomochrome.transform import Transform


def landmark_errors(
    fixed_points: ArrayLike, moving_points: ArrayLike, transform: Transform | None = None
) -> dict[str, float]:
    """Distance between landmarks of the moving image and where those of the fixed one are taken.

    Parameters
    ----------
    fixed_points, moving_points
        (n, 3), LPS mm; the points of a row belong together.
    transform
        From points of the fixed image to the moving image. None: the two as they lie.

    Returns
    -------
    dict
        ``mean``, ``median`` and ``max`` in mm, and ``count``.

    Raises
    ------
    InputError
        If there are no points, their numbers differ, or a coordinate is not finite.

    Notes
    -----
    Fitzpatrick, West, "The distribution of target registration error in rigid-body point-based
    registration", IEEE TMI 20 (2001).
    """
    fixed, moving = _points(fixed_points, "fixed"), _points(moving_points, "moving")
    if len(fixed) != len(moving):
        raise InputError(
            f"the landmarks do not match: {len(fixed)} in the fixed image and {len(moving)} in "
            "the moving one; give as many of each, in the same order"
        )
    taken = fixed if transform is None else transform.points(fixed)
    distance = np.linalg.norm(taken - moving, axis=1)
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

"""Target registration error of corresponding landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError
from tomochrome.transform import Transform


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

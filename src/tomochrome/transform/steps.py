"""The steps of a transform and their application to points: matrices and fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.displacement import DisplacementField

_TOLERANCE_MM: Final = 1e-3
_MOST_ROUNDS: Final = 100
_FEW: Final = 10_000  # below this many points NumPy is faster than the kernels
_ASTRAY_MM: Final = 0.1
"""An inverse with a larger residual is considered not to exist."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A displacement field as a step of a transform, with its inverse if available.

    Parameters
    ----------
    forward
        The field to apply. If None, ``inverse`` is inverted by fixed-point iteration.
    inverse
        The inverse field. If None, it is computed by iteration when needed.
    """

    forward: DisplacementField | None
    inverse: DisplacementField | None = None

    @property
    def field(self) -> DisplacementField:
        """The available field, ``forward`` if both are."""
        known = self.forward or self.inverse
        assert known is not None
        return known


Step = NDArray[np.float64] | Warp
"""One step: a 4x4 matrix in LPS mm, or a dense field."""


def checked(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return a valid 4x4 matrix as read-only float64; raise `GeometryError` otherwise."""
    given = np.array(matrix, dtype=np.float64)
    if given.shape != (4, 4) or not np.isfinite(given).all():
        raise GeometryError("an affine transform needs a finite 4x4 matrix")
    if not np.array_equal(given[3], (0.0, 0.0, 0.0, 1.0)):
        raise GeometryError("the last row of an affine transform must be 0 0 0 1")
    if abs(np.linalg.det(given[:3, :3])) < 1e-9:
        raise GeometryError("the affine transform is singular")
    given.setflags(write=False)
    return given


def is_identity(matrix: NDArray[np.float64]) -> bool:
    """Whether a 4x4 matrix is exactly the identity."""
    return bool(np.array_equal(matrix, np.eye(4)))


def follow(
    steps: Sequence[Step], points: NDArray[np.float64], known: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Apply steps to points.

    Parameters
    ----------
    steps
        In order of application.
    points
        (n, 3), LPS mm; may be overwritten.
    known
        bool (n,): set to False where a field does not cover the point. An inverse field covers a
        point if its inverse there is on the grid of the field and maps back to the point.

    Returns
    -------
    ndarray
        (n, 3), LPS mm.
    """
    from tomochrome.geometry import sampling_kernels as kernels

    count = len(points)
    for step in steps:
        if isinstance(step, np.ndarray) and count < _FEW:
            points = apply(step, points)
            continue
        points = np.ascontiguousarray(points)
        if isinstance(step, np.ndarray):
            kernels.map_points(count, points, step)
            continue
        field = kernels.Field(
            step.field.vectors, np.ascontiguousarray(np.linalg.inv(step.field.affine)[:3])
        )
        backwards = step.forward is None
        before = points.copy() if backwards and known is not None else points
        if backwards:
            kernels.displace_back(count, points, field, _TOLERANCE_MM, _MOST_ROUNDS)
        if known is not None:
            kernels.clear_beyond(count, points, field.to_index, step.field.shape, known)
        if not backwards:
            kernels.displace(count, points, field)
        elif known is not None:
            again = points.copy()
            kernels.displace(count, again, field)
            known &= np.linalg.norm(again - before, axis=1) <= _ASTRAY_MM
    return points

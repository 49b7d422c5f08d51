"""The steps of a transform, and how points follow them: matrices, fields, inverse fields."""

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
_FEW: Final = 10_000  # points that are carried faster without compiled loops
_ASTRAY_MM: Final = 0.1
"""Where an inverse field leads to a point that is mapped farther from it, there is no inverse."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A displacement field as a step of a transform, with its inverse if that is known.

    Parameters
    ----------
    forward
        The field that is followed. None: each point goes to the one that ``inverse`` maps to it,
        found by iteration.
    inverse
        The field that leads back. None: it is found by iteration where it is needed.
    """

    forward: DisplacementField | None
    inverse: DisplacementField | None = None

    @property
    def field(self) -> DisplacementField:
        """The field that is known, ``forward`` if both are."""
        known = self.forward or self.inverse
        assert known is not None
        return known


Step = NDArray[np.float64] | Warp
"""One step: a 4x4 matrix of LPS mm, or a dense field."""


def checked(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return a 4x4 matrix as read-only float64, or say what is wrong with it."""
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
    """Whether a 4x4 matrix leaves every point exactly where it is."""
    return bool(np.array_equal(matrix, np.eye(4)))


def follow(
    steps: Sequence[Step], points: NDArray[np.float64], known: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Take points through the steps.

    Parameters
    ----------
    steps
        In the order in which points meet them.
    points
        (n, 3), LPS mm; may be overwritten.
    known
        bool (n,): cleared where a field is not known at the point that it meets. An inverse field
        is known where it leads to a point of its grid that is mapped to the point.

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

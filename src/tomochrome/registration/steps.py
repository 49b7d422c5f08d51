"""The steps of a transform, and how points follow them: matrices, fields, fields backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.displacement import DisplacementField

_UNDONE_MM: Final = 1e-3
_MOST_ROUNDS: Final = 100
_FEW: Final = 10_000  # points that are carried faster without compiled loops
_ASTRAY_MM: Final = 0.1
"""Where following a field backwards ends farther than this from home, there is no way back."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A displacement field as a step of a transform, with its inverse if that is known.

    Parameters
    ----------
    forward
        The field that is followed.
    inverse
        The field that leads back. None: it is found by iteration where it is needed.
    """

    forward: DisplacementField
    inverse: DisplacementField | None = None


@dataclass(frozen=True, eq=False)
class Undo:
    """A field followed backwards, point by point."""

    forward: DisplacementField


Step = NDArray[np.float64] | Warp | Undo
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


def _to_index(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.linalg.inv(affine)[:3])


def follow(steps: Sequence[Step], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take points (n, 3) through the steps; the array given may be overwritten."""
    from tomochrome.registration import transform_kernels as kernels

    for step in steps:
        if isinstance(step, np.ndarray) and len(points) < _FEW:
            points = apply(step, points)
            continue
        points = np.ascontiguousarray(points)
        if isinstance(step, np.ndarray):
            kernels.carry(points, step)
            continue
        to_index = _to_index(step.forward.affine)
        if isinstance(step, Warp):
            kernels.displace(points, step.forward.vectors, to_index)
        else:
            kernels.undo(points, step.forward.vectors, to_index, _UNDONE_MM, _MOST_ROUNDS)
    return points


def known_at(
    step: Step, points: NDArray[np.float64], there: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return for each point (n, 3), and where it was taken, whether the step is known there.

    A field that is followed backwards is known where it leads to the point from within.
    """
    if isinstance(step, Warp):
        return step.forward.covers(points)
    if isinstance(step, Undo):
        home = follow((Warp(step.forward),), there.copy())
        near = np.linalg.norm(home - points, axis=1) <= _ASTRAY_MM
        return np.asarray(near & step.forward.covers(there))
    return np.ones(len(points), dtype=bool)

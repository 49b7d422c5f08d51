"""Implicit shapes in the patient frame: blended ellipsoids, tubes, cylinders and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from ctphantom import painting_kernels as k

Vector = Sequence[float] | NDArray[np.float64]
Turn = NDArray[np.float64] | None


def rotation(tilt_x: float = 0.0, tilt_y: float = 0.0, turn_z: float = 0.0) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from patient axes to a shape's axes; angles in degrees."""
    turned: NDArray[np.float64] = Rotation.from_euler(
        "xyz", (tilt_x, tilt_y, turn_z), degrees=True
    ).as_matrix()
    return turned.T


def axes(u: Vector, w: Vector) -> NDArray[np.float64]:
    """Return local axes as rows (3, 3): ``w`` is the third, ``u`` made perpendicular the first."""
    third = np.asarray(w, float) / np.linalg.norm(w)
    first = np.asarray(u, float) - np.dot(u, third) * third
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third])


def spline(points: ArrayLike | Sequence[Any], n: int) -> NDArray[np.float64]:
    """Return points (m, c) resampled to ``n`` along a natural cubic spline by chord length."""
    p = np.asarray(points, dtype=np.float64)
    if len(p) < 3:
        t = np.linspace(0, 1, n)[:, None]
        return np.asarray(p[0] * (1 - t) + p[-1] * t)
    chord = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(p[:, :3], axis=0), axis=1) + 1e-6)]
    curve = CubicSpline(chord, p, bc_type="natural")
    return np.asarray(curve(np.linspace(0.0, chord[-1], n)))


@dataclass
class Shape:
    """A sequence of primitives that are combined into one approximate distance field in mm.

    Attributes
    ----------
    rows
        One array of `painting_kernels.ROW` floats for each primitive.
    bounds
        Lower and upper corner (x, y, z) in mm of each primitive; infinite for cuts.
    """

    rows: list[NDArray[np.float64]] = field(default_factory=list)
    bounds: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)

    def _add(
        self,
        kind: int,
        center: Vector,
        radii: Vector,
        turn: Turn = None,
        *,
        edge: float = 0.0,
        op: int = k.UNION,
        blend: float = 0.0,
    ) -> Shape:
        matrix = np.eye(3) if turn is None else turn
        row = np.zeros(k.ROW)
        row[0:3] = kind, op, blend
        row[3:6] = center
        row[6:15] = matrix.ravel()
        row[15:18] = radii
        row[18] = edge
        self.rows.append(row)
        c = np.asarray(center, float)
        if kind == k.ELLIPSOID:  # exact extent of a rotated ellipsoid
            half = np.sqrt(((matrix.T * np.asarray(radii)) ** 2).sum(1))
        else:
            half = np.abs(matrix.T) @ np.asarray(radii, float)
        if op != k.UNION:
            half = half + 10.0 + blend
        self.bounds.append((c - half - blend, c + half + blend))
        return self

    def ellipsoid(self, center: Vector, radii: Vector, turn: Turn = None, **how: Any) -> Shape:
        """Add an ellipsoid; as for all solids, ``turn`` contains its axes as rows."""
        return self._add(k.ELLIPSOID, center, radii, turn, **how)

    def cylinder(
        self, center: Vector, half: Vector, turn: Turn = None, *, power: float, **how: Any
    ) -> Shape:
        """Add a cylinder along its third axis with a superellipse as its section."""
        return self._add(k.CYLINDER, center, half, turn, edge=power, **how)

    def box(
        self, center: Vector, half: Vector, turn: Turn = None, *, rounding: float = 1.0, **how: Any
    ) -> Shape:
        """Add a box (half sizes) with edges rounded by ``rounding`` mm."""
        return self._add(k.BOX, center, half, turn, edge=rounding, **how)

    def join(self, other: Shape) -> Shape:
        """Add the primitives of another shape."""
        self.rows += other.rows
        self.bounds += other.bounds
        return self

    def cut(self, point: Vector, normal: Vector, *, blend: float = 0.0) -> Shape:
        """Keep the half-space on the side of ``point`` opposite to ``normal``."""
        row = np.zeros(k.ROW)
        row[0:3] = k.HALFSPACE, k.INTERSECT, blend
        row[3:6] = point
        row[6:9] = np.asarray(normal, float) / np.linalg.norm(normal)
        self.rows.append(row)
        self.bounds.append((np.full(3, -np.inf), np.full(3, np.inf)))
        return self

    def tube(
        self,
        points: ArrayLike | Sequence[Any],
        radii: ArrayLike,
        *,
        step: float = 6.0,
        smooth: bool = True,
        blend: float = 0.0,
    ) -> Shape:
        """Add a tube along a spline through ``points`` (n, 3), with one radius or one per point."""
        p = np.asarray(points, dtype=np.float64)
        r = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(p),))
        pr = np.column_stack([p, r])
        if smooth:
            length = np.linalg.norm(np.diff(p, axis=0), axis=1).sum()
            stride = max(step, 0.7 * float(r.min()))
            pr = spline(pr, max(2, int(np.ceil(length / stride)) + 1))
            pr[:, 3] = np.clip(pr[:, 3], r.min(), r.max())
        return self.segments(pr[:-1], pr[1:], blend=blend)

    def segments(self, starts: ArrayLike, ends: ArrayLike, *, blend: float = 0.0) -> Shape:
        """Add capsules from ``starts`` to ``ends``, both (n, 4): x, y, z, radius."""
        a, b = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
        rows = np.zeros((len(a), k.ROW))
        rows[:, 0:3] = k.CAPSULE, k.UNION, blend
        rows[:, 3:6], rows[:, 6:9] = a[:, :3], b[:, :3]
        rows[:, 15], rows[:, 16] = a[:, 3], b[:, 3]
        pad = np.maximum(a[:, 3], b[:, 3])[:, None] + blend
        low = np.minimum(a[:, :3], b[:, :3]) - pad
        high = np.maximum(a[:, :3], b[:, :3]) + pad
        self.rows.extend(rows)
        self.bounds.extend(zip(low, high, strict=True))
        return self

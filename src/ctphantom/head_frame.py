"""The head frame: its pose on the neck, and painting in its coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from ctphantom import parts
from ctphantom.canvas import Canvas
from ctphantom.shapes import Shape, Vector
from ctphantom.structures import Structure

ATLAS = np.array([0.0, -7.0, -36.0])  #: center of the atlas in the head frame, mm
Item = tuple[Vector, Vector]
Layers = Structure | Sequence[tuple[float, Structure]]


@dataclass
class HeadFrame:
    """Paints shapes given in the head frame (mm; origin midway between the ear canals).

    Parameters
    ----------
    canvas
        Canvas to paint on.
    pivot
        Patient-frame position (x, y, z) in mm of the atlas.
    turn
        Rotation (3, 3) from head axes to patient axes.
    scale
        Size factors of the head along x, y, z.
    """

    canvas: Canvas
    pivot: NDArray[np.float64]
    turn: NDArray[np.float64]
    scale: NDArray[np.float64]

    def points(self, points: ArrayLike, *, neck: bool = False) -> NDArray[np.float64]:
        """Return patient-frame positions of head-frame points (n, 3).

        With ``neck`` the rotation decreases to zero from the atlas to 45 mm below it.
        """
        p = np.atleast_2d(np.asarray(points, dtype=np.float64)) - ATLAS
        turned = p @ self.turn.T
        if neck:
            share = np.clip((p[:, 2:] + 45.0) / 45.0, 0.0, 1.0)
            turned = share * turned + (1.0 - share) * p
        return np.asarray(turned * self.scale + self.pivot)

    def paint(self, shape: Shape | str, layers: Layers, **options: Any) -> None:
        """Paint a shape, or a `part` by name, with the options of `Canvas.paint`."""
        self.canvas.paint(self.part(shape) if isinstance(shape, str) else shape, layers, **options)

    def part(self, name: str) -> Shape:
        """Return the shape of a part of the table `parts`."""
        rows = parts.rows()[name]
        first = rows[0]
        items = [(row.points, row.sizes) for row in rows]
        if first.kind == "tube":
            return self.tubes(items, mirror=first.mirror, neck=first.neck, blend=first.blend)
        solids = [(center, sizes) for (center,), sizes in items]
        how: dict[str, Any] = {"mirror": first.mirror, "angles": first.angles, "blend": first.blend}
        if first.kind == "ellipsoid":
            return self.ellipsoids(solids, **how)
        return self.boxes(solids, rounding=first.rounding, **how)

    def ellipsoids(self, items: Iterable[Item], **how: Any) -> Shape:
        """Return ellipsoids (center, radii), rotated by ``angles`` about x, y, z; mirrored in x."""
        return self._solids(Shape.ellipsoid, items, **how)

    def boxes(self, items: Iterable[Item], **how: Any) -> Shape:
        """Return rounded boxes (center, half sizes), with the options of `ellipsoids`."""
        return self._solids(Shape.box, items, **how)

    def _solids(
        self,
        add: Callable[..., Shape],
        items: Iterable[Item],
        *,
        angles: Vector = (0.0, 0.0, 0.0),
        mirror: bool = True,
        **how: float,
    ) -> Shape:
        shape = Shape()
        for center, size in items:
            for side in (1, -1) if mirror else (1,):
                c = np.array([center[0] * side, center[1], center[2]])
                tilted = (angles[0], angles[1] * side, angles[2] * side)
                own = Rotation.from_euler("xyz", tilted, degrees=True).as_matrix()
                mean = np.asarray(size, float) * self.scale.mean()
                add(shape, self.points(c)[0], mean, (self.turn @ own).T, **how)
        return shape

    def tubes(
        self,
        lines: Iterable[tuple[ArrayLike, ArrayLike]],
        *,
        mirror: bool = True,
        neck: bool = False,
        step: float = 5.0,
        blend: float = 0.0,
    ) -> Shape:
        """Return tubes (points (n, 3), radius or radii) along splines; mirrored in x."""
        shape = Shape()
        for points, radii in lines:
            for side in (1, -1) if mirror else (1,):
                p = np.array(points, dtype=np.float64)
                p[:, 0] *= side
                r = np.asarray(radii, float) * self.scale.mean()
                shape.tube(self.points(p, neck=neck), r, step=step, blend=blend)
        return shape

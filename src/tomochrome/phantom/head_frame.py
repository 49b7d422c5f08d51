"""The head's own frame: where it sits on the neck, how it is turned, and painting in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from tomochrome.phantom.canvas import Canvas
from tomochrome.phantom.shapes import Shape
from tomochrome.phantom.structures import Structure

ATLAS = np.array([0.0, -7.0, -36.0])  #: centre of the atlas in the head frame, mm
Layers = Structure | Sequence[tuple[float, Structure]]


@dataclass
class HeadFrame:
    """Paints shapes given in the head frame (mm; origin midway between the ear canals).

    Parameters
    ----------
    canvas
        What is painted on.
    pivot
        Patient-frame position (x, y, z) in mm of the atlas.
    turn
        Rotation (3, 3) from head axes to patient axes.
    scale
        Size of this head along x, y, z.
    """

    canvas: Canvas
    pivot: NDArray[np.float64]
    turn: NDArray[np.float64]
    scale: NDArray[np.float64]

    def points(self, points: ArrayLike, *, neck: bool = False) -> NDArray[np.float64]:
        """Patient-frame positions of head-frame points (n, 3).

        With ``neck`` the rotation fades out from the atlas to 45 mm below it, as a neck bends.
        """
        p = np.atleast_2d(np.asarray(points, dtype=np.float64)) - ATLAS
        turned = p @ self.turn.T
        if neck:
            share = np.clip((p[:, 2:] + 45.0) / 45.0, 0.0, 1.0)
            turned = share * turned + (1.0 - share) * p
        return np.asarray(turned * self.scale + self.pivot)

    def paint(self, shape: Shape, layers: Layers, **options: Any) -> None:
        """`Canvas.paint` with the options it knows."""
        self.canvas.paint(shape, layers, **options)

    def ellipsoids(
        self,
        items: Iterable[tuple[Sequence[float], Sequence[float]]],
        *,
        angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
        mirror: bool = True,
        blend: float = 0.0,
    ) -> Shape:
        """Ellipsoids (center, radii), tilted by angles about x, y, z; mirrored to both sides."""
        shape = Shape()
        for center, radii, turn in self._placed(items, angles, mirror):
            shape.ellipsoid(center, radii, turn, blend=blend)
        return shape

    def boxes(
        self,
        items: Iterable[tuple[Sequence[float], Sequence[float]]],
        *,
        angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
        mirror: bool = True,
        rounding: float = 1.0,
        blend: float = 0.0,
    ) -> Shape:
        """Rounded boxes (center, half sizes), like `ellipsoids`."""
        shape = Shape()
        for center, half, turn in self._placed(items, angles, mirror):
            shape.box(center, half, turn, rounding=rounding, blend=blend)
        return shape

    def _placed(
        self,
        items: Iterable[tuple[Sequence[float], Sequence[float]]],
        angles: tuple[float, float, float],
        mirror: bool,
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
        """Yield center, size and rotation of each item in the patient frame, on both sides."""
        for center, size in items:
            for side in (1, -1) if mirror else (1,):
                c = np.array([center[0] * side, center[1], center[2]])
                tilted = (angles[0], angles[1] * side, angles[2] * side)
                own = Rotation.from_euler("xyz", tilted, degrees=True).as_matrix()
                mean = np.asarray(size, float) * self.scale.mean()
                yield self.points(c)[0], mean, (self.turn @ own).T

    def tubes(
        self,
        lines: Iterable[tuple[ArrayLike, ArrayLike]],
        *,
        mirror: bool = True,
        neck: bool = False,
        step: float = 5.0,
        blend: float = 0.0,
    ) -> Shape:
        """Tubes (points (n, 3), radius or radii) along splines; mirrored to both sides."""
        shape = Shape()
        for points, radii in lines:
            for side in (1, -1) if mirror else (1,):
                p = np.array(points, dtype=np.float64)
                p[:, 0] *= side
                r = np.asarray(radii, float) * self.scale.mean()
                shape.tube(self.points(p, neck=neck), r, step=step, blend=blend)
        return shape

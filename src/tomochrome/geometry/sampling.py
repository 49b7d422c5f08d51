"""Interpolation of a volume at arbitrary points: linear or nearest, with masks and opacity.

`resample`, `tomochrome.transform.Transform` and the comparisons all use this sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime import check, report
from tomochrome.runtime.kernels import plain_numbers

Order = Literal["linear", "nearest"]
Points = NDArray[np.float64]
"""(n, 3)."""

_SLAB: Final = 400_000
"""Voxels sampled at a time; limits memory and the response time to cancellation."""
_NO_HOLES: Final = np.zeros((1, 1, 1), np.bool_)


class Sampler:
    """Interpolator of a volume's voxels.

    Parameters
    ----------
    voxels
        (z, y, x), or RGBA bytes (z, y, x, 4).
    outside
        bool (z, y, x): voxels that were not measured, never blended with others. None for no such
        voxels.
    to_index
        (3, 4) or (4, 4) from the points to the (z, y, x) index of a voxel.
    order
        ``"linear"``, or ``"nearest"`` for labels. Integers are rounded to the nearest.
    fill
        Value outside the volume and at voxels that were not measured, clamped to the range of the
        voxel type. RGBA is transparent black there.
    """

    def __init__(
        self,
        voxels: NDArray[Any],
        outside: NDArray[np.bool_] | None,
        to_index: NDArray[np.float64],
        *,
        order: Order,
        fill: float,
    ) -> None:
        from tomochrome.geometry.sampling_kernels import Grid

        self.order, self.dtype, self.channels = order, voxels.dtype, voxels.shape[3:]
        if self.dtype.kind in "iub":  # -1024 would wrap around in unsigned integers
            limits = None if self.dtype == np.bool_ else np.iinfo(self.dtype)
            least, most = (0, 1) if limits is None else (limits.min, limits.max)
            fill = min(max(fill, least), most) if np.isfinite(fill) else 0.0
        mask = _NO_HOLES if outside is None else np.ascontiguousarray(outside)
        matrix = np.ascontiguousarray(to_index[:3], np.float64)
        self.grid = Grid(plain_numbers(voxels), mask, outside is not None, matrix)
        self.fill = 0.0 if self.channels else float(fill)

    def on_grid(
        self,
        shape: tuple[int, int, int],
        affine: NDArray[np.float64],
        through: Callable[[Points], Points] | None = None,
        *,
        stage: str = "",
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the values at the voxels of a grid, and a mask of where they are valid.

        Parameters
        ----------
        shape, affine
            Shape (z, y, x) of the grid, and the matrix from its index to points.
        through
            Mapping of the points before they are sampled; it may modify its argument.
        stage
            Name of the stage in progress reports; empty for no reports.

        Returns
        -------
        values, inside
            (z, y, x) or (z, y, x, 4) of the voxel type; bool (z, y, x).
        """
        values = np.empty((*shape, *self.channels), self.grid.values.dtype)
        inside = np.empty(shape, np.bool_)
        for rows, points in grid_slabs(shape, affine, stage):
            there = points if through is None else np.ascontiguousarray(through(points))
            self.take(there, values[rows].reshape(-1, *self.channels), inside[rows].reshape(-1))
        return values.astype(self.dtype, copy=False), inside

    def take(self, points: Points, out: NDArray[Any], inside: NDArray[np.bool_]) -> None:
        """Write the values at points (n, 3) to ``out``, and their validity to ``inside``."""
        from tomochrome.geometry import sampling_kernels as kernels

        if self.order == "nearest":
            fill = out.dtype.type(self.fill)
            kernels.nearest(len(points), self.grid, points, fill, out, inside)
        elif self.channels:
            kernels.linear_rgba(len(points), self.grid, points, out, inside)
        else:
            rounded = self.dtype.kind in "iub"
            kernels.linear(len(points), self.grid, points, self.fill, rounded, out, inside)


class Slab(NamedTuple):
    """A slab of a grid: its slices, and the points (n, 3) of their voxels."""

    rows: slice
    points: Points


def grid_slabs(
    shape: tuple[int, int, int], affine: NDArray[np.float64], stage: str = ""
) -> Iterator[Slab]:
    """Yield the slabs of a grid.

    Parameters
    ----------
    shape, affine
        Shape (z, y, x), and the matrix (3 or 4, 4) from the index to the points.
    stage
        Name of the stage reported before each slab; empty for no reports.
    """
    from tomochrome.geometry.sampling_kernels import grid_points

    depth, plane = shape[0], shape[1] * shape[2]
    few = max(1, _SLAB // max(1, plane))
    matrix = np.ascontiguousarray(affine, np.float64)
    for first in range(0, depth, few):
        check()
        if stage:
            report(first, depth, stage)
        count = min(few, depth - first)
        points = np.empty((count * plane, 3))
        grid_points(len(points), matrix, shape, first * plane, points)
        yield Slab(slice(first, first + count), points)
    if stage:
        report(depth, depth, stage)

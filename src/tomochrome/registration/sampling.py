"""Taking a volume's values at any points: linear, nearest, around holes, colors by opacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.resample import HALF, Order
from tomochrome.runtime.kernels import plain_numbers
from tomochrome.volume import Volume


@dataclass(frozen=True, eq=False)
class Taken:
    """What has been taken so far: values, and where the volume was measured."""

    values: NDArray[Any]
    inside: NDArray[np.bool_]


class Sampler:
    """Values of one volume at points in LPS mm.

    Parameters
    ----------
    volume
        Scalar or RGBA.
    order
        ``"linear"`` or ``"nearest"``.
    fill
        Value where the volume does not reach or was not measured; the nearest one that its voxel
        type holds.
    through
        4x4 from the points that are given to LPS mm of the volume; None is the identity.
    """

    def __init__(
        self,
        volume: Volume,
        order: Order,
        fill: float,
        through: NDArray[np.float64] | None = None,
    ) -> None:
        self.volume, self.order = volume, order
        to_index = np.linalg.inv(volume.affine) @ (np.eye(4) if through is None else through)
        self.to_index = np.ascontiguousarray(to_index[:3])
        voxels: NDArray[Any] = np.asarray(volume.voxels)
        self.dtype = voxels.dtype
        if self.dtype.kind in "iu":  # air in unsigned integers would become the brightest
            limits = np.iinfo(self.dtype)
            fill = min(max(fill, limits.min), limits.max) if np.isfinite(fill) else 0.0
        self.fill = float(fill)
        if order == "linear" and not volume.is_rgba:
            voxels = plain_numbers(voxels)
        self.voxels = np.ascontiguousarray(voxels)
        self.outside: NDArray[np.bool_] | None = None
        if volume.outside is not None:
            self.outside = np.ascontiguousarray(volume.outside)

    def start(self, shape: tuple[int, int, int]) -> Taken:
        """Return empty results for a grid."""
        channels = (4,) if self.volume.is_rgba else ()
        return Taken(np.empty((*shape, *channels), self.dtype), np.ones(shape, dtype=bool))

    def take(self, points: NDArray[np.float64], rows: slice, into: Taken) -> None:
        """Take the values at points (n, 3) into the slices ``rows``."""
        from tomochrome.registration import transform_kernels as kernels

        points = np.ascontiguousarray(points)
        values, inside = into.values[rows], into.inside[rows]
        if self.order == "nearest":
            self._take_nearest(points, values, inside)
        elif self.volume.is_rgba:
            kernels.sample_rgba(self.voxels, points, self.to_index, values.reshape(-1, 4))
        else:
            self._take_linear(points, values, inside)

    def _take_nearest(
        self, points: NDArray[np.float64], values: NDArray[Any], inside: NDArray[np.bool_]
    ) -> None:
        from tomochrome.registration import transform_kernels as kernels

        index = np.empty(len(points), dtype=np.int64)
        kernels.nearest_index(self.volume.shape, points, self.to_index, index)
        there = index >= 0
        if self.outside is not None:
            there[there] = ~self.outside.reshape(-1)[index[there]]
        channels = values.shape[3:]
        flat = values.reshape(-1, *channels)
        flat[...] = np.asarray(self.fill).astype(self.dtype)
        flat[there] = self.voxels.reshape(-1, *channels)[index[there]]
        inside.reshape(-1)[:] = there

    def _take_linear(
        self, points: NDArray[np.float64], values: NDArray[Any], inside: NDArray[np.bool_]
    ) -> None:
        from tomochrome.registration import transform_kernels as kernels

        rounded = self.dtype.kind in "iub"
        flat = values.reshape(-1)
        # what compiled loops cannot write they write as numbers that they can
        taken = flat if flat.dtype == self.voxels.dtype else np.empty_like(flat, self.voxels.dtype)
        there = inside.reshape(-1)
        place = points, self.to_index, self.fill
        if self.outside is None:
            kernels.sample_linear(self.voxels, *place, rounded, taken, there)
        else:  # holes weigh nothing, so that they never blend in
            kernels.sample_measured(self.voxels, self.outside, *place, HALF, rounded, taken, there)
        if taken is not flat:
            flat[:] = taken.astype(self.dtype, copy=False)

    def finish(self, taken: Taken, like: Volume) -> Volume:
        """Return what was taken as a volume on the grid of ``like``."""
        outside = None
        if self.volume.outside is not None or self.volume.unit == "HU":
            outside = None if taken.inside.all() else ~taken.inside
        z, y, x = like.shape
        provenance = self.volume.provenance.add(
            f"transformed onto a grid of {z} x {y} x {x} voxels ({self.order})"
        )
        return Volume(taken.values, like.affine, self.volume.unit, provenance, outside)

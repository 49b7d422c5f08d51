"""One of the two volumes, read at the voxels of the fixed grid, only where it is looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.view import LitVolume
from tomochrome.compare.levels import histogram_levels
from tomochrome.compare.region import Region
from tomochrome.errors import InputError
from tomochrome.geometry import same_grid
from tomochrome.geometry.sampling import Order, Sampler
from tomochrome.volume import Volume

#: Bytes of resampled slices kept, so that dragging a handle does not resample them again.
CACHE_BYTES: Final = 48 << 20


class Sampled(NamedTuple):
    """Voxels of a region: values (i, j, k) or RGBA (i, j, k, 4), and where there are none."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None


class Source:
    """A volume as seen on the grid of another.

    Parameters
    ----------
    volume
        Scalar or RGBA; its voxels may be any array-like that slices.
    grid
        The volume whose shape and affine count; its voxels are not looked at.
    order
        ``"linear"`` or ``"nearest"`` (labels) between voxels; default by the unit.

    Notes
    -----
    On the same grid the voxels are handed on as they are. Otherwise only the region asked for
    is resampled, as `tomochrome.geometry.resample` would (trilinear, or nearest), and the last
    ones are kept. Voxels that the volume did not measure are ``missing``.
    """

    def __init__(self, volume: Volume, grid: Volume, order: Order | None = None) -> None:
        self.volume = volume
        self.order: Order = order or ("nearest" if volume.unit == "tissue" else "linear")
        self.aligned = same_grid(volume, grid)
        self._matrix = np.linalg.inv(volume.affine) @ grid.affine
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[range, ...], tuple[Any, Sampled]] = OrderedDict()
        self._bytes = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values: the volume's own, in the machine's byte order."""
        dtype = np.dtype(self.volume.voxels.dtype)
        if dtype.kind == "b":
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")

    @property
    def fill(self) -> float:
        """The value of what was not measured: air for Hounsfield units, else 0."""
        if self.volume.unit != "HU":
            return 0.0
        least = np.iinfo(self.dtype).min if self.dtype.kind in "iu" else -np.inf
        return float(max(-1024.0, least))

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Values at which contours of an image without a known scale follow its organs."""
        return histogram_levels(self.volume)

    def read(self, region: Region) -> Sampled:
        """Return the voxels of a region of the grid; do not write into them."""
        if self.aligned:
            values = np.asarray(self.volume.voxels[region.slices])
            outside = self.volume.outside
            missing = None if outside is None else outside[region.slices]
            return Sampled(values.astype(self.dtype, copy=False), missing)
        # A view that is lit when read may have been lit anew meanwhile.
        light = getattr(self.volume.voxels, "settings", None)
        with self._lock:
            kept = self._kept.get(region.axes)
            if kept is not None and kept[0] is light:
                self._kept.move_to_end(region.axes)
                return kept[1]
        sampled = self._resampled(region)
        self._keep(region.axes, light, sampled)
        return sampled

    def prepare(self) -> None:
        """Compile what the first slice would wait for, a second or two where nothing is cached."""
        if not self.aligned:
            one = slice(0, 1)
            self._sampler((one, one, one), np.eye(4)).on_grid((1, 1, 1), np.eye(4))

    def covers(self, region: Region) -> NDArray[np.bool_]:
        """Whether each voxel of a region lies in this volume's field of view (holes and all)."""
        whole = np.broadcast_to(np.uint8(1), self.volume.shape)
        sampler = Sampler(whole, None, np.eye(4), order="nearest", fill=0)
        return sampler.on_grid(region.shape, self._from_region(region))[1]

    def _keep(self, axes: tuple[range, ...], light: Any, sampled: Sampled) -> None:
        size = _nbytes(sampled)
        if size > CACHE_BYTES // 2:
            return
        for array in sampled:
            if array is not None:
                array.setflags(write=False)
        with self._lock:
            if axes in self._kept:
                self._bytes -= _nbytes(self._kept.pop(axes)[1])
            self._kept[axes] = (light, sampled)
            self._bytes += size
            while self._bytes > CACHE_BYTES:
                self._bytes -= _nbytes(self._kept.popitem(last=False)[1][1])

    def _resampled(self, region: Region) -> Sampled:
        matrix = self._from_region(region)
        box = self._box(matrix, region.shape)
        if box is None:
            shape = (*region.shape, *self.volume.voxels.shape[3:])
            fill = 0 if self.volume.is_rgba else self.fill
            return Sampled(np.full(shape, fill, self.dtype), np.ones(region.shape, np.bool_))
        values, inside = self._sampler(box, matrix).on_grid(region.shape, np.eye(4))
        return Sampled(values, None if inside.all() else ~inside)

    def _from_region(self, region: Region) -> NDArray[np.float64]:
        """Return the 4x4 matrix from counters within the region to indices of the volume."""
        counted = np.eye(4)
        for axis, indices in enumerate(region.axes):
            counted[axis, axis], counted[axis, 3] = indices.step, indices.start
        return np.asarray(self._matrix @ counted)

    def _box(
        self, matrix: NDArray[np.float64], shape: tuple[int, int, int]
    ) -> tuple[slice, slice, slice] | None:
        """Return the part of the volume that the region can touch, or None."""
        if 0 in shape:
            return None
        ends = np.array([[0, n - 1] for n in shape], dtype=np.float64)
        box = []
        for row, size in zip(matrix[:3], self.volume.shape, strict=True):
            reach = row[:3, None] * ends
            low, high = reach.min(axis=1).sum() + row[3], reach.max(axis=1).sum() + row[3]
            # One voxel of margin: the neighbours that interpolation looks at.
            first = max(0, int(np.floor(low)) - 1)
            last = min(size, int(np.ceil(high)) + 2)
            if first >= last or high < -0.5 - 1e-6 or low > size - 0.5 + 1e-6:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]

    def _sampler(self, box: tuple[slice, slice, slice], matrix: NDArray[np.float64]) -> Sampler:
        """Return a sampler of a part of the volume, or of all of it where that costs nothing."""
        voxels, outside = self.volume.voxels, self.volume.outside
        # The whole array where it lies there ready: every memory layout is compiled for.
        if type(voxels) is not np.ndarray or voxels.dtype != self.dtype:
            voxels = np.ascontiguousarray(voxels[box], dtype=self.dtype)
            outside = None if outside is None else outside[box]
            matrix = matrix.copy()
            matrix[:3, 3] -= [axis.start for axis in box]
        return Sampler(voxels, outside, matrix, order=self.order, fill=self.fill)


def _nbytes(sampled: Sampled) -> int:
    return sum(array.nbytes for array in sampled if array is not None)


def as_volume(source: Volume | LitVolume) -> Volume:
    """Return a volume as it is, and a lit view as an RGBA volume that stays lazy.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(source, Volume):
        return source
    if isinstance(source, LitVolume):
        ct = source.volume
        lit: Any = source
        return Volume(lit, ct.affine, "RGBA", ct.provenance, ct.outside)
    raise InputError(f"a comparison needs two volumes, not a {type(source).__name__}")

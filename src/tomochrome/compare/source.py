"""Lazy resampling of one of the two volumes to the fixed grid."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.view import LitVolume
from tomochrome.compare.region import Region
from tomochrome.errors import InputError
from tomochrome.geometry import same_grid
from tomochrome.geometry.resample import restored_on
from tomochrome.geometry.sampling import Order, Sampler
from tomochrome.volume import Volume

#: Size of the cache of resampled slices, for example while a handle is dragged.
CACHE_BYTES: Final = 48 << 20
_SAMPLES: Final = 64  # maximum number of sampled voxels along each axis
_BINS: Final = 128
_TAIL: Final = 0.5  # percent of outliers at each end


class Sampled(NamedTuple):
    """Voxels of a region: values (i, j, k) or RGBA (i, j, k, 4), and a mask of missing ones."""

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None


class Source:
    """A volume resampled lazily to the grid of another.

    Parameters
    ----------
    volume
        Scalar or RGBA; its voxels may be any array-like that supports slicing.
    grid
        The volume that defines shape and affine; its voxels are not used.
    order
        Interpolation, ``"linear"`` or ``"nearest"`` (labels); the default depends on the unit.

    Notes
    -----
    On the same grid the voxels are returned unchanged. Otherwise only the requested region is
    resampled, as by `tomochrome.geometry.resample` (trilinear or nearest), with a cache. Voxels
    that the volume did not measure are ``missing``.
    """

    def __init__(self, volume: Volume, grid: Volume, order: Order | None = None) -> None:
        self.volume = volume
        self.order: Order = order or ("nearest" if volume.unit == "tissue" else "linear")
        self.aligned = same_grid(volume, grid)
        self.grid = grid
        self._matrix = np.linalg.inv(volume.affine) @ grid.affine
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[range, ...], tuple[Any, Sampled]] = OrderedDict()
        self._bytes = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the values: that of the volume, in native byte order."""
        dtype = np.dtype(self.volume.voxels.dtype)
        if dtype.kind == "b":
            return np.dtype(np.uint8)
        return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")

    @property
    def fill(self) -> float:
        """Value of voxels that were not measured: air for Hounsfield units, else 0."""
        if self.volume.unit != "HU":
            return 0.0
        least = np.iinfo(self.dtype).min if self.dtype.kind in "iu" else -np.inf
        return float(max(-1024.0, least))

    @cached_property
    def restored(self) -> NDArray[np.bool_] | None:
        """Voxels of the grid whose values are restored ones of the volume, or None."""
        return restored_on(self.volume, self.grid)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """Contour levels for an image without a known scale."""
        return histogram_levels(self.volume)

    def read(self, region: Region) -> Sampled:
        """Return the voxels of a region of the grid, which are read-only."""
        if self.aligned:
            values = np.asarray(self.volume.voxels[region.slices])
            outside = self.volume.outside
            missing = None if outside is None else outside[region.slices]
            return Sampled(values.astype(self.dtype, copy=False), missing)
        # the settings of a lazily colored volume may have changed
        settings = getattr(self.volume.voxels, "settings", None)
        with self._lock:
            cached = self._cache.get(region.axes)
            if cached is not None and cached[0] is settings:
                self._cache.move_to_end(region.axes)
                return cached[1]
        sampled = self._resampled(region)
        self._store(region.axes, settings, sampled)
        return sampled

    def prepare(self) -> None:
        """Compile the kernels, which takes a second or two if they are not cached on disk."""
        if not self.aligned:
            one = slice(0, 1)
            self._sampler((one, one, one), np.eye(4)).on_grid((1, 1, 1), np.eye(4))

    def covers(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels of a region are in this volume's field of view."""
        ones = np.broadcast_to(np.uint8(1), self.volume.shape)
        sampler = Sampler(ones, None, np.eye(4), order="nearest", fill=0)
        return sampler.on_grid(region.shape, self._from_region(region))[1]

    def _store(self, axes: tuple[range, ...], settings: Any, sampled: Sampled) -> None:
        size = _nbytes(sampled)
        if size > CACHE_BYTES // 2:
            return
        for array in sampled:
            if array is not None:
                array.setflags(write=False)
        with self._lock:
            if axes in self._cache:
                self._bytes -= _nbytes(self._cache.pop(axes)[1])
            self._cache[axes] = (settings, sampled)
            self._bytes += size
            while self._bytes > CACHE_BYTES:
                self._bytes -= _nbytes(self._cache.popitem(last=False)[1][1])

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
        """Return the 4x4 matrix from indices of the region to indices of the volume."""
        to_grid = np.eye(4)
        for axis, indices in enumerate(region.axes):
            to_grid[axis, axis], to_grid[axis, 3] = indices.step, indices.start
        return np.asarray(self._matrix @ to_grid)

    def _box(
        self, matrix: NDArray[np.float64], shape: tuple[int, int, int]
    ) -> tuple[slice, slice, slice] | None:
        """Return the bounding box of the region in the volume, or None if they do not overlap."""
        if 0 in shape:
            return None
        ends = np.array([[0, n - 1] for n in shape], dtype=np.float64)
        box = []
        for row, size in zip(matrix[:3], self.volume.shape, strict=True):
            terms = row[:3, None] * ends
            low, high = terms.min(axis=1).sum() + row[3], terms.max(axis=1).sum() + row[3]
            # with a margin of one voxel for interpolation
            first = max(0, int(np.floor(low)) - 1)
            last = min(size, int(np.ceil(high)) + 2)
            if first >= last or high < -0.5 - 1e-6 or low > size - 0.5 + 1e-6:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]

    def _sampler(self, box: tuple[slice, slice, slice], matrix: NDArray[np.float64]) -> Sampler:
        """Return a sampler of a box of the volume, or of the entire volume if it is in memory."""
        voxels, outside = self.volume.voxels, self.volume.outside
        # the kernels support every memory layout of the full array
        if type(voxels) is not np.ndarray or voxels.dtype != self.dtype:
            voxels = np.ascontiguousarray(voxels[box], dtype=self.dtype)
            outside = None if outside is None else outside[box]
            matrix = matrix.copy()
            matrix[:3, 3] -= [axis.start for axis in box]
        return Sampler(voxels, outside, matrix, order=self.order, fill=self.fill)


def _nbytes(sampled: Sampled) -> int:
    return sum(array.nbytes for array in sampled if array is not None)


def as_volume(source: Volume | LitVolume) -> Volume:
    """Return a volume unchanged, and a `LitVolume` as a lazy RGBA volume.

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
        return Volume(lit, ct.affine, "RGBA", ct.provenance, ct.outside, ct.restored)
    raise InputError(f"a comparison needs two volumes, not a {type(source).__name__}")


def histogram_levels(volume: Volume) -> tuple[float, ...]:
    """Return the two thresholds that best divide an image's histogram into three classes.

    For MR these approximately separate background from tissue, and dark from bright tissue.
    Voxels that were not measured are ignored.

    Parameters
    ----------
    volume
        Scalar, of any unit.

    Returns
    -------
    tuple
        Ascending; one value or none if the image has fewer classes.

    Notes
    -----
    The thresholds maximize the variance between classes: P. Liao, T. Chen, P. Chung, "A fast
    algorithm for multilevel thresholding", J. Inf. Sci. Eng. 17 (2001), after N. Otsu (1979).
    """
    values = _sampled(volume)
    if values.size == 0:
        return ()
    low, high = np.percentile(values, (_TAIL, 100 - _TAIL))
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return ()
    counts, edges = np.histogram(np.clip(values, low, high), _BINS, (low, high))
    bins = _thresholds(counts.astype(np.float64))
    return tuple(dict.fromkeys(float(edges[bin_ + 1]) for bin_ in bins))


def _sampled(volume: Volume) -> NDArray[np.float64]:
    """Return the finite, measured values of a subsampled volume."""
    steps = tuple(slice(None, None, -(-n // _SAMPLES)) for n in volume.shape)
    values: NDArray[Any] = np.asarray(volume.voxels[steps], dtype=np.float64)
    valid = np.isfinite(values)
    if volume.outside is not None:
        valid &= ~volume.outside[steps]
    return values[valid]


def _thresholds(counts: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the last bins of the first and the second of three classes."""
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * np.arange(counts.size))])
    w = weight[None, :] - weight[:, None]  # of the bins from i to before j
    m = moment[None, :] - moment[:, None]
    between = np.divide(m * m, w, out=np.zeros_like(w), where=w > 0)
    first, second = np.triu_indices(counts.size + 1, 1)
    valid = (first > 0) & (second < counts.size)
    first, second = first[valid], second[valid]
    variance = between[0, first] + between[first, second] + between[second, -1]
    best = int(variance.argmax())
    return int(first[best]) - 1, int(second[best]) - 1

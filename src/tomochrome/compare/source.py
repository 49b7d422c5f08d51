"""One of the two volumes, read at the voxels of the fixed grid, only where it is looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.compiled import over_chunks
from tomochrome.color.view import LitVolume
from tomochrome.compare.kernels import sample_rgba, sample_scalar
from tomochrome.compare.levels import histogram_levels
from tomochrome.compare.region import Region
from tomochrome.errors import InputError
from tomochrome.geometry import same_grid
from tomochrome.volume import Volume

Order = Literal["linear", "nearest"]

#: Bytes of resampled slices kept, so that dragging a handle does not resample them again.
CACHE_BYTES: Final = 48 << 20
_NO_HOLES: Final = np.zeros((1, 1, 1), np.bool_)


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
        if self.aligned:
            return
        one = slice(0, 1)
        voxels, outside, _ = self._cut((one, one, one))
        mask = _NO_HOLES if outside is None else outside
        holes, nearest = outside is not None, self.order == "nearest"
        missing = np.ones((1, 1, 1), np.bool_)
        none = np.zeros((3, 4))  # no rows are asked for: it is compiled, and does nothing
        if self.volume.is_rgba:
            out = np.zeros((1, 1, 1, 4), np.uint8)
            sample_rgba(voxels, mask, holes, none, nearest, 0, 0, out, missing)
        else:
            empty = np.zeros((1, 1, 1))
            sample_scalar(voxels, mask, holes, none, nearest, self.fill, 0, 0, empty, missing)

    def covers(self, region: Region) -> NDArray[np.bool_]:
        """Whether each voxel of a region lies in this volume's field of view (holes and all)."""
        inside = np.ones(region.shape, np.bool_)
        steps = [np.asarray(axis, dtype=np.float64) for axis in region.axes]
        for row, size in zip(self._matrix[:3], self.volume.shape, strict=True):
            z, y, x = (factor * step for factor, step in zip(row[:3], steps, strict=True))
            place = z[:, None, None] + y[:, None] + x + row[3]
            inside &= (place >= -0.5 - 1e-6) & (place <= size - 0.5 + 1e-6)
        return inside

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
        shape = region.shape
        missing = np.ones(shape, np.bool_)
        rgba = self.volume.is_rgba
        out = np.zeros((*shape, 4), np.uint8) if rgba else np.full(shape, self.fill)
        matrix = self._from_region(region)
        box = self._box(matrix, shape)
        if box is not None:
            voxels, outside, corner = self._cut(box)
            matrix[:, 3] -= corner
            holes = outside is not None
            mask = _NO_HOLES if outside is None else outside
            nearest = self.order == "nearest"

            def work(first: int, last: int) -> None:
                if rgba:
                    sample_rgba(voxels, mask, holes, matrix, nearest, first, last, out, missing)
                else:
                    fill = self.fill
                    sample_scalar(
                        voxels, mask, holes, matrix, nearest, fill, first, last, out, missing
                    )

            over_chunks(work, shape[0] * shape[1], least=max(1, 65536 // max(1, shape[2])))
        if not rgba:
            if self.dtype.kind in "iu":
                np.rint(out, out=out)
            out = out.astype(self.dtype, copy=False)
        return Sampled(out, missing if missing.any() else None)

    def _from_region(self, region: Region) -> NDArray[np.float64]:
        """Return the (3, 4) matrix from counters within the region to indices of the volume."""
        counted = np.eye(4)
        for axis, indices in enumerate(region.axes):
            counted[axis, axis], counted[axis, 3] = indices.step, indices.start
        return np.ascontiguousarray((self._matrix @ counted)[:3])

    def _box(
        self, matrix: NDArray[np.float64], shape: tuple[int, int, int]
    ) -> tuple[slice, slice, slice] | None:
        """Return the part of the volume that the region can touch, or None."""
        if 0 in shape:
            return None
        ends = np.array([[0, n - 1] for n in shape], dtype=np.float64)
        box = []
        for row, size in zip(matrix, self.volume.shape, strict=True):
            reach = row[:3, None] * ends
            low, high = reach.min(axis=1).sum() + row[3], reach.max(axis=1).sum() + row[3]
            # One voxel of margin: the neighbours that interpolation looks at.
            first = max(0, int(np.floor(low)) - 1)
            last = min(size, int(np.ceil(high)) + 2)
            if first >= last or high < -0.5 - 1e-6 or low > size - 0.5 + 1e-6:
                return None
            box.append(slice(first, last))
        return box[0], box[1], box[2]

    def _cut(
        self, box: tuple[slice, slice, slice]
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None, tuple[int, ...]]:
        """Return voxels, mask and first index of what is sampled: the box, or all at no cost."""
        voxels, outside = self.volume.voxels, self.volume.outside
        # The whole array where it lies there ready: every memory layout is compiled for.
        if type(voxels) is np.ndarray and voxels.dtype == self.dtype:
            return voxels, outside, (0, 0, 0)
        part = np.ascontiguousarray(voxels[box], dtype=self.dtype)
        mask = None if outside is None else np.ascontiguousarray(outside[box])
        return part, mask, tuple(axis.start for axis in box)


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

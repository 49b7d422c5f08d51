"""Predictors that work on a coarse input grid, slice by slice or in blocks.

Their predictions are smoothed slightly, for consistency between adjacent slices, and upsampled to
full resolution by compiled kernels as soon as the adjacent slices are available. Only a few
predicted slices are in memory at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.color.codes import Table
from tomochrome.colorization import slab_kernels
from tomochrome.colorization.body import block_mean
from tomochrome.colorization.grid import CoarseField, Taps, first_columns, pixel_taps, taps
from tomochrome.colorization.grid_kernels import smooth_plane
from tomochrome.colorization.inputs import (
    InputGrid,
    InputSpec,
    cropped_batch,
    to_input_grid,
    window_ramps,
)
from tomochrome.colorization.scan import Colors, Predicted, Scan, body_noise
from tomochrome.colorization.tables import color_table, tissue_table
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
from tomochrome.runtime import check
from tomochrome.tissue import N_TISSUES

MARGIN = 8  #: input grid pixels around the body that the predictor also gets
SMOOTH_MM = 3.0  #: sigma along z for smoothing predictions
MIN_TOLERANCE = 15.0  #: HU, see `slab_kernels.color_slab`; noise is added in quadrature
_WHOLE_SLICE_RATIO = 2  # slices of up to this many times a block's area are not split

F32 = NDArray[np.float32]
Planes = Iterator[F32]
Crop = tuple[slice, slice]


class GridPredictor(ABC):
    """A `Predictor` on a coarse grid. Subclasses define `reads` and `predict`.

    Attributes
    ----------
    names_tissues
        Whether `predict` returns the probability of each tissue; otherwise it returns a*, b*
        and a confidence.
    reads
        Windows, spacing, and adjacent slices or overlapping blocks.
    multiple
        Height and width (and depth of a block) must be a multiple of this.
    stride
        Input pixels per predicted pixel along y and x; 1 for blocks. A divisor of ``multiple``.
    batch
        Slices or blocks passed to `predict` at once.
    smoothing
        Weight of each adjacent pixel in the smoothing of predictions along y and x; 1/6 reduces
        the checkerboard artifact of strided networks to a ninth.
    likelihood
        For tissues: float32 (HUs, tissues), the likelihood in each tissue of each HU from
        `slab_kernels.MIN_HU` to `slab_kernels.MAX_HU`, which guides the upsampling of
        probabilities. None for a uniform likelihood.
    """

    names_tissues: ClassVar[bool] = False
    reads: InputSpec
    multiple: int = 1
    stride: int = 1
    batch: int = 4
    smoothing: float = 1 / 6
    likelihood: NDArray[np.float32] | None = None
    device: str = "cpu"
    warnings: tuple[Notice, ...] = ()
    progress: Predicted = Predicted()

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        self.card = card
        self.batch = batch or self.batch

    @abstractmethod
    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict the tissues or colors of slices or blocks.

        Parameters
        ----------
        inputs
            Luminances 0 to 1 of the windows in `reads`: float32 (n, channels, y, x), or
            (n, channels, z, y, x) where `reads` has a block.

        Returns
        -------
        ndarray
            float32 (n, y / stride, x / stride, values) or (n, z, y, x, values). For tissues the
            values are probabilities that sum to 1, in the order of `Tissue`; otherwise a*, b* and
            a confidence, 0 to 1.
        """

    @property
    def table(self) -> Table:
        """The meaning of the codes."""
        return tissue_table() if self.names_tissues else color_table()

    def color(self, scan: Scan) -> Colors:
        """Compute a code and a confidence for each voxel of a scan; see `Predictor.color`."""
        spec = self.reads
        self.progress = Predicted(len(scan.hu) if scan.slab >= len(scan.hu) else 0)
        check()
        grid = to_input_grid(scan.hu, scan.spacing, spec)
        crop = body_crop(scan, grid.hu.shape, spec.pixel_mm, self.multiple)
        side = smoothing_weight(grid.slice_mm)
        planes = self.planes(grid, crop)
        if not self.names_tissues:
            planes = with_hu(planes, grid.hu[:, crop[0], crop[1]], self.stride)
        window = _SlidingWindow(smoothed(planes, side, self.smoothing))
        n, ny, nx = scan.hu.shape
        z = taps(np.interp(np.arange(n), grid.positions, np.arange(len(grid.positions))),
                 len(grid.positions))  # fmt: skip
        rows, columns = (_coarse_slice(part, self.stride) for part in crop)
        pixel_mm = spec.pixel_mm * self.stride
        y = _crop_taps(ny, scan.spacing[1], pixel_mm, rows)
        x = _crop_taps(nx, scan.spacing[2], pixel_mm, columns)
        encode = self._encoder(scan, first_columns(x, columns.stop - columns.start))

        def paint(first: int, stop: int, body: CoarseField, out: Colors) -> None:
            base, stack = window.planes(int(z.low[first]), int(z.low[stop - 1]) + 1)
            field = CoarseField(stack, *z.part(first, stop, base), *y, *x)
            encode(scan.hu[first:stop], field, body, out)

        return scan.paint(len(self.table), paint)

    def planes(self, grid: InputGrid, crop: Crop) -> Planes:
        """Yield the prediction for each slice of the grid, in order.

        Yields
        ------
        ndarray
            float32 (h, w, values) of the crop, at ``stride`` input pixels per pixel.

        Raises
        ------
        ModelError
            If `predict` returns an array of another shape.
        Cancelled
            If the user cancelled.
        """
        if self.reads.block is not None:
            hu = grid.hu[:, crop[0], crop[1]]
            done_of = self.progress.predicted
            yield from blended(self._predict, hu, self.reads, self.batch, self.multiple, done_of)
            return
        h, w = (
            part.stop - part.start for part in (_coarse_slice(side, self.stride) for side in crop)
        )
        done, total = 0, len(grid.hu)
        while done < total:
            check()
            indices = range(done, min(done + self.batch, total))
            inputs = cropped_batch(grid, indices, self.reads, crop, self.multiple)
            outputs = self._predict(inputs)
            done = indices.stop
            self.progress.predicted(done / total)
            for plane in outputs:
                yield np.ascontiguousarray(plane[:h, :w])

    def _predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict, and check the shape of the result."""
        outputs = np.asarray(self.predict(inputs), dtype=np.float32)
        size = (n // self.stride for n in inputs.shape[2:])
        expected = (len(inputs), *size, N_TISSUES if self.names_tissues else 3)
        if outputs.shape != expected:
            raise ModelError(
                f"the model '{self.card.name}' returned an array of shape {outputs.shape} where "
                f"{expected} was expected: its code and its metadata do not match"
            )
        return outputs

    def _encoder(self, scan: Scan, columns: NDArray[np.int64]) -> Callable[..., None]:
        """Return a function that converts coarse planes into codes and confidences of a slab."""
        bilateral = bilateral_parameters(scan)
        if not self.names_tissues:
            tolerance = float(np.hypot(MIN_TOLERANCE, body_noise(scan)))
            return lambda hu, planes, body, out: slab_kernels.color_slab(
                hu, planes, body, bilateral, tolerance, *out
            )
        likelihood = self.likelihood
        if likelihood is None:
            rows = slab_kernels.MAX_HU - slab_kernels.MIN_HU + 1
            likelihood = np.ones((rows, N_TISSUES), np.float32)
        return lambda hu, planes, body, out: slab_kernels.fuse_slab(
            hu, planes, columns, body, likelihood, bilateral, *out
        )


def smoothing_weight(slice_mm: float) -> float:
    """Return the weight of each adjacent slice, from 1/4 for thin slices to 0 for thick ones."""
    return float(0.25 * np.exp(-0.5 * (slice_mm / SMOOTH_MM) ** 2) / np.exp(-0.5 / 9))


def smoothed(planes: Planes, side: float, across: float) -> Planes:
    """Average each plane with the previous and next one, and each pixel with its neighbors.

    Edge planes and edge pixels are repeated.

    Parameters
    ----------
    planes
        Planes (h, w, values) in order.
    side
        Weight of each adjacent plane, 0 to 1/3.
    across
        Weight of each adjacent pixel along both axes, 0 to 1/3.
    """
    side32, across32 = (np.float32(min(max(share, 0.0), 1 / 3)) for share in (side, across))
    window: deque[NDArray[np.float32]] = deque(maxlen=3)

    def mean() -> NDArray[np.float32]:
        below, center, above = window
        out = np.empty_like(center, order="C")
        smooth_plane(below, center, above, side32, across32, out)
        return out

    for plane in planes:
        window.extend([plane] if window else [plane, plane])
        if len(window) == 3:
            yield mean()
    if window:
        window.append(window[-1])
        yield mean()


def with_hu(planes: Planes, hu: NDArray[np.float32], stride: int) -> Planes:
    """Append the mean HU of each predicted pixel to its predicted values.

    Both are then smoothed in the same way, so that colors and HU still match.

    Parameters
    ----------
    planes
        Planes (h, w, values) in order.
    hu
        float32 (z, y, x) of the same crop of the grid.
    stride
        Pixels of ``hu`` per pixel of ``planes`` along y and x.

    Yields
    ------
    ndarray
        float32 (h, w, values + 1).
    """
    for plane, hu_plane in zip(planes, hu, strict=True):
        mean = block_mean(hu_plane[None], (1, stride, stride))[0, ..., None]
        yield np.concatenate([plane, mean], -1)


class _SlidingWindow:
    """A sliding window over an iterator of planes."""

    def __init__(self, source: Planes) -> None:
        self._source = source
        self._buffer: list[NDArray[np.float32]] = []
        self._base = 0

    def planes(self, first: int, last: int) -> tuple[int, NDArray[np.float32]]:
        """Return ``first`` and the stack of planes ``first`` to ``last``, as far as there are any.

        ``first`` must not decrease between calls.
        """
        missing = last + 1 - self._base - len(self._buffer)
        self._buffer.extend(islice(self._source, max(0, missing)))
        del self._buffer[: first - self._base]
        self._base = first
        return first, np.stack(self._buffer[: last - first + 1])


def body_crop(
    scan: Scan, shape: tuple[int, ...], pixel_mm: float, multiple: int
) -> tuple[slice, slice]:
    """Return the rows and columns of the input grid that contain the body in any slice.

    They begin at multiples of the network's total stride, so that cropping hardly changes the
    prediction.
    """
    field = scan.body.field.max(axis=0) > 0
    crop = []
    for axis in (0, 1):
        occupied = np.flatnonzero(field.any(axis=1 - axis))
        n = shape[1 + axis]
        if len(occupied) == 0:
            crop.append(slice(0, min(n, multiple)))
            continue
        mm = scan.spacing[1 + axis] * scan.body.factors[1 + axis]
        low = int(occupied[0] * mm / pixel_mm) - MARGIN
        high = int(np.ceil((occupied[-1] + 1) * mm / pixel_mm)) + MARGIN
        low = max(0, low // multiple * multiple)
        crop.append(slice(low, min(n, max(high, low + 1))))
    return crop[0], crop[1]


def _coarse_slice(part: slice, stride: int) -> slice:
    """Return the slice of an axis downsampled by ``stride`` that covers ``part``."""
    return slice(part.start // stride, -(-part.stop // stride))


def _crop_taps(n: int, spacing: float, pixel: float, crop: slice) -> Taps:
    """Return the taps of ``n`` voxels on the cropped coarse axis."""
    full = pixel_taps(n, spacing, pixel, crop.stop)
    return taps(full.low + full.weight.astype(np.float64) - crop.start, crop.stop - crop.start)


def bilateral_parameters(scan: Scan) -> tuple[int, float]:
    """Return radius (voxels) and cutoff (HU) of the bilateral filter for pixel size and noise."""
    pixel = min(scan.spacing[1:])
    radius = min(2, int(1.6 / pixel + 0.5))
    cutoff = float(np.clip(5.0 * body_noise(scan), 15.0, 160.0))
    return radius, cutoff


def blended(
    predict: Callable[[F32], F32],
    hu: F32,
    spec: InputSpec,
    batch: int,
    multiple: int,
    advance: Callable[[float], None] = lambda _: None,
) -> Iterator[F32]:
    """Predict a volume block by block and yield it slice by slice.

    Overlapping predictions are averaged with weights that decrease towards the faces of a
    block. Only one layer of blocks is in memory.

    Parameters
    ----------
    predict
        Maps luminances (n, channels, z, y, x) to values (n, z, y, x, values).
    hu
        float32 (z, y, x) on the input grid. Blocks that extend beyond it are padded with the
        last slice along z, and with zero luminance along y and x.
    spec
        Windows, block and overlap.
    batch
        Blocks predicted at once.
    multiple
        Each dimension of a block must be a multiple of this.
    advance
        Called with the share of the blocks predicted so far.

    Yields
    ------
    ndarray
        float32 (y, x, values) of each slice, in order.
    """
    n, h, w = hu.shape
    block = block_shape(hu.shape, spec, multiple)
    padding = [max(0, size - length) for size, length in zip(block, hu.shape, strict=True)]
    hu = np.pad(hu, ((0, padding[0]), (0, 0), (0, 0)), mode="edge")
    sides = ((0, 0), (0, 0), (0, padding[1]), (0, padding[2]))
    firsts, *corners = (
        block_starts(max(size, length), size, spec.overlap)
        for length, size in zip(hu.shape, block, strict=True)
    )
    positions, weight = list(product(*corners)), block_weight(block, spec.overlap)
    depth, height, width = block
    total = len(firsts) * len(positions)

    def planes() -> Iterator[F32]:
        sums = None  # weighted predictions and weights, from the layer's first slice onwards
        layers = zip(firsts, [*firsts[1:], len(hu)], strict=True)
        for number, (z, after) in enumerate(layers):
            layer = np.pad(windowed(hu[z : z + depth], spec), sides)
            for k in range(0, len(positions), batch):
                check()
                boxes = [np.s_[y : y + height, x : x + width] for y, x in positions[k : k + batch]]
                inputs = [layer[(slice(None), slice(None), *box)] for box in boxes]
                for box, values in zip(boxes, predict(np.stack(inputs)), strict=True):
                    if sums is None:
                        shape = (depth, *layer.shape[2:], values.shape[-1] + 1)
                        sums = np.zeros(shape, np.float32)
                    sums[(slice(None), *box)][..., :-1] += weight * values
                    sums[(slice(None), *box)][..., -1:] += weight
                advance((number * len(positions) + min(k + batch, len(positions))) / total)
            assert sums is not None
            for plane in sums[: after - z, :h, :w]:
                yield plane[..., :-1] / plane[..., -1:]
            sums = np.concatenate([sums[after - z :], np.zeros_like(sums[: after - z])])

    return islice(planes(), n)


def block_shape(shape: tuple[int, ...], spec: InputSpec, multiple: int) -> tuple[int, ...]:
    """Return the size of the blocks (z, y, x) that a volume is split into.

    Slices slightly larger than the model's blocks are not split, to avoid overlaps. Blocks are
    no larger than the volume.
    """
    assert spec.block is not None
    full = [-(-length // multiple) * multiple for length in shape]
    if full[1] * full[2] <= _WHOLE_SLICE_RATIO * spec.block[1] * spec.block[2]:
        return min(full[0], spec.block[0]), full[1], full[2]
    return tuple(min(sizes) for sizes in zip(full, spec.block, strict=True))


def windowed(hu: F32, spec: InputSpec) -> F32:
    """Return HU (z, y, x) as luminances of the channels: float32 (channels, z, y, x)."""
    low, slope = (ramp[:, None, None, None] for ramp in window_ramps(spec))
    return np.clip((hu - low) * slope, 0.0, 1.0)


def block_starts(length: int, size: int, overlap: float) -> list[int]:
    """Return the start indices of blocks of ``size`` along an axis; the last ends at its end."""
    step = max(1, int(size * (1.0 - overlap)))
    return [*range(0, length - size, step), length - size]


def block_weight(block: tuple[int, ...], overlap: float) -> F32:
    """Return the weight of each voxel of a block, above 0: float32 (z, y, x, 1)."""
    weight = np.ones((1, 1, 1), np.float32)
    for axis, size in enumerate(block):
        depth = np.minimum(np.arange(size) + 1, size - np.arange(size)).astype(np.float32)
        ramp = np.minimum(depth / max(1.0, overlap * size), 1.0)
        weight = weight * np.expand_dims(ramp, tuple(k for k in range(3) if k != axis))
    return weight[..., None]

"""Predictors that see a scan on a coarse grid of their own, slice by slice or in blocks.

Most networks are such: what they say of each coarse pixel is smoothed a little, so that
neighbouring slices agree, and brought to full resolution by compiled kernels as soon as the slices
around are there. Never more than a few predicted slices are kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard
from tomochrome.color.codes import Table
from tomochrome.colorization.blocks import blended
from tomochrome.colorization.body import block_mean
from tomochrome.colorization.grid import OnGrid, Taps, first_columns, pixel_taps, taps
from tomochrome.colorization.inputs import InputGrid, InputSpec, cropped_batch, to_input_grid
from tomochrome.colorization.scan import Colors, Scan, body_noise
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
from tomochrome.runtime import check
from tomochrome.tissue import N_TISSUES

MARGIN = 8  #: coarse pixels around the body that the predictor also reads
SMOOTH_MM = 3.0  #: reach along z of the smoothing of predictions
LEAST_TOLERANCE = 15.0  #: HU, see `guided_kernels.color_slab`; noise is added to it

Planes = Iterator[NDArray[np.float32]]
Crop = tuple[slice, slice]


class GridPredictor(ABC):
    """A `Predictor` that sees windows of a scan on a coarse grid: write `reads` and `predict`.

    Attributes
    ----------
    names_tissues
        Whether `predict` gives the probability of each tissue; otherwise it gives a*, b* and a
        confidence.
    reads
        Windows, spacing, and the slices around or blocks with overlap.
    multiple
        What height and width (and depth of a block) must be a multiple of.
    stride
        Pixels of the grid that one predicted pixel covers along y and x; 1 for blocks. It divides
        ``multiple``.
    batch
        Slices or blocks given to `predict` at once.
    likelihood
        With tissues: float32 (HUs, tissues), how likely each HU from `kernels.LOWEST_HU` to
        `kernels.HIGHEST_HU` is in each tissue, which guides probabilities to full resolution.
        None if every HU is as likely in every tissue.
    """

    names_tissues: ClassVar[bool] = False
    reads: InputSpec
    multiple: int = 1
    stride: int = 1
    batch: int = 4
    likelihood: NDArray[np.float32] | None = None
    device: str = "cpu"
    warnings: tuple[Notice, ...] = ()

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        self.card = card
        self.batch = batch or self.batch

    @abstractmethod
    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Color slices or blocks.

        Parameters
        ----------
        inputs
            Luminances 0 to 1 of the windows in `reads`: float32 (n, channels, y, x), or
            (n, channels, z, y, x) where `reads` has a block.

        Returns
        -------
        ndarray
            float32 (n, y / stride, x / stride, values) or (n, z, y, x, values). With tissues the
            values are probabilities that sum to 1, in the order of `Tissue`; otherwise a*, b* and
            a confidence, 0 to 1.
        """

    @property
    def table(self) -> Table:
        """What the codes stand for."""
        from tomochrome.colorization.tables import color_table, tissue_table

        return tissue_table() if self.names_tissues else color_table()

    def color(self, scan: Scan) -> Colors:
        """Give each voxel of a scan a code and a confidence; see `Predictor.color`."""
        spec = self.reads
        check()
        grid = to_input_grid(scan.hu, scan.spacing, spec)
        crop = body_crop(scan, grid.hu.shape, spec.pixel_mm, self.multiple)
        side = smoothing_weight(grid.slice_mm)
        planes = self.planes(grid, crop)
        if not self.names_tissues:
            planes = with_hu(planes, grid.hu[:, crop[0], crop[1]], self.stride)
        window = _Window(smoothed(planes, side))
        n, ny, nx = scan.hu.shape
        z = taps(np.interp(np.arange(n), grid.positions, np.arange(len(grid.positions))),
                 len(grid.positions))  # fmt: skip
        rows, columns = (_coarser(part, self.stride) for part in crop)
        pixel_mm = spec.pixel_mm * self.stride
        y = _crop_taps(ny, scan.spacing[1], pixel_mm, rows)
        x = _crop_taps(nx, scan.spacing[2], pixel_mm, columns)
        encode = self._encoder(scan, first_columns(x, columns.stop - columns.start))

        def paint(first: int, stop: int, body: OnGrid, out: Colors) -> None:
            base, stack = window.planes(int(z.low[first]), int(z.low[stop - 1]) + 1)
            near = OnGrid(stack, *z.part(first, stop, base), *y, *x)
            encode(scan.hu[first:stop], near, body, out)

        return scan.paint(len(self.table), paint)

    def planes(self, grid: InputGrid, crop: Crop) -> Planes:
        """Yield what the model says of each slice of the grid, in order.

        Yields
        ------
        ndarray
            float32 (h, w, values) of the crop, in pixels of ``stride``.

        Raises
        ------
        ModelError
            If `predict` returns anything else.
        Cancelled
            If the user stopped it.
        """
        if self.reads.block is not None:
            hu = grid.hu[:, crop[0], crop[1]]
            yield from blended(self._predict, hu, self.reads, self.batch, self.multiple)
            return
        h, w = (part.stop - part.start for part in (_coarser(side, self.stride) for side in crop))
        done, total = 0, len(grid.hu)
        while done < total:
            check()
            indices = range(done, min(done + self.batch, total))
            inputs = cropped_batch(grid, indices, self.reads, crop, self.multiple)
            for plane in self._predict(inputs):
                yield np.ascontiguousarray(plane[:h, :w])
            done = indices.stop

    def _predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict, and refuse what is not of the promised shape."""
        outputs = np.asarray(self.predict(inputs), dtype=np.float32)
        size = (n // self.stride for n in inputs.shape[2:])
        wanted = (len(inputs), *size, N_TISSUES if self.names_tissues else 3)
        if outputs.shape != wanted:
            raise ModelError(
                f"the model '{self.card.name}' returned an array of shape {outputs.shape} where "
                f"{wanted} was expected: its code and its metadata do not fit together"
            )
        return outputs

    def _encoder(self, scan: Scan, columns: NDArray[np.int64]) -> Callable[..., None]:
        """Return what turns planes around a slab into codes and confidences."""
        from tomochrome.colorization import guided_kernels, kernels

        how = denoising(scan)
        if not self.names_tissues:
            tolerance = float(np.hypot(LEAST_TOLERANCE, body_noise(scan)))
            return lambda hu, planes, body, out: guided_kernels.color_slab(
                hu, planes, body, how, tolerance, *out
            )
        likelihood = self.likelihood
        if likelihood is None:
            rows = kernels.HIGHEST_HU - kernels.LOWEST_HU + 1
            likelihood = np.ones((rows, N_TISSUES), np.float32)
        return lambda hu, planes, body, out: kernels.fuse_slab(
            hu, planes, columns, body, likelihood, how, *out
        )


def smoothing_weight(slice_mm: float) -> float:
    """Return the weight of each neighbouring slice: 1/4 for close slices, none for far ones."""
    return float(0.25 * np.exp(-0.5 * (slice_mm / SMOOTH_MM) ** 2) / np.exp(-0.5 / 9))


def smoothed(planes: Iterator[NDArray[np.float32]], side: float) -> Iterator[NDArray[np.float32]]:
    """Average each plane with its two neighbours; the first and last repeat at the ends.

    Each plane is smoothed a little in itself too, see `grid_kernels.smooth_plane`.

    Parameters
    ----------
    planes
        Planes (h, w, N_TISSUES) in order.
    side
        Weight of each neighbour, 0 to 1/3.
    """
    from tomochrome.colorization.grid_kernels import smooth_plane

    side32 = np.float32(min(max(side, 0.0), 1 / 3))
    near: deque[NDArray[np.float32]] = deque(maxlen=3)

    def mean() -> NDArray[np.float32]:
        before, here, after = near
        out = np.empty_like(here, order="C")
        smooth_plane(before, here, after, side32, out)
        return out

    for plane in planes:
        near.extend([plane] if near else [plane, plane])
        if len(near) == 3:
            yield mean()
    if near:
        near.append(near[-1])
        yield mean()


def with_hu(planes: Planes, hu: NDArray[np.float32], stride: int) -> Planes:
    """Put the mean HU of each predicted pixel beside what the model says of it.

    Both are smoothed alike afterwards, so that the HU stay those of the colors.

    Parameters
    ----------
    planes
        Planes (h, w, values) in order.
    hu
        float32 (z, y, x) of the same crop of the grid.
    stride
        Pixels of ``hu`` that one of ``planes`` covers along y and x.

    Yields
    ------
    ndarray
        float32 (h, w, values + 1).
    """
    for plane, here in zip(planes, hu, strict=True):
        yield np.concatenate([plane, block_mean(here[None], (1, stride, stride))[0, ..., None]], -1)


class _Window:
    """A sliding window over planes that come in order."""

    def __init__(self, source: Iterator[NDArray[np.float32]]) -> None:
        self._source = source
        self._held: list[NDArray[np.float32]] = []
        self._base = 0

    def planes(self, first: int, last: int) -> tuple[int, NDArray[np.float32]]:
        """Return the index of the first plane kept and the stack of planes to ``last``.

        ``first`` must not shrink between calls. Beyond the last plane the stack just ends.
        """
        while self._base + len(self._held) <= last:
            plane = next(self._source, None)
            if plane is None:
                break
            self._held.append(plane)
        drop = first - self._base
        del self._held[:drop]
        self._base = first
        return first, np.stack(self._held[: last - first + 1])


def body_crop(
    scan: Scan, shape: tuple[int, ...], pixel_mm: float, multiple: int
) -> tuple[slice, slice]:
    """Return rows and columns of the input grid that hold the body in any slice.

    They begin at multiples of the network's total stride, so that a crop hardly changes what
    the network says.
    """
    field = scan.body.field.max(axis=0) > 0
    crop = []
    for axis in (0, 1):
        line = np.flatnonzero(field.any(axis=1 - axis))
        n = shape[1 + axis]
        if len(line) == 0:
            crop.append(slice(0, min(n, multiple)))
            continue
        mm = scan.spacing[1 + axis] * scan.body.factors[1 + axis]
        low = int(line[0] * mm / pixel_mm) - MARGIN
        high = int(np.ceil((line[-1] + 1) * mm / pixel_mm)) + MARGIN
        low = max(0, low // multiple * multiple)
        crop.append(slice(low, min(n, max(high, low + 1))))
    return crop[0], crop[1]


def _coarser(part: slice, stride: int) -> slice:
    """Return a part of an axis in pixels ``stride`` times as large."""
    return slice(part.start // stride, -(-part.stop // stride))


def _crop_taps(n: int, spacing: float, pixel: float, crop: slice) -> Taps:
    """Taps of ``n`` voxels on the cropped coarse axis."""
    whole = pixel_taps(n, spacing, pixel, crop.stop)
    return taps(whole.low + whole.weight.astype(np.float64) - crop.start, crop.stop - crop.start)


def denoising(scan: Scan) -> tuple[int, float]:
    """Return radius (voxels) and cutoff (HU) of the bilateral mean, by pixel size and noise."""
    pixel = min(scan.spacing[1:])
    radius = min(2, int(1.6 / pixel + 0.5))
    cutoff = float(np.clip(5.0 * body_noise(scan), 15.0, 160.0))
    return radius, cutoff

"""Sliding-window prediction for 3D networks: overlapping blocks, blended by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.inputs import InputSpec, window_ramps
from tomochrome.runtime import check

F32 = NDArray[np.float32]
_WHOLE_SLICE_RATIO = 2  # slices of up to this many times a block's area are not split


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

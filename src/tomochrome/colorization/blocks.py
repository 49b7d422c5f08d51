"""Overlapping blocks of the input grid for 3D networks, and their predictions blended again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.inputs import InputSpec, window_ramps
from tomochrome.runtime import check

F32 = NDArray[np.float32]
_WHOLE_SLICES = 2  # times the area of the model's blocks: slices up to there are not cut


def blended(
    predict: Callable[[F32], F32], hu: F32, spec: InputSpec, batch: int, multiple: int
) -> Iterator[F32]:
    """Predict a volume block by block and yield it slice by slice.

    Where blocks overlap the mean is taken, by weights that fall towards their faces. Only one
    layer of blocks is kept.

    Parameters
    ----------
    predict
        Takes luminances (n, channels, z, y, x), returns (n, z, y, x, values).
    hu
        float32 (z, y, x) on the input grid. Blocks that reach beyond see the last slice again,
        and nothing at the sides.
    spec
        Windows, block and overlap.
    batch
        Blocks predicted at once.
    multiple
        What each side of a block must be a multiple of.

    Yields
    ------
    ndarray
        float32 (y, x, values) of each slice, in order.
    """
    n, h, w = hu.shape
    block = fitted(hu.shape, spec, multiple)
    lacking = [max(0, size - length) for size, length in zip(block, hu.shape, strict=True)]
    hu = np.pad(hu, ((0, lacking[0]), (0, 0), (0, 0)), mode="edge")
    sides = ((0, 0), (0, 0), (0, lacking[1]), (0, lacking[2]))
    firsts, *corners = (
        starts(max(size, length), size, spec.overlap)
        for length, size in zip(hu.shape, block, strict=True)
    )
    places, weight = list(product(*corners)), block_weight(block, spec.overlap)
    depth, height, width = block

    def planes() -> Iterator[F32]:
        sums = None  # of weighted predictions, and of weights, from the layer's first slice on
        for z, after in zip(firsts, [*firsts[1:], len(hu)], strict=True):
            layer = np.pad(windowed(hu[z : z + depth], spec), sides)
            for k in range(0, len(places), batch):
                check()
                boxes = [np.s_[y : y + height, x : x + width] for y, x in places[k : k + batch]]
                inputs = [layer[(slice(None), slice(None), *box)] for box in boxes]
                for box, values in zip(boxes, predict(np.stack(inputs)), strict=True):
                    if sums is None:
                        shape = (depth, *layer.shape[2:], values.shape[-1] + 1)
                        sums = np.zeros(shape, np.float32)
                    sums[(slice(None), *box)][..., :-1] += weight * values
                    sums[(slice(None), *box)][..., -1:] += weight
            assert sums is not None
            for plane in sums[: after - z, :h, :w]:
                yield plane[..., :-1] / plane[..., -1:]
            sums = np.concatenate([sums[after - z :], np.zeros_like(sums[: after - z])])

    return islice(planes(), n)


def fitted(shape: tuple[int, ...], spec: InputSpec, multiple: int) -> tuple[int, ...]:
    """Return the size of the blocks (z, y, x) that a volume is cut into.

    Whole slices where they are hardly larger than the model's blocks, which spares overlaps, and
    no more of small volumes than there is.
    """
    assert spec.block is not None
    whole = [-(-length // multiple) * multiple for length in shape]
    if whole[1] * whole[2] <= _WHOLE_SLICES * spec.block[1] * spec.block[2]:
        return min(whole[0], spec.block[0]), whole[1], whole[2]
    return tuple(min(sizes) for sizes in zip(whole, spec.block, strict=True))


def windowed(hu: F32, spec: InputSpec) -> F32:
    """Return HU (z, y, x) as luminances of the channels: float32 (channels, z, y, x)."""
    low, slope = (ramp[:, None, None, None] for ramp in window_ramps(spec))
    return np.clip((hu - low) * slope, 0.0, 1.0)


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where blocks of ``size`` begin on an axis at least as long, the last at its end."""
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

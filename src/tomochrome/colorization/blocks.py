"""Overlapping blocks of the input grid for 3D networks, and their predictions blended again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, product

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.inputs import AIR_HU, InputSpec, window_ramps
from tomochrome.runtime import check

F32 = NDArray[np.float32]


def blended(predict: Callable[[F32], F32], hu: F32, spec: InputSpec, batch: int) -> Iterator[F32]:
    """Predict a volume block by block and yield it slice by slice.

    Where blocks overlap the mean is taken, by weights that fall towards their faces. Only one
    layer of blocks is kept.

    Parameters
    ----------
    predict
        Takes luminances (n, channels, z, y, x), returns (n, z, y, x, values).
    hu
        float32 (z, y, x) on the input grid. Blocks that reach beyond see the last slice again,
        and air at the sides.
    spec
        Windows, block and overlap.
    batch
        Blocks predicted at once.

    Yields
    ------
    ndarray
        float32 (y, x, values) of each slice, in order.
    """
    assert spec.block is not None
    n, h, w = hu.shape
    lacking = [max(0, size - length) for size, length in zip(spec.block, hu.shape, strict=True)]
    hu = np.pad(hu, ((0, lacking[0]), (0, 0), (0, 0)), mode="edge")
    hu = np.pad(hu, ((0, 0), (0, lacking[1]), (0, lacking[2])), constant_values=AIR_HU)
    firsts, *sides = (
        starts(length, size, spec.overlap)
        for length, size in zip(hu.shape, spec.block, strict=True)
    )
    places, weight = list(product(*sides)), block_weight(spec)
    depth, height, width = spec.block

    def planes() -> Iterator[F32]:
        sums = None  # of weighted predictions, and of weights, from the layer's first slice on
        for z, after in zip(firsts, [*firsts[1:], len(hu)], strict=True):
            for k in range(0, len(places), batch):
                check()
                boxes = [np.s_[y : y + height, x : x + width] for y, x in places[k : k + batch]]
                inputs = [windowed(hu[(slice(z, z + depth), *box)], spec) for box in boxes]
                for box, values in zip(boxes, predict(np.stack(inputs)), strict=True):
                    if sums is None:
                        sums = np.zeros((depth, *hu.shape[1:], values.shape[-1] + 1), np.float32)
                    sums[(slice(None), *box)][..., :-1] += weight * values
                    sums[(slice(None), *box)][..., -1:] += weight
            assert sums is not None
            for plane in sums[: after - z, :h, :w]:
                yield plane[..., :-1] / plane[..., -1:]
            sums = np.concatenate([sums[after - z :], np.zeros_like(sums[: after - z])])

    return islice(planes(), n)


def windowed(hu: F32, spec: InputSpec) -> F32:
    """Return a block of HU as luminances of the channels: float32 (channels, z, y, x)."""
    low, slope = (ramp[:, None, None, None] for ramp in window_ramps(spec))
    return np.clip((hu - low) * slope, 0.0, 1.0)


def starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where blocks of ``size`` begin on an axis at least as long, the last at its end."""
    step = max(1, int(size * (1.0 - overlap)))
    return [*range(0, length - size, step), length - size]


def block_weight(spec: InputSpec) -> F32:
    """Return the weight of each voxel of a block, above 0: float32 (z, y, x, 1)."""
    assert spec.block is not None
    weight = np.ones((1, 1, 1), np.float32)
    for axis, size in enumerate(spec.block):
        depth = np.minimum(np.arange(size) + 1, size - np.arange(size)).astype(np.float32)
        ramp = np.minimum(depth / max(1.0, spec.overlap * size), 1.0)
        weight = weight * np.expand_dims(ramp, tuple(k for k in range(3) if k != axis))
    return weight[..., None]

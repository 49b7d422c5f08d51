"""Coarser grids: blocks of voxels put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Steps = tuple[int, int, int]  #: voxels in a block along (z, y, x)


def block_steps(
    shape: Sequence[int], spacing: Sequence[float], most: int, along: int | None = None
) -> Steps:
    """Return how many voxels to put together along each axis so that few enough are left.

    Parameters
    ----------
    shape
        (z, y, x).
    spacing
        In mm, in the same order. The axis with the smallest step is made coarser first.
    most
        Number of voxels that may be left, at least 1.
    along
        Number of voxels that may be left along each axis.
    """
    steps = [1 if along is None else -(-size // along) for size in shape]
    while math.prod(-(-n // s) for n, s in zip(shape, steps, strict=True)) > most:
        open_axes = [axis for axis in range(3) if steps[axis] < shape[axis]]
        finest = min(open_axes, key=lambda axis: (steps[axis] + 1) * spacing[axis])
        steps[finest] += 1
    return steps[0], steps[1], steps[2]


def block_affine(affine: NDArray[np.float64], steps: Steps) -> NDArray[np.float64]:
    """Return the affine of blocks of voxels: the index of a block to its center, in LPS mm."""
    turn = np.diag([*steps, 1.0])
    turn[:3, 3] = [(step - 1) / 2 for step in steps]
    return np.asarray(affine @ turn)


def block_means(voxels: NDArray[Any], steps: Steps) -> NDArray[np.float32]:
    """Return the mean of each block; blocks that stick out at the end repeat the last voxel."""
    if steps == (1, 1, 1):
        return np.ascontiguousarray(voxels, dtype=np.float32)
    missing = [-size % step for size, step in zip(voxels.shape, steps, strict=True)]
    if any(missing):
        voxels = np.pad(voxels, [(0, more) for more in missing], mode="edge")
    # One axis after the other: each time there is less left.
    means = voxels
    for axis, step in enumerate(steps):
        split = (*means.shape[:axis], -1, step, *means.shape[axis + 1 :])
        if step > 1:
            means = means.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    return np.ascontiguousarray(means, dtype=np.float32)

"""Coarser grids by averaging blocks of voxels."""

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
    """Return the block size along each axis for a maximum number of blocks.

    Parameters
    ----------
    shape
        (z, y, x).
    spacing
        Voxel spacing in mm, in the same order. The axis with the finest blocks is coarsened first.
    most
        Maximum number of blocks, at least 1.
    along
        Maximum number of blocks along each axis.
    """
    steps = [1 if along is None else -(-size // along) for size in shape]
    while math.prod(-(-n // s) for n, s in zip(shape, steps, strict=True)) > most:
        open_axes = [axis for axis in range(3) if steps[axis] < shape[axis]]
        finest = min(open_axes, key=lambda axis: (steps[axis] + 1) * spacing[axis])
        steps[finest] += 1
    return steps[0], steps[1], steps[2]


def block_affine(affine: NDArray[np.float64], steps: Steps) -> NDArray[np.float64]:
    """Return the affine of a grid of blocks, from block index to block center in LPS mm."""
    voxel_from_block = np.diag([*steps, 1.0])
    voxel_from_block[:3, 3] = [(step - 1) / 2 for step in steps]
    return np.asarray(affine @ voxel_from_block)


def block_means(voxels: NDArray[Any], steps: Steps) -> NDArray[np.float32]:
    """Return the mean of each block; incomplete blocks are padded with the last voxel."""
    if steps == (1, 1, 1):
        return np.ascontiguousarray(voxels, dtype=np.float32)
    missing = [-size % step for size, step in zip(voxels.shape, steps, strict=True)]
    if any(missing):
        voxels = np.pad(voxels, [(0, more) for more in missing], mode="edge")
    # One axis after the other, so that the array shrinks at each step.
    means = voxels
    for axis, step in enumerate(steps):
        split = (*means.shape[:axis], -1, step, *means.shape[axis + 1 :])
        if step > 1:
            means = means.reshape(split).mean(axis=axis + 1, dtype=np.float32)
    return np.ascontiguousarray(means, dtype=np.float32)

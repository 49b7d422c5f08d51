"""Compiled kernels of the initial alignment: joint histograms and rasterization."""

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import kernel


@kernel
def joint_histogram(fixed, valid, moving, moving_valid, matrix, counts):  # type: ignore[no-untyped-def]
    """Add the pairs of values, 0 to 1, of voxels valid in both volumes to ``counts`` (bins, bins).

    ``matrix`` (3, 4) maps (z, y, x) of ``fixed`` to (z, y, x) of ``moving``, whose nearest voxel
    is used.
    """
    depth, height, width = fixed.shape
    size_z, size_y, size_x = moving.shape
    bins = len(counts)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not valid[z, y, x]:
                    continue
                i = matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
                j = matrix[1, 0] * z + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
                k = matrix[2, 0] * z + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
                # also false for NaN and for values too large for an index
                if not (-0.5 <= i < size_z and -0.5 <= j < size_y and -0.5 <= k < size_x):
                    continue
                mz, my, mx = int(np.rint(i)), int(np.rint(j)), int(np.rint(k))
                if mz >= size_z or my >= size_y or mx >= size_x:
                    continue
                if moving_valid[mz, my, mx]:
                    a = min(int(fixed[z, y, x] * bins), bins - 1)
                    b = min(int(moving[mz, my, mx] * bins), bins - 1)
                    counts[a, b] += 1


@kernel
def rasterize(values, valid, mean, matrix, box):  # type: ignore[no-untyped-def]
    """Assign the valid voxels to ``box`` (3, z, y, x): mask, value minus ``mean``, its square.

    ``matrix`` (3, 4) maps (z, y, x) of the volume to (z, y, x) of the box, which contains them
    all. Each voxel is assigned to the nearest box voxel; several at the same one are averaged.
    """
    depth, height, width = values.shape
    count, sums, squares = box
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if valid[z, y, x]:
                    i = matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
                    j = matrix[1, 0] * z + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
                    k = matrix[2, 0] * z + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
                    at = int(np.rint(i)), int(np.rint(j)), int(np.rint(k))
                    count[at] += 1
                    sums[at] += values[z, y, x] - mean
    for z in range(count.shape[0]):
        for y in range(count.shape[1]):
            for x in range(count.shape[2]):
                if count[z, y, x] > 0:
                    sums[z, y, x] /= count[z, y, x]
                    squares[z, y, x] = sums[z, y, x] * sums[z, y, x]
                    count[z, y, x] = 1

"""Compiled loops of `tomochrome.color.slab`: over the voxels behind each pixel."""

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import kernel

_COLUMNS = 32


@kernel
def extreme_of_voxels(values, missing, sign, best):  # type: ignore[no-untyped-def]
    """Find the voxel with the highest (``sign`` 1) or lowest (-1) value behind each pixel.

    ``values`` is (n, m, depth), ``missing`` booleans of this shape or empty; missing voxels and
    NaN do not count. ``best`` (n, m) becomes the index of the voxel, 0 if none counts.
    """
    rows, columns, depth = values.shape
    for row in range(rows):
        # few columns at a time, so that whichever axis is contiguous is read from the cache
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            best[row, start:stop] = -1
            for k in range(depth):
                for column in range(start, stop):
                    value, chosen = values[row, column, k], best[row, column]
                    if value != value or (missing.size > 0 and missing[row, column, k]):
                        continue
                    if chosen < 0 or value * sign > values[row, column, chosen] * sign:
                        best[row, column] = k
            for column in range(start, stop):
                best[row, column] = max(best[row, column], 0)


@kernel
def mean_of_voxels(values, missing, code, confidence, codes, hu, ab, clear):  # type: ignore[no-untyped-def]
    """Average the values and colors of the voxels behind each pixel.

    ``values``, ``missing``, ``code`` and ``confidence`` are as for `extreme_of_voxels`, ``codes``
    is a `LitCodes`. ``hu`` (n, m) becomes the mean value, or the first if none counts, ``ab``
    (n, m, 2) the mean color, ``clear`` (n, m) whether all voxels are transparent.
    """
    rows, columns, depth = values.shape
    count, one = np.zeros(_COLUMNS, np.int64), np.float32(1)
    for row in range(rows):
        # few columns at a time, so that whichever axis is contiguous is read from the cache
        for start in range(0, columns, _COLUMNS):
            stop = min(start + _COLUMNS, columns)
            count[:] = 0
            hu[row, start:stop], ab[row, start:stop], clear[row, start:stop] = 0.0, 0.0, True
            for k in range(depth):
                for column in range(start, stop):
                    value, index = values[row, column, k], code[row, column, k]
                    clear[row, column] &= codes.clear[index]
                    if value != value or (missing.size > 0 and missing[row, column, k]):
                        continue
                    share = codes.fade[confidence[row, column, k]] if codes.fading else one
                    count[column - start] += 1
                    hu[row, column] += value
                    ab[row, column, 0] += codes.ab[index, 0] * share
                    ab[row, column, 1] += codes.ab[index, 1] * share
            for column in range(start, stop):
                n = count[column - start]
                hu[row, column] = hu[row, column] / n if n else values[row, column, 0]
                ab[row, column, 0] /= max(n, 1)
                ab[row, column, 1] /= max(n, 1)

"""Compiled loops of the similarity measures: moments, grey values, joint histogram, local NCC."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda a, *_: a.shape[0] * a.shape[1], least=1)
def row_moments(first, last, a, b, valid, out):  # type: ignore[no-untyped-def]
    """Compute moments of the rows of two volumes (z, y, x) over the ``valid`` voxels.

    ``out`` (z * y, 10) float64 receives the count, both means, the centered sums of a a, b b and
    a b, and the minimum and maximum of each volume (inf and -inf without voxels).
    """
    _, height, width = a.shape
    for row in range(first, last):
        z, y = row // height, row % height
        count, mean_a, mean_b = 0, 0.0, 0.0
        low_a, high_a, low_b, high_b = np.inf, -np.inf, np.inf, -np.inf
        for x in range(width):
            if valid[z, y, x]:
                p, q = np.float64(a[z, y, x]), np.float64(b[z, y, x])
                count, mean_a, mean_b = count + 1, mean_a + p, mean_b + q
                low_a, high_a = min(low_a, p), max(high_a, p)
                low_b, high_b = min(low_b, q), max(high_b, q)
        mean_a, mean_b = mean_a / max(count, 1), mean_b / max(count, 1)
        aa, bb, ab = 0.0, 0.0, 0.0
        for x in range(width):
            if valid[z, y, x]:
                p, q = np.float64(a[z, y, x]) - mean_a, np.float64(b[z, y, x]) - mean_b
                aa, bb, ab = aa + p * p, bb + q * q, ab + p * q
        out[row, 0], out[row, 1], out[row, 2] = count, mean_a, mean_b
        out[row, 3], out[row, 4], out[row, 5] = aa, bb, ab
        out[row, 6], out[row, 7], out[row, 8], out[row, 9] = low_a, high_a, low_b, high_b


@in_chunks(jobs=lambda a, *_: a.shape[0] * a.shape[1], least=1)
def to_grey(first, last, values, weight, knots, greys, out):  # type: ignore[no-untyped-def]
    """Map values to grey, piecewise linear between ascending ``knots``; 0 outside ``weight``."""
    _, height, width = values.shape
    end = len(knots) - 1
    slopes = (greys[1:] - greys[:-1]) / (knots[1:] - knots[:-1])
    for row in range(first, last):
        z, y = row // height, row % height
        for x in range(width):
            grey = 0.0
            if weight[z, y, x]:
                v = np.float64(values[z, y, x])
                if v <= knots[0]:
                    grey = greys[0]
                elif v >= knots[end]:
                    grey = greys[end]
                else:
                    k = 0
                    while v >= knots[k + 1]:
                        k += 1
                    grey = slopes[k] * (v - knots[k]) + greys[k]
            out[z, y, x] = grey


@in_chunks(jobs=lambda *arguments: len(arguments[-1]), least=1)
def joint_counts(first, last, p, q, weight, start, stop, bins, out):  # type: ignore[no-untyped-def]
    """Add the slices from ``start`` to ``stop`` to a joint histogram of grey values, 0 to 1.

    ``out`` is int64 (jobs, bins * bins); each job counts its own rows.
    """
    _, height, width = weight.shape
    jobs = len(out)
    for job in range(first, last):
        for row in range(job, (stop - start) * height, jobs):
            z, y = start + row // height, row % height
            for x in range(width):
                if weight[z, y, x]:
                    i = min(np.int64(p[z, y, x] * np.float32(bins)), bins - 1)
                    j = min(np.int64(q[z, y, x] * np.float32(bins)), bins - 1)
                    out[job, i * bins + j] += 1


@in_chunks(jobs=lambda a, *_: a.shape[0] * a.shape[1], least=1)
def products(first, last, p, q, weight, out):  # type: ignore[no-untyped-def]
    """Compute p, q, p p, q q, p q and 1 inside ``weight``, for the window sums of local NCC.

    ``p`` and ``q`` are float32 (z, y, x), 0 to 1; 0.5 is subtracted to reduce cancellation.
    ``weight`` is bool of that shape, ``out`` float32 (6, z, y, x).
    """
    half, zero = np.float32(0.5), np.float32(0)
    _, height, width = p.shape
    for row in range(first, last):
        z, y = row // height, row % height
        for x in range(width):
            a, b, there = p[z, y, x] - half, q[z, y, x] - half, np.float32(1)
            if not weight[z, y, x]:
                a, b, there = zero, zero, zero
            out[0, z, y, x], out[1, z, y, x] = a, b
            out[2, z, y, x], out[3, z, y, x] = a * a, b * b
            out[4, z, y, x], out[5, z, y, x] = a * b, there


def local_correlations(
    sums: NDArray[np.float32], weight: NDArray[np.bool_], start: int, stop: int, flat: float
) -> tuple[float, int]:
    """Return the sum of squared local correlations over some slices, and the number of windows.

    ``sums`` (6, z, y, x) are `products` summed over the window around each voxel. Windows are
    counted around voxels of ``weight`` where the variance of an image exceeds ``flat``.
    """
    rows = (stop - start) * weight.shape[1]
    total, count = np.zeros(rows), np.zeros(rows, np.int64)
    _rows_of_correlations(rows, sums, weight, start, flat, total, count)
    return float(total.sum()), int(count.sum())


@in_chunks(least=1)
def _rows_of_correlations(  # type: ignore[no-untyped-def]
    first, last, sums, weight, start, flat, total, count
):
    """Compute `local_correlations` of each row from the slice ``start`` on."""
    _, height, width = weight.shape
    for row in range(first, last):
        z, y = start + row // height, row % height
        for x in range(width):
            if not weight[z, y, x]:
                continue
            n = max(np.float64(sums[5, z, y, x]), 1.0)
            mean_p, mean_q = sums[0, z, y, x] / n, sums[1, z, y, x] / n
            var_p = max(sums[2, z, y, x] / n - mean_p * mean_p, 0.0)
            var_q = max(sums[3, z, y, x] / n - mean_q * mean_q, 0.0)
            if max(var_p, var_q) <= flat:
                continue
            cross = sums[4, z, y, x] / n - mean_p * mean_q
            total[row] += cross * cross / (var_p * var_q + flat * flat)
            count[row] += 1


@in_chunks(jobs=lambda values, *_: len(values), least=1)
def log_moments(first, last, values, inside, every, out):  # type: ignore[no-untyped-def]
    """Count determinants in each plane, and compute moments of the positive ones' logarithms.

    ``values`` (z, y, x); ``inside`` is a mask of that shape, ignored if ``every`` is true. ``out``
    (z, 4) float64 receives the count, the number of positive values, and the mean and the sum of
    squared deviations of their logarithms.
    """
    _, height, width = values.shape
    for z in range(first, last):
        count, above, total = 0, 0, 0.0
        for y in range(height):
            for x in range(width):
                if every or inside[z, y, x]:
                    count += 1
                    if values[z, y, x] > 0:
                        above += 1
                        total += np.log(np.float64(values[z, y, x]))
        mean, squares = total / max(above, 1), 0.0
        for y in range(height):
            for x in range(width):
                if (every or inside[z, y, x]) and values[z, y, x] > 0:
                    squares += (np.log(np.float64(values[z, y, x])) - mean) ** 2
        out[z, 0], out[z, 1], out[z, 2], out[z, 3] = count, above, mean, squares

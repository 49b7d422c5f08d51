"""Compiled loop of non-local means, over rows of a slice in threads."""

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda own, *_: len(own), least=8, fastmath=True)
def average_alike(  # type: ignore[no-untyped-def]  # noqa: C901 - loop over all voxels
    first, last, own, others, at, reaches, scale, half, own_weight, out
):
    """Average each pixel of ``own`` (y, x) with those of ``others`` (z, y, x) around it.

    ``others[at]`` is ``own``; ``reaches`` are the largest shifts in each. The weight of a pixel is
    ``exp(-max(scale * d - 2, 0) * half)`` with ``scale`` (y, x) of the pixel and the mean squared
    difference ``d`` of 5 x 5 pixels around both, as far as they are in the image; that of the pixel
    itself is the largest of the others, and at least ``own_weight``.
    """
    rows, columns = own.shape
    sums = np.zeros(columns + 4, np.float32)
    distance, total, weights, largest = np.zeros((4, columns), np.float32)
    for y in range(first, last):
        total[:] = 0
        weights[:] = 0
        largest[:] = own_weight
        for k in range(len(others)):
            reach = reaches[k]
            for dy in range(max(-reach, -y), min(reach + 1, rows - y)):
                top, bottom = max(y - 2, 0, -dy), min(y + 3, rows, rows - dy)
                for dx in range(-reach, reach + 1):
                    if k == at and dy == 0 and dx == 0:
                        continue
                    left, right = max(0, -dx), min(columns, columns - dx)
                    count = right - left
                    sums[:] = 0
                    inner = sums[left + 2 : right + 2]
                    for row in range(top, bottom):
                        a, b = own[row, left:right], others[k, row + dy, left + dx : right + dx]
                        for x in range(count):
                            inner[x] += (a[x] - b[x]) ** 2
                    wide = sums[left : right + 4]
                    factor = np.float32(1 / (5 * (bottom - top)))
                    scales = scale[y, left:right]
                    for x in range(count):
                        distance[x] = (factor * scales[x]) * (
                            wide[x] + wide[x + 1] + wide[x + 2] + wide[x + 3] + wide[x + 4]
                        )
                    for x in range(min(2, count)):
                        distance[x] *= np.float32(5) / min(x + 3, count)
                    for x in range(max(count - 2, 2), count):
                        distance[x] *= np.float32(5) / min(count - x + 2, count)
                    b = others[k, y + dy, left + dx : right + dx]
                    t, w, m = total[left:right], weights[left:right], largest[left:right]
                    for x in range(count):
                        # exp(-e) = exp(-e / 128) ** 128, by its series: vectorized, unlike exp
                        e = max(distance[x] - np.float32(2), np.float32(0)) * half
                        e = min(e, np.float32(32)) * np.float32(1 / 128)
                        p = np.float32(1) - e * (
                            np.float32(1) - e * (np.float32(0.5) - e * np.float32(1 / 6))
                        )
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        p *= p
                        t[x] += p * b[x]
                        w[x] += p
                        m[x] = max(m[x], p)
        for x in range(columns):
            out[y, x] = (total[x] + largest[x] * own[y, x]) / (weights[x] + largest[x])

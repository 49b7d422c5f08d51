"""Compiled kernels on the input grid: resampling, windowing, and smoothing of predictions."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda *arguments: len(arguments[-1]), least=1)
def average(  # noqa: C901 - one compiled pass over a slice
    first, last, hu, z, y, x, out
):  # pragma: no cover - compiled
    """Average ``hu`` (z, y, x) over boxes, given first source index and weights for each axis."""
    (zs, zw), (ys, yw), (xs, xw) = z, y, x
    _, n_y, n_x = hu.shape
    for k in range(first, last):
        plane = np.zeros((n_y, n_x), np.float32)
        for t in range(zw.shape[1]):
            w = zw[k, t]
            if w > 0:
                source = hu[zs[k] + t]
                for y in range(n_y):
                    for x in range(n_x):
                        plane[y, x] += w * np.float32(source[y, x])
        row = np.empty(n_x, np.float32)
        for j in range(out.shape[1]):
            row[:] = 0
            for t in range(yw.shape[1]):
                w = yw[j, t]
                if w > 0:
                    for x in range(n_x):
                        row[x] += w * plane[ys[j] + t, x]
            for i in range(out.shape[2]):
                value = np.float32(0)
                for t in range(xw.shape[1]):
                    w = xw[i, t]
                    if w > 0:
                        value += w * row[xs[i] + t]
                out[k, j, i] = value


@in_chunks(jobs=lambda hu, index, offsets, *_: len(index) * len(offsets), least=1)
def fill_windows(first, last, hu, index, offsets, low, slope, out):  # pragma: no cover - compiled
    """Fill ``out`` (slices, channels, y, x) with windowed planes at ``offsets`` from the slices."""
    n_z, n_y, n_x = hu.shape
    n_c = offsets.shape[0]
    for job in range(first, last):
        k, c = job // n_c, job % n_c
        place = min(max(index[k] + offsets[c], 0.0), n_z - 1.0)
        z = min(int(place), max(n_z - 2, 0))
        above = min(z + 1, n_z - 1)
        w = np.float32(place - z)
        for y in range(n_y):
            for x in range(n_x):
                value = hu[z, y, x] * (np.float32(1) - w) + hu[above, y, x] * w
                value = (value - low[c]) * slope[c]
                out[k, c, y, x] = min(max(value, np.float32(0)), np.float32(1))


@in_chunks(jobs=lambda below, *_: len(below), least=1)
def smooth_plane(
    first, last, below, center, above, side, across, out
):  # pragma: no cover - compiled
    """Average a plane of predictions (h, w, values) with adjacent planes and pixels.

    The weights along z are ``side``, 1 - 2 ``side``, ``side``; in-plane they are ``across``,
    1 - 2 ``across``, ``across`` along both axes (edges repeat).
    """
    h, w, n = center.shape
    middle = np.float32(1) - np.float32(2) * side
    most, rest = np.float32(1) - np.float32(2) * across, across
    for y in range(first, last):
        row = np.zeros((w, n), np.float32)
        for dy in range(-1, 2):
            j = min(max(y + dy, 0), h - 1)
            share = most if dy == 0 else rest
            for x in range(w):
                for c in range(n):
                    mixed = side * (below[j, x, c] + above[j, x, c]) + middle * center[j, x, c]
                    row[x, c] += share * mixed
        for x in range(w):
            left, right = max(x - 1, 0), min(x + 1, w - 1)
            for c in range(n):
                out[y, x, c] = most * row[x, c] + rest * (row[left, c] + row[right, c])

"""Compiled loops of parallel-beam projection and backprojection of several slices at a time.

All slices have the same rays, so that positions and weights are computed once for all of them; the
slices are the last axis, over which the innermost loop is vectorized. Both loops run over views
(projection) or image rows (backprojection) in threads. Coordinates are in pixels:
``s = x cos(angle) + y sin(angle)``, with the origin in the middle of the image and of the detector.
"""

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda image, turned, used, angles, rays, out: len(angles), least=4, fastmath=True)
def project(first, last, image, turned, used, angles, rays, out):  # type: ignore[no-untyped-def]
    """Line integrals of ``image`` (y, x, slice) in pixels, into ``out`` (view, detector, slice).

    ``image`` has a border of one pixel of zeros, and ``turned`` is its transpose (x, y, slice).
    ``used`` are booleans of the rows and of the columns that are not zero, and ``rays`` (view,
    detector) of the rays that are needed.
    Joseph (1982), "An improved algorithm for reprojecting rays through pixel images": the ray is
    sampled once per row or column, whichever it crosses more steeply, with linear interpolation.
    """
    detectors, slices = out.shape[1:]
    for view in range(first, last):
        c, s = np.cos(angles[view]), np.sin(angles[view])
        lines, filled = (image, used[0]) if abs(c) >= abs(s) else (turned, used[1])
        if abs(c) < abs(s):
            c, s = s, c
        count, length = lines.shape[:2]
        step = np.float32(1 / c)
        out[view] = 0
        needed = np.flatnonzero(rays[view])
        for line in np.flatnonzero(filled):
            start = np.float32(
                (-(detectors - 1) / 2 - (line - (count - 1) / 2) * s) / c + (length - 1) / 2
            )
            ends = (-start / step, (length - 1 - start) / step)
            lowest = max(0, int(np.ceil(min(ends))))
            highest = min(detectors, int(np.ceil(max(ends))))
            for d in needed[np.searchsorted(needed, lowest) : np.searchsorted(needed, highest)]:
                at = start + np.float32(d) * step
                at = min(max(at, np.float32(0)), np.float32(length - 1.001))
                left = int(at)
                share = at - np.float32(left)
                for k in range(slices):
                    value = lines[line, left, k]
                    out[view, d, k] += value + share * (lines[line, left + 1, k] - value)
        out[view] *= abs(step)


@in_chunks(jobs=lambda sinogram, angles, top, rows, out: len(out), least=8, fastmath=True)
def backproject(first, last, sinogram, angles, top, rows, out):  # type: ignore[no-untyped-def]
    """Sum over all views of ``sinogram`` (view, detector, slice) at each pixel of ``out``.

    ``out`` (y, x, slice) are the rows from ``top`` on of an image of ``rows``; the detector covers
    its diagonal.
    """
    columns, slices = out.shape[1:]
    views, detectors = sinogram.shape[:2]
    out[first:last] = 0
    for view in range(views):
        c, s = np.float32(np.cos(angles[view])), np.sin(angles[view])
        for y in range(first, last):
            start = np.float32(
                (top + y - (rows - 1) / 2) * s - (columns - 1) / 2 * c + (detectors - 1) / 2
            )
            for x in range(columns):
                at = start + np.float32(x) * c
                left = int(at)
                share = at - np.float32(left)
                for k in range(slices):
                    value = sinogram[view, left, k]
                    out[y, x, k] += value + share * (sinogram[view, left + 1, k] - value)

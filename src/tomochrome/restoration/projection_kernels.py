"""Compiled loops of parallel-beam projection and backprojection.

Both run over views (projection) or image rows (backprojection) in threads. Coordinates are in
pixels: ``s = x cos(angle) + y sin(angle)``, with the origin in the middle of the image and of the
detector.
"""

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import in_chunks


@in_chunks(jobs=lambda image, turned, angles, out: len(angles), least=4, fastmath=True)
def project(first, last, image, turned, angles, out):  # type: ignore[no-untyped-def]
    """Line integrals of ``image`` (y, x) in pixels, into ``out`` (view, detector).

    ``image`` has a border of one pixel of zeros, and ``turned`` is its transpose in memory order.
    Joseph (1982), "An improved algorithm for reprojecting rays through pixel images": the ray is
    sampled once per row or column, whichever it crosses more steeply, with linear interpolation.
    """
    detectors = out.shape[1]
    for view in range(first, last):
        c, s = np.cos(angles[view]), np.sin(angles[view])
        lines = image if abs(c) >= abs(s) else turned
        if abs(c) < abs(s):
            c, s = s, c
        count, length = lines.shape
        step = np.float32(1 / c)
        out[view] = 0
        for line in range(count):
            start = np.float32(
                (-(detectors - 1) / 2 - (line - (count - 1) / 2) * s) / c + (length - 1) / 2
            )
            ends = (-start / step, (length - 1 - start) / step)
            lowest = max(0, int(np.ceil(min(ends))))
            highest = min(detectors, int(np.ceil(max(ends))))
            for d in range(lowest, highest):
                at = min(max(start + d * step, np.float32(0)), np.float32(length - 1.001))
                left = int(at)
                share = at - np.float32(left)
                out[view, d] += lines[line, left] + share * (
                    lines[line, left + 1] - lines[line, left]
                )
        out[view] *= abs(step)


@in_chunks(jobs=lambda sinogram, angles, out: len(out), least=8, fastmath=True)
def backproject(first, last, sinogram, angles, out):  # type: ignore[no-untyped-def]
    """Sum over all views of ``sinogram`` (view, detector) at each pixel of ``out`` (y, x).

    The detector covers the diagonal of the image.
    """
    columns = out.shape[1]
    views, detectors = sinogram.shape
    for y in range(first, last):
        out[y] = 0
        for view in range(views):
            c, s = np.float32(np.cos(angles[view])), np.sin(angles[view])
            start = np.float32(
                (y - (len(out) - 1) / 2) * s - (columns - 1) / 2 * c + (detectors - 1) / 2
            )
            for x in range(columns):
                at = start + x * c
                left = int(at)
                share = at - np.float32(left)
                out[y, x] += sinogram[view, left] + share * (
                    sinogram[view, left + 1] - sinogram[view, left]
                )

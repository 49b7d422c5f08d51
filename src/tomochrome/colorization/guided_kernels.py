"""Compiled kernel for the upsampling of predicted colors to full resolution, guided by the HU."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tomochrome.colorization.kernels import (
    MAX_AB,
    ROWS_PER_JOB,
    _body_row,
    _body_span,
    _denoised_row,
    _inside,
    _lerp_rows,
    _mark_outside,
    _rows_of,
)
from tomochrome.runtime.kernels import in_chunks, kernel

# Fast-math flags without "nnan" and "ninf", because the kernel tests for NaN and infinity.
_FAST = {"contract", "arcp", "reassoc", "nsz"}


@kernel(inline="always")
def _color_code(a, b):  # pragma: no cover - compiled
    """Return the code of a color in `tables.color_table`, clipped at constant hue."""
    most = np.float32(MAX_AB)
    share = min(np.float32(1), most / max(max(abs(a), abs(b)), np.float32(1)))
    i = int(np.floor(a * share + most + np.float32(0.5)))
    j = int(np.floor(b * share + most + np.float32(0.5)))
    return 1 + i * (2 * MAX_AB + 1) + j


@kernel(inline="always")
def _tent(step, weight):  # pragma: no cover - compiled
    """Return the weight of coarse neighbor ``step`` (-1 to 2), which is 0 at two pixels."""
    return np.float32(2) - abs(np.float32(step) - weight)


@kernel(fastmath=_FAST)
def _guided_row(
    hu, smooth, near, wy, px, wx, tolerance, inside, code, confidence
):  # pragma: no cover - compiled
    """Color one row from the nearest 4 x 4 coarse pixels of each voxel: ``near`` (4, w, 4)."""
    one = np.float32(1)
    last = near.shape[1] - 1
    inverse = one / np.float32(tolerance)
    for x in range(hu.shape[0]):
        if not _inside(inside[x], np.float32(hu[x])):
            _mark_outside(code, confidence, x)
            continue
        total = np.float32(0)
        a = np.float32(0)
        b = np.float32(0)
        sure = np.float32(0)
        for c in range(4):
            i = min(max(px[x] + c - 1, 0), last)
            across = _tent(c - 1, wx[x])
            for r in range(4):
                t = (near[r, i, 3] - smooth[x]) * inverse
                t = one + t * t
                weight = wy[r] * across / (t * t)
                total += weight
                a += weight * near[r, i, 0]
                b += weight * near[r, i, 1]
                sure += weight * near[r, i, 2]
        share = one / total
        a *= share
        b *= share
        sure *= share
        if np.isfinite(a) and np.isfinite(b) and np.isfinite(sure):
            code[x] = _color_code(a, b)
            sure = min(max(sure, np.float32(0)), one)
            confidence[x] = np.uint8(sure * np.float32(255) + np.float32(0.5))
        else:
            code[x] = _color_code(np.float32(0), np.float32(0))
            confidence[x] = 0


@in_chunks(jobs=lambda hu, *_: len(hu) * -(-hu.shape[1] // ROWS_PER_JOB), least=1)
def color_slab(
    first, last, hu, planes, body, bilateral, tolerance, code, confidence
):  # pragma: no cover - compiled
    """Upsample predicted colors to full resolution, preserving the edges of the CT.

    Joint bilateral upsampling (Kopf et al., ACM Trans. Graph. 26(3), 2007) of planes that are
    interpolated between slices: the weight of a coarse pixel decreases linearly to 0 at a distance
    of two pixels, and is multiplied by (1 + (d / tolerance)^2)^-2 for an HU difference d. Its
    tails are longer than those of a Gaussian, so that the pixel with the most similar HU dominates
    even if none is similar.

    Parameters
    ----------
    hu
        int16 (z, y, x), a slab of the volume.
    planes
        `CoarseField`: float32 (planes, h, w, 4), a*, b*, confidence (0 to 1) and HU of the
        adjacent slices. Non-finite values give grey with confidence 0.
    bilateral
        Radius in voxels and cutoff in HU of the bilateral filter applied to the HU.
    tolerance
        HU difference at which a pixel's weight is a quarter.
    body, code, confidence
        As in `transfer_slab`.
    """
    radius, cutoff = bilateral
    nx = hu.shape[2]
    h, w, n = planes.values.shape[1:]
    for job in range(first, last):
        z, y_first, y_stop, top, noisy, below, above = _rows_of(job, hu, planes, radius)
        smooth = np.empty(nx, np.float32)
        spare = np.empty(nx, np.float32)
        inside = np.empty(nx, np.float32)
        near = np.empty((4, w * n), np.float32)
        wy = np.empty(4, np.float32)
        held = -1
        for y in range(y_first, y_stop):
            _body_row(body, z, y, inside)
            start, stop = _body_span(inside)
            _denoised_row(noisy, y - top, start, stop, radius, cutoff, smooth, spare)
            for r in range(4):
                wy[r] = _tent(r - 1, planes.wy[y])
                if planes.y[y] != held:
                    j = min(max(planes.y[y] + r - 1, 0), h - 1)
                    _lerp_rows(below[j], above[j], planes.wz[z], near[r])
            held = planes.y[y]
            _guided_row(
                hu[z, y], smooth, near.reshape(4, w, n), wy, planes.x, planes.wx, tolerance,
                inside, code[z, y], confidence[z, y],
            )  # fmt: skip

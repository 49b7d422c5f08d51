"""Compiled kernels of colorization, which process every voxel of a scan.

They find the body, look up colors by HU, and upsample predicted probabilities or colors to full
resolution, guided by the HU. Arguments are NumPy arrays and named tuples of them (`CoarseField`).
The unit of work is a row of an axial slice: its buffers fit into the cache, and the loops along x
can be vectorized.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tomochrome.runtime.kernels import in_chunks, kernel
from tomochrome.tissue import Tissue

# The kernels' constants are defined here because numba's disk cache only tracks this file.
SHARES = 8  #: levels of the second tissue's share of the two: 0, 1/15, ... 7/15, never half
TOTALS = 12  #: levels of the two tissues' total: 1/12, 2/12, ... 1
OUTSIDE = 0  #: code of air outside the body
MAX_AB = 95  #: largest |a*| or |b*| in the table of colors, in steps of one

MIN_HU = -1024  #: first entry of the HU tables; lower values are clipped
MAX_HU = 4095  #: last entry of the HU tables; higher values are clipped
ROWS_PER_JOB = 32  #: rows of a slice per parallel job

SHELL_OUT = 64.0  #: voxels with a smaller body field are outside, regardless of HU
SHELL_IN = 216.0  #: voxels with a larger one are inside, regardless of HU (lung, bowel gas)
SHELL_HU = -220.0  #: voxels in between are inside if their HU is larger than this
MIN_PROBABILITY = 1e-3  #: lower bound for gas and metal, so that they are detected by their HU

_AIR = int(Tissue.AIR)
_FOREIGN = int(Tissue.FOREIGN_BODY)
_GAIN = np.float32(2 * SHARES - 1)
# Fast-math flags without "nnan" and "ninf", because the kernel tests for NaN and infinity.
_FAST = {"contract", "arcp", "reassoc", "nsz"}


@in_chunks(jobs=lambda slab, fy, fx, out: len(out), least=1)
def block_mean_slab(first, last, slab, fy, fx, out):  # pragma: no cover - compiled
    """Average blocks of (all z, fy, fx) voxels of ``slab`` into ``out`` (y, x)."""
    nz, ny, nx = slab.shape
    for j in range(first, last):
        y1 = min((j + 1) * fy, ny)
        row = np.zeros(nx, np.float32)
        for z in range(nz):
            for y in range(j * fy, y1):
                for x in range(nx):
                    row[x] += np.float32(slab[z, y, x])
        rows = np.float32(nz * (y1 - j * fy))
        for i in range(out.shape[1]):
            x1 = min((i + 1) * fx, nx)
            total = np.float32(0)
            for x in range(i * fx, x1):
                total += row[x]
            out[j, i] = total / (rows * np.float32(x1 - i * fx))


@kernel(inline="always")
def _lerp_rows(a, b, w, out):  # pragma: no cover - compiled
    for i in range(out.shape[0]):
        out[i] = a[i] + w * (b[i] - a[i])


@kernel
def _body_row(body, job_z, job_y, out):  # pragma: no cover - compiled
    """Interpolate the body's field (0..255) along one row of the volume."""
    field, x0, wx = body.values, body.x, body.wx
    z, wz = body.z[job_z], body.wz[job_z]
    y, wy = body.y[job_y], body.wy[job_y]
    z1 = min(z + 1, field.shape[0] - 1)
    y1 = min(y + 1, field.shape[1] - 1)
    last = field.shape[2] - 1
    row = np.empty(last + 1, np.float32)
    one = np.float32(1)
    for i in range(last + 1):
        low = field[z, y, i] * (one - wy) + field[z, y1, i] * wy
        high = field[z1, y, i] * (one - wy) + field[z1, y1, i] * wy
        row[i] = low * (one - wz) + high * wz
    for x in range(out.shape[0]):
        i = x0[x]
        out[x] = row[i] * (one - wx[x]) + row[min(i + 1, last)] * wx[x]


@kernel(fastmath=True)
def _denoised_row(hu, y, start, stop, radius, cutoff, out, weight):  # pragma: no cover - compiled
    """Filter a row bilaterally with Tukey's biweight, which is 0 beyond ``cutoff`` HU.

    Biweight: (1 - (d / cutoff)^2)^2; without an exponential the loop along x is vectorized. The
    neighborhood is a disc (the full square for a radius of 1). ``hu`` is float32 (rows, x); only
    columns ``start`` to before ``stop`` of ``out`` are written.
    """
    ny, nx = hu.shape
    one = np.float32(1)
    zero = np.float32(0)
    inverse = one / np.float32(cutoff)
    center = hu[y]
    for x in range(start, stop):
        out[x] = zero
        weight[x] = one
    for dy in range(-radius, radius + 1):
        yy = y + dy
        if yy < 0 or yy >= ny:
            continue
        near = hu[yy]
        for dx in range(-radius, radius + 1):
            distance = dx * dx + dy * dy
            if distance == 0 or distance > max(radius * radius, 2):
                continue
            for x in range(max(start, -dx), min(stop, nx - dx)):
                d = near[x + dx] - center[x]
                t = d * inverse
                t = max(one - t * t, zero)
                t *= t
                out[x] += t * d
                weight[x] += t
    for x in range(start, stop):
        out[x] = center[x] + out[x] / weight[x]


@kernel(inline="always")
def _inside(field, hu):  # pragma: no cover - compiled
    return field > SHELL_IN or (field >= SHELL_OUT and hu > SHELL_HU)


@kernel
def _body_span(field):  # pragma: no cover - compiled
    """Return the first and last-plus-one column that may be inside; equal if there are none."""
    start = 0
    stop = field.shape[0]
    while start < stop and field[start] < SHELL_OUT:
        start += 1
    while stop > start and field[stop - 1] < SHELL_OUT:
        stop -= 1
    return start, stop


@kernel(inline="always")
def _table_row(hu):  # pragma: no cover - compiled
    clipped = min(max(hu, np.float32(MIN_HU)), np.float32(MAX_HU))
    return int(clipped - np.float32(MIN_HU) + np.float32(0.5))


@kernel(inline="always")
def _mark_outside(code, confidence, x):  # pragma: no cover - compiled
    """Mark a voxel as outside the body."""
    code[x] = OUTSIDE
    confidence[x] = 255


@in_chunks(jobs=lambda hu, *_: hu.shape[0] * hu.shape[1], least=1)
def transfer_slab(
    first, last, hu, body, codes, certainty, code, confidence
):  # pragma: no cover - compiled
    """Look up the code of each body voxel from its HU.

    Parameters
    ----------
    hu
        int16 (z, y, x), a slab of the volume.
    body
        `CoarseField`: uint8, the body, see `tomochrome.colorization.body.BodyMask`.
    codes, certainty
        Code and confidence for each HU from `MIN_HU` to `MAX_HU`.
    code, confidence
        Output, unsigned integers and uint8, shape of ``hu``.
    """
    _, ny, nx = hu.shape
    for job in range(first, last):
        z = job // ny
        y = job % ny
        inside = np.empty(nx, np.float32)
        _body_row(body, z, y, inside)
        for x in range(nx):
            value = np.float32(hu[z, y, x])
            if _inside(inside[x], value):
                row = _table_row(value)
                code[z, y, x] = codes[row]
                confidence[z, y, x] = certainty[row]
            else:
                _mark_outside(code[z, y], confidence[z, y], x)


@kernel(fastmath=True)
def _fuse_row(  # noqa: C901, PLR0915 - one compiled pass over a row
    hu, near, wx, x_start, inside, likelihood, code, confidence
):  # pragma: no cover - compiled
    """Color one row: the network's probabilities (cells, tissues) times the HU's likelihood."""
    one = np.float32(1)
    cells, tissues = near.shape
    active = np.empty(tissues, np.int64)
    left = np.empty(tissues, np.float32)
    step = np.empty(tissues, np.float32)
    for i in range(cells):
        start = x_start[i]
        stop = x_start[i + 1]
        any_inside = False
        for x in range(start, stop):
            if _inside(inside[x], hu[x]):
                any_inside = True
            else:
                _mark_outside(code, confidence, x)
        if not any_inside:
            continue
        after = min(i + 1, cells - 1)
        count = 0
        for c in range(tissues):
            p = near[i, c]
            q = near[after, c]
            if c in (_AIR, _FOREIGN):
                p = max(p, np.float32(MIN_PROBABILITY))
                q = max(q, np.float32(MIN_PROBABILITY))
            if p > np.float32(0.003) or q > np.float32(0.003) or c in (_AIR, _FOREIGN):
                active[count] = c
                left[count] = p
                step[count] = q - p
                count += 1
        for x in range(start, stop):
            if not _inside(inside[x], hu[x]):
                continue
            row = _table_row(hu[x])
            w = wx[x]
            total = np.float32(1e-12)
            best = np.float32(-1)
            second = np.float32(-1)
            best_at = 0
            second_at = 0
            for k in range(count):
                v = (left[k] + w * step[k]) * likelihood[row, active[k]]
                total += v
                if v > best:
                    second = best
                    second_at = best_at
                    best = v
                    best_at = k
                elif v > second:
                    second = v
                    second_at = k
            first_tissue = active[best_at]
            if first_tissue == _AIR and inside[x] <= SHELL_IN:
                _mark_outside(code, confidence, x)
                continue
            both = best + second
            share = min(int(second / both * _GAIN + np.float32(0.5)), SHARES - 1)
            level = int(both / total * np.float32(TOTALS) + np.float32(0.5)) - 1
            level = min(max(level, 0), TOTALS - 1)
            other = active[second_at]
            if other > first_tissue:
                other -= 1
            pair = first_tissue * (tissues - 1) + other
            code[x] = 1 + (pair * SHARES + share) * TOTALS + level
            confidence[x] = np.uint8(min(best / total, one) * np.float32(255) + np.float32(0.5))


@kernel
def _rows_of(job, hu, planes, radius):  # pragma: no cover - compiled
    """Return slice, first and last-plus-one row of a job, and its input.

    The input is the first of the rows of HU with ``radius`` rows on both sides, these rows as
    float32, and the coarse planes below and above the slice, each (h, w * values).
    """
    ny = hu.shape[1]
    blocks = (ny + ROWS_PER_JOB - 1) // ROWS_PER_JOB
    z = job // blocks
    y_first = (job % blocks) * ROWS_PER_JOB
    y_stop = min(y_first + ROWS_PER_JOB, ny)
    top = max(0, y_first - radius)
    rows = hu[z, top : min(ny, y_stop + radius)].astype(np.float32)
    count, h, w, values = planes.values.shape
    below = planes.values[planes.z[z]].reshape(h, w * values)
    above = planes.values[min(planes.z[z] + 1, count - 1)].reshape(h, w * values)
    return z, y_first, y_stop, top, rows, below, above


@in_chunks(jobs=lambda hu, *_: len(hu) * -(-hu.shape[1] // ROWS_PER_JOB), least=1)
def fuse_slab(
    first, last, hu, planes, columns, body, likelihood, bilateral, code, confidence
):  # pragma: no cover - compiled
    """Upsample the network's coarse probabilities to full resolution, guided by the HU.

    Parameters
    ----------
    hu
        int16 (z, y, x), a slab of the volume.
    planes
        `CoarseField`: float32 (planes, h, w, tissues), probabilities of the adjacent slices.
    columns
        int64 (w + 1,): first column of the slab whose left neighbor is the coarse column.
    likelihood
        float32 (MAX_HU - MIN_HU + 1, tissues): likelihood of each HU in each tissue.
    bilateral
        Radius in voxels and cutoff in HU of the bilateral filter applied to the HU.
    body, code, confidence
        As in `transfer_slab`.
    """
    radius, cutoff = bilateral
    nx = hu.shape[2]
    h, w, tissues = planes.values.shape[1:]
    for job in range(first, last):
        z, y_first, y_stop, top, near, below, above = _rows_of(job, hu, planes, radius)
        smooth = np.empty(nx, np.float32)
        spare = np.empty(nx, np.float32)
        inside = np.empty(nx, np.float32)
        row0 = np.empty(w * tissues, np.float32)
        row1 = np.empty(w * tissues, np.float32)
        mixed = np.empty(w * tissues, np.float32)
        held = -1
        for y in range(y_first, y_stop):
            _body_row(body, z, y, inside)
            start, stop = _body_span(inside)
            if start == stop:
                for x in range(nx):
                    _mark_outside(code[z, y], confidence[z, y], x)
                continue
            _denoised_row(near, y - top, start, stop, radius, cutoff, smooth, spare)
            j = planes.y[y]
            if j != held:
                _lerp_rows(below[j], above[j], planes.wz[z], row0)
                after = min(j + 1, h - 1)
                _lerp_rows(below[after], above[after], planes.wz[z], row1)
                held = j
            _lerp_rows(row0, row1, planes.wy[y], mixed)
            _fuse_row(
                smooth, mixed.reshape(w, tissues), planes.wx, columns, inside,
                likelihood, code[z, y], confidence[z, y],
            )  # fmt: skip


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

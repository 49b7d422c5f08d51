"""Resampling of the slices of a stack onto a regular orthogonal grid.

The compiled kernel releases the GIL; it runs in several threads, each for one slice of the grid.
"""

from __future__ import annotations

import functools
from concurrent.futures import as_completed
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.regular import Plan, index_steps
from tomochrome.runtime import ThreadPool, check, report, thread_count
from tomochrome.runtime.kernels import kernel

_STAGE = "resampling slices"

EDGE: Final = 0.02
"""Tolerance for positions beyond the center of the outermost pixels, in pixels (rounding)."""
ON_PIXEL: Final = 1e-3
"""Negligible distance in pixels: half a Hounsfield unit at the edge of bone."""
NEAR_MM: Final = 0.002
"""Positions this close to a slice get its values: stored positions are not more precise."""

HALF: Final = 0.5 - 1e-6
"""Minimum weight of measured voxels, with a tolerance for rounding."""


_kernel = functools.partial(kernel, error_model="numpy")


def resample_slices(
    voxels: NDArray[Any],
    outside: NDArray[np.bool_] | None,
    plan: Plan,
    *,
    fill: float,
    threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Resample slices onto the regular orthogonal grid of their plan.

    Interpolation is linear between slices, along their normal, and bilinear within a slice, without
    extrapolation. A gap that is too large to interpolate stays empty; a slice next to it extends by
    half a step of the grid, so that a slice between two such gaps is not lost. Padding is never
    mixed with tissue: a voxel is the weighted mean of the measured voxels around it, and counts as
    not measured if these have less than half of the weight.

    Parameters
    ----------
    voxels
        Stored slices (z, y, x) in the order of ``plan.geometry``, int16 or float32.
    outside
        bool (z, y, x): true for voxels that were not measured; None if there are none.
    fill
        Value of voxels that were not measured.

    Returns
    -------
    voxels
        Voxels of the grid, of the same type; integers are rounded to nearest.
    outside
        bool: true for voxels of the grid that were not measured; None if there are none.

    Raises
    ------
    Cancelled
        If the task was cancelled.
    """
    geometry, depth = plan.geometry, plan.shape[0]
    start, steps = index_steps(plan)
    # Position of each slice relative to the first: mm along the normal, and pixels along y and x.
    along, bridged = geometry.along, geometry.bridged
    moved = geometry.positions - geometry.positions[0]
    down = moved @ geometry.column / geometry.pixel_spacing[0]
    across = moved @ geometry.row / geometry.pixel_spacing[1]
    result = np.empty(plan.shape, dtype=voxels.dtype)
    beyond = np.empty(plan.shape, dtype=np.bool_)
    mask = np.zeros((1, 1, 1), np.bool_) if outside is None else outside
    whole = voxels.dtype.kind in "iu"
    reach = abs(float(steps[0, 0])) / 2

    def work(z: int) -> int:
        check()
        return int(
            resample_slice(
                voxels, mask, outside is not None, along, down, across,
                bridged, reach, start + z * steps[0], steps[1], steps[2],
                whole, float(fill), result[z], beyond[z],
            )
        )  # fmt: skip

    report(0, depth, _STAGE)
    unmeasured = 0
    with ThreadPool(thread_count(threads)) as pool:
        futures = [pool.submit(work, z) for z in range(depth)]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                unmeasured += future.result()
                report(done, depth, _STAGE)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return result, beyond if unmeasured else None


@_kernel
def _sample(voxels, mask, masked, k, v, u):  # type: ignore[no-untyped-def]
    """Return the weighted sum of measured values at (v, u) of slice k, and the sum of weights.

    The weight is negative beyond the outermost pixels.
    """
    rows, columns = voxels.shape[1], voxels.shape[2]
    if not (-EDGE <= v <= rows - 1 + EDGE and -EDGE <= u <= columns - 1 + EDGE):
        return 0.0, -1.0
    v, u = min(max(v, 0.0), rows - 1.0), min(max(u, 0.0), columns - 1.0)
    y, x = int(v), int(u)
    b, a = np.float32(v - y), np.float32(u - x)
    y1, x1 = min(y + 1, rows - 1), min(x + 1, columns - 1)
    one = np.float32(1.0)
    if masked and (mask[k, y, x] or mask[k, y, x1] or mask[k, y1, x] or mask[k, y1, x1]):
        total = weight = np.float32(0.0)
        for i in range(4):
            yi = y1 if i >= 2 else y
            xi = x1 if i % 2 else x
            w = (b if i >= 2 else one - b) * (a if i % 2 else one - a)
            if w > 0.0 and not mask[k, yi, xi]:
                total += w * voxels[k, yi, xi]
                weight += w
        return total, weight
    top = (one - a) * voxels[k, y, x] + a * voxels[k, y, x1]
    bottom = (one - a) * voxels[k, y1, x] + a * voxels[k, y1, x1]
    return (one - b) * top + b * bottom, one


@_kernel
def _bracket(along, bridged, slab, s, k):  # type: ignore[no-untyped-def]
    """Return the slices before and after position ``s`` (mm) and the weight of the second.

    A slice of -1 means none. The fourth value is where to start the search for the next position.
    """
    n = along.size
    while k < n - 1 and along[k + 1] <= s:
        k += 1
    while k > 0 and along[k] > s:
        k -= 1
    below = s - along[k]
    if below < 0.0 or k == n - 1:
        return k if abs(below) <= NEAR_MM else -1, -1, 0.0, k
    above = along[k + 1] - s
    if below <= NEAR_MM:
        return k, -1, 0.0, k
    if above <= NEAR_MM:
        return k + 1, -1, 0.0, k
    if bridged[k]:
        return k, k + 1, below / (below + above), k
    if below <= slab:
        return k, -1, 0.0, k
    if above <= slab:
        return k + 1, -1, 0.0, k
    return -1, -1, 0.0, k


@_kernel
def _taps(rows, before, after, share, v, down, k, i, w):  # type: ignore[no-untyped-def]
    """Compute slices ``k``, rows ``i`` and weights ``w`` for one row; return their number.

    The number is -1 if the position is outside one of the slices.
    """
    count = 0
    for which in range(2):
        index, part = (before, 1.0 - share) if which == 0 else (after, share)
        if index < 0:
            continue
        place = v - down[index]
        if not -EDGE <= place <= rows - 1 + EDGE:
            return -1
        place = min(max(place, 0.0), rows - 1.0)
        y = int(place)
        b = place - y
        if b > 1.0 - ON_PIXEL:
            y, b = y + 1, 0.0
        if b < ON_PIXEL:
            b = 0.0
        k[count], i[count], w[count] = index, y, part * (1.0 - b)
        count += 1
        if b > 0.0:
            k[count], i[count], w[count] = index, y + 1, part * b
            count += 1
    return count


@_kernel
def _fill_row(voxels, mask, masked, k, i, w, count, offset, whole, fill, out, beyond):  # type: ignore[no-untyped-def]  # noqa: C901
    """Fill part of a row from ``count`` stored rows; return how many voxels were not measured.

    Pixel x of the row corresponds to pixel x + ``offset[t]`` of stored row t.
    """
    width = out.size
    sources = voxels[k[0], i[0], offset[0] : offset[0] + width]
    touched = False
    if masked:
        for t in range(count):
            m = mask[k[t], i[t], offset[t] : offset[t] + width]
            hits = 0
            for x in range(width):
                hits += m[x]
            touched = touched or hits > 0
    if count == 1 and not touched:
        for x in range(width):
            out[x] = sources[x]
            beyond[x] = False
        return 0
    total = np.zeros(width, np.float32)
    weight = np.zeros(width, np.float32)
    for t in range(count):
        sources = voxels[k[t], i[t], offset[t] : offset[t] + width]
        part = np.float32(w[t])
        if touched:
            m = mask[k[t], i[t], offset[t] : offset[t] + width]
            for x in range(width):
                if not m[x]:
                    total[x] += part * sources[x]
                    weight[x] += part
        else:
            for x in range(width):
                total[x] += part * sources[x]
    if not touched:
        for x in range(width):
            out[x] = np.rint(total[x]) if whole else total[x]
            beyond[x] = False
        return 0
    missing = 0
    for x in range(width):
        if weight[x] < HALF:
            out[x] = fill
            beyond[x] = True
            missing += 1
        else:
            value = total[x] / weight[x]
            out[x] = np.rint(value) if whole else value
            beyond[x] = False
    return missing


@_kernel
def _aligned_row(  # type: ignore[no-untyped-def]
    voxels, mask, masked, before, after, share, v, u, down, across, whole, fill, out, beyond,
):  # fmt: skip
    """Fill a row that is parallel to the rows of the slices and aligned with their pixels.

    Returns how many of its voxels were not measured, or -1 if it is not aligned with the pixels.
    """
    columns, width = voxels.shape[2], out.size
    k, i, offset = np.zeros(4, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64)
    w = np.zeros(4)
    count = _taps(voxels.shape[1], before, after, share, v, down, k, i, w)
    first, last = 0, width if count > 0 else 0
    for t in range(count):
        place = u - across[k[t]]
        offset[t] = int(np.rint(place))
        if abs(place - offset[t]) > ON_PIXEL:
            return -1
        first, last = max(first, -offset[t]), min(last, columns - offset[t])
    for x in range(width):
        if x < first or x >= last:
            out[x] = fill
            beyond[x] = True
    if first >= last:
        return width
    for t in range(count):
        offset[t] += first
    missing = _fill_row(voxels, mask, masked, k, i, w, count, offset, whole, fill,
                        out[first:last], beyond[first:last])  # fmt: skip
    return missing + first + width - last


@_kernel
def resample_slice(  # type: ignore[no-untyped-def]
    voxels, mask, masked, along, down, across, bridged, slab, start, step_y, step_x,
    whole, fill, out, beyond,
):  # fmt: skip
    """Fill one slice (y, x) of the grid and its mask; return how many voxels were not measured.

    Coordinates are mm along the normal and (y, x) pixels of the first slice: ``start`` for the
    first voxel, ``step_y`` and ``step_x`` between voxels. ``along``, ``down`` and ``across`` are
    those of each stored slice. ``bridged`` says which gaps are interpolated, and ``slab`` (mm) how
    far a slice extends into the others.
    """
    height, width = out.shape
    level = abs(step_x[0]) * width < NEAR_MM / 2  # a row stays between the same two slices
    aligned = level and abs(step_x[1]) * width < ON_PIXEL
    aligned = aligned and abs(step_x[2] - 1.0) * width < ON_PIXEL
    missing = 0
    for y in range(height):
        before, after, share, k = _bracket(along, bridged, slab, start[0] + y * step_y[0], 0)
        if aligned:
            outside = _aligned_row(
                voxels, mask, masked, before, after, share, start[1] + y * step_y[1],
                start[2] + y * step_y[2], down, across, whole, fill, out[y], beyond[y],
            )  # fmt: skip
            if outside >= 0:
                missing += outside
                continue
        for x in range(width):
            if not level:
                s = start[0] + y * step_y[0] + x * step_x[0]
                before, after, share, k = _bracket(along, bridged, slab, s, k)
            total = weight = 0.0
            if before >= 0:
                v = start[1] + y * step_y[1] + x * step_x[1]
                u = start[2] + y * step_y[2] + x * step_x[2]
                value, part = _sample(voxels, mask, masked, before, v - down[before],
                                      u - across[before])  # fmt: skip
                total, weight = (1.0 - share) * value, (1.0 - share) * part
                if after >= 0 and weight >= 0.0:
                    value, part = _sample(voxels, mask, masked, after, v - down[after],
                                          u - across[after])  # fmt: skip
                    total += share * value
                    weight = weight + share * part if part >= 0.0 else -1.0
            if weight < HALF:
                out[y, x] = fill
                beyond[y, x] = True
                missing += 1
            else:
                value = total / weight
                out[y, x] = np.rint(value) if whole else value
                beyond[y, x] = False
    return missing

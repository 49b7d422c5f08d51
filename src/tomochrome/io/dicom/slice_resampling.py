"""Resampling of the slices of a stack onto a regular orthogonal grid."""

from __future__ import annotations

from concurrent.futures import as_completed
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.io.dicom.regular import Plan, index_steps
from tomochrome.runtime import ThreadPool, check, report, thread_count

_STAGE = "resampling slices"


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
    from tomochrome.io.dicom.slice_resampling_kernel import resample_slice

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

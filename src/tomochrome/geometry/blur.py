"""Gaussian blur of large volumes, multi-threaded and cancellable."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tomochrome.runtime import ThreadPool, check
from tomochrome.runtime.device import kernel_threads

_SLAB: Final = 6_000_000  # voxels blurred at a time
_REACH: Final = 4.0  # radius of the kernel in standard deviations


def blur(voxels: NDArray[Any], sigma: ArrayLike) -> NDArray[np.float32]:
    """Blur a volume in overlapping slabs.

    The result equals that of `scipy.ndimage.gaussian_filter` on the entire volume.

    Parameters
    ----------
    voxels
        Numbers (z, y, x).
    sigma
        Standard deviation along z, y and x in voxels, 0 for no blur.

    Returns
    -------
    NDArray
        float32 (z, y, x); the volume is extended by its nearest voxels.

    Raises
    ------
    Cancelled
        If the task was cancelled.
    """
    widths = np.broadcast_to(np.asarray(sigma, np.float64), 3)
    if not widths.any():
        return voxels.astype(np.float32, copy=False)
    result = np.empty(voxels.shape, np.float32)
    threads = kernel_threads()
    depth, margin = len(voxels), int(_REACH * widths[0] + 0.5)
    share = min(_SLAB // int(np.prod(voxels.shape[1:])), -(-depth // threads))
    few = max(1, 2 * margin, share)

    def part(first: int) -> None:
        check()
        start, stop = max(0, first - margin), min(depth, first + few + margin)
        rows = voxels[start:stop].astype(np.float32)
        rows = ndimage.gaussian_filter(rows, widths, mode="nearest", truncate=_REACH)
        result[first : first + few] = rows[first - start : first - start + few]

    with ThreadPool(threads) as pool:
        for _ in pool.map(part, range(0, depth, few)):
            pass
    return result

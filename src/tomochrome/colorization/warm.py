"""Slow imports and compilations, done in advance so that the user does not wait for them."""

from __future__ import annotations

import threading
from functools import cache

_lock = threading.Lock()


def warm_up() -> None:
    """Import torch and MONAI's networks and load the compiled kernels.

    The first call takes seconds, later calls return at once. Intended for a worker thread, so
    that windows stay responsive. Thread-safe.
    """
    with _lock:
        _warm_up_once()


@cache
def _warm_up_once() -> None:
    import torch  # noqa: F401

    from tomochrome.bundles.monai_imports import MONAI_IMPORTS

    with MONAI_IMPORTS:
        import monai.networks.nets  # noqa: F401
    _load_kernels()


def _load_kernels() -> None:
    """Run each kernel on a tiny volume, which compiles it or loads it from numba's cache."""
    import numpy as np

    from tomochrome.colorization import grid_kernels, guided_kernels, kernels
    from tomochrome.colorization.grid import CoarseField, first_columns, taps
    from tomochrome.tissue import N_TISSUES

    hu = np.zeros((2, 4, 4), dtype=np.int16)
    out = np.empty(hu.shape, dtype=np.uint16), np.empty(hu.shape, dtype=np.uint8)
    z, xy = taps(np.zeros(2), 1), taps(np.zeros(4), 1)
    body = CoarseField(np.full((1, 1, 1), 255, dtype=np.uint8), *z, *xy, *xy)
    rows = kernels.HIGHEST_HU - kernels.LOWEST_HU + 1
    kernels.block_mean_slab(hu, 2, 2, np.empty((2, 2), dtype=np.float32))
    kernels.transfer_slab(hu, body, np.zeros(rows, np.uint16), np.zeros(rows, np.uint8), *out)
    planes = CoarseField(
        np.full((1, 1, 1, N_TISSUES), 1 / N_TISSUES, dtype=np.float32), *z, *xy, *xy
    )
    plane = planes.values[0]
    grid_kernels.smooth_plane(plane, plane, plane, np.float32(0.2), np.float32(0.1), plane.copy())
    likelihood = np.ones((rows, N_TISSUES), dtype=np.float32)
    kernels.fuse_slab(hu, planes, first_columns(xy, 1), body, likelihood, (1, 20.0), *out)
    planes = planes._replace(values=np.zeros((1, 1, 1, 4), dtype=np.float32))
    guided_kernels.color_slab(hu, planes, body, (1, 20.0), 20.0, *out)

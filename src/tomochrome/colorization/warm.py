"""Getting the slow first imports and compilations over with, before the user waits for them."""

from __future__ import annotations

import threading

_done = threading.Event()
_lock = threading.Lock()


def warm_up() -> None:
    """Import torch and MONAI's networks and load the compiled kernels.

    Takes some seconds the first time and nothing after. Meant for a worker thread: a window
    stays alive meanwhile. Safe to call from several threads.
    """
    with _lock:
        if _done.is_set():
            return
        _import_networks()
        _load_kernels()
        _done.set()


def is_warm() -> bool:
    """Whether `warm_up` has finished."""
    return _done.is_set()


def _import_networks() -> None:
    import monai.networks.nets  # noqa: F401
    import torch  # noqa: F401


def _load_kernels() -> None:
    """Color a tiny volume by each kernel: compiles it, or loads it from numba's cache."""
    import numpy as np

    from tomochrome.colorization import kernels
    from tomochrome.colorization.grid import first_columns, taps
    from tomochrome.tissue import N_TISSUES

    hu = np.zeros((2, 4, 4), dtype=np.int16)
    code = np.empty(hu.shape, dtype=np.uint16)
    confidence = np.empty(hu.shape, dtype=np.uint8)
    field = np.full((1, 1, 1), 255, dtype=np.uint8)
    z, xy = taps(np.zeros(2), 1), taps(np.zeros(4), 1)
    body = (field, z.low, z.weight, xy.low, xy.weight, xy.low, xy.weight)
    rows = kernels.HIGHEST_HU - kernels.LOWEST_HU + 1
    kernels.block_mean_slab(hu, 2, 2, np.empty((2, 2), dtype=np.float32))
    kernels.transfer_slab(
        hu, *body, np.zeros(rows, np.uint16), np.zeros(rows, np.uint8), code, confidence
    )
    planes = np.full((1, 1, 1, N_TISSUES), 1 / N_TISSUES, dtype=np.float32)
    kernels.smooth_plane(planes[0], planes[0], planes[0], np.float32(0.2), planes[0].copy())
    likelihood = np.ones((rows, N_TISSUES), dtype=np.float32)
    kernels.fuse_slab(
        hu, planes, z.low, z.weight, xy.low, xy.weight, first_columns(xy, 1), xy.weight,
        *body, likelihood, 1, 20.0, code, confidence,
    )  # fmt: skip

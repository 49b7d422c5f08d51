"""Noise of axial slices: its strength, and non-local means over neighboring slices."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.restoration.networks import WHOLE, Part

STRENGTH: Final = 0.8  #: of the filter, in standard deviations of the noise
PATCH_PX: Final = 5
SEARCH_PX: Final = 4  #: around each pixel in its slice
NEIGHBOR_SEARCH_PX: Final = 2  #: the same in the slice before and after
MIN_WEIGHT: Final = 1e-3  #: of a pixel in its own mean
NETWORK_FROM_HU: Final = 15.0
NETWORK_ALONE_HU: Final = 50.0
"""Noise up to which the filter fills alone, and from which the network does. Below, the network
smooths more than noise; above, patches are too noisy to be compared."""
_SOFT_HU: Final = (-200.0, 250.0)


def noise_sd(hu: NDArray[np.floating]) -> float:
    """Estimate the standard deviation of the noise of a slice in soft tissue, in HU.

    Parameters
    ----------
    hu
        HU (y, x).

    Returns
    -------
    float
        From the median absolute difference of pixels two columns apart; 0 without soft tissue.
    """
    pair = hu[:, 2:], hu[:, :-2]
    soft = np.logical_and(*((part > _SOFT_HU[0]) & (part < _SOFT_HU[1]) for part in pair))
    if not soft.any():
        return 0.0
    return float(1.4826 / np.sqrt(2) * np.median(np.abs(np.subtract(*pair))[soft]))


def network_share(sd: float) -> float:
    """Return the share of the network, beside `non_local_means`, in the filling of noise.

    Parameters
    ----------
    sd
        Standard deviation of the noise in HU.
    """
    return float(np.clip((sd - NETWORK_FROM_HU) / (NETWORK_ALONE_HU - NETWORK_FROM_HU), 0, 1))


def non_local_means(
    hu: NDArray[np.float32], z: int, sd: float, part: Part = WHOLE
) -> NDArray[np.float32]:
    """Denoise a slice by the pixels around which it and its two neighbors look alike.

    Buades, Coll and Morel (2005), "A non-local algorithm for image denoising", CVPR; the expected
    distance of equal patches, twice the variance of the noise, is subtracted.

    Parameters
    ----------
    hu
        HU (z, y, x).
    z
        The slice.
    sd
        Standard deviation of the noise in HU; nothing changes at 0.
    part
        Rows and columns of it.

    Returns
    -------
    ndarray
        HU, float32 (y, x) of the part.
    """
    own = torch.from_numpy(np.ascontiguousarray(hu[z][part]))
    if sd <= 0:
        return own.numpy()
    total, weights, largest = (torch.zeros_like(own) for _ in range(3))

    def add(to: Part, values: torch.Tensor, weight: torch.Tensor) -> None:
        total[to] += weight * values
        weights[to] += weight
        torch.maximum(largest[to], weight, out=largest[to])

    for neighbor in (z - 1, z, z + 1):
        if not 0 <= neighbor < len(hu):
            continue
        other = own if neighbor == z else torch.from_numpy(np.ascontiguousarray(hu[neighbor][part]))
        for shift in _shifts(half=neighbor == z):
            here, there = _overlap(own.shape, shift)
            distance = functional.avg_pool2d(
                (own[here] - other[there]).square()[None], PATCH_PX, 1, PATCH_PX // 2,
                count_include_pad=False,
            )[0]  # fmt: skip
            weight = torch.exp(-(distance / sd**2 - 2).clamp(min=0) / STRENGTH**2)
            add(here, other[there], weight)
            if neighbor == z:
                add(there, own[here], weight)
    largest.clamp_(min=MIN_WEIGHT)  # a pixel counts as much as the one most like it
    return ((total + largest * own) / (weights + largest)).numpy()


def _shifts(*, half: bool) -> list[tuple[int, int]]:
    """Return shifts in rows and columns; half of them where each also counts backwards."""
    reach = SEARCH_PX if half else NEIGHBOR_SEARCH_PX
    steps = range(-reach, reach + 1)
    shifts = [(y, x) for y in steps for x in steps]
    return shifts[len(shifts) // 2 + 1 :] if half else shifts


def _overlap(shape: torch.Size, shift: tuple[int, int]) -> tuple[Part, Part]:
    """Return the parts of two slices of which one is shifted against the other."""
    here, there = zip(
        *(
            (slice(max(-s, 0), n - max(s, 0)), slice(max(s, 0), n - max(-s, 0)))
            for s, n in zip(shift, shape, strict=True)
        ),
        strict=True,
    )
    return here, there

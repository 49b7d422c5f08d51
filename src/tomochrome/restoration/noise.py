"""Noise of axial slices: its strength, and non-local means over neighboring slices."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.restoration import noise_kernels
from tomochrome.restoration.defects import WHOLE, Part

STRENGTH: Final = 0.8  #: of the filter, in standard deviations of the noise
PATCH_PX: Final = 5  #: also in the compiled loop
SEARCH_PX: Final = 4  #: around each pixel in its slice
NEIGHBOR_SEARCH_PX: Final = 2  #: the same in the slice before and after
MIN_WEIGHT: Final = 1e-3  #: of a pixel in its own mean
NETWORK_FROM_HU: Final = 10.0
NETWORK_ALONE_HU: Final = 50.0
"""Noise up to which the filter fills alone, and from which the network does. Below, the network
smooths more than noise; above, patches are too noisy to be compared."""
NETWORK_RANGE_HU: Final = (-300.0, 400.0)
_RANGE_PX: Final = 1.5
_RANGE_FACTOR: Final = 4.0
"""Near bone and air, which the network sees coarsely, it takes HU from thin walls: there the filter
fills alone."""
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


def network_share(sd: float, smooth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share of the network, beside `non_local_means`, in the filling of noise.

    Parameters
    ----------
    sd
        Standard deviation of the noise in HU.
    smooth
        HU (y, x) after `non_local_means`.

    Returns
    -------
    ndarray
        float32 (y, x) of 0 to 1; 0 near bone and air.
    """
    largest = np.clip((sd - NETWORK_FROM_HU) / (NETWORK_ALONE_HU - NETWORK_FROM_HU), 0, 1)
    low, high = NETWORK_RANGE_HU
    beyond = ((smooth < low) | (smooth > high)).astype(np.float32)
    near = _RANGE_FACTOR * ndimage.gaussian_filter(beyond, _RANGE_PX)
    return np.asarray(largest * np.maximum(1 - near, 0), np.float32)


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
    own = np.ascontiguousarray(hu[z][part])
    if sd <= 0:
        return own
    near = [k for k in (z - 1, z, z + 1) if 0 <= k < len(hu)]
    reaches = np.array([SEARCH_PX if k == z else NEIGHBOR_SEARCH_PX for k in near])
    others = np.stack([hu[k][part] for k in near])
    out = np.empty_like(own)
    noise_kernels.average_alike(
        own, others, near.index(z), reaches, np.float32(1 / sd**2), np.float32(1 / STRENGTH**2),
        np.float32(MIN_WEIGHT), out,
    )  # fmt: skip
    return out

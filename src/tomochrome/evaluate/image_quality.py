"""Image quality measures: PSNR, SSIM and colorfulness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def psnr(squared_error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of 8-bit images in dB.

    Parameters
    ----------
    squared_error
        Mean squared error of 8-bit values, any shape.

    Returns
    -------
    numpy.ndarray
        float64 of the same shape; infinite where there is no error.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(10.0 * np.log10(255.0**2 / np.asarray(squared_error, np.float64)))


def ssim_map(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the structural similarity at each pixel, averaged over the channels.

    Parameters
    ----------
    first, second
        uint8 (y, x, channels).

    Returns
    -------
    numpy.ndarray
        float64 (y, x), -1 to 1.

    Notes
    -----
    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli: Image quality assessment: from error
    visibility to structural similarity. IEEE Transactions on Image Processing 13 (2004)
    600-612; Gaussian window of 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    from skimage.metrics import structural_similarity  # for start time

    # `win_size` has no effect on the Gaussian window; its default refuses images below 11 pixels.
    _, similarity = structural_similarity(
        first, second, win_size=1, data_range=255, channel_axis=-1, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    return np.asarray(similarity.mean(axis=-1))


def opponent_sums(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sums for `colorfulness`: of 1, rg, yb, rg squared and yb squared.

    Parameters
    ----------
    rgb
        (..., 3), 8-bit sRGB.

    Returns
    -------
    numpy.ndarray
        float64 (5,); the sums of disjoint pixel sets can be added.
    """
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float64), -1, 0)
    rg, yb = red - green, 0.5 * (red + green) - blue
    sums = [rg.size, rg.sum(), yb.sum(), (rg * rg).sum(), (yb * yb).sum()]
    return np.array(sums, np.float64)


def colorfulness(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the colorfulness of an image from its `opponent_sums`.

    Parameters
    ----------
    sums
        (..., 5).

    Returns
    -------
    numpy.ndarray
        float64 (...): 0 is grey, 15 slightly colorful, 45 quite, 109 extremely.

    Notes
    -----
    D. Hasler, S. Suesstrunk: Measuring colourfulness in natural images. Proceedings of SPIE
    5007 (2003) 87-95; its metric M3.
    """
    count = np.maximum(sums[..., :1], 1.0)
    means = sums[..., 1:3] / count
    variances = np.maximum(sums[..., 3:5] / count - means**2, 0.0)
    return np.asarray(
        np.sqrt(variances.sum(axis=-1)) + 0.3 * np.sqrt((means**2).sum(axis=-1)), np.float64
    )

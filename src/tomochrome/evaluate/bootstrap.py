"""Confidence intervals by resampling slices or patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_SEED = 20
_TAILS = (2.5, 97.5)


def bootstrap_interval(
    sums: NDArray[np.float64],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a figure over slices or patients.

    Parameters
    ----------
    sums
        (n, k): the sums that the figure is computed from, one row per slice or patient. The
        figure of a resample is that of its total, so that rows are weighted by their voxels.
    figure
        Function that maps totals (resamples, k) to figures (resamples,).
    resamples, seed
        Number of resamples, and seed of the random number generator.

    Returns
    -------
    tuple of float or None
        Lower and upper end; None for fewer than two slices or patients.

    Notes
    -----
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap (1993), chapter 13.
    """
    count = len(sums)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = figure(drawn @ np.asarray(sums, np.float64))
    found = found[~np.isnan(found)]
    if not found.size:
        return None
    # figures can be infinite (PSNR without error), so do not interpolate between them
    low, high = np.percentile(found, _TAILS, method="nearest")
    return float(low), float(high)

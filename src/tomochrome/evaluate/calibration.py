"""Calibration: whether a confidence equals the share of correctly classified voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SURE = 0.9
_BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """One bar of a reliability diagram.

    Attributes
    ----------
    low, high
        Range of confidences of the bin, 0 to 1.
    voxels
        Number of voxels.
    confidence, right
        Their mean confidence and the share with the correct tissue; None in an empty bin.
    """

    low: float
    high: float
    voxels: int
    confidence: float | None
    right: float | None


@dataclass(frozen=True)
class Reliability:
    """Calibration of a model's confidence.

    Attributes
    ----------
    error
        Expected calibration error, 0 to 1: mean over voxels of the difference between mean
        confidence and accuracy of their bin.
    sure_share, sure_right
        Share of voxels with a confidence above 0.9, and share of these with the correct tissue;
        the latter is None without such voxels.
    bins
        Ten bins of equal width.
    """

    error: float
    sure_share: float
    sure_right: float | None
    bins: tuple[ReliabilityBin, ...]


def reliability(voxels: NDArray[np.int64], right: NDArray[np.int64]) -> Reliability | None:
    """Return the calibration of 8-bit confidences.

    Parameters
    ----------
    voxels, right
        Shape (256,): number of voxels of each confidence, and of those with the correct tissue.

    Returns
    -------
    Reliability or None
        None if there are no voxels.

    Notes
    -----
    C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural networks.
    ICML (2017); its equation (5).
    """
    total = int(voxels.sum())
    if total == 0:
        return None
    value = np.arange(256) / 255.0
    bin_of = np.minimum((value * _BINS).astype(int), _BINS - 1)
    bins = []
    error = 0.0
    for k in range(_BINS):
        inside = bin_of == k
        count = int(voxels[inside].sum())
        mean = float((voxels * value)[inside].sum()) / count if count else None
        share = float(right[inside].sum()) / count if count else None
        if mean is not None and share is not None:
            error += count / total * abs(mean - share)
        bins.append(ReliabilityBin(k / _BINS, (k + 1) / _BINS, count, mean, share))
    sure = value > SURE
    count = int(voxels[sure].sum())
    return Reliability(
        error, count / total, float(right[sure].sum()) / count if count else None, tuple(bins)
    )


def reliability_table(measured: Reliability) -> str:
    """Return the reliability diagram as a Markdown table with text bars."""
    total = sum(each.voxels for each in measured.bins)
    rows = [
        f"| {each.low:.1f} to {each.high:.1f} | {100 * each.voxels / total:.0f} % "
        f"| {each.confidence:.2f} | {each.right:.2f} {'#' * round(20 * each.right)} |"
        for each in measured.bins
        if each.confidence is not None and each.right is not None
    ]
    return "| confidence | share | mean | right |\n| --- | ---: | ---: | --- |\n" + "\n".join(rows)

"""Whether a confidence says how often a model names the right tissue."""

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
        Confidences of the bin, 0 to 1.
    voxels
        How many there are.
    confidence, right
        Their mean confidence and the share with the right tissue; None in an empty bin.
    """

    low: float
    high: float
    voxels: int
    confidence: float | None
    right: float | None


@dataclass(frozen=True)
class Reliability:
    """Confidence against truth.

    Attributes
    ----------
    error
        Expected calibration error, 0 to 1: mean over voxels of the distance between confidence
        and share right of their bin.
    sure_share, sure_right
        Share of voxels with a confidence above 0.9, and share of these with the right tissue;
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
        Shape (256,): voxels of each confidence, and how many of them have the right tissue.

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
    place = np.minimum((value * _BINS).astype(int), _BINS - 1)
    bins = []
    error = 0.0
    for k in range(_BINS):
        inside = place == k
        count = int(voxels[inside].sum())
        mean = float((voxels * value)[inside].sum()) / count if count else None
        share = float(right[inside].sum()) / count if count else None
        if mean is not None and share is not None:
            error += count / total * abs(mean - share)
        bins.append(ReliabilityBin(k / _BINS, (k + 1) / _BINS, count, mean, share))
    sure = value > SURE
    many = int(voxels[sure].sum())
    return Reliability(
        error, many / total, float(right[sure].sum()) / many if many else None, tuple(bins)
    )


def reliability_table(found: Reliability) -> str:
    """Return the reliability diagram as a Markdown table whose bars are characters."""
    rows = [
        f"| {each.low:.1f} to {each.high:.1f} | {100 * each.voxels / _total(found):.0f} % "
        f"| {each.confidence:.2f} | {each.right:.2f} {'#' * round(20 * each.right)} |"
        for each in found.bins
        if each.confidence is not None and each.right is not None
    ]
    return "| confidence | share | mean | right |\n| --- | ---: | ---: | --- |\n" + "\n".join(rows)


def _total(found: Reliability) -> int:
    return sum(each.voxels for each in found.bins)

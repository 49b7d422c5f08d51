"""Contour levels for images without a known scale, such as MR."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.volume import Volume

_SAMPLES: Final = 64  # maximum number of sampled voxels along each axis
_BINS: Final = 128
_TAIL: Final = 0.5  # percent of outliers at each end


def histogram_levels(volume: Volume) -> tuple[float, ...]:
    """Return the two thresholds that best divide an image's histogram into three classes.

    For MR these approximately separate background from tissue, and dark from bright tissue.
    Voxels that were not measured are ignored.

    Parameters
    ----------
    volume
        Scalar, of any unit.

    Returns
    -------
    tuple
        Ascending; one value or none if the image has fewer classes.

    Notes
    -----
    The thresholds maximize the variance between classes: P. Liao, T. Chen, P. Chung, "A fast
    algorithm for multilevel thresholding", J. Inf. Sci. Eng. 17 (2001), after N. Otsu (1979).
    """
    values = _sampled(volume)
    if values.size == 0:
        return ()
    low, high = np.percentile(values, (_TAIL, 100 - _TAIL))
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        return ()
    counts, edges = np.histogram(np.clip(values, low, high), _BINS, (low, high))
    found = _thresholds(counts.astype(np.float64))
    return tuple(dict.fromkeys(float(edges[bin_ + 1]) for bin_ in found))


def _sampled(volume: Volume) -> NDArray[np.float64]:
    """Return the finite, measured values of a subsampled volume."""
    steps = tuple(slice(None, None, -(-n // _SAMPLES)) for n in volume.shape)
    values: NDArray[Any] = np.asarray(volume.voxels[steps], dtype=np.float64)
    valid = np.isfinite(values)
    if volume.outside is not None:
        valid &= ~volume.outside[steps]
    return values[valid]


def _thresholds(counts: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the last bins of the first and the second of three classes."""
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * np.arange(counts.size))])
    w = weight[None, :] - weight[:, None]  # of the bins from i to before j
    m = moment[None, :] - moment[:, None]
    between = np.divide(m * m, w, out=np.zeros_like(w), where=w > 0)
    first, second = np.triu_indices(counts.size + 1, 1)
    valid = (first > 0) & (second < counts.size)
    first, second = first[valid], second[valid]
    variance = between[0, first] + between[first, second] + between[second, -1]
    best = int(variance.argmax())
    return int(first[best]) - 1, int(second[best]) - 1

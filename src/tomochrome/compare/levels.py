"""Values at which contours of an image without a known scale, such as MR, follow its organs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.volume import Volume

_SAMPLES: Final = 64  # voxels looked at along each axis, at most
_BINS: Final = 128
_TAIL: Final = 0.5  # percent of the values at each end that are no tissue's


def histogram_levels(volume: Volume) -> tuple[float, ...]:
    """Return the two values that best divide an image's histogram into three classes.

    For MR these are about the edge between background and tissue, and the one between dark and
    bright tissue. Voxels that were not measured do not count.

    Parameters
    ----------
    volume
        Scalar, of any unit.

    Returns
    -------
    tuple
        Ascending; one value or none where the image has fewer classes.

    Notes
    -----
    The classes have the largest variance between them: P. Liao, T. Chen, P. Chung, "A fast
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
    """Return some of the values, from all over the volume."""
    every = tuple(slice(None, None, -(-n // _SAMPLES)) for n in volume.shape)
    values: NDArray[Any] = np.asarray(volume.voxels[every], dtype=np.float64)
    wanted = np.isfinite(values)
    if volume.outside is not None:
        wanted &= ~volume.outside[every]
    return values[wanted]


def _thresholds(counts: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the last bins of the first and the second of three classes."""
    weight = np.concatenate([[0.0], np.cumsum(counts)])
    moment = np.concatenate([[0.0], np.cumsum(counts * np.arange(counts.size))])
    w = weight[None, :] - weight[:, None]  # of the bins from i up to, but without, j
    m = moment[None, :] - moment[:, None]
    between = np.divide(m * m, w, out=np.zeros_like(w), where=w > 0)
    first, second = np.triu_indices(counts.size + 1, 1)
    wanted = (first > 0) & (second < counts.size)
    first, second = first[wanted], second[wanted]
    gained = between[0, first] + between[first, second] + between[second, -1]
    best = int(gained.argmax())
    return int(first[best]) - 1, int(second[best]) - 1

"""Normalization of values to grey levels from 0 to 1 for registration and its measures."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HU_KNOTS: Final = (-1000.0, -800.0, -200.0, 250.0, 1000.0, 2000.0)
GREY_KNOTS: Final = (0.0, 0.12, 0.28, 0.82, 0.97, 1.0)
"""Piecewise linear mapping from HU to grey; soft tissue gets most of the range."""
DENSER_THAN_LUNG: Final = GREY_KNOTS[2]
"""Grey level of -200 HU."""
_SAMPLES: Final = 500_000  # number of values for the percentiles


def to_grey(
    values: NDArray[np.float32], seen: NDArray[np.bool_], *, hu: bool
) -> NDArray[np.float32]:
    """Normalize values to 0..1: HU by fixed knots, other units by percentiles.

    Parameters
    ----------
    values
        float32 (z, y, x).
    seen
        bool (z, y, x): values used for the percentiles 0.5 and 99.5; all values if none is set.
    hu
        Whether the values are Hounsfield units.

    Returns
    -------
    NDArray
        float32 (z, y, x).
    """
    if hu:
        return np.interp(values, HU_KNOTS, GREY_KNOTS).astype(np.float32)
    inside: NDArray[Any] = values[seen] if seen.any() else values.ravel()
    if len(inside) > _SAMPLES:
        inside = inside[:: len(inside) // _SAMPLES + 1]
    low, high = (float(v) for v in np.percentile(inside, (0.5, 99.5)))
    if high <= low:
        low, high = float(inside.min()), float(inside.max())
    scale = 1.0 / max(high - low, 1e-12)
    return np.clip((values - low) * scale, 0.0, 1.0).astype(np.float32)

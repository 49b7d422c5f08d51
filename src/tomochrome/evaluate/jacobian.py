"""Measures of a transform's Jacobian determinant: folding and roughness."""

from __future__ import annotations

from typing import Final

import numpy as np

from tomochrome.errors import InputError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.runtime import check
from tomochrome.volume import Volume

_SLAB: Final = 1_000_000  # voxels processed at a time


def jacobian_measures(jacobian: Volume, mask: Mask = None) -> dict[str, float]:
    """Return measures of a transform's `tomochrome.transform.jacobian_map`.

    Parameters
    ----------
    jacobian
        Jacobian determinants; voxels ``outside`` are excluded.
    mask
        A volume on any grid, or an array (z, y, x); 0 is excluded.

    Returns
    -------
    dict
        ``folded_percent``: percentage of voxels whose determinant is 0 or less.
        ``sd_log``: standard deviation of the natural logarithm of the others.

    Raises
    ------
    InputError
        If no voxel is left.
    """
    from tomochrome.evaluate import kernels

    wanted = on_grid(mask, jacobian)
    values = np.asarray(jacobian.voxels)
    if jacobian.outside is not None:
        wanted = ~jacobian.outside if wanted is None else wanted & ~jacobian.outside
    found = np.empty((len(values), 4))
    few = max(1, _SLAB // (values.shape[1] * values.shape[2]))
    for first in range(0, len(values), few):
        check()
        rows = slice(first, first + few)
        part = np.empty((0, 0, 0), np.bool_) if wanted is None else wanted[rows]
        kernels.log_moments(values[rows], part, wanted is None, found[rows])
    count, above, mean, squares = found.T
    if not count.any():
        raise InputError(
            "the transform is not defined anywhere in the volume, so it cannot be evaluated"
        )
    spread = 0.0
    if above.any():
        middle = np.average(mean, weights=above)
        spread = float(np.sqrt((squares + above * (mean - middle) ** 2).sum() / above.sum()))
    folded = float(count.sum() - above.sum())
    return {"folded_percent": 100.0 * folded / float(count.sum()), "sd_log": spread}

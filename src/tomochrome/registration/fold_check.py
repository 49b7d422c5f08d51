"""Folds that show only on a volume's own grid.

Registration works on a grid of about equal steps, and leaves no fold there. Where a volume's own
slices lie farther apart, its voxels step over bends of the deformation, and may change places
though nothing between them folds. Those places are smoothed as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply
from tomochrome.registration.pair import WorkingPair
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

_COARSER: Final = 1.2  # steps so much longer than the working grid's may step over something
_LEAST: Final = 0.02  # determinant below which a voxel is close to changing places


def fold_check(
    volume: Volume, transform: Transform, pair: WorkingPair, onto: NDArray[np.float64]
) -> torch.Tensor | None:
    """Return where a transform folds on a volume's own grid, or None if it does nowhere.

    Parameters
    ----------
    volume
        The grid on which the transform begins; its voxels are not looked at.
    transform
        Forward for the fixed volume, inverse for the moving one.
    pair
        Has the working grid.
    onto
        4x4 from the working grid's index to LPS mm of the volume.

    Returns
    -------
    Tensor
        float32 (1, 1, z, y, x) on the working grid, 1 about such places.
    """
    steps = np.linalg.norm(np.linalg.inv(onto)[:3, :3] @ volume.affine[:3, :3], axis=0)
    if steps.max() <= _COARSER:
        return None
    determinants = np.asarray(jacobian_map(transform, volume).voxels)
    bad = np.argwhere(determinants <= _LEAST)
    at = np.rint(apply(np.linalg.inv(onto) @ volume.affine, bad)).astype(int)
    at = at[((at >= 0) & (at < np.array(pair.shape))).all(axis=1)]
    if not len(at):
        return None
    marks = torch.zeros(1, 1, *pair.shape)
    marks[0, 0, at[:, 0], at[:, 1], at[:, 2]] = 1.0
    reach = int(np.ceil(steps.max()))
    return torch.nn.functional.max_pool3d(marks, 2 * reach + 1, stride=1, padding=reach)

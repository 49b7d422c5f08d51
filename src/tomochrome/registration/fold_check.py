"""Detection of folds that only appear on a volume's original grid.

Registration uses an approximately isotropic grid without folds. With a larger slice spacing, the
voxels of the original grid undersample the deformation, and their order can be inverted although
the deformation does not fold in between. Such locations are smoothed as well.
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

_MIN_STEP: Final = 1.2  # voxel sizes relative to the working grid that need a check
_MIN_DETERMINANT: Final = 0.02  # smaller determinants are nearly folds


def fold_check(
    volume: Volume, transform: Transform, pair: WorkingPair, onto: NDArray[np.float64]
) -> torch.Tensor | None:
    """Return the folds of a transform on a volume's original grid, or None if there are none.

    Parameters
    ----------
    volume
        The source grid of the transform; its voxels are not used.
    transform
        Forward for the fixed volume, inverse for the moving one.
    pair
        Defines the working grid.
    onto
        4x4 from the working grid's index to LPS mm of the volume.

    Returns
    -------
    Tensor
        float32 (1, 1, z, y, x) on the working grid, 1 in the surroundings of folds.
    """
    steps = np.linalg.norm(np.linalg.inv(onto)[:3, :3] @ volume.affine[:3, :3], axis=0)
    if steps.max() <= _MIN_STEP:
        return None
    determinants = np.asarray(jacobian_map(transform, volume).voxels)
    folded = np.argwhere(determinants <= _MIN_DETERMINANT)
    at = np.rint(apply(np.linalg.inv(onto) @ volume.affine, folded)).astype(int)
    at = at[((at >= 0) & (at < np.array(pair.shape))).all(axis=1)]
    if not len(at):
        return None
    marks = torch.zeros(1, 1, *pair.shape)
    marks[0, 0, at[:, 0], at[:, 1], at[:, 2]] = 1.0
    radius = int(np.ceil(steps.max()))
    return torch.nn.functional.max_pool3d(marks, 2 * radius + 1, stride=1, padding=radius)

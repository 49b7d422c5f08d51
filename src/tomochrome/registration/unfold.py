"""Integration of velocities to a pair's displacements, without folds and inverse-consistent.

Velocities are smoothed where the deformation folds or nearly folds; the inverse consistency error
of linear interpolation is then reduced in both directions.

Registration uses an approximately isotropic grid without folds. With a larger slice spacing, the
voxels of a volume's original grid undersample the deformation, and their order can be inverted
although the deformation does not fold in between. Such locations are smoothed as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import apply
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.registration.penalties import folded_cells
from tomochrome.registration.velocity import (
    PairFields,
    Shape,
    integrate,
    reduce_inverse_error,
    resize,
    resize_field,
    smaller,
    smooth,
    warp,
)
from tomochrome.registration.working_pair import WorkingPair
from tomochrome.runtime import check
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

_MAX_ROUNDS: Final = 5  # undoing a correction in one region can cause a fold at its edge
_MAX_SMOOTHINGS: Final = 6  # of folds on a volume's original grid
_SLICES: Final = 8  # of a field that are converted to mm at a time
_MIN_STEP: Final = 1.2  # voxel sizes relative to the working grid that need a check
_MIN_DETERMINANT: Final = 0.02  # smaller determinants are nearly folds


def unfold(
    velocities: torch.Tensor,
    shape: Shape,
    *,
    least: float = 0.15,
    rounds: int = 20,
    also: torch.Tensor | None = None,
    passes: int = 1,
) -> tuple[torch.Tensor, PairFields]:
    """Integrate a pair on its full grid, smoothing velocities where it folds or nearly folds.

    Where voxels are compressed to less than a seventh, a grid cannot represent the inverse well:
    the inverse consistency error would be a voxel or more, and another grid may show folds.

    Parameters
    ----------
    velocities
        (2, 3, z, y, x).
    shape
        The full grid.
    least
        Smallest determinant accepted at any corner of a cell in either direction.
    rounds
        Maximum number of smoothing rounds, of increasing extent.
    also
        (2, 1, z, y, x) on the full grid: 1 where the forward and the inverse map are smoothed
        regardless of their determinants.
    passes
        Passes of smoothing in the first round.

    Returns
    -------
    velocities, fields
        The velocities, smoothed where needed, and their `PairFields` on the full grid.
    """
    coarse: Shape = tuple(velocities.shape[2:])  # type: ignore[assignment]
    for k in range(rounds + 1):
        check()
        fields = integrate(velocities, shape)
        check()
        region = _folded(fields, coarse, least, also if k == 0 else None)
        if k == rounds or not bool(region.any()):
            break
        for _ in range(passes + k):
            region = torch.nn.functional.max_pool3d(region, 3, stride=1, padding=1)
        change = smooth(velocities, passes + k) - velocities
        velocities = velocities + smooth(region, 1) * change
    check()
    return velocities, settle(fields)


def settle(fields: PairFields, least: float = 0.01) -> PairFields:
    """Reduce the inverse consistency error (`reduce_inverse_error`) where this causes no fold.

    Parameters
    ----------
    fields
        A pair's fields.
    least
        Determinant below which a cell is considered folded; the correction is undone there.
    """
    before = (fields.forward, fields.inverse)
    after = reduce_inverse_error(*before, rounds=1)
    corrected = list(after)
    undone: list[torch.Tensor | None] = [None, None]
    for _ in range(_MAX_ROUNDS):
        check()
        folded = [folded_cells(field, least) for field in corrected]
        if not any(bool(marks.any()) for marks in folded):
            return fields._replace(forward=corrected[0], inverse=corrected[1])
        for k, marks in enumerate(folded):
            if not bool(marks.any()):
                continue
            shape: Shape = tuple(before[k].shape[2:])  # type: ignore[assignment]
            near = torch.nn.functional.pad(marks.float()[None], (0, 1) * 3)
            near = torch.nn.functional.adaptive_max_pool3d(near, smaller(shape, 4))
            near = torch.nn.functional.max_pool3d(near, 5, stride=1, padding=2)
            earlier = undone[k]
            undone[k] = near = near if earlier is None else torch.maximum(near, earlier)
            share = 1 - resize(smooth(near, 1), shape)
            corrected[k] = before[k] + share * (after[k] - before[k])
    return fields


def _folded(
    fields: PairFields, coarse: Shape, least: float, also: torch.Tensor | None
) -> torch.Tensor:
    """Return a mask, 0 or 1, of the folds of both directions on a coarse half-way grid."""
    marks = [folded_cells(field, least) for field in (fields.forward, fields.inverse)]
    if also is None and not any(bool(mark.any()) for mark in marks):
        return fields.forward.new_zeros(1, 1, *coarse)
    pad = torch.nn.functional.pad(torch.stack(marks).float(), (0, 1) * 3)
    if also is not None:
        pad = torch.maximum(pad, also.to(pad))
    pooled = torch.nn.functional.adaptive_max_pool3d(pad, coarse)
    halves = torch.cat(
        [resize_field(fields.to_fixed, coarse), resize_field(fields.to_moving, coarse)]
    )
    warped = warp(pooled, halves)  # forward is defined in fixed space, inverse in moving space
    return (warped > 0.01).any(dim=0, keepdim=True).float()


def forward_transform(
    fixed: Volume,
    moving: Volume,
    pair: WorkingPair,
    velocities: torch.Tensor,
    fields: PairFields,
) -> Transform:
    """Return the forward transform, smoothed where it would fold on a volume's original grid.

    Parameters
    ----------
    fixed, moving
        Define the original grids; their voxels are not used.
    pair
        Defines the working grid and the initial alignment.
    velocities, fields
        The result of `unfold` on the working grid.

    Raises
    ------
    GeometryError
        If the fields are not finite.
    """
    grids = (fixed, pair.affine), (moving, pair.transform @ pair.affine)
    for k in range(_MAX_SMOOTHINGS + 1):
        to_moving, to_fixed = (_field(u, pair.affine) for u in (fields.forward, fields.inverse))
        forward = Transform.from_fields(to_moving, to_fixed, pair.transform)
        if k == _MAX_SMOOTHINGS:
            break
        marks = [
            fold_check(volume, transform, pair, affine)
            for transform, (volume, affine) in zip((forward, forward.inverse()), grids, strict=True)
        ]
        if all(mark is None for mark in marks):
            break
        none = torch.zeros(1, 1, *pair.shape)
        also = torch.cat([none if mark is None else mark for mark in marks])
        velocities, fields = unfold(  # rare, so on the CPU to save GPU memory
            velocities.cpu(), pair.shape, also=also, passes=1 + k
        )
    return forward


def _field(displacement: torch.Tensor, affine: NDArray[np.float64]) -> DisplacementField:
    """Convert a displacement (1, 3, z, y, x) from voxels to LPS mm."""
    voxels = displacement[0].detach().float()
    matrix = torch.as_tensor(affine[:3, :3].T.copy(), dtype=torch.float32, device=voxels.device)
    vectors = np.empty((*voxels.shape[1:], 3), np.float32)
    for z in range(0, len(vectors), _SLICES):
        check()
        slab = voxels[:, z : z + _SLICES].permute(1, 2, 3, 0) @ matrix
        if not bool(torch.isfinite(slab).all()):
            raise GeometryError(
                "the registration diverged; try fewer iterations of refinement or another "
                "similarity"
            )
        vectors[z : z + _SLICES] = slab.cpu().numpy()
    return DisplacementField(vectors, affine)


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

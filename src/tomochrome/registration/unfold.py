"""Integration of velocities to a pair's displacements, without folds and inverse-consistent.

Velocities are smoothed where the deformation folds or nearly folds; the inverse consistency error
of linear interpolation is then reduced in both directions.
"""

from __future__ import annotations

import torch

from tomochrome.registration.penalties import folded_cells
from tomochrome.registration.refine import smaller
from tomochrome.registration.velocity import (
    PairFields,
    Shape,
    integrate,
    reduce_inverse_error,
    resize,
    resize_field,
    smooth,
    warp,
)
from tomochrome.runtime import check

_MAX_ROUNDS = 5  # undoing a correction in one region can cause a fold at its edge


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

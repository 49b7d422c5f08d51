"""From velocities to both directions of a pair, without a fold, and inverse to each other.

Places that fold, or nearly do, are smoothed in the velocities; what linear interpolation leaves
between there and back is shared out between both directions.
"""

from __future__ import annotations

import torch

from tomochrome.registration.penalties import folded_cells
from tomochrome.registration.refine import smaller
from tomochrome.registration.velocity import (
    PairFields,
    Shape,
    agree,
    integrate,
    resize,
    resize_field,
    smooth,
    warp,
)
from tomochrome.runtime import check

_WITHHOLDINGS = 5  # what is withheld in one place may leave a fold at its rim


def unfold(
    velocities: torch.Tensor,
    shape: Shape,
    *,
    least: float = 0.15,
    rounds: int = 20,
    also: torch.Tensor | None = None,
    passes: int = 1,
) -> tuple[torch.Tensor, PairFields]:
    """Integrate a pair for its full grid, smoothing velocities where it folds or nearly does.

    Where a voxel is squeezed to a seventh no grid holds the way back well enough: there the two
    directions would be inverse to each other to a voxel at best, and on another grid it may fold.

    Parameters
    ----------
    velocities
        (2, 3, z, y, x).
    shape
        The full grid.
    least
        Smallest determinant, at any corner of a cell, in either direction, that is let be.
    rounds
        How often to smooth at most; each round reaches further.
    also
        (2, 1, z, y, x) on the full grid: 1 where the forward and the inverse map are to be smoothed
        whatever their determinants there.
    passes
        Of smoothing in the first round.

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
        reach = _folded(fields, coarse, least, also if k == 0 else None)
        if k == rounds or not bool(reach.any()):
            break
        for _ in range(passes + k):
            reach = torch.nn.functional.max_pool3d(reach, 3, stride=1, padding=1)
        calm = smooth(velocities, passes + k) - velocities
        velocities = velocities + smooth(reach, 1) * calm
    check()
    return velocities, settle(fields)


def settle(fields: PairFields, least: float = 0.01) -> PairFields:
    """Make both directions more exactly inverse to each other (`agree`), but nowhere at a fold.

    Parameters
    ----------
    fields
        A pair's fields.
    least
        Determinant below which a cell counts as folded: what is shared out is withheld there.
    """
    before = (fields.forward, fields.inverse)
    after = agree(*before, rounds=1)
    given = list(after)
    withheld: list[torch.Tensor | None] = [None, None]
    for _ in range(_WITHHOLDINGS):
        check()
        folded = [folded_cells(field, least) for field in given]
        if not any(bool(marks.any()) for marks in folded):
            return fields._replace(forward=given[0], inverse=given[1])
        for k, marks in enumerate(folded):
            if not bool(marks.any()):
                continue
            shape: Shape = tuple(before[k].shape[2:])  # type: ignore[assignment]
            near = torch.nn.functional.pad(marks.float()[None], (0, 1) * 3)
            near = torch.nn.functional.adaptive_max_pool3d(near, smaller(shape, 4))
            near = torch.nn.functional.max_pool3d(near, 5, stride=1, padding=2)
            earlier = withheld[k]
            withheld[k] = near = near if earlier is None else torch.maximum(near, earlier)
            share = 1 - resize(smooth(near, 1), shape)
            given[k] = before[k] + share * (after[k] - before[k])
    return fields


def _folded(
    fields: PairFields, coarse: Shape, least: float, also: torch.Tensor | None
) -> torch.Tensor:
    """Where in half-way space, on a coarser grid, either direction folds: 0 or 1."""
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
    brought = warp(pooled, halves)  # forward lives in fixed space, inverse in moving space
    return (brought > 0.01).any(dim=0, keepdim=True).float()

"""Pictures of which only a part was measured, or is wanted: smaller ones, and whole ones.

Beyond a field of view, or under a mask, lie numbers that mean nothing. Averaged with what was
measured, or taken for the end of the body, they are edges that are none, and drag what is about
them along.
"""

from __future__ import annotations

import torch

from tomochrome.registration.similarity import box_sums
from tomochrome.registration.velocity import Shape, shrink

_KNOWN = 0.02  # share of what a voxel averages that must have been measured
_BEYOND = 3  # voxels that the last measured ones are carried on: as far as is interpolated


def masked_shrink(
    images: torch.Tensor, masks: torch.Tensor, shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `velocity.shrink`, of images that mean something only where their masks are 1.

    Parameters
    ----------
    images, masks
        (n, 1, z, y, x); masks 0 to 1.
    shape
        The smaller grid, or the same.

    Returns
    -------
    images, masks
        Means over what was measured, carried on a little beyond; and how much of each was.
    """
    share = shrink(masks, shape)
    known = share > _KNOWN
    means = shrink(images * masks, shape) / share.clamp(min=_KNOWN)
    values = torch.where(known, means, shrink(images, shape))
    for _ in range(_BEYOND):
        near = box_sums(known[:, 0].to(values), 1)[:, None]
        sums = box_sums((values * known)[:, 0], 1)[:, None]
        fresh = ~known & (near > 0.5)
        values = torch.where(fresh, sums / near.clamp(min=1.0), values)
        known = known | fresh
    return values, share


def completed(images: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    """Return two images, each showing the other where it was not measured or is not wanted.

    A network without masks would take the emptiness there for the end of the body, and pull the
    body to it; what is alike on both sides it leaves where it is. Where neither was measured both
    show the same.

    Parameters
    ----------
    images, masks
        (2, 1, z, y, x); masks None: everything was measured.
    """
    if masks is None:
        return images
    seen = masks > 0.5
    mean = images.mean(dim=0, keepdim=True)
    return torch.where(seen, images, torch.where(seen.flip(0), images.flip(0), mean))

"""Downsampling and filling of images with masks.

Values outside the field of view or the mask are meaningless. If they were averaged with measured
values, or taken for the background, they would cause false edges and false displacements.
"""

from __future__ import annotations

import torch

from tomochrome.registration.similarity import box_sums
from tomochrome.registration.velocity import Shape, shrink

_MIN_COVERAGE = 0.02  # least measured fraction of a downsampled voxel
_MARGIN = 3  # voxels by which values are extrapolated, for interpolation


def masked_shrink(
    images: torch.Tensor, masks: torch.Tensor, shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """Downsample images within their masks; see `velocity.shrink`.

    Parameters
    ----------
    images, masks
        (n, 1, z, y, x); masks 0 to 1.
    shape
        The smaller or equal grid.

    Returns
    -------
    images, masks
        Means over the measured part of each voxel, extrapolated slightly; and that fraction.
    """
    share = shrink(masks, shape)
    known = share > _MIN_COVERAGE
    means = shrink(images * masks, shape) / share.clamp(min=_MIN_COVERAGE)
    values = torch.where(known, means, shrink(images, shape))
    for _ in range(_MARGIN):
        near = box_sums(known[:, 0].to(values), 1)[:, None]
        sums = box_sums((values * known)[:, 0], 1)[:, None]
        added = ~known & (near > 0.5)
        values = torch.where(added, sums / near.clamp(min=1.0), values)
        known = known | added
    return values, share


def completed(images: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    """Fill each of two images outside its mask with the values of the other.

    A network without mask inputs would otherwise take the missing part for background and
    displace the body; equal values cause no displacement. Outside both masks the images are
    replaced by their mean.

    Parameters
    ----------
    images, masks
        (2, 1, z, y, x); masks None if everything was measured.
    """
    if masks is None:
        return images
    seen = masks > 0.5
    mean = images.mean(dim=0, keepdim=True)
    return torch.where(seen, images, torch.where(seen.flip(0), images.flip(0), mean))

"""Order of the two volumes in the computation, independent of their roles.

The deformable alignment is symmetric, but the working grid, sampled voxels and floating-point
sums are not. With an order that depends only on the volumes, exchanging fixed and moving
exchanges forward and inverse, up to rounding.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from tomochrome.registration.checks import Extras
from tomochrome.runtime import check
from tomochrome.volume import Volume


def is_swapped(fixed: Volume, moving: Volume) -> bool:
    """Whether the moving volume comes first in the computation.

    The smaller field of view comes first (the working grid covers it at the finest possible
    resolution), then the smaller voxel, then an arbitrary order by grid and content.
    """
    ours, theirs = _grid_key(fixed), _grid_key(moving)
    if ours != theirs:
        return theirs < ours
    return _content_hash(moving) < _content_hash(fixed)


def swapped(extras: Extras) -> Extras:
    """Return masks, labels and points with fixed and moving exchanged."""
    return replace(
        extras,
        fixed_mask=extras.moving_mask,
        moving_mask=extras.fixed_mask,
        fixed_labels=extras.moving_labels,
        moving_labels=extras.fixed_labels,
        fixed_points=extras.moving_points,
        moving_points=extras.fixed_points,
    )


def _grid_key(volume: Volume) -> tuple[Any, ...]:
    voxel = float(np.prod(volume.spacing))
    field = voxel * float(np.prod(volume.shape))
    # rounded, because rotated copies of a grid differ in the last digits
    return float(f"{field:.6g}"), float(f"{voxel:.6g}"), volume.shape, volume.affine.tolist()


def _content_hash(volume: Volume) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for plane in volume.voxels:
        check()
        digest.update(np.ascontiguousarray(plane).data)
    return digest.digest()

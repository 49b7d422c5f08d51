"""Which of two volumes comes first in the computation, whatever the user calls them.

The dense part treats both alike, but a grid has to be chosen to work on, voxels to be sampled, and
floating-point sums have an order. With an order that depends on the volumes alone, exchanging
fixed and moving exchanges forward and inverse, up to rounding.
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
    """Whether the computation should begin from the moving volume.

    The smaller field of view comes first (the working grid is as fine as it allows, and nothing
    can be found beyond it), then the smaller voxel, then an order by grid and by content.
    """
    ours, theirs = _place(fixed), _place(moving)
    if ours != theirs:
        return theirs < ours
    return _content(moving) < _content(fixed)


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


def _place(volume: Volume) -> tuple[Any, ...]:
    voxel = float(np.prod(volume.spacing))
    field = voxel * float(np.prod(volume.shape))
    # turned copies of one grid differ in the last digits, which should not decide
    return float(f"{field:.6g}"), float(f"{voxel:.6g}"), volume.shape, volume.affine.tolist()


def _content(volume: Volume) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for plane in volume.voxels:
        check()
        digest.update(np.ascontiguousarray(plane).data)
    return digest.digest()

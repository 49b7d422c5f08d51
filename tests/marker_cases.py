"""A volume with a marker at the patient's left, in front and at the head, stored in every way."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from scipy.spatial.transform import Rotation

from tomochrome.volume import Volume, default_affine

#: The stored axes as (order, flips) of the upright axes z, y, x: 48 ways to store one volume.
STORED = [
    (order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)
]
NAMED = {
    "head first": ((0, 1, 2), (False, False, False)),
    "feet first": ((0, 1, 2), (True, False, False)),
    "prone": ((0, 1, 2), (False, True, True)),
}
#: Offset of each marker from the middle of the volume, LPS mm, and its color channel.
OFFSETS = {"L": (18.0, 0.0, 0.0), "A": (0.0, -15.0, 0.0), "H": (0.0, 0.0, 12.0)}
CHANNEL = {"L": 0, "A": 1, "H": 2}
SPACING = (2.0, 1.5, 1.5)
SHAPE = (19, 31, 35)  # odd, so that the markers lie in the middle planes
ORIGIN = (-120.0, 40.0, 300.0)


def marked() -> Volume:
    """The upright volume: RGBA, nothing but the markers, red, green and blue."""
    affine = default_affine(SPACING, ORIGIN)
    index = np.indices(SHAPE).reshape(3, -1)
    places = (affine[:3, :3] @ index).T + affine[:3, 3]
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    voxels = np.zeros((len(places), 4), np.uint8)
    for name, offset in OFFSETS.items():
        near = np.abs(places - middle - offset).max(axis=1) < 3.2
        voxels[near, CHANNEL[name]] = voxels[near, 3] = 255
    return Volume(voxels.reshape(*SHAPE, 4), affine, "RGBA")


def stored_as(volume: Volume, order, flips) -> Volume:
    """Return the volume with its axes in another order and direction, where it was in space."""
    voxels = volume.voxels.transpose((*order, *range(3, volume.voxels.ndim)))
    affine = volume.affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            voxels = np.flip(voxels, axis)
            affine[:, 3] += affine[:, axis] * (voxels.shape[axis] - 1)
            affine[:, axis] *= -1
    return Volume(np.ascontiguousarray(voxels), affine, volume.unit)


def turned(volume: Volume, *degrees: float) -> Volume:
    """Return the volume with its grid turned: the markers lie obliquely in the patient."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("zyx", degrees, degrees=True).as_matrix()
    return Volume(volume.voxels, turn @ volume.affine, volume.unit)


def places(volume: Volume) -> dict[str, np.ndarray]:
    """Return where each marker is: LPS mm of its centre."""
    found = {}
    for name, channel in CHANNEL.items():
        index = np.argwhere(volume.voxels[..., channel] > 128)
        assert len(index), f"no marker {name}"
        found[name] = volume.affine[:3, :3] @ index.mean(axis=0) + volume.affine[:3, 3]
    return found

"""Voxels that were never measured though no header says so: the fill of an earlier resampling.

A volume that some tool turned on its own grid has corners of one constant value. Taken for
anatomy, their straight edges draw a registration away from where it belongs.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.geometry.morphology import grown
from tomochrome.runtime import check
from tomochrome.volume import Volume

_CORNER: Final = 3  # voxels along each edge of a corner that must be all alike
_SEEN: Final = 0.25  # share of a face of the grid that must hold something else,
_FACES: Final = 4  # on so many faces: air around a patient reaches along all six
_FOLLOWED: Final = 4_000_000  # voxels: more would take seconds, in which nobody could stop it
_LEAST: Final = 0.01  # less of the volume is not worth a mask


def without_padding(volume: Volume) -> Volume:
    """Return a scalar volume whose constant corners, if it has such, lie ``outside``.

    Parameters
    ----------
    volume
        Scalar. One that says itself what lies outside is returned as it is.

    Returns
    -------
    Volume
        With the same voxels.
    """
    if volume.outside is not None or min(volume.shape) < 2 * _CORNER:
        return volume
    voxels = np.asarray(volume.voxels)
    for value in _corner_values(voxels):
        check()
        if _faces_seen(voxels, value) < _FACES:
            continue
        fill = _fill(voxels, value)
        if fill is not None:
            # next to it lie voxels that interpolation mixed with it
            return replace(volume, outside=grown(fill))
    return volume


def _corner_values(voxels: NDArray[Any]) -> list[Any]:
    """Values that fill whole corners of the grid."""
    found = []
    for ends in itertools.product((slice(None, _CORNER), slice(-_CORNER, None)), repeat=3):
        corner = voxels[ends]
        if (corner == corner.flat[0]).all():
            found.append(corner.flat[0])
    return list(dict.fromkeys(found))


def _faces_seen(voxels: NDArray[Any], value: Any) -> int:
    """Return on how many faces of the grid enough is of another value."""
    faces = (np.take(voxels, end, axis) for axis in range(3) for end in (0, -1))
    return sum(bool((face != value).mean() >= _SEEN) for face in faces)


def _fill(voxels: NDArray[Any], value: Any) -> NDArray[np.bool_] | None:
    """Where the value is that a corner of the grid has, as far as it reaches from there.

    Of a large volume only every second, third ... voxel is followed. None: too little, or all.
    """
    step = int(np.ceil((voxels.size / _FOLLOWED) ** (1 / 3)))
    # a last plane is followed too: corners lie on it
    at = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n in voxels.shape]
    parts = _from_corners(voxels[np.ix_(*at)] == value)
    if not _LEAST <= parts.mean() < 1:
        return None
    if step == 1:
        return parts
    for axis, size in enumerate(voxels.shape):
        check()
        parts = parts.take(np.searchsorted(at[axis], np.arange(size), side="right") - 1, axis=axis)
    check()
    parts &= voxels == value
    return parts


def _from_corners(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep what hangs together with a corner of the grid."""
    parts, _ = ndimage.label(same)
    corners = parts[:: same.shape[0] - 1, :: same.shape[1] - 1, :: same.shape[2] - 1]
    wanted = np.unique(corners[corners > 0])
    return np.asarray(np.isin(parts, wanted))

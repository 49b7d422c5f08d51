"""Detection of padding from an earlier resampling, which no header describes.

A volume that was rotated on its grid has corners of a constant value. Their straight edges would
bias a registration if they were treated as anatomy.
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

_CORNER: Final = 3  # side in voxels of the corner blocks that are tested for a constant value
_MIN_OTHER: Final = 0.25  # fraction of a face that must have other values,
_MIN_FACES: Final = 4  # on this many faces; air around a patient covers all six
_MAX_LABELLED: Final = 4_000_000  # voxels for labelling, which cannot be cancelled
_MIN_SHARE: Final = 0.01  # smaller paddings are ignored


def without_padding(volume: Volume) -> Volume:
    """Mark the constant corners of a scalar volume, if there are any, as ``outside``.

    Parameters
    ----------
    volume
        Scalar volume. If it already has a mask ``outside``, it is returned unchanged.

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
        if _faces_without(voxels, value) < _MIN_FACES:
            continue
        fill = _fill(voxels, value)
        if fill is not None:
            # dilated, because interpolation mixed adjacent voxels with the fill value
            return replace(volume, outside=grown(fill))
    return volume


def _corner_values(voxels: NDArray[Any]) -> list[Any]:
    """Return the values that fill entire corners of the grid."""
    found = []
    for ends in itertools.product((slice(None, _CORNER), slice(-_CORNER, None)), repeat=3):
        corner = voxels[ends]
        if (corner == corner.flat[0]).all():
            found.append(corner.flat[0])
    return list(dict.fromkeys(found))


def _faces_without(voxels: NDArray[Any], value: Any) -> int:
    """Return the number of faces of the grid with a sufficient fraction of other values."""
    faces = (np.take(voxels, end, axis) for axis in range(3) for end in (0, -1))
    return sum(bool((face != value).mean() >= _MIN_OTHER) for face in faces)


def _fill(voxels: NDArray[Any], value: Any) -> NDArray[np.bool_] | None:
    """Return the mask of the voxels of a value that are connected to a corner of the grid.

    Large volumes are subsampled for labelling. None if the mask is too small or everything.
    """
    step = int(np.ceil((voxels.size / _MAX_LABELLED) ** (1 / 3)))
    # including the last plane, which has corners
    at = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n in voxels.shape]
    parts = _from_corners(voxels[np.ix_(*at)] == value)
    if not _MIN_SHARE <= parts.mean() < 1:
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
    """Keep the components that contain a corner of the grid."""
    parts, _ = ndimage.label(same)
    corners = parts[:: same.shape[0] - 1, :: same.shape[1] - 1, :: same.shape[2] - 1]
    return np.asarray(np.isin(parts, np.unique(corners[corners > 0])))

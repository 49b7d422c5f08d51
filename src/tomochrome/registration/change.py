"""Change between two registered scans of a patient: what grew or shrank, and where the HU differ.

The fixed volume is the earlier scan, the moving one the later: a Jacobian determinant above 1 is
growth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import require_same_grid
from tomochrome.geometry.resample import resample
from tomochrome.runtime import check
from tomochrome.volume import Volume

NOISE_FACTOR: Final = 3.0
"""HU differences of fewer standard deviations are within the noise."""
_MAD_TO_SD: Final = 1.4826
_MIN_HU: Final = -900.0  # air has less noise than the body
_MIN_NOISE_HU: Final = 1.0


@dataclass(frozen=True, eq=False)
class ChangeMap:
    """The change of each voxel of the fixed volume, not for diagnosis.

    Parameters
    ----------
    growth
        Change of volume in percent, float32 (z, y, x): the Jacobian determinant - 1, times 100.
    difference
        Moved minus fixed HU, float32 (z, y, x); 0 where it is within the noise or not measured.
    noise_hu
        Standard deviation of the difference where nothing changed, in HU.
    """

    growth: Volume
    difference: Volume
    noise_hu: float


def change_map(fixed: Volume, moved: Volume, jacobian: Volume) -> ChangeMap:
    """Return the change between two registered scans.

    Parameters
    ----------
    fixed
        The earlier scan.
    moved
        The later scan on the grid of the earlier one, as from `register`.
    jacobian
        The Jacobian determinant of the forward transform, as from `register`.

    Returns
    -------
    ChangeMap
        On the grid of the fixed volume. The noise is estimated from the median absolute difference
        in the body, which the changed part of it hardly affects; so is a common offset of the HU,
        which is subtracted.

    Raises
    ------
    GeometryError
        If the three are not on one grid.
    """
    require_same_grid(fixed, jacobian, "the fixed volume and the map of Jacobian determinants")
    spread = noise_of_difference(fixed, moved)
    difference = spread.beyond(fixed, moved)
    growth = 100.0 * (np.asarray(jacobian.voxels, np.float32) - 1.0)
    plain = replace(fixed, unit="unknown")
    return ChangeMap(plain.with_voxels(growth), plain.with_voxels(difference), spread.noise_hu)


class Spread(NamedTuple):
    """The moved minus the fixed HU of tissue that did not change.

    Attributes
    ----------
    offset_hu
        Their median.
    noise_hu
        Their standard deviation.
    """

    offset_hu: float
    noise_hu: float

    def beyond(
        self, fixed: Volume, moved: Volume, part: tuple[Any, ...] = (...,)
    ) -> NDArray[np.float32]:
        """Return the moved minus the fixed HU, 0 where it is within the noise or not measured.

        What was restored in one of the two counts as not measured.

        Parameters
        ----------
        fixed, moved
            Two volumes on one grid.
        part
            Index of the part to compute; by default everything.
        """
        own, other = (np.asarray(v.voxels[part], np.float32) for v in (fixed, moved))
        difference = other - own - np.float32(self.offset_hu)
        unchanged = np.abs(difference) <= NOISE_FACTOR * self.noise_hu
        for mask in _not_measured(fixed, moved):
            unchanged |= mask[part]
        difference[unchanged] = 0.0
        return difference


def noise_of_difference(fixed: Volume, moved: Volume, step: int = 1) -> Spread:
    """Return the noise of the difference between two registered scans, and the offset of their HU.

    Parameters
    ----------
    fixed, moved
        Two volumes on one grid.
    step
        Take every voxel at such a step along each axis.

    Raises
    ------
    GeometryError
        If they are not on one grid.
    """
    require_same_grid(fixed, moved, "the fixed and the moved volume")
    part = (slice(None, None, step),) * 3
    own, other = (np.asarray(v.voxels[part], np.float32) for v in (fixed, moved))
    body = (own > _MIN_HU) & (other > _MIN_HU)
    for mask in _not_measured(fixed, moved):
        body &= ~mask[part]
    check()
    if not body.any():
        return Spread(0.0, _MIN_NOISE_HU)
    difference = other[body] - own[body]
    offset = float(np.median(difference))
    deviation = float(np.median(np.abs(difference - np.float32(offset))))
    return Spread(offset, max(_MIN_NOISE_HU, _MAD_TO_SD * deviation))


def _not_measured(*volumes: Volume) -> list[NDArray[np.bool_]]:
    """Return the masks of voxels outside the scan, and of those that were restored."""
    masks = (mask for volume in volumes for mask in (volume.outside, volume.restored))
    return [mask for mask in masks if mask is not None]


def region_changes(
    fixed: Volume, moved: Volume, jacobian: Volume, labels: Volume
) -> dict[str, dict[str, Any]]:
    """Return how the labelled regions of the earlier scan changed.

    Parameters
    ----------
    fixed, moved, jacobian
        As for `change_map`.
    labels
        Integer labels of the fixed volume, on any grid; 0 is background.

    Returns
    -------
    dict
        For each label, as text: ``before_ml``, its volume; ``after_ml``, the volume of what it is
        mapped to, the sum of the Jacobian determinants; ``percent``, the change; and
        ``hu_change``, the median of the moved minus the fixed HU where both were measured (and
        not restored), or None.
    """
    there = np.asarray(resample(labels, fixed, order="nearest", fill=0).voxels)
    own, other = (np.asarray(volume.voxels, np.float32) for volume in (fixed, moved))
    lost = np.any([*_not_measured(fixed, moved), np.zeros(own.shape, bool)], axis=0)
    ml = abs(float(np.linalg.det(fixed.affine[:3, :3]))) / 1000.0
    changes = {}
    for label in np.unique(there[there != 0]):
        check()
        region = there == label
        before = float(region.sum()) * ml
        after = float(np.asarray(jacobian.voxels)[region].sum(dtype=np.float64)) * ml
        seen = region & ~lost
        changes[str(int(label))] = {
            "before_ml": round(before, 3),
            "after_ml": round(after, 3),
            "percent": round(100.0 * (after / before - 1.0), 2),
            "hu_change": round(float(np.median(other[seen] - own[seen])), 2)
            if seen.any()
            else None,
        }
    return changes

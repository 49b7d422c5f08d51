"""A volume on coarser and coarser grids, as the initial alignment looks at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply, corners, decompose, is_orthogonal
from tomochrome.geometry.blur import blur
from tomochrome.geometry.resample import resample, spacing_grid
from tomochrome.geometry.sitk import to_sitk
from tomochrome.runtime import check
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing.grey import DENSER_THAN_LUNG, to_grey

if TYPE_CHECKING:
    import SimpleITK

_VOXELS: Final = (40_000, 200_000, 800_000)
"""Voxels at most of the coarse, the middle and the fine grid."""
_BLUR: Final = 0.45  # standard deviation of the blur of a grid, in its voxels


@dataclass(frozen=True, eq=False)
class Level:
    """A volume on one of the grids.

    Parameters
    ----------
    values
        float32 (z, y, x), 0 to 1.
    seen
        bool (z, y, x): measured, and wanted by the mask.
    affine
        4x4 from (z, y, x) index to LPS mm, orthogonal.
    hu
        Whether the values were HU.
    """

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]
    affine: NDArray[np.float64]
    hu: bool

    @cached_property
    def image(self) -> SimpleITK.Image:
        """The values as a SimpleITK image."""
        return to_sitk(Volume(self.values, self.affine, "unknown"))

    @cached_property
    def mask(self) -> SimpleITK.Image | None:
        """Where it is seen, or None: everywhere."""
        if self.seen.all():
            return None
        return to_sitk(Volume(self.seen.astype(np.uint8), self.affine, "unknown"))

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """LPS mm (n, 3) of the seen voxels."""
        return np.asarray(apply(self.affine, np.argwhere(self.seen)))

    @cached_property
    def count(self) -> int:
        """How many voxels are seen."""
        return int(np.count_nonzero(self.seen))

    @property
    def step_mm(self) -> float:
        """Mean distance between voxels in mm."""
        return float(self.voxel_mm3 ** (1 / 3))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def radius(self) -> float:
        """Root mean square distance of the seen voxels from the center of mass, in mm."""
        return float(np.sqrt(((self.points - self.mass) ** 2).sum(axis=1).mean()))

    @cached_property
    def center(self) -> NDArray[np.float64]:
        """Middle of that box, LPS mm."""
        return np.asarray((self.points.min(axis=0) + self.points.max(axis=0)) / 2)

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """Center of mass of the seen voxels: of all that is denser than lung in HU."""
        weights = self.values[self.seen].astype(np.float64)
        if self.hu:
            weights = np.where(weights > DENSER_THAN_LUNG, 1.0, 0.0)
        total = weights.sum()
        if total <= 0:
            return self.center
        return np.asarray((self.points * weights[:, None]).sum(axis=0) / total)


def make_levels(volume: Volume, mask: Volume | None, role: str, count: int) -> list[Level]:
    """Bring a volume onto ``count`` grids, coarsest first.

    Parameters
    ----------
    volume, mask
        A scalar volume; a mask on any grid, not 0 where the volume counts.
    role
        ``"fixed"`` or ``"moving"``, for the messages.
    count
        How many of the grids, 1 to 3.

    Raises
    ------
    InputError
        If the mask leaves no voxel, or what it leaves is constant.
    """
    hu = volume.unit == "HU"
    base = _upright(_thinned(volume, _VOXELS[count - 1]))
    check()
    seen = measured(base, mask, base)
    if not seen.any():
        raise InputError(
            f"the {role} mask leaves nothing of the {role} volume; check that both lie at the same "
            "place in space"
        )
    grey = to_grey(np.asarray(base.voxels, np.float32), seen, hu=hu)
    found = grey[seen]
    if found.min() == found.max():
        raise InputError(
            f"the {role} volume is constant where it counts: there is nothing to align"
        )
    known = Volume(seen.astype(np.uint8), base.affine, "unknown")
    finer = replace(base, voxels=grey, unit="unknown", outside=None)
    grids = [_grid(finer, most) for most in _VOXELS[:count]]
    levels = []
    for like in reversed(grids):  # each of the one before it, which is small
        check()
        values = np.asarray(resample(_smoothed(finer, like), like).voxels)
        there = np.asarray(resample(known, like, order="nearest", fill=0).voxels) > 0
        if not there.any():  # a mask too thin for this grid
            there = np.ones(like.shape, bool)
        levels.append(Level(values, there, like.affine, hu))
        finer = Volume(values, like.affine, "unknown")
    return levels[::-1]


def _thinned(volume: Volume, most: int) -> Volume:
    """Return means over blocks of voxels, where all are many times more than are looked at."""
    grid = _grid(volume, most)
    ratio = np.array(grid.spacing) / np.array(volume.spacing)
    block = np.maximum(np.floor(ratio / 1.2 + 1e-6).astype(int), 1)
    if (block == 1).all():
        return volume
    kept = np.array(volume.shape) // block
    sums = np.zeros(kept, np.float32)
    holes = None if volume.outside is None else np.zeros(kept, np.int32)
    bz, by, bx = (int(b) for b in block)
    z, y, x = (int(k) for k in kept)
    for row in range(z):
        planes = np.asarray(volume.voxels[row * bz : (row + 1) * bz, : y * by, : x * bx])
        sums[row] = planes.reshape(bz, y, by, x, bx).mean(axis=(0, 2, 4), dtype=np.float32)
        if holes is not None and volume.outside is not None:
            planes = volume.outside[row * bz : (row + 1) * bz, : y * by, : x * bx]
            holes[row] = planes.reshape(bz, y, by, x, bx).sum(axis=(0, 2, 4))
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, :3] @ ((block - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * block
    outside = None if holes is None else holes > 0
    return replace(volume, voxels=sums, affine=affine, outside=outside)


def _upright(volume: Volume) -> Volume:
    """Return the volume as it is, or a sheared one on a grid along the axes of space."""
    if is_orthogonal(volume.affine):
        return volume
    ends = corners(volume.shape, volume.affine)
    spacing = volume.spacing
    size = np.ptp(ends, axis=0)[::-1]
    shape = tuple(int(n) for n in np.ceil(size / np.array(spacing)) + 1)
    like = Volume(
        np.broadcast_to(np.uint8(0), shape), default_affine(spacing, ends.min(axis=0)), "unknown"
    )
    return resample(volume, like)


def measured(volume: Volume, mask: Volume | None, like: Volume) -> NDArray[np.bool_]:
    """Where a volume has measured voxels on a grid, and the user wants them: bool (z, y, x)."""
    known = np.ones(volume.shape, np.uint8)
    if volume.outside is not None:
        known[volume.outside] = 0
    parts = [replace(volume, voxels=known, unit="unknown", outside=None)]
    if mask is not None:
        wanted = (np.asarray(mask.voxels) != 0).astype(np.uint8)
        parts.append(replace(mask, voxels=wanted, unit="unknown"))
    onto = [np.asarray(resample(part, like, order="nearest", fill=0).voxels) for part in parts]
    return np.asarray(np.logical_and.reduce(onto))


def _grid(volume: Volume, most: int) -> Volume:
    """Return an empty grid of about isotropic voxels, ``most`` at most, over the same field."""
    spacing, shape = np.array(volume.spacing), np.array(volume.shape)
    wanted = float((np.prod(spacing) * np.prod(shape, dtype=np.float64) / most) ** (1 / 3))
    sizes = np.maximum(spacing, max(wanted, float(spacing.min())))
    # thin slabs keep their slices: at least 12 voxels an axis, if they have them
    sizes = np.minimum(sizes, spacing * shape / np.minimum(shape, 12))
    grid, affine = spacing_grid(volume.shape, np.array(volume.affine), sizes)
    return Volume(np.broadcast_to(np.uint8(0), grid), affine, "unknown")


def _smoothed(volume: Volume, like: Volume) -> Volume:
    """Blur as far as the coarser grid asks for, so that it does not alias."""
    ratio = decompose(like.affine)[2] / decompose(volume.affine)[2]
    # as wide on the coarser grid as the finer one already is on its own
    sigma = np.where(ratio > 1.2, _BLUR * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0.0)
    return replace(volume, voxels=blur(np.asarray(volume.voxels), sigma))

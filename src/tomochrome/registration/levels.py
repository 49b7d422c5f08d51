"""Image pyramid of a volume for the initial alignment."""

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
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.runtime import check
from tomochrome.volume import Volume, default_affine
from tomochrome.windowing.grey import DENSER_THAN_LUNG, to_grey

if TYPE_CHECKING:
    import SimpleITK

_VOXELS: Final = (40_000, 200_000, 800_000)
"""Maximum number of voxels of the coarse, middle and fine grid."""
_BLUR: Final = 0.45  # standard deviation of the blur of a grid, in its voxels


@dataclass(frozen=True, eq=False)
class Level:
    """A volume on one grid of the pyramid.

    Parameters
    ----------
    values
        float32 (z, y, x), 0 to 1.
    valid
        bool (z, y, x): voxels that were measured and are inside the mask.
    affine
        4x4 from (z, y, x) index to LPS mm, with orthogonal axes.
    hu
        Whether the values were HU.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    affine: NDArray[np.float64]
    hu: bool

    @cached_property
    def image(self) -> SimpleITK.Image:
        """The values as a SimpleITK image."""
        return to_sitk(Volume(self.values, self.affine, "unknown"))

    @cached_property
    def mask(self) -> SimpleITK.Image | None:
        """The valid voxels as a SimpleITK image; None if all are valid."""
        if self.valid.all():
            return None
        return to_sitk(Volume(self.valid.astype(np.uint8), self.affine, "unknown"))

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """LPS mm (n, 3) of the valid voxels."""
        return np.asarray(apply(self.affine, np.argwhere(self.valid)))

    @cached_property
    def count(self) -> int:
        """Number of valid voxels."""
        return int(np.count_nonzero(self.valid))

    @property
    def step_mm(self) -> float:
        """Mean distance between voxels in mm."""
        return float(self.voxel_mm3 ** (1 / 3))

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def radius(self) -> float:
        """Root mean square distance of the valid voxels from the center of mass, in mm."""
        return float(np.sqrt(((self.points - self.mass) ** 2).sum(axis=1).mean()))

    @cached_property
    def center(self) -> NDArray[np.float64]:
        """Center of the valid voxels' bounding box, LPS mm."""
        return np.asarray((self.points.min(axis=0) + self.points.max(axis=0)) / 2)

    @cached_property
    def mass(self) -> NDArray[np.float64]:
        """Center of mass of the valid voxels in LPS mm; for HU, of those denser than lung."""
        weights = self.values[self.valid].astype(np.float64)
        if self.hu:
            weights = np.where(weights > DENSER_THAN_LUNG, 1.0, 0.0)
        total = weights.sum()
        if total <= 0:
            return self.center
        return np.asarray((self.points * weights[:, None]).sum(axis=0) / total)


def make_levels(scan: CheckedScan, count: int) -> list[Level]:
    """Resample a scan to ``count`` grids, the coarsest first.

    Parameters
    ----------
    scan
        A volume, with the mask where it is used.
    count
        Number of grids, 1 to 3.

    Raises
    ------
    InputError
        If the mask contains no voxel of the volume, or the volume is constant in it.
    """
    volume, role = scan.unpadded, scan.role
    hu = volume.unit == "HU"
    base = _orthogonal(_block_means(volume, _VOXELS[count - 1]))
    check()
    valid = valid_voxels(base, scan.mask, base)
    if not valid.any():
        raise InputError(
            f"the {role} mask does not contain any voxel of the {role} volume; check that both "
            "are at the same position in space"
        )
    grey = to_grey(np.asarray(base.voxels, np.float32), valid, hu=hu)
    used = grey[valid]
    if used.min() == used.max():
        raise InputError(
            f"the {role} volume is constant within its mask: there is nothing to align"
        )
    measured = Volume(valid.astype(np.uint8), base.affine, "unknown")
    finer = replace(base, voxels=grey, unit="unknown", outside=None)
    grids = [_isotropic_grid(finer, most) for most in _VOXELS[:count]]
    levels = []
    for like in reversed(grids):  # each is computed from the next finer one, for speed
        check()
        ratio = decompose(like.affine)[2] / decompose(finer.affine)[2]
        # against aliasing; accounts for the blur that the finer level already has
        sigma = np.where(ratio > 1.2, _BLUR * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0.0)
        smooth = replace(finer, voxels=blur(np.asarray(finer.voxels), sigma))
        values = np.asarray(resample(smooth, like).voxels)
        inside = np.asarray(resample(measured, like, order="nearest", fill=0).voxels) > 0
        if not inside.any():  # a mask too thin for this grid
            inside = np.ones(like.shape, bool)
        levels.append(Level(values, inside, like.affine, hu))
        finer = Volume(values, like.affine, "unknown")
    return levels[::-1]


def _block_means(volume: Volume, most: int) -> Volume:
    """Downsample a volume with far more voxels than ``most`` by averaging blocks."""
    grid = _isotropic_grid(volume, most)
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
    return replace(volume, voxels=sums, affine=affine, outside=outside, restored=None)


def _orthogonal(volume: Volume) -> Volume:
    """Return the volume, resampled to an axis-aligned grid if it is sheared."""
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


def valid_voxels(volume: Volume, mask: Volume | None, like: Volume) -> NDArray[np.bool_]:
    """Return which voxels of a grid are measured and inside the mask: bool (z, y, x)."""
    measured = np.ones(volume.shape, np.uint8)
    if volume.outside is not None:
        measured[volume.outside] = 0
    parts = [replace(volume, voxels=measured, unit="unknown", outside=None)]
    if mask is not None:
        selected = (np.asarray(mask.voxels) != 0).astype(np.uint8)
        parts.append(replace(mask, voxels=selected, unit="unknown"))
    moved = [np.asarray(resample(part, like, order="nearest", fill=0).voxels) for part in parts]
    return np.asarray(np.logical_and.reduce(moved))


def _isotropic_grid(volume: Volume, most: int) -> Volume:
    """Return a nearly isotropic grid of at most ``most`` voxels for the same field of view."""
    spacing, shape = np.array(volume.spacing), np.array(volume.shape)
    step = float((np.prod(spacing) * np.prod(shape, dtype=np.float64) / most) ** (1 / 3))
    sizes = np.maximum(spacing, max(step, float(spacing.min())))
    # at least 12 voxels per axis, if the volume has them, so that thin slabs keep their slices
    sizes = np.minimum(sizes, spacing * shape / np.minimum(shape, 12))
    grid, affine = spacing_grid(volume.shape, np.array(volume.affine), sizes)
    return Volume(np.broadcast_to(np.uint8(0), grid), affine, "unknown")

"""Resampling of two volumes to a common working grid, with comparable grey values and masks.

The grid has the fixed volume's axes and field of view (with a margin where the moving one is
larger); the moving volume is resampled to it through the initial transform, so that network and
refinement only compute the remaining displacement. With the forward displacement ``u`` on the
grid (mm) and the initial transform ``T``, fixed points map to moving points by
``p -> T(p + u(p))``, and back by ``q -> T^-1(q)`` followed by the inverse displacement.
`checked_input.is_swapped` determines which volume is the fixed one in this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import apply, corners, decompose
from tomochrome.geometry.blur import blur
from tomochrome.geometry.resample import spacing_grid
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.registration.levels import valid_voxels
from tomochrome.registration.velocity import Shape
from tomochrome.runtime import check, quietly
from tomochrome.transform import Transform
from tomochrome.volume import Volume
from tomochrome.windowing.grey import to_grey

MAX_VOXELS = 8_000_000
"""Maximum number of voxels of the working grid, enough for 160 x 192 x 224."""
_MIN_OVERLAP = 0.02
_MARGIN_MM = 25.0
_MIN_OVERHANG = 0.05


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """Input of the network and the refinement.

    Parameters
    ----------
    fixed, moving
        float32 (1, 1, z, y, x), 0 to 1; ``moving`` is resampled through ``transform``.
    masks
        float32 (2, 1, z, y, x), fixed and moving: 1 for measured voxels inside the mask. None if
        all voxels are used.
    affine
        4x4 of the grid, from (z, y, x) index to LPS mm of the fixed volume.
    transform
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    features
        float32 (2, channels, Z, Y, X), fixed and moving, on a grid with the same corner voxels; see
        `feature_volumes`. None if they are not compared.
    """

    fixed: torch.Tensor
    moving: torch.Tensor
    masks: torch.Tensor | None
    affine: NDArray[np.float64]
    transform: NDArray[np.float64]
    features: torch.Tensor | None = None

    @property
    def shape(self) -> Shape:
        """Shape (z, y, x) of the grid."""
        z, y, x = self.fixed.shape[2:]
        return int(z), int(y), int(x)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) of the grid in mm."""
        sz, sy, sx = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(sz), float(sy), float(sx)

    @property
    def like(self) -> Volume:
        """An empty volume on the grid, as a reference for resampling."""
        return Volume(np.broadcast_to(np.uint8(0), self.shape), self.affine, "unknown")


def make_pair(
    fixed: CheckedScan,
    moving: CheckedScan,
    *,
    transform: NDArray[np.float64] | None = None,
    max_voxels: int = MAX_VOXELS,
) -> WorkingPair:
    """Resample two volumes to a common working grid.

    Parameters
    ----------
    fixed, moving
        They may differ in grid, spacing, orientation and field of view.
    transform
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one; None is the identity.
    max_voxels
        Maximum number of voxels of the grid, which determines its spacing.

    Raises
    ------
    GeometryError
        If the two do not overlap in space.
    """
    matrix = np.eye(4) if transform is None else np.asarray(transform, dtype=np.float64)
    shape, affine = working_grid(_with_margin(fixed.volume, moving.volume, matrix), max_voxels)
    grid = Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")
    through = replace(grid, affine=matrix @ affine)
    both_hu = fixed.volume.unit == "HU" and moving.volume.unit == "HU"
    images, masks = [], []
    for scan, like in ((fixed, grid), (moving, through)):
        check()
        valid = valid_voxels(scan.unpadded, scan.mask, like)
        check()
        images.append(to_grey(onto(scan.unpadded, like), valid, hu=both_hu))
        masks.append(valid)
    share = float((masks[0] & masks[1]).sum()) / max(1, min(int(m.sum()) for m in masks))
    if share < _MIN_OVERLAP or not (masks[0] & masks[1]).any():
        raise GeometryError(
            "the two volumes do not overlap in space; start from their centers or use volumes of "
            "the same region"
        )
    tensors = [torch.from_numpy(np.ascontiguousarray(v))[None, None] for v in images]
    weights = None
    if not all(bool(m.all()) for m in masks):
        weights = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]
    return WorkingPair(tensors[0], tensors[1], weights, affine, matrix)


def feature_grid(pair: WorkingPair, shape: Shape) -> Volume:
    """Return an empty volume with the corner voxels of a pair's grid and another shape."""
    steps = [(a - 1) / max(b - 1, 1) for a, b in zip(pair.shape, shape, strict=True)]
    return Volume(
        np.broadcast_to(np.uint8(0), shape), pair.affine @ np.diag([*steps, 1.0]), "unknown"
    )


def working_grid(fixed: Volume, max_voxels: int = MAX_VOXELS) -> tuple[Shape, NDArray[np.float64]]:
    """Return shape and affine of a nearly isotropic grid for the fixed volume's field of view.

    This is the fixed volume's own grid if that is nearly isotropic and small enough.
    """
    spacing = np.array(fixed.spacing)
    voxels = float(np.prod(fixed.shape))
    if voxels <= max_voxels and spacing.max() <= 1.25 * spacing.min():
        return fixed.shape, np.array(fixed.affine)
    fits = float((np.prod(spacing) * voxels / max_voxels) ** (1 / 3))
    step = max(fits, float(spacing.min()))
    sizes = np.full(3, step)
    while True:
        # at least 16 voxels per axis, if the volume has them, so that thin slabs keep their slices
        least = np.minimum(np.array(fixed.shape), 16)
        extent = spacing * np.array(fixed.shape)
        chosen = np.minimum(sizes, extent / least)
        shape, affine = spacing_grid(fixed.shape, np.array(fixed.affine), chosen)
        if np.prod(shape) <= max_voxels or sizes[0] > 1e3:
            return shape, affine
        sizes = sizes * 1.02


def _with_margin(fixed: Volume, moving: Volume, transform: NDArray[np.float64]) -> Volume:
    """Return the fixed field of view with a margin at each face where the moving one is larger.

    Tissue in the margin may move into the fixed field of view, and needs a displacement. Small
    overhangs, as between two fields of view of the same size, need no margin.
    """
    to_index = np.linalg.inv(transform @ fixed.affine)
    moved = apply(to_index, corners(moving.shape, moving.affine))
    spacing, sizes = np.array(fixed.spacing), np.array(fixed.shape)
    before, after = -moved.min(axis=0), moved.max(axis=0) - (sizes - 1)
    most = np.ceil(_MARGIN_MM / spacing)
    low, high = (
        np.where(over > _MIN_OVERHANG * sizes, np.minimum(np.ceil(over), most), 0).astype(int)
        for over in (before, after)
    )
    shape = tuple(int(n) for n in sizes + low + high)
    affine = np.array(fixed.affine)
    affine[:3, 3] -= affine[:3, :3] @ low
    return Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")


def onto(volume: Volume, like: Volume) -> NDArray[np.float32]:
    """Resample a volume to a grid, with smoothing against aliasing on a coarser one."""
    ratio = np.array(like.spacing)[None, :] / np.array(volume.spacing)[:, None]
    source, target = decompose(volume.affine)[1], decompose(like.affine)[1]
    steps = (np.abs(source.T @ target) * ratio).max(axis=1)  # grid steps, in voxels of each axis
    sigma = np.where(steps > 1.3, 0.4 * steps, 0.0)
    smooth = replace(volume, voxels=blur(np.asarray(volume.voxels), sigma))
    with quietly():
        moved = Transform.identity().apply(smooth, like, order="linear")
    return np.asarray(moved.voxels, dtype=np.float32)

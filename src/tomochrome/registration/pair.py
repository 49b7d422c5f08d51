"""Two volumes on one working grid: the same millimetres, comparable grey values, masks.

The grid has the fixed volume's axes and field of view (and some room where the moving one is
larger); the moving volume is brought onto it through the initial transform, so that what the
network and refinement find is the rest. With ``u`` the forward displacement on the grid (mm) and
``T`` the initial transform, fixed points go to moving points by ``p -> T(p + u(p))``, and back by
``q -> T^-1(q)`` followed by the inverse displacement. Which volume is called fixed here is
settled by `tomochrome.registration.order`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError
from tomochrome.geometry.affine import apply, corners, decompose
from tomochrome.geometry.blur import blur
from tomochrome.geometry.resample import spacing_grid
from tomochrome.registration.levels import measured
from tomochrome.registration.velocity import Shape
from tomochrome.runtime import check, quietly
from tomochrome.transform import Transform
from tomochrome.volume import Volume
from tomochrome.windowing.grey import to_grey

MAX_VOXELS = 8_000_000
"""Voxels of the working grid at most: 160 x 192 x 224 fits, and four such fields in 4 GiB."""
_LEAST_OVERLAP = 0.02
_ROOM_MM = 25.0
_EDGE = 0.05


@dataclass(frozen=True, eq=False)
class WorkingPair:
    """Two volumes as the network and refinement see them.

    Parameters
    ----------
    fixed, moving
        float32 (1, 1, z, y, x), 0 to 1; ``moving`` is already brought through ``transform``.
    masks
        float32 (2, 1, z, y, x), fixed and moving: 1 where measured and wanted. None: everywhere.
    affine
        4x4 of the grid, from (z, y, x) index to LPS mm of the fixed volume.
    transform
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    """

    fixed: torch.Tensor
    moving: torch.Tensor
    masks: torch.Tensor | None
    affine: NDArray[np.float64]
    transform: NDArray[np.float64]

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
        """An empty volume on the grid, to resample onto."""
        return Volume(np.broadcast_to(np.uint8(0), self.shape), self.affine, "unknown")


def check_volume(volume: Volume, role: str) -> None:
    """Refuse what cannot be registered.

    Parameters
    ----------
    volume
        A volume to be registered.
    role
        ``"fixed"`` or ``"moving"``, for the message.

    Raises
    ------
    InputError
        If it is colored, flat, constant, or has NaN or infinite values.
    GeometryError
        If its spacing is absurd.
    """
    where = f"the {role} volume"
    if volume.is_rgba:
        raise InputError(
            f"{where} is in color; register the grey volume, then apply the transform to the color"
        )
    if min(volume.shape) < 4:
        raise InputError(
            f"{where} is flat: its shape is {volume.shape}; registration needs at least 4 voxels "
            "along each axis"
        )
    if not all(0.01 <= s <= 50.0 for s in volume.spacing):
        raise GeometryError(
            f"{where} has an impossible spacing of "
            f"{' x '.join(f'{s:.4g}' for s in volume.spacing)} mm; correct its header"
        )
    voxels = np.asarray(volume.voxels)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(f"{where} has values that are not numbers (NaN or infinite); replace them")
    if voxels.min() == voxels.max():
        raise InputError(f"{where} is constant: there is nothing in it to register")


def make_pair(
    fixed: Volume,
    moving: Volume,
    *,
    transform: NDArray[np.float64] | None = None,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    max_voxels: int = MAX_VOXELS,
) -> WorkingPair:
    """Bring two volumes onto a common working grid.

    Parameters
    ----------
    fixed, moving
        Scalar volumes; they may differ in grid, spacing, orientation and field of view.
    transform
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one; None is the identity.
    fixed_mask, moving_mask
        Volumes, not 0 where the image counts, on any grid.
    max_voxels
        Bound on the grid's voxels: its spacing grows until it fits.

    Raises
    ------
    InputError
        If a volume cannot be registered (`check_volume`).
    GeometryError
        If the two do not overlap in space.
    """
    check_volume(fixed, "fixed")
    check_volume(moving, "moving")
    matrix = np.eye(4) if transform is None else np.asarray(transform, dtype=np.float64)
    shape, affine = working_grid(_with_room(fixed, moving, matrix), max_voxels)
    grid = Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")
    through = replace(grid, affine=matrix @ affine)
    both_hu = fixed.unit == "HU" and moving.unit == "HU"
    images, masks = [], []
    for volume, mask, like in ((fixed, fixed_mask, grid), (moving, moving_mask, through)):
        check()
        seen = measured(volume, mask, like)
        check()
        images.append(to_grey(_onto(volume, like), seen, hu=both_hu))
        masks.append(seen)
    share = float((masks[0] & masks[1]).sum()) / max(1, min(int(m.sum()) for m in masks))
    if share < _LEAST_OVERLAP or not (masks[0] & masks[1]).any():
        raise GeometryError(
            "the two volumes do not overlap in space; start from their centers or choose volumes "
            "of the same region"
        )
    tensors = [torch.from_numpy(np.ascontiguousarray(v))[None, None] for v in images]
    weights = None
    if not all(bool(m.all()) for m in masks):
        weights = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None]
    return WorkingPair(tensors[0], tensors[1], weights, affine, matrix)


def working_grid(fixed: Volume, max_voxels: int = MAX_VOXELS) -> tuple[Shape, NDArray[np.float64]]:
    """Return shape and affine of the grid to register on: about isotropic, in the fixed's field.

    The fixed volume's own grid where that is nearly isotropic and small enough.
    """
    spacing = np.array(fixed.spacing)
    voxels = float(np.prod(fixed.shape))
    if voxels <= max_voxels and spacing.max() <= 1.25 * spacing.min():
        return fixed.shape, np.array(fixed.affine)
    fits = float((np.prod(spacing) * voxels / max_voxels) ** (1 / 3))
    wanted = max(fits, float(spacing.min()))
    sizes = np.full(3, wanted)
    while True:
        # thin slabs keep their slices: at least 16 voxels an axis, if they have them
        least = np.minimum(np.array(fixed.shape), 16)
        extent = spacing * np.array(fixed.shape)
        chosen = np.minimum(sizes, extent / least)
        shape, affine = spacing_grid(fixed.shape, np.array(fixed.affine), chosen)
        if np.prod(shape) <= max_voxels or sizes[0] > 1e3:
            return shape, affine
        sizes = sizes * 1.02


def _with_room(fixed: Volume, moving: Volume, transform: NDArray[np.float64]) -> Volume:
    """Return the fixed field of view, with room at each face beyond which the moving one goes on.

    What lies there may be carried into the fixed field of view, and must not be cut off from its
    displacement. An overhang of less than a twentieth, as two fields of one size have, needs none.
    """
    to_index = np.linalg.inv(transform @ fixed.affine)
    theirs = apply(to_index, corners(moving.shape, moving.affine))
    spacing, sizes = np.array(fixed.spacing), np.array(fixed.shape)
    before, after = -theirs.min(axis=0), theirs.max(axis=0) - (sizes - 1)
    most = np.ceil(_ROOM_MM / spacing)
    room = [
        np.where(over > _EDGE * sizes, np.minimum(np.ceil(over), most), 0).astype(int)
        for over in (before, after)
    ]
    shape = tuple(int(n) for n in sizes + room[0] + room[1])
    affine = np.array(fixed.affine)
    affine[:3, 3] -= affine[:3, :3] @ room[0]
    return Volume(np.broadcast_to(np.uint8(0), shape), affine, "unknown")


def _onto(volume: Volume, like: Volume) -> NDArray[np.float32]:
    """Resample onto a grid, smoothed first where the grid is coarser."""
    ratio = np.array(like.spacing)[None, :] / np.array(volume.spacing)[:, None]
    ours, theirs = decompose(volume.affine)[1], decompose(like.affine)[1]
    along = (np.abs(ours.T @ theirs) * ratio).max(axis=1)  # grid steps, in voxels of each axis
    sigma = np.where(along > 1.3, 0.4 * along, 0.0)
    smooth = replace(volume, voxels=blur(np.asarray(volume.voxels), sigma))
    with quietly():
        onto = Transform.identity().apply(smooth, like, order="linear")
    return np.asarray(onto.voxels, dtype=np.float32)

"""Resampling a volume onto another grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.geometry.affine import decompose, same_grid
from tomochrome.geometry.sampling import Order, Points, Sampler
from tomochrome.volume import Volume, require_volume

_MIN_SHARE: Final = 1e-4  # of restored voxels in a resampled one; less is rounding


@dataclass(frozen=True, eq=False)
class Route:
    """The mapping from the voxels of a grid to positions in the volume that is resampled.

    Parameters
    ----------
    first
        4x4 matrix applied to the LPS mm of the grid; None for the identity.
    through
        Function applied to the resulting points; None for the identity.
    last
        4x4 matrix from there to LPS mm of the volume; None for the identity.
    verb, stage
        Name of the operation in the provenance, and of the stage in progress reports; an empty
        stage is not reported.
    """

    first: NDArray[np.float64] | None = None
    through: Callable[[Points], Points] | None = None
    last: NDArray[np.float64] | None = None
    verb: str = "resampled"
    stage: str = ""


def resample(
    volume: Volume, like: Volume, *, order: Order = "linear", fill: float | None = None
) -> Volume:
    """Resample a volume onto the grid of another.

    Parameters
    ----------
    volume
        Scalar or RGBA volume. Its axes may be sheared (tilted gantry).
    like
        The volume that defines shape and affine of the result; its voxels are not used.
    order
        ``"linear"``, or ``"nearest"`` for labels. Integers are rounded to nearest.
    fill
        Value outside ``volume``; None means air (-1024) for HU, else 0. It is clamped to the range
        of the voxel type.

    Returns
    -------
    Volume
        On the grid of ``like``, with the voxel type, unit and provenance of ``volume``. Voxels
        that were not measured, or (for HU) are beyond the grid of ``volume``, are marked as
        ``outside`` and never blended with tissue. Colors are weighted by opacity, so that the
        color of a transparent voxel has no effect.

    Raises
    ------
    OptionError
        If the order is unknown.
    Cancelled
        If the task was cancelled.
    """
    require_volume(volume, "what is resampled")
    require_volume(like, "the grid of the result")
    check_order(order)
    if same_grid(volume, like, tolerance_mm=1e-6):
        return volume
    return resample_along(Route(), volume, like, order=order, fill=fill)


def check_order(order: str) -> None:
    """Raise `OptionError` unless the interpolation order is known."""
    if order not in ("linear", "nearest"):
        raise OptionError(f"unknown resampling order '{order}': choose linear or nearest")


def resample_along(
    route: Route, volume: Volume, like: Volume, *, order: Order, fill: float | None = None
) -> Volume:
    """Resample a volume along a route, see `resample`.

    Parameters
    ----------
    route
        Mapping from the grid to the volume.
    volume, like, order, fill
        As for `resample`.
    """
    if fill is None:
        fill = -1024.0 if volume.unit == "HU" else 0.0
    to_index = np.asarray(np.linalg.inv(volume.affine), np.float64)
    if route.last is not None:
        to_index = to_index @ route.last
    affine = like.affine if route.first is None else route.first @ like.affine
    through = route.through
    if through is None:  # one matrix for both
        affine, to_index = to_index @ affine, np.eye(4)
    voxels = np.asarray(volume.voxels)
    sampler = Sampler(voxels, volume.outside, to_index, order=order, fill=fill)
    values, inside = sampler.on_grid(like.shape, affine, through, stage=route.stage)
    outside = None
    if (volume.outside is not None or volume.unit == "HU") and not inside.all():
        outside = ~inside
    z, y, x = like.shape
    provenance = volume.provenance.add(
        f"{route.verb} onto a grid of {z} x {y} x {x} voxels ({order})"
    )
    restored = None
    if volume.restored is not None:
        share = volume.restored.astype(np.float32)
        sampler = Sampler(share, None, to_index, order=order, fill=0.0)
        restored = _marked(sampler.on_grid(like.shape, affine, through, stage=route.stage)[0])
    return Volume(values, like.affine, volume.unit, provenance, outside, restored)


def restored_on(volume: Volume, like: Volume) -> NDArray[np.bool_] | None:
    """Return which voxels of the grid of ``like`` get restored values of ``volume``.

    Parameters
    ----------
    volume
        A volume, also a lazy one: its voxels are not read.
    like
        The volume that defines the grid.

    Returns
    -------
    ndarray or None
        Booleans (z, y, x); None if there are none.
    """
    if volume.restored is None:
        return None
    mask = Volume(volume.restored.astype(np.float32), volume.affine, "unknown")
    return _marked(resample(mask, like, fill=0.0).voxels)


def _marked(share: NDArray[np.floating]) -> NDArray[np.bool_] | None:
    """Return where there is a share of restored voxels: a mixture with them is not measured."""
    marked = np.asarray(share > _MIN_SHARE)
    return marked if marked.any() else None


def to_spacing(
    volume: Volume,
    spacing: tuple[float, float, float],
    *,
    order: Order = "linear",
    fill: float | None = None,
) -> Volume:
    """Resample a volume to another spacing along the same axes and over the same field of view.

    Parameters
    ----------
    volume
        The volume.
    spacing
        New voxel spacing along (z, y, x) in mm.
    order, fill
        As for `resample`.

    Returns
    -------
    Volume
        The resampled volume.

    Raises
    ------
    OptionError
        If a spacing is not a positive number.

    Notes
    -----
    The edges of the field of view are preserved (a voxel is a box around its center), so the first
    voxel center moves by half the change in spacing. Linear interpolation is no low-pass filter:
    downsampling by more than about two causes aliasing.
    """
    require_volume(volume, "what is resampled")
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape != (3,) or not np.isfinite(steps).all() or (steps <= 0).any():
        raise OptionError(f"the spacing must be three positive numbers of mm, not {spacing}")
    grid = spacing_grid(volume.shape, volume.affine, steps)
    like = Volume(np.broadcast_to(np.uint8(0), grid[0]), grid[1])
    return resample(volume, like, order=order, fill=fill)


def spacing_grid(
    shape: tuple[int, int, int], affine: NDArray[np.float64], spacing: NDArray[np.float64]
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return shape and affine of the grid with another spacing over the same field of view."""
    origin, directions, old = decompose(affine)
    z, y, x = (max(1, round(n * o / s)) for n, o, s in zip(shape, old, spacing, strict=True))
    result = np.eye(4)
    result[:3, :3] = directions * spacing
    extent, covered = np.asarray(shape) * old, np.array((z, y, x)) * spacing
    shift = (spacing - old) / 2 + (extent - covered) / 2
    result[:3, 3] = origin + directions @ shift
    return (z, y, x), result

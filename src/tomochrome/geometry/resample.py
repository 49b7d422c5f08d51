"""Resampling onto another grid, by SimpleITK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.geometry.affine import apply, corners, decompose, same_grid
from tomochrome.geometry.sitk import bare_image
from tomochrome.runtime import CancelToken, look, watched
from tomochrome.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

Order = Literal["linear", "nearest"]

_SLAB: Final = 6_000_000  # voxels resampled at a time
HALF: Final = 0.5 - 1e-4
"""A voxel counts as measured if measured ones carry half of its weight, give or take rounding."""
_EDGE: Final = 1e-3  # of a voxel: closer to the edge of a volume than this, ITK is asked


@watched
def resample(
    volume: Volume,
    like: Volume,
    *,
    order: Order = "linear",
    fill: float | None = None,
    cancel: CancelToken | None = None,
) -> Volume:
    """Resample a volume onto the grid of another.

    Parameters
    ----------
    volume
        Scalar or RGBA volume. Its axes may be sheared (tilted gantry).
    like
        The volume whose shape and affine the result takes on; its voxels are not looked at.
    order
        ``"linear"``, or ``"nearest"`` for labels. Integers are rounded to nearest.
    fill
        Value where ``volume`` does not reach; None means air (-1024) for HU, else 0. A value
        that the voxel type does not hold becomes the nearest that it does.
    cancel
        Looked at several times a second.

    Returns
    -------
    Volume
        On the grid of ``like``, with the voxel type, unit and provenance of ``volume``. Voxels
        that ``volume`` did not measure, or (in HU) does not reach, lie ``outside``; such voxels
        are never blended with tissue. Colors are blended by their opacity, so that the hidden
        color of a clear voxel tinges nothing.

    Raises
    ------
    OptionError
        If the order is not known.
    Cancelled
        If ``cancel`` was set.
    """
    if order not in ("linear", "nearest"):
        raise OptionError(f"unknown resampling order '{order}': choose linear or nearest")
    if same_grid(volume, like, tolerance_mm=1e-6):
        return volume
    if fill is None:
        fill = -1024.0 if volume.unit == "HU" else 0.0
    voxels = np.asarray(volume.voxels)
    if voxels.dtype.kind in "iu":
        fill = float(np.clip(fill, np.iinfo(voxels.dtype).min, np.iinfo(voxels.dtype).max))
    outside = None
    if order == "linear" and volume.outside is not None and not volume.is_rgba:
        voxels, outside = _around_holes(volume, like, fill)
    else:
        blended = volume.is_rgba and order == "linear"
        resampled = _blended if blended else _resampled
        voxels = resampled(voxels, volume, like, order, fill)
        if volume.outside is not None or volume.unit == "HU":
            outside = _outside(volume, like)
    z, y, x = like.shape
    provenance = volume.provenance.add(f"resampled onto a grid of {z} x {y} x {x} voxels ({order})")
    return Volume(voxels, like.affine, volume.unit, provenance, outside)


def _resampled(
    voxels: NDArray[Any], volume: Volume, like: Volume, order: Order, fill: float
) -> NDArray[Any]:
    """Resample voxels that lie on the grid of ``volume`` onto that of ``like``."""
    import SimpleITK

    dtype = voxels.dtype
    rounded = order == "linear" and dtype.kind in "iub"
    if rounded:  # ITK would cut the digits off, which moves every value towards 0
        voxels = voxels.astype(np.float32 if dtype.itemsize <= 2 else np.float64)
    # Voxels in their own index space: sheared affines, which ITK images cannot hold, live in
    # the transform instead.
    image, transform = bare_image(voxels), _index_transform(volume, like)
    resampler = SimpleITK.ResampleImageFilter()
    resampler.SetOutputSpacing([1.0, 1.0, 1.0])
    resampler.SetOutputDirection(np.eye(3).ravel().tolist())
    resampler.SetTransform(transform)
    resampler.SetInterpolator(
        SimpleITK.sitkLinear if order == "linear" else SimpleITK.sitkNearestNeighbor
    )
    resampler.SetDefaultPixelValue(float(fill))
    depth, y, x = like.shape
    found = np.empty((*like.shape, *voxels.shape[3:]), dtype)
    few = max(1, _SLAB // (y * x))
    for first in range(0, depth, few):  # nothing stops ITK once it has begun
        look()
        count = min(few, depth - first)
        resampler.SetSize([x, y, count])
        resampler.SetOutputOrigin([0.0, 0.0, float(first)])
        part = resampler.Execute(image)  # owns what the view shows
        taken = SimpleITK.GetArrayViewFromImage(part)
        found[first : first + count] = np.rint(taken) if rounded else taken
    return found


def _blended(
    voxels: NDArray[Any], volume: Volume, like: Volume, order: Order, fill: float
) -> NDArray[Any]:
    """Resample RGBA: colors weigh as much as they are opaque."""
    weighed = voxels.astype(np.float32)
    weighed[..., :3] *= weighed[..., 3:] / 255
    found = _resampled(weighed, volume, like, order, fill)
    opacity = found[..., 3:] / 255
    np.divide(found[..., :3], opacity, out=found[..., :3], where=opacity > 0)
    return np.asarray(np.rint(found).clip(0, 255).astype(voxels.dtype))


def _around_holes(
    volume: Volume, like: Volume, fill: float
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Resample linearly from the measured voxels alone: what lies outside is not blended in.

    A voxel is outside where the measured ones around it carry less than half of the weight.
    """
    assert volume.outside is not None
    inside = np.where(volume.outside, np.float32(0), np.float32(1))
    dtype = np.asarray(volume.voxels).dtype
    exact = np.float64 if dtype.itemsize > 2 and dtype != np.float32 else np.float32
    values = np.where(volume.outside, 0, volume.voxels).astype(exact, copy=False)
    total = _resampled(values, volume, like, "linear", 0.0)
    weight = _resampled(inside, volume, like, "linear", 0.0)
    outside = weight < HALF
    np.divide(total, weight, out=total, where=~outside)
    if dtype.kind in "iub":
        np.rint(total, out=total)
    total[outside] = fill
    return total.astype(dtype, copy=False), outside if outside.any() else None


def _outside(volume: Volume, like: Volume) -> NDArray[np.bool_] | None:
    """Return where ``like`` has voxels that the scan did not measure, or None if nowhere.

    What lies on the very edge of the volume is decided where the voxels' values are taken
    (`_resampled`), so that a voxel never holds the fill value and counts as measured.
    """
    if volume.outside is None:
        there = apply(np.linalg.inv(volume.affine), corners(like.shape, like.affine))
        last = np.array(volume.shape) - 0.5
        if (there > _EDGE - 0.5).all() and (there < last - _EDGE).all():
            return None  # well inside: nothing to look up
        inside = np.ones(volume.shape, np.uint8)
    else:
        inside = (~volume.outside).astype(np.uint8)
    outside = _resampled(inside, volume, like, "nearest", 0.0) == 0
    return outside if outside.any() else None


def _index_transform(volume: Volume, like: Volume) -> SimpleITK.AffineTransform:
    """Transform from (x, y, z) indices of ``like`` to (x, y, z) indices of ``volume``."""
    import SimpleITK

    matrix = np.linalg.inv(volume.affine) @ like.affine
    transform = SimpleITK.AffineTransform(3)
    transform.SetMatrix([float(v) for v in matrix[2::-1, 2::-1].ravel()])
    transform.SetTranslation([float(v) for v in matrix[2::-1, 3]])
    return transform


def to_spacing(
    volume: Volume,
    spacing: tuple[float, float, float],
    *,
    order: Order = "linear",
    fill: float | None = None,
) -> Volume:
    """Resample a volume to another spacing along its own axes, covering the same field of view.

    Parameters
    ----------
    spacing
        New distance between voxel centres along (z, y, x) in mm.
    order, fill
        As for `resample`.

    Notes
    -----
    The edges of the field of view stay where they are (a voxel is a box about its centre), so
    the new first centre lies half the change of spacing further in. Linear interpolation does
    not low-pass filter: shrinking by more than about two aliases.

    Raises
    ------
    OptionError
        If a spacing is not a positive number.
    """
    wanted = np.asarray(spacing, dtype=np.float64)
    if wanted.shape != (3,) or not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise OptionError(f"the spacing must be three positive numbers of mm, not {spacing}")
    grid = spacing_grid(volume.shape, volume.affine, wanted)
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

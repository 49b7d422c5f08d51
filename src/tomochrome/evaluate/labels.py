"""How well two label maps on one grid agree: Dice overlap and 95 % Hausdorff distance."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import require_same_grid
from tomochrome.runtime import CancelToken, check, thread_count
from tomochrome.tissue import NO_TISSUE
from tomochrome.volume import Volume

MOST_LABELS: Final = 1024
"""More different values are a picture, not labels."""
_TABLE: Final = 1 << 20  # a range of label values up to which counting needs no sorting

Flat = NDArray[np.int64]


def overlap(
    fixed_labels: Volume, moved_labels: Volume, *, cancel: CancelToken | None = None
) -> dict[str, Any]:
    """Compare two label maps, label by label.

    Parameters
    ----------
    fixed_labels, moved_labels
        Whole numbers on one grid; 0 is background (of tissue maps also 255, not known).
    cancel
        Looked at before each label.

    Returns
    -------
    dict
        ``dice``: for each label present in either, ``2 |A and B| / (|A| + |B|)``, under its number
        as text. ``dice_mean``: their mean; left out if there is no label at all.
        ``hausdorff95_mm``: for each label present in both, the larger of the two directed 95th
        percentiles (linear interpolation between ranks) of the distances from the centre of each
        surface voxel of one to that of the nearest surface voxel of the other. A voxel is surface
        if one of its six neighbours is not of the label, or not on the grid. Distances are in
        space: spacing, obliquity and shear of the affine count.

    Raises
    ------
    GeometryError
        If the two do not lie on the same grid.
    InputError
        If one of them holds no labels but colors, fractions or a picture's many values.
    """
    require_same_grid(fixed_labels, moved_labels, "the fixed and the moved labels")
    values, (a, b) = _coded(fixed_labels, moved_labels)
    size = len(values) + 1
    counts = np.bincount(a.ravel(), minlength=size) + np.bincount(b.ravel(), minlength=size)
    common = np.bincount(a[a == b], minlength=size)
    boxes = _boxes(a, len(values)), _boxes(b, len(values))
    basis = fixed_labels.affine[:3, :3]
    dice, distances = {}, {}
    for code, value in enumerate(values, start=1):
        check(cancel)
        dice[str(value)] = 2.0 * float(common[code]) / float(counts[code])
        ours, theirs = boxes[0][code - 1], boxes[1][code - 1]
        if ours is not None and theirs is not None:
            surfaces = _surface(a, code, ours), _surface(b, code, theirs)
            distances[str(value)] = _hausdorff95(*surfaces, a.shape, basis)
    mean = {"dice_mean": float(np.mean(list(dice.values())))} if dice else {}
    return {"dice": dice, **mean, "hausdorff95_mm": distances}


def _coded(*volumes: Volume) -> tuple[list[int], list[NDArray[np.uint16]]]:
    """Return the labels in rising order, and the maps with 0 and each label's rank from 1 on."""
    maps = [_whole_numbers(volume) for volume in volumes]
    low = min(int(m.min()) for m in maps)
    high = max(int(m.max()) for m in maps)
    if high - low < _TABLE:
        seen = np.zeros(high - low + 1, dtype=bool)
        for labels in maps:
            seen |= np.bincount((labels.ravel() - low), minlength=len(seen)) > 0
        present = np.flatnonzero(seen) + low
    else:
        present = np.unique(np.concatenate([np.unique(m) for m in maps]))
    unknown = {0, NO_TISSUE} if all(v.unit == "tissue" for v in volumes) else {0}
    values = [int(v) for v in present if int(v) not in unknown]
    if len(values) > MOST_LABELS:
        raise InputError(
            f"the label maps hold {len(values)} different values: that is a picture, not labels"
        )
    ranks = np.zeros(len(present), np.uint16)
    ranks[[v not in unknown for v in present.tolist()]] = np.arange(1, len(values) + 1)
    if high - low >= _TABLE:
        return values, [ranks[np.searchsorted(present, m)] for m in maps]
    table = np.zeros(high - low + 1, np.uint16)
    table[present - low] = ranks
    return values, [table[m - low] for m in maps]


def _whole_numbers(volume: Volume) -> NDArray[Any]:
    """Return the voxels as integers that can be subtracted without running over."""
    voxels = np.asarray(volume.voxels)
    if volume.is_rgba:
        raise InputError("a label map is in color; labels are whole numbers")
    if voxels.dtype.kind == "f":
        if not np.isfinite(voxels).all() or np.abs(voxels).max() > 2**31 - 1:
            raise InputError("a label map holds values that are not finite or far too large")
        whole = voxels.astype(np.int64)
        if not np.array_equal(whole, voxels):
            raise InputError("a label map holds fractions; labels are whole numbers")
        return whole
    return voxels.astype(np.int32 if voxels.dtype.itemsize <= 2 else np.int64)


def _boxes(labels: NDArray[np.uint16], count: int) -> list[tuple[slice, ...] | None]:
    """Return the tight box of each label, None for those that are not there."""
    from scipy import ndimage

    found = list(ndimage.find_objects(labels, max_label=count)) if count else []
    return found + [None] * (count - len(found))


def _surface(labels: NDArray[np.uint16], code: int, box: tuple[slice, ...]) -> Flat:
    """Return the flat indices, rising, of the surface voxels of a label within its tight box."""
    inside = np.pad(labels[box] == code, 1)
    core = inside.copy()
    for axis in range(3):
        for step in (-1, 1):
            core &= np.roll(inside, step, axis=axis)  # the margin is empty: nothing wraps around
    edge = (inside & ~core)[1:-1, 1:-1, 1:-1]
    index = np.nonzero(edge)
    starts = [i + part.start for i, part in zip(index, box, strict=True)]
    return np.asarray(np.ravel_multi_index(starts, labels.shape))


def _hausdorff95(
    ours: Flat, theirs: Flat, shape: tuple[int, ...], basis: NDArray[np.float64]
) -> float:
    """Larger of the two directed 95th percentiles of surface distance, mm."""
    from scipy.spatial import cKDTree

    points = [np.stack(np.unravel_index(s, shape), axis=1) @ basis.T for s in (ours, theirs)]
    largest = 0.0
    for here, there in ((0, 1), (1, 0)):
        shared = np.isin((ours, theirs)[here], (ours, theirs)[there], assume_unique=True)
        distance = np.zeros(len(shared))
        if not shared.all():
            tree = cKDTree(points[there], balanced_tree=False, compact_nodes=False)
            distance[~shared] = tree.query(points[here][~shared], workers=thread_count())[0]
        largest = max(largest, float(np.percentile(distance, 95)))
    return largest

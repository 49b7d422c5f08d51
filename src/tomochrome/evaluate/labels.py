"""Agreement of two label maps on the same grid: Dice overlap and 95 % Hausdorff distance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import require_same_grid
from tomochrome.runtime import check, thread_count
from tomochrome.tissue import NO_TISSUE
from tomochrome.volume import Volume

MAX_LABELS: Final = 1024
"""A volume with more distinct values is an image, not a label map."""
_TABLE: Final = 1 << 20  # largest range of label values for a lookup table

_SLAB: Final = 2_000_000  # voxels processed at a time
_QUERIES: Final = 20_000  # nearest-neighbor queries at a time
_MAX_SURFACE: Final = 500_000  # maximum number of surface points per distance computation

Flat = NDArray[np.int64]


def overlap(fixed_labels: Volume, moved_labels: Volume) -> dict[str, Any]:
    """Compare two label maps, label by label.

    Parameters
    ----------
    fixed_labels, moved_labels
        Integer labels on the same grid; 0 is background (in tissue maps also 255, unknown).

    Returns
    -------
    dict
        ``dice``: for each label present in either, ``2 |A and B| / (|A| + |B|)``, with the label
        as text as its key. ``dice_mean``: their mean; absent if there are no labels.
        ``hausdorff95_mm``: for each label present in both, the larger of the two directed 95th
        percentiles (linear interpolation between ranks) of the distances from the center of each
        surface voxel of one to that of the nearest surface voxel of the other. A surface voxel has
        one of its six neighbors outside the label or the grid. Distances are in patient space,
        with the spacing, obliquity and shear of the affine. Surfaces of more than half a million
        voxels are subsampled with an integer step.

    Raises
    ------
    GeometryError
        If the two are not on the same grid.
    InputError
        If one of them is not a label map: it has colors, fractions, or too many distinct values.
    """
    require_same_grid(fixed_labels, moved_labels, "the fixed and the moved labels")
    values, (a, b) = _coded(fixed_labels, moved_labels)
    size = len(values) + 1
    counts, common = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for rows in _slabs(a.shape):
        p, q = a[rows].ravel(), b[rows].ravel()
        counts += np.bincount(p, minlength=size) + np.bincount(q, minlength=size)
        common += np.bincount(p[p == q], minlength=size)
    boxes = _boxes(a, len(values)), _boxes(b, len(values))
    basis = fixed_labels.affine[:3, :3]
    dice, distances = {}, {}
    for code, value in enumerate(values, start=1):
        check()
        dice[str(value)] = 2.0 * float(common[code]) / float(counts[code])
        ours, theirs = boxes[0][code - 1], boxes[1][code - 1]
        if ours is not None and theirs is not None:
            surfaces = _surface(a, code, ours), _surface(b, code, theirs)
            distances[str(value)] = _hausdorff95(*surfaces, a.shape, basis)
    mean = {"dice_mean": float(np.mean(list(dice.values())))} if dice else {}
    return {"dice": dice, **mean, "hausdorff95_mm": distances}


def _coded(*volumes: Volume) -> tuple[list[int], list[NDArray[np.uint16]]]:
    """Return the labels in ascending order, and the maps recoded to 0 and ranks from 1 on."""
    slabs = list(_slabs(volumes[0].shape))
    ends = [(p.min(), p.max()) for v in volumes for p in (_whole_numbers(v, r) for r in slabs)]
    low, high = int(min(e[0] for e in ends)), int(max(e[1] for e in ends))
    narrow = high - low < _TABLE
    if narrow:
        seen = np.zeros(high - low + 1, dtype=bool)
        for volume, rows in itertools.product(volumes, slabs):
            seen |= np.bincount(_whole_numbers(volume, rows).ravel() - low, minlength=len(seen)) > 0
        present = np.flatnonzero(seen) + low
    else:
        parts = (np.unique(_whole_numbers(*part)) for part in itertools.product(volumes, slabs))
        present = np.unique(np.concatenate(list(parts)))
    unknown = {0, NO_TISSUE} if all(v.unit == "tissue" for v in volumes) else {0}
    values = [int(v) for v in present if int(v) not in unknown]
    if len(values) > MAX_LABELS:
        raise InputError(
            f"the label maps hold {len(values)} distinct values: this is an image, not a label map"
        )
    ranks = np.zeros(len(present), np.uint16)
    ranks[[v not in unknown for v in present.tolist()]] = np.arange(1, len(values) + 1)
    table = np.zeros(high - low + 1 if narrow else 0, np.uint16)
    if narrow:
        table[present - low] = ranks
    coded = [np.empty(v.shape, np.uint16) for v in volumes]
    for (volume, codes), rows in itertools.product(zip(volumes, coded, strict=True), slabs):
        part = _whole_numbers(volume, rows)
        codes[rows] = table[part - low] if narrow else ranks[np.searchsorted(present, part)]
    return values, coded


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slabs of slices, checking for cancellation before each."""
    few = max(1, _SLAB // (shape[1] * shape[2]))
    for first in range(0, shape[0], few):
        check()
        yield slice(first, min(first + few, shape[0]))


def _whole_numbers(volume: Volume, rows: slice) -> NDArray[Any]:
    """Return some slices as integers that can be subtracted without overflow."""
    check()
    if volume.is_rgba:
        raise InputError("a label map is in color; labels must be integers")
    voxels = np.asarray(volume.voxels[rows])
    if voxels.dtype.kind == "f":
        if not np.isfinite(voxels).all() or np.abs(voxels).max() > 2**31 - 1:
            raise InputError("a label map holds values that are not finite or too large")
        whole = voxels.astype(np.int64)
        if not np.array_equal(whole, voxels):
            raise InputError("a label map holds fractions; labels must be integers")
        return whole
    return voxels.astype(np.int32 if voxels.dtype.itemsize <= 2 else np.int64)


def _boxes(labels: NDArray[np.uint16], count: int) -> list[tuple[slice, ...] | None]:
    """Return the bounding box of each label, None for absent ones."""
    from scipy import ndimage

    boxes = list(ndimage.find_objects(labels, max_label=count)) if count else []
    return boxes + [None] * (count - len(boxes))


def _surface(labels: NDArray[np.uint16], code: int, box: tuple[slice, ...]) -> Flat:
    """Return the ascending flat indices of a label's surface voxels, given its bounding box."""
    faces = []
    depth, few = box[0].stop, max(1, _SLAB // (labels.shape[1] * labels.shape[2]))
    for first in range(box[0].start, depth, few):
        check()
        last = min(first + few, depth)
        ends = slice(max(0, first - 1), min(len(labels), last + 1)), *box[1:]
        inside = np.pad(labels[ends] == code, 1)
        # the slab's slices without the additional ones at each end
        rows = slice(1 + first - ends[0].start, 1 + last - ends[0].start)
        inner, low, high = slice(1, -1), slice(None, -2), slice(2, None)
        core = inside[rows, inner, inner].copy()
        for step in (-1, 1):
            core &= inside[rows.start + step : rows.stop + step, inner, inner]
        for side in (low, high):
            core &= inside[rows, side, inner] & inside[rows, inner, side]
        index = np.nonzero(inside[rows, inner, inner] & ~core)
        starts = (first, box[1].start, box[2].start)
        whole = [i + start for i, start in zip(index, starts, strict=True)]
        faces.append(np.ravel_multi_index(whole, labels.shape))
    return np.concatenate(faces)


def _hausdorff95(
    ours: Flat, theirs: Flat, shape: tuple[int, ...], basis: NDArray[np.float64]
) -> float:
    """Return the larger of the two directed 95th percentiles of surface distance in mm."""
    from scipy.spatial import cKDTree

    points = []
    for surface in (ours, theirs):
        check()
        points.append(np.stack(np.unravel_index(surface, shape), axis=1) @ basis.T)
    largest = 0.0
    for source, target in ((0, 1), (1, 0)):
        check()
        step = -(-len(points[source]) // _MAX_SURFACE)
        shared = np.isin((ours, theirs)[source][::step], (ours, theirs)[target], assume_unique=True)
        distance = np.zeros(len(shared))
        if not shared.all():
            check()
            tree = cKDTree(points[target], balanced_tree=False, compact_nodes=False)
            queries = points[source][::step][~shared]
            distances = []
            for first in range(0, len(queries), _QUERIES):
                check()
                part = queries[first : first + _QUERIES]
                distances.append(tree.query(part, workers=thread_count())[0])
            distance[~shared] = np.concatenate(distances)
        largest = max(largest, float(np.percentile(distance, 95)))
    return largest

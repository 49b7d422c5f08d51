"""Similarity of two volumes on the same grid: NCC, local NCC, mutual information."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.affine import require_same_grid
from tomochrome.runtime import check
from tomochrome.runtime.kernels import plain_numbers
from tomochrome.volume import Volume
from tomochrome.windowing.grey import GREY_KNOTS, HU_KNOTS

BINS: Final = 64
"""Bins of each axis of the joint histogram."""
RADIUS: Final = 3
"""The window of the local correlation has a side of ``2 * RADIUS + 1`` voxels."""
_FLAT: Final = 3e-4  # variance of a window, grey values 0 to 1, below which it is constant
_SLAB: Final = 1_500_000  # voxels processed at a time
_MIN_SLICES: Final = 5 * RADIUS  # minimum slices of a slab, as it also needs margins of RADIUS
_SAMPLES: Final = 500_000  # voxels for the percentiles
_JOBS: Final = 8  # parallel histograms

Pair = tuple[NDArray[Any], NDArray[Any]]
Scale = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Knots of a piecewise linear map from values to grey, 0 to 1; constant beyond the ends."""
_HU: Final[Scale] = (np.array(HU_KNOTS), np.array(GREY_KNOTS))


def similarity_measures(fixed: Volume, moved: Volume, mask: Mask = None) -> dict[str, float]:
    """Return the similarity of two volumes over the voxels that both cover.

    Parameters
    ----------
    fixed, moved
        Scalar volumes on the same grid. Voxels that are ``outside`` of either, or not finite, are
        excluded.
    mask
        A volume on any grid, or an array (z, y, x); 0 is excluded.

    Returns
    -------
    dict
        ``ncc``: Pearson's correlation of the original values, -1 to 1.
        ``local_ncc``: mean squared correlation in cubes of 7 voxels a side, 0 to 1 (Avants et al.,
        Medical Image Analysis 12, 2008), over the cubes in which at least one volume is not
        constant (standard deviation above 1.7 % of the grey range).
        ``mutual_information``: in nats, of a joint histogram of 64 x 64 bins.
        The last two use grey values from 0 to 1: for two volumes in HU by fixed knots (which
        give soft tissue most of the range), otherwise between the percentiles 0.5 and 99.5.
        Undefined measures (no common voxel, a constant volume) are absent.

    Raises
    ------
    GeometryError
        If the volumes are not on the same grid.
    InputError
        If one is in color.
    """
    for volume, role in ((fixed, "fixed"), (moved, "moved")):
        if volume.is_rgba:
            raise InputError(f"the {role} volume is in color; compare the grey volumes")
    require_same_grid(fixed, moved, "the fixed and the moved volume")
    valid = _valid(fixed, moved, on_grid(mask, fixed))
    pair = plain_numbers(fixed.voxels), plain_numbers(moved.voxels)
    moments = _moments(pair, valid)
    if moments is None:
        return {}
    measures = {}
    if moments.correlation is not None:
        measures["ncc"] = moments.correlation
    hu = fixed.unit == "HU" and moved.unit == "HU"
    scales = []
    for voxels, ends in zip(pair, moments.ends, strict=True):
        if ends[0] >= ends[1]:
            return measures
        scales.append(_HU if hu else _between_percentiles(voxels, valid, ends))
    return {**measures, **_local_and_mutual(pair, (scales[0], scales[1]), valid)}


def _valid(fixed: Volume, moved: Volume, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Return the voxels that both volumes cover, inside the mask."""
    valid = np.ones(fixed.shape, dtype=bool) if mask is None else mask.copy()
    for rows in _slabs(fixed.shape):
        for volume in (fixed, moved):
            if volume.outside is not None:
                valid[rows] &= ~volume.outside[rows]
            voxels = np.asarray(volume.voxels[rows])
            if voxels.dtype.kind == "f":
                valid[rows] &= np.isfinite(voxels)
    return valid


def _slabs(shape: tuple[int, ...]) -> Iterator[slice]:
    few = max(_MIN_SLICES, _SLAB // (shape[1] * shape[2]))
    for first in range(0, shape[0], few):
        check()
        yield slice(first, min(first + few, shape[0]))


class _Moments(NamedTuple):
    correlation: float | None  #: Pearson's, or None if a volume is constant
    ends: tuple[tuple[float, float], tuple[float, float]]  #: minimum and maximum of each


def _moments(pair: Pair, valid: NDArray[np.bool_]) -> _Moments | None:
    """Return moments over the valid voxels, merged from those of rows; None without voxels.

    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", COMPSTAT 1982.
    """
    from tomochrome.evaluate import measure_kernels

    depth, height, _ = valid.shape
    moments = np.empty((depth, height, 10))
    for rows in _slabs(valid.shape):
        a, b = (np.ascontiguousarray(voxels[rows]) for voxels in pair)
        measure_kernels.row_moments(a, b, valid[rows], moments[rows].reshape(-1, 10))
    rows_of = moments[moments[..., 0] > 0]
    if not len(rows_of):
        return None
    count = rows_of[:, 0]
    mean = np.average(rows_of[:, 1:3], axis=0, weights=count)
    p, q = (rows_of[:, 1:3] - mean).T
    pp, qq, pq = rows_of[:, 3:6].sum(axis=0)
    pp, qq, pq = pp + (count * p * p).sum(), qq + (count * q * q).sum(), pq + (count * p * q).sum()
    least = count.sum() * 1e-24 * np.maximum(mean * mean, 1e-300)
    constant = pp <= least[0] or qq <= least[1]
    ends = [(float(rows_of[:, k].min()), float(rows_of[:, k + 1].max())) for k in (6, 8)]
    correlation = None if constant else float(np.clip(pq / np.sqrt(pp * qq), -1.0, 1.0))
    return _Moments(correlation, (ends[0], ends[1]))


def _between_percentiles(
    voxels: NDArray[Any], valid: NDArray[np.bool_], ends: tuple[float, float]
) -> Scale:
    """Return the scale of a volume without a unit, from a subsample of its voxels."""
    every, skip, sample = int(valid.sum()) // _SAMPLES + 1, 0, []
    for rows in _slabs(valid.shape):
        inside = voxels[rows][valid[rows]]
        sample.append(inside[skip::every].astype(np.float64))
        skip = (skip - len(inside)) % every
    low, high = np.percentile(np.concatenate(sample), (0.5, 99.5))
    low, high = (low, high) if low < high else ends
    return np.array((low, high), np.float64), np.array((0.0, 1.0))


def _local_and_mutual(
    pair: Pair, scales: tuple[Scale, Scale], valid: NDArray[np.bool_]
) -> dict[str, float]:
    """Return the mean local correlation and the mutual information, computed slab by slab."""
    from tomochrome.evaluate import measure_kernels
    from tomochrome.geometry.box_kernels import box_sums

    depth, total, count = valid.shape[0], 0.0, 0
    joint = np.zeros((_JOBS, BINS * BINS), np.int64)
    for rows in _slabs(valid.shape):
        padded = slice(max(0, rows.start - RADIUS), min(depth, rows.stop + RADIUS))
        weight = valid[padded]
        if not weight.any():
            continue
        p, q = np.empty((2, *weight.shape), np.float32)
        for voxels, scale, grey in zip(pair, scales, (p, q), strict=True):
            measure_kernels.to_grey(np.ascontiguousarray(voxels[padded]), weight, *scale, grey)
        first, last = rows.start - padded.start, rows.stop - padded.start
        measure_kernels.joint_counts(p, q, weight, first, last, BINS, joint)
        sums = np.empty((2, 6, *p.shape), np.float32)
        measure_kernels.products(p, q, weight, sums[0])
        box_sums(sums[0], RADIUS, sums[1])
        squared, windows = measure_kernels.local_correlations(sums[1], weight, first, last, _FLAT)
        total, count = total + float(squared), count + int(windows)
    local = {"local_ncc": total / count} if count else {}
    counts = joint.sum(axis=0).astype(np.float64)
    return {**local, "mutual_information": information(counts.reshape(BINS, BINS))}


def information(joint: NDArray[np.float64]) -> float:
    """Return the mutual information in nats of a joint histogram (counts, any size)."""
    share = joint / joint.sum()
    independent = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    filled = share > 0
    return float(max(0.0, (share[filled] * np.log(share[filled] / independent[filled])).sum()))

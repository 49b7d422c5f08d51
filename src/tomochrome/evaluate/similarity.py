"""How alike two volumes on one grid are: correlation, local correlation, mutual information."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.affine import require_same_grid
from tomochrome.runtime import CancelToken, check
from tomochrome.volume import Volume

BINS: Final = 64
"""Bins of each axis of the joint histogram."""
RADIUS: Final = 3
"""The window of the local correlation has a side of ``2 * RADIUS + 1`` voxels."""
_FLAT: Final = 3e-4  # variance of a window, grey values 0 to 1, up to which it shows nothing
_SLAB: Final = 1_500_000  # voxels looked at at a time
_FEWEST: Final = 5 * RADIUS  # slices at a time: each slab is looked at with margins of RADIUS
_SAMPLES: Final = 500_000  # voxels that the percentiles are taken from
# HU to grey as registration sees it: soft tissue gets most of the range, air and bone the rest.
_HU_KNOTS: Final = (-1000.0, -800.0, -200.0, 250.0, 1000.0, 2000.0)
_GREY_KNOTS: Final = (0.0, 0.12, 0.28, 0.82, 0.97, 1.0)

Grey = Callable[[NDArray[Any]], NDArray[np.float32]]


def similarity_measures(
    fixed: Volume, moved: Volume, mask: Mask = None, *, cancel: CancelToken | None = None
) -> dict[str, float]:
    """Compare two volumes voxel by voxel, where both were measured.

    Parameters
    ----------
    fixed, moved
        Scalar volumes on one grid. Voxels that lie ``outside`` of either, or are not finite, do
        not count.
    mask
        Where to look: a volume on any grid, or an array (z, y, x); not 0 where it counts.
    cancel
        Looked at several times a second.

    Returns
    -------
    dict
        ``ncc``: Pearson's correlation of the values as they are, -1 to 1.
        ``local_ncc``: mean squared correlation in cubes of 7 voxels a side, 0 to 1 (Avants et al.,
        Medical Image Analysis 12, 2008), over the cubes in which at least one picture shows
        something (a standard deviation of more than 1.7 % of the grey range).
        ``mutual_information``: in nats, of a joint histogram of 64 x 64 bins.
        The last two look at grey values from 0 to 1: of two volumes in HU by fixed knots (which
        give soft tissue most of the range), of others between their percentiles 0.5 and 99.5.
        What is not defined (no common voxel, a constant picture) is left out.

    Raises
    ------
    GeometryError
        If the volumes do not lie on the same grid.
    InputError
        If one is in color.
    """
    for volume, role in ((fixed, "fixed"), (moved, "moved")):
        if volume.is_rgba:
            raise InputError(f"the {role} volume is in color; compare the grey volumes")
    require_same_grid(fixed, moved, "the fixed and the moved volume")
    valid = _valid(fixed, moved, on_grid(mask, fixed))
    if not valid.any():
        return {}
    pair = np.asarray(fixed.voxels), np.asarray(moved.voxels)
    measures = {}
    correlation = _correlation(*pair, valid, cancel)
    if correlation is not None:
        measures["ncc"] = correlation
    both_hu = fixed.unit == "HU" and moved.unit == "HU"
    greys = [_grey_scale(voxels, valid, both_hu) for voxels in pair]
    if greys[0] is None or greys[1] is None:
        return measures
    return {**measures, **_local_and_mutual(pair, (greys[0], greys[1]), valid, cancel)}


def _valid(fixed: Volume, moved: Volume, wanted: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Where both volumes were measured and the mask wants them."""
    valid = np.ones(fixed.shape, dtype=bool) if wanted is None else wanted.copy()
    for volume in (fixed, moved):
        if volume.outside is not None:
            valid &= ~volume.outside
        voxels = np.asarray(volume.voxels)
        if voxels.dtype.kind == "f":
            valid &= np.isfinite(voxels)
    return valid


def _slabs(shape: tuple[int, ...], cancel: CancelToken | None) -> Iterator[slice]:
    few = max(_FEWEST, _SLAB // (shape[1] * shape[2]))
    for first in range(0, shape[0], few):
        check(cancel)
        yield slice(first, min(first + few, shape[0]))


def _correlation(
    a: NDArray[Any], b: NDArray[Any], valid: NDArray[np.bool_], cancel: CancelToken | None
) -> float | None:
    """Pearson's correlation, slab by slab: centred sums merged as they come.

    Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", COMPSTAT 1982.
    """
    count, mean, sums = 0, np.zeros(2), np.zeros((2, 2))
    for rows in _slabs(a.shape, cancel):
        here = valid[rows]
        values = np.stack([v[rows][here].astype(np.float64) for v in (a, b)])
        if values.shape[1] == 0:
            continue
        n, middle = values.shape[1], values.mean(axis=1)
        values -= middle[:, None]
        apart = middle - mean
        sums += values @ values.T + np.outer(apart, apart) * (n * count / (n + count))
        mean, count = mean + apart * (n / (n + count)), count + n
    least = count * 1e-24 * np.maximum(mean * mean, 1e-300)
    if (np.diag(sums) <= least).any():
        return None
    return float(np.clip(sums[0, 1] / np.sqrt(sums[0, 0] * sums[1, 1]), -1.0, 1.0))


def _grey_scale(voxels: NDArray[Any], valid: NDArray[np.bool_], hu: bool) -> Grey | None:
    """Return what brings values to 0..1, or None for a constant picture."""
    inside = voxels[valid]
    low, high = float(inside.min()), float(inside.max())
    if low >= high:
        return None
    if hu:
        return lambda values: np.interp(values, _HU_KNOTS, _GREY_KNOTS).astype(np.float32)
    sample = inside[:: len(inside) // _SAMPLES + 1]
    ends = np.percentile(sample.astype(np.float64), (0.5, 99.5))
    if ends[0] < ends[1]:
        low, high = float(ends[0]), float(ends[1])
    return lambda values: np.clip(
        (values.astype(np.float64) - low) / (high - low), 0.0, 1.0
    ).astype(np.float32)


def _local_and_mutual(
    pair: tuple[NDArray[Any], NDArray[Any]],
    greys: tuple[Grey, Grey],
    valid: NDArray[np.bool_],
    cancel: CancelToken | None,
) -> dict[str, float]:
    """Mean local correlation and mutual information, slab by slab."""
    from tomochrome.evaluate import kernels
    from tomochrome.registration import kernels as box_kernels

    depth, total, count = valid.shape[0], 0.0, 0
    joint = np.zeros(BINS * BINS)
    for rows in _slabs(valid.shape, cancel):
        wide = slice(max(0, rows.start - RADIUS), min(depth, rows.stop + RADIUS))
        weight = valid[wide]
        if not weight.any():
            continue
        p, q = (
            np.where(weight, g(v[wide]), np.float32(0)) for g, v in zip(greys, pair, strict=True)
        )
        inner = slice(rows.start - wide.start, rows.stop - wide.start)
        here = weight[inner]
        bins = [np.minimum((v[inner][here] * BINS).astype(np.int64), BINS - 1) for v in (p, q)]
        joint += np.bincount(bins[0] * BINS + bins[1], minlength=BINS * BINS)
        sums = np.empty((2, 6, *p.shape), np.float32)
        kernels.products(p, q, weight, sums[0])
        box_kernels.box_sums(sums[0], RADIUS, sums[1])
        squared, windows = kernels.local_correlations(
            sums[1], weight, inner.start, inner.stop, _FLAT
        )
        total, count = total + float(squared), count + int(windows)
    local = {"local_ncc": total / count} if count else {}
    return {**local, "mutual_information": information(joint.reshape(BINS, BINS))}


def information(joint: NDArray[np.float64]) -> float:
    """Mutual information in nats of a joint histogram (counts, any size)."""
    share = joint / joint.sum()
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    there = share > 0
    return float(max(0.0, (share[there] * np.log(share[there] / apart[there])).sum()))

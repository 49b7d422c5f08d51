"""Defects that rules find, without a network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.scan import as_int16
from tomochrome.errors import NotCTError
from tomochrome.geometry.orient import closest_axial, reorient_like
from tomochrome.restoration.classical import (
    estimate_rings,
    interpolate_lines,
    interpolate_sinogram,
    metal_mask,
    remove_rings,
)
from tomochrome.restoration.defects import (
    KINDS,
    DefectKind,
    DefectMap,
    MetalReduction,
    code_of,
)
from tomochrome.restoration.dose import is_low_dose
from tomochrome.restoration.simulation import (
    AIR_HU,
    BODY_HU,
    MIN_CHANGE_HU,
)
from tomochrome.runtime import check
from tomochrome.volume import Volume, require_volume

MIN_PX: Final = 32  #: rows and columns; nothing is found in smaller slices
_MAX_RUN: Final = 4  # of lost slices or rows
_MIN_SLICES: Final = 4
_BLOCK_PX: Final = 4  # slices are compared by means of such blocks, in this range of HU
_MIN_SATURATED_HU: Final = 1500.0
_EMPTY_HU: Final = -900.0
_MIN_ROW_NOISE_HU: Final = 300.0  # median step along a row of noise
_COMPARED_HU: Final = (-1100.0, 1500.0)
_MAX_SAME_HU: Final = 0.01
_MIN_JUMP: Final = 2.0  # of a corrupted slice to its neighbors, by the step between these
_MIN_ARC: Final = 0.15  # of the circle of the field where it cuts the body, in some slice
_MIN_ARC_OF_SLICE: Final = 0.01
_MIN_MEASURED: Final = 0.5  # of the circle: less is a body in air without values, .95 a field
_MIN_FIELD_PX: Final = 20
_STREAK_PX: Final = 1.5  # over which the change by streaks is averaged
_FAR_STREAK_PX: Final = 4.0
_CHANGE_PX: Final = 1.0  # as in the truth of `tomochrome.restoration.simulation.changed`
_MIN_STREAK_HU: Final = 10.0  # with the best Dice on simulated metal
_MAX_ROUGHNESS: Final = 0.97
"""After the interpolation, as a share of that before: clean scans with a wire, a clip or a dense
spot have 0.98 to 1.12, strong streaks 0.6 to 0.95."""
_LARGE_METAL_MM2: Final = 100.0  # in a slice; wires and clips are smaller
_ROUGH_HU: Final = (-200.0, 300.0)
_ROUGH_PX: Final = 0.7
_NEAR_METAL_PX: Final = 3
_AIR_HU: Final = -950.0
_AIR_BLUR_PX: Final = 0.7
_AIR_PX: Final = 5  # of a square in which nothing is denser
_AIR_SLICES: Final = 8
_MIN_AIR: Final = 0.02  # of a slice; with less, the area of the metal tells how strong streaks are
_STREAKS_OF_AREA: Final = (1.21, 0.26)
"""Logarithm of their mean HU (+ 2) in air, by that of the area in mm² (training's phantoms)."""
_MIN_JUDGED_PX: Final = 50
MIN_RING_PX: Final = 96  #: rows and columns; rings are not found in smaller slices
MIN_SIGNIFICANCE: Final = 5.0
"""Of rings: clean scans have up to 4.4, those with damage by rings more (`estimate_rings`)."""
_MIN_RING_CHANGE_HU: Final = 17.0  # rings are estimated a sixth too weak


def defects_by_rules(volume: Volume, kinds: Collection[DefectKind] = KINDS) -> DefectMap:
    """Find the defects of a scan by rules.

    Where kinds overlap, the first of missing slices, lines, metal, field, rings and noise counts.

    Parameters
    ----------
    volume
        A scan in HU.
    kinds
        Which to look for.

    Returns
    -------
    DefectMap
        On the grid of the volume.

    Raises
    ------
    InputError
        If it is not a `Volume`.
    NotCTError
        If it contains colors.
    Cancelled
        If cancelled.
    """
    require_volume(volume, "the scan")
    if volume.is_rgba:
        raise NotCTError("the scan contains colors, not CT values; use the original CT")
    upright = closest_axial(volume)
    hu = as_int16(np.asarray(upright.voxels))[0].astype(np.float32)
    outside = upright.outside if upright.outside is not None else np.zeros(hu.shape, np.bool_)
    code = np.zeros(hu.shape, np.uint8)
    reduction = None
    if min(hu.shape[1:]) >= MIN_PX:
        lost = lost_slices(hu)
        lines = lost_lines(hu) & ~lost[:, None]
        if lines.any():
            hu = interpolate_lines(hu, np.broadcast_to(lines[..., None], hu.shape))
        if "metal" in kinds:
            reduction = reduce_metal(hu, ~lost, upright.spacing[2])
        for kind, mask in _masks(hu, lost, lines, outside, reduction, upright.spacing[2], kinds):
            code[mask & (code == 0)] = code_of(kind)
    marked = upright.with_voxels(code)
    return DefectMap(np.ascontiguousarray(reorient_like(marked, volume).voxels), reduction)


def _masks(
    hu: NDArray[np.float32],
    lost: NDArray[np.bool_],
    lines: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    reduction: MetalReduction | None,
    pixel_mm: float,
    kinds: Collection[DefectKind],
) -> Iterator[tuple[DefectKind, NDArray[np.bool_]]]:
    """Yield the kinds with their masks (z, y, x), the most certain first."""
    if "missing" in kinds:
        yield "missing", np.broadcast_to(lost[:, None, None], hu.shape)
    if "lines" in kinds:
        yield "lines", np.broadcast_to(lines[..., None], hu.shape)
    if reduction is not None:
        yield "metal", streaks(reduction, pixel_mm)
    good = np.flatnonzero(~lost)
    finders: dict[DefectKind, Callable[[], NDArray[np.bool_]]] = {
        "field": lambda: outside_field(hu[good], outside[good]),
        "ring": lambda: rings(hu[good]),
        "noise": lambda: np.full(hu[good].shape, is_low_dose(hu[good], pixel_mm)),
    }
    for kind, find in finders.items():
        if kind in kinds:
            check()
            mask = np.zeros(hu.shape, np.bool_)
            mask[good] = find()
            yield kind, mask


def lost_slices(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which slices are missing, repeated or corrupted, booleans (z,).

    The first and the last slice that are not constant are never lost: nothing tells whether the
    scan ends there.

    Parameters
    ----------
    hu
        HU (z, y, x).
    """
    lost = np.zeros(len(hu), np.bool_)
    for z, part in enumerate(hu):
        check()
        lost[z] = part.min() == part.max()
    shown = np.flatnonzero(~lost)
    if len(shown) < _MIN_SLICES:
        return np.zeros(len(hu), np.bool_)
    lost[: shown[0]] = lost[shown[-1] :] = False
    means = np.stack([_block_means(hu[z]) for z in shown])
    lost[shown[_repeated(means) | _corrupted(means, hu, shown)]] = True
    return lost


def _block_means(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of the blocks of a slice (y, x)."""
    check()
    rows, columns = (max(n // _BLOCK_PX, 1) for n in hu.shape)
    y, x = (min(_BLOCK_PX, n) for n in hu.shape)
    cropped = np.clip(hu[: rows * y, : columns * x], *_COMPARED_HU)
    return np.asarray(cropped.reshape(rows, y, columns, x).mean(axis=(1, 3)))


def _repeated(means: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which slices are copies, in a volume whose other slices differ.

    Of equal slices the one that is more like its other neighbor is the original.
    """
    steps = np.abs(np.diff(means, axis=0)).mean(axis=(1, 2))
    same = np.concatenate([[False], steps < _MAX_SAME_HU, [False]])  # as the slice before
    repeated = np.zeros(len(means), np.bool_)
    if 2 * same.sum() >= len(steps):
        return repeated
    edges = np.flatnonzero(np.diff(same.astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        repeated[first : last + 1] = True
        before = steps[first - 1] if first else np.inf
        after = steps[last] if last < len(steps) else np.inf
        repeated[first if before <= after else last] = False
    return repeated


def _may_be_corrupted(hu: NDArray[np.float32]) -> bool:
    """Return whether all slices have rows of noise, or no metal that would explain a difference."""
    noisy = [np.median(np.abs(np.diff(part)), axis=1).max() > _MIN_ROW_NOISE_HU for part in hu]
    return bool((np.array(noisy) | ~metal_mask(hu).any(axis=(1, 2))).all())


def _corrupted(
    means: NDArray[np.float32], hu: NDArray[np.float32], shown: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return which shown slices differ from both neighbors far more than these from each other."""
    corrupted = np.zeros(len(means), np.bool_)

    def step(first: int, second: int) -> float:
        return float(np.abs(means[first] - means[second]).mean())

    usual = float(np.median([step(k, k + 1) for k in range(len(means) - 1)]))
    runs = []
    for first in range(1, len(means) - 1):
        for after in range(first + 1, min(first + _MAX_RUN, len(means) - 1) + 1):
            jump = min(step(first - 1, first), step(after - 1, after))
            ends = max(step(first - 1, after), 0.5 * usual)
            if jump > _MIN_JUMP * ends and _may_be_corrupted(hu[shown[first:after]]):
                runs.append((jump / ends if ends else np.inf, first, after))
    for _, first, after in sorted(runs, reverse=True):
        if not corrupted[first - 1 : after + 1].any():
            corrupted[first:after] = True
    return corrupted


def lost_lines(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows are dropped or saturated, booleans (z, y).

    They have the value of air or the largest value everywhere, unlike the rows on both sides. Rows
    of air are lost only if the same rows of the adjacent slices are not of air, too.

    Parameters
    ----------
    hu
        HU (z, y, x).
    """
    check()
    lowest, highest = hu.min(axis=2), hu.max(axis=2)
    saturated = (lowest == highest.max(axis=1, keepdims=True)) & (lowest > _MIN_SATURATED_HU)
    constant = saturated | ((lowest == highest) & (highest < _EMPTY_HU))
    lost = np.zeros(constant.shape, np.bool_)
    for z, rows in enumerate(constant):
        check()
        near = constant[[k for k in (z - 1, z + 1) if 0 <= k < len(hu)]]
        edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
        for first, after in edges.reshape(-1, 2):
            beside = [y for y in (first - 1, after) if 0 <= y < len(rows)]
            if after - first > 2 * _MAX_RUN or not beside:
                continue
            gap = len(beside) < 2 or near[:, first:after].all(axis=1).any()  # between objects
            if gap and not saturated[z, first]:
                continue
            change = np.abs(hu[z, beside] - lowest[z, first]).mean(axis=1)
            lost[z, first:after] = change.min() >= MIN_CHANGE_HU
    return lost


def outside_field(hu: NDArray[np.float32], outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what lies outside the circle of the measured field in slices where it cuts the body.

    Parameters
    ----------
    hu
        HU (z, y, x).
    outside
        Booleans (z, y, x): padding that the reader knows.

    Returns
    -------
    ndarray
        Booleans (z, y, x).
    """
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in hu.shape[1:])
    radius = np.hypot(rows[:, None], columns)
    padded = outside | (hu == hu.min())
    check()
    mask = np.zeros(hu.shape, np.bool_)
    measured = ~padded.all(axis=0)
    field = float(radius[measured].max(initial=0))
    if not _MIN_FIELD_PX < field < radius.max() - 1:
        return mask
    angles = np.linspace(0, 2 * np.pi, int(6 * field), endpoint=False)
    at = field - np.arange(1, 4)[:, None]
    y, x = ((n - 1) / 2 for n in hu.shape[1:])
    points = np.stack([y + at * np.sin(angles), x + at * np.cos(angles)])
    inside = (points >= 0).all(0) & (points[0] < hu.shape[1] - 1) & (points[1] < hu.shape[2] - 1)
    whole = inside.all(axis=0)
    sizes = np.array(hu.shape[1:])[:, None, None] - 1
    index = np.rint(np.clip(points, 0, sizes)).astype(int)
    arcs = np.array([
        ((part[tuple(index)] > BODY_HU).any(axis=0) & whole).mean() for part in hu
    ])  # fmt: skip
    near = measured[tuple(index)].any(axis=0)
    if arcs.max() >= _MIN_ARC and near[whole].mean() >= _MIN_MEASURED:
        cut = arcs >= _MIN_ARC_OF_SLICE
        mask[cut] = padded[cut] & (radius > field - 3)
    return mask


def reduce_metal(
    hu: NDArray[np.float32], good: NDArray[np.bool_], pixel_mm: float
) -> MetalReduction | None:
    """Return the metal of slices, and what the interpolation of its projections makes of them.

    Parameters
    ----------
    hu
        HU (z, y, x).
    good
        Booleans (z,): slices that are not lost.
    pixel_mm
        Size of a pixel, which is square.

    Returns
    -------
    MetalReduction or None
        None without metal.
    """
    metal = np.zeros(hu.shape, np.bool_)
    metal[good] = metal_mask(hu[good])
    if not metal.any():
        return None
    return MetalReduction(hu, metal, interpolate_sinogram(hu, metal, pixel_mm))


def streaks(reduction: MetalReduction, pixel_mm: float) -> NDArray[np.bool_]:
    """Return metal and what the interpolation of its projections changes, booleans (z, y, x).

    Unless there is much metal, only where the interpolation makes a slice smoother: weak streaks,
    as of a wire, are less than those that it adds.

    Parameters
    ----------
    reduction
        The slices and their interpolation.
    pixel_mm
        Size of a pixel, which is square.
    """
    mask = reduction.metal.copy()
    for z in map(int, np.flatnonzero(mask.any(axis=(1, 2)))):
        check()
        streak = streak_change(reduction, z) >= _MIN_STREAK_HU
        if mask[z].sum() * pixel_mm**2 >= _LARGE_METAL_MM2 or _smoother(reduction, z, streak):
            mask[z] |= streak
    return mask


def _smoother(reduction: MetalReduction, z: int, streak: NDArray[np.bool_]) -> bool:
    """Return whether the interpolation makes a slice smoother, or changes too little to tell."""
    judged = streak & ~ndimage.binary_dilation(reduction.metal[z], iterations=_NEAR_METAL_PX)
    judged &= ndimage.gaussian_filter(reduction.before[z], 2) > BODY_HU
    before, after = (_roughness(hu[z], judged) for hu in (reduction.before, reduction.after))
    return bool(judged.sum() < _MIN_JUDGED_PX or after <= _MAX_ROUGHNESS * before)


def streak_change(reduction: MetalReduction, z: int) -> NDArray[np.float32]:
    """Return by how many HU the interpolation changes a slice around each pixel, (y, x)."""
    change = np.abs(reduction.after[z] - reduction.before[z])
    return np.asarray(ndimage.gaussian_filter(change, _STREAK_PX), np.float32)


class Air(NamedTuple):
    """Air around a patient, in slices without metal.

    Attributes
    ----------
    hu
        HU, float32 (y, x): with what lies still in it, as the couch, and with padding.
    noise
        Mean absolute difference in HU from its median.
    """

    hu: NDArray[np.float32]
    noise: float


def air_of_scan(reduction: MetalReduction) -> Air:
    """Return the air of a scan, from all slices if each has metal."""
    hu = reduction.before
    shown = np.array([part.min() < part.max() for part in hu])
    without_metal = shown & ~reduction.metal.any(axis=(1, 2))
    usable = np.flatnonzero(without_metal if without_metal.any() else shown)
    chosen = usable[np.unique(np.linspace(0, len(usable) - 1, _AIR_SLICES).astype(int))]
    still = np.median(hu[chosen], axis=0)
    values = np.concatenate([hu[z][_is_air(reduction, z) & (hu[z] >= AIR_HU)] for z in chosen])
    level = float(np.median(values)) if len(values) else AIR_HU
    noise = float(np.abs(values - level).mean()) if len(values) else 0.0
    return Air(np.where(still < _AIR_HU, still, np.float32(level)), noise)


def _is_air(reduction: MetalReduction, z: int) -> NDArray[np.bool_]:
    """Return where nothing is denser than air, with or without streaks, booleans (y, x)."""
    lowest = np.minimum(reduction.before[z], reduction.after[z])
    smooth = ndimage.gaussian_filter(lowest, _AIR_BLUR_PX)
    return np.asarray(ndimage.maximum_filter(smooth, _AIR_PX) < _AIR_HU)


def streaks_in_air(
    reduction: MetalReduction, z: int, air: Air
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return the air in a slice, and by how many HU it differs from air without streaks.

    What a slice would be without streaks is known there, so that no network need tell.

    Parameters
    ----------
    reduction
        The slices and their interpolation.
    z
        The slice.
    air
        The scan's air.

    Returns
    -------
    tuple of ndarray
        Booleans (y, x), and float32 (y, x): the mean difference around each pixel, without that of
        the noise. It is damage from `MIN_CHANGE_HU` on.
    """
    where = _is_air(reduction, z) & ~reduction.metal[z]
    change = ndimage.gaussian_filter(np.abs(reduction.before[z] - air.hu), _CHANGE_PX)
    return where, np.sqrt(np.maximum(change**2 - air.noise**2, 0))


def streak_evidence(
    reduction: MetalReduction, z: int, pixel_mm: float, in_air: NDArray[np.float32]
) -> tuple[NDArray[np.float32] | float, ...]:
    """Return what makes streaks of metal probable around each pixel of a slice.

    Parameters
    ----------
    reduction
        The slices and their interpolation.
    z
        The slice.
    pixel_mm
        Size of a pixel, which is square.
    in_air
        HU of `streaks_in_air`, of all pixels of air.

    Returns
    -------
    tuple of ndarray
        float32 (y, x): logarithms of `streak_change`, of the same further around, of the change
        with its sign, and of the mean of all streaks in air (each + 2 HU).
    """
    change = reduction.after[z] - reduction.before[z]
    if len(in_air) >= _MIN_AIR * change.size:
        strength = np.log(in_air.mean() + 2)
    else:
        area = max(reduction.metal[z].sum(), 1) * pixel_mm**2
        strength = _STREAKS_OF_AREA[0] + _STREAKS_OF_AREA[1] * np.log(area)
    around = (
        streak_change(reduction, z),
        ndimage.gaussian_filter(np.abs(change), _FAR_STREAK_PX),
        np.abs(ndimage.gaussian_filter(change, _STREAK_PX)),
    )
    return (*(np.log(part + 2) for part in around), float(strength))


def _roughness(hu: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Return the mean gradient of a slice (y, x) in HU of soft tissue per pixel."""
    soft = np.clip(hu, *_ROUGH_HU)
    steps = ndimage.gaussian_gradient_magnitude(soft, _ROUGH_PX)[where]
    return float(steps.mean()) if steps.size else 0.0


def rings(hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where rings around the center change the HU of slices, booleans (z, y, x).

    Parameters
    ----------
    hu
        HU (z, y, x).
    """
    if min(hu.shape[1:]) < MIN_RING_PX or estimate_rings(hu).significance < MIN_SIGNIFICANCE:
        return np.zeros(hu.shape, np.bool_)
    change = np.abs(remove_rings(hu) - hu)
    return np.asarray(ndimage.gaussian_filter(change, (0, 1, 1)) >= _MIN_RING_CHANGE_HU)

"""Starting positions for the initial alignment: translations and rotations, best first.

Local optimization finds the nearest optimum, which is wrong for a head in a whole-body scan or
for a wrong orientation in a header. Comparing candidates takes milliseconds each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.transform import Rotation

from tomochrome.geometry.affine import apply
from tomochrome.registration.levels import Level
from tomochrome.runtime import ThreadPool, check
from tomochrome.runtime.device import kernel_threads
from tomochrome.runtime.kernels import kernel

MIN_OVERLAP: Final = 0.02
"""Positions with a smaller overlap are rejected."""
_ANGLE: Final = np.radians(15.0)
_PEAKS: Final = 2  # correlation maxima to use for each rotation
_MIN_DISTANCE: Final = 0.4  # between starts, as a fraction of the radius
_MIN_SHARE: Final = 0.15  # least overlap in the exhaustive search
_BINS: Final = 24
_MIN_VOXELS: Final = 50  # in the overlap
_MARGIN: Final = 1.2  # factor by which the score of a half turn must be better

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Start:
    """A starting position.

    Parameters
    ----------
    matrix
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    score, overlap
        The result of `shared_information`.
    """

    matrix: Matrix
    score: float
    overlap: float


def find_starts(fixed: Level, moving: Level, count: int) -> list[Start]:
    """Return the most promising positions, the best first, at some distance from each other.

    The candidates are the alignment of centers of mass, of geometric centers, and by the headers,
    and the maxima of an exhaustive search over translations, each without rotation and with
    rotations by 15 and 180 degrees about the patient's axes.

    Parameters
    ----------
    fixed, moving
        The coarsest grids.
    count
        Maximum number of positions.
    """

    def evaluated(matrix: Matrix) -> Start:
        check()
        return Start(matrix, *shared_information(fixed, moving, matrix))

    # by 0, and by +-15 and 180 degrees about each patient axis
    turns = [turn * axis for axis in np.eye(3) for turn in (_ANGLE, -_ANGLE, np.pi)]
    rotations = [Rotation.from_rotvec(turn).as_matrix() for turn in (np.zeros(3), *turns)]
    starts = []
    for shift, about in (
        (moving.mass - fixed.mass, fixed.mass),
        (moving.center - fixed.center, fixed.center),
        (np.zeros(3), fixed.mass),
    ):
        starts += [evaluated(_rotation_about(rotation, about, shift)) for rotation in rotations]
    starts += [evaluated(matrix) for matrix in _exhaustive_search(fixed, moving, rotations)]
    return _distinct(starts, fixed, count)


def is_half_turn(matrix: Matrix) -> bool:
    """Whether a 4x4 rotates by more than 90 degrees."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    return bool(np.trace(u @ vt) < 1.0 - 1e-6)  # 1 + 2 cos(angle)


def choose_best(ends: list[Start]) -> Start:
    """Return the best of several optimized positions; a half turn only if it is much better.

    Orientations in headers are rarely wrong, and a body resembles itself upside down.
    """
    best = max(ends, key=lambda end: end.score)
    plausible = [end for end in ends if not is_half_turn(end.matrix)]
    if not plausible or not is_half_turn(best.matrix):
        return best
    other = max(plausible, key=lambda end: end.score)
    return best if best.score > _MARGIN * other.score else other


def shared_information(fixed: Level, moving: Level, matrix: Matrix) -> tuple[float, float]:
    """Return the mutual information of two images at a position, and their overlap.

    Returns
    -------
    tuple of float
        Mutual information in nats times the overlap, so that a small overlap cannot win by
        chance; and the overlap: the fraction of the smaller image that is inside the other.
    """
    counts, overlap = _shared(fixed, moving, matrix)
    if counts.sum() < _MIN_VOXELS:
        return 0.0, overlap
    return _mutual_information(counts) * min(overlap, 1.0), overlap


def information(fixed: Level, moving: Level, matrix: Matrix) -> float:
    """Return the mutual information of two images as `shared_information`, without its bias.

    Few voxels share some information by chance: G. Miller, "Note on the bias of information
    estimates", 1955.
    """
    counts, overlap = _shared(fixed, moving, matrix)
    total = int(counts.sum())
    if total < _MIN_VOXELS:
        return 0.0
    rows, columns = (int((counts.sum(axis=axis) > 0).sum()) for axis in (1, 0))
    bias = (int((counts > 0).sum()) - rows - columns + 1) / (2 * total)
    return max(0.0, _mutual_information(counts) - max(0.0, bias)) * min(overlap, 1.0)


def _shared(fixed: Level, moving: Level, matrix: Matrix) -> tuple[NDArray[np.int64], float]:
    """Return the joint histogram of two images at a position, and their overlap."""
    counts = np.zeros((_BINS, _BINS), np.int64)
    to_moving = np.linalg.inv(moving.affine) @ matrix @ fixed.affine
    joint_histogram(
        fixed.values, fixed.valid, moving.values, moving.valid,
        np.ascontiguousarray(to_moving[:3]), counts,
    )  # fmt: skip
    smaller = min(fixed.count * fixed.voxel_mm3, moving.count * moving.voxel_mm3)
    return counts, float(int(counts.sum()) * fixed.voxel_mm3 / smaller)


def _mutual_information(counts: NDArray[np.int64]) -> float:
    """Return the mutual information of a joint histogram in nats."""
    joint = counts / int(counts.sum())
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())


def _exhaustive_search(fixed: Level, moving: Level, rotations: list[Matrix]) -> list[Matrix]:
    """Return the positions with the highest correlation over all translations at each rotation.

    Masked normalized cross-correlation by Fourier transforms: Padfield, "Masked object
    registration in the Fourier domain", IEEE Transactions on Image Processing 21, 2012. It is
    squared, since the contrast may be inverted between modalities.
    """
    # voxels of both are assigned to the nearest grid point: a finer grid would have holes
    step = np.max(
        [np.abs(level.affine[2::-1, :3]).max(axis=1) for level in (fixed, moving)], axis=0
    )
    rotated = [
        _rasterized(fixed, _rotation_about(rotation, fixed.mass, np.zeros(3)), step)
        for rotation in rotations
    ]
    target, target_start = _rasterized(moving, np.eye(4), step)
    largest = np.max([box.shape[1:] for box, _ in rotated], axis=0)
    size = [fft.next_fast_len(int(n), real=True) for n in largest + target.shape[1:] - 1]
    second = fft.rfftn(target, size, axes=(1, 2, 3))
    smaller = min(rotated[0][0][0].sum(), target[0].sum())

    def peaks(
        rotation: Matrix, box: NDArray[np.float32], start: NDArray[np.float64]
    ) -> list[Matrix]:
        check()
        first = fft.rfftn(box, size, axes=(1, 2, 3)).conj()
        count, f, m, ff, mm, fm = (
            fft.irfftn(first[a] * second[b], size)
            for a, b in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
        )
        share = count / smaller
        valid = share > _MIN_SHARE
        count = np.where(valid, count, 1.0)
        variances = np.maximum(ff - f**2 / count, 0) * np.maximum(mm - m**2 / count, 0)
        valid &= variances > 1e-9 * variances.max()
        squared = (fm - f * m / count) ** 2 / np.where(valid, variances, 1.0)
        score = np.where(valid, -np.log1p(-np.clip(squared, 0, 0.999)) * np.minimum(share, 1), 0.0)
        results = []
        for _ in range(_PEAKS):
            at = np.array(np.unravel_index(np.argmax(score), score.shape))
            if score[tuple(at)] <= 0:
                break
            near = [(np.arange(-2, 3) + k) % n for k, n in zip(at, size, strict=True)]
            score[np.ix_(*near)] = 0.0  # suppress the surroundings of the peak
            offset = np.where(at < target.shape[1:], at, at - np.array(size))
            shift = target_start + (offset * step)[::-1] - start
            results.append(_rotation_about(rotation, fixed.mass, shift))
        return results

    with ThreadPool(kernel_threads()) as pool:
        results = pool.map(peaks, rotations, *zip(*rotated, strict=True))
        return [matrix for matrices in results for matrix in matrices]


def _rasterized(
    level: Level, matrix: Matrix, step: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return mask, values and squares (3, z, y, x) on an axis-aligned grid, and its origin.

    Each voxel is assigned to the nearest grid point; several at the same point are averaged.
    """
    points = apply(matrix, level.points)
    start = points.min(axis=0)
    # with a margin of one voxel, because positions are rounded in the kernel
    shape = np.floor((points.max(axis=0) - start)[::-1] / step).astype(int) + 2
    to_box = matrix @ level.affine
    to_box[:3, 3] -= start
    box = np.zeros((3, *shape), np.float32)
    mean = np.float32(level.values.mean(where=level.valid))
    rasterize(level.values, level.valid, mean, to_box[2::-1] / step[:, None], box)
    return box, start


def _distinct(starts: list[Start], fixed: Level, count: int) -> list[Start]:
    """Return the best positions that differ sufficiently from better ones."""
    ends = np.concatenate([fixed.mass + fixed.radius * np.eye(3), [fixed.mass]])
    kept: list[Start] = []
    for start in sorted(starts, key=lambda other: -other.score):
        if start.overlap < MIN_OVERLAP:
            continue
        moved = apply(start.matrix, ends)
        distances = (
            np.linalg.norm(moved - apply(other.matrix, ends), axis=1).max() for other in kept
        )
        if all(distance > _MIN_DISTANCE * fixed.radius for distance in distances):
            kept.append(start)
        if len(kept) == count:
            break
    return kept


def _rotation_about(
    rotation: Matrix, about: NDArray[np.float64], shift: NDArray[np.float64]
) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = about - rotation @ about + shift
    return matrix


@kernel
def joint_histogram(fixed, valid, moving, moving_valid, matrix, counts):  # type: ignore[no-untyped-def]
    """Add the pairs of values, 0 to 1, of voxels valid in both volumes to ``counts`` (bins, bins).

    ``matrix`` (3, 4) maps (z, y, x) of ``fixed`` to (z, y, x) of ``moving``, whose nearest voxel
    is used.
    """
    depth, height, width = fixed.shape
    size_z, size_y, size_x = moving.shape
    bins = len(counts)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if not valid[z, y, x]:
                    continue
                i = matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
                j = matrix[1, 0] * z + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
                k = matrix[2, 0] * z + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
                # also false for NaN and for values too large for an index
                if not (-0.5 <= i < size_z and -0.5 <= j < size_y and -0.5 <= k < size_x):
                    continue
                mz, my, mx = int(np.rint(i)), int(np.rint(j)), int(np.rint(k))
                if mz >= size_z or my >= size_y or mx >= size_x:
                    continue
                if moving_valid[mz, my, mx]:
                    a = min(int(fixed[z, y, x] * bins), bins - 1)
                    b = min(int(moving[mz, my, mx] * bins), bins - 1)
                    counts[a, b] += 1


@kernel
def rasterize(values, valid, mean, matrix, box):  # type: ignore[no-untyped-def]
    """Assign the valid voxels to ``box`` (3, z, y, x): mask, value minus ``mean``, its square.

    ``matrix`` (3, 4) maps (z, y, x) of the volume to (z, y, x) of the box, which contains them
    all. Each voxel is assigned to the nearest box voxel; several at the same one are averaged.
    """
    depth, height, width = values.shape
    count, sums, squares = box
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if valid[z, y, x]:
                    i = matrix[0, 0] * z + matrix[0, 1] * y + matrix[0, 2] * x + matrix[0, 3]
                    j = matrix[1, 0] * z + matrix[1, 1] * y + matrix[1, 2] * x + matrix[1, 3]
                    k = matrix[2, 0] * z + matrix[2, 1] * y + matrix[2, 2] * x + matrix[2, 3]
                    at = int(np.rint(i)), int(np.rint(j)), int(np.rint(k))
                    count[at] += 1
                    sums[at] += values[z, y, x] - mean
    for z in range(count.shape[0]):
        for y in range(count.shape[1]):
            for x in range(count.shape[2]):
                if count[z, y, x] > 0:
                    sums[z, y, x] /= count[z, y, x]
                    squares[z, y, x] = sums[z, y, x] * sums[z, y, x]
                    count[z, y, x] = 1

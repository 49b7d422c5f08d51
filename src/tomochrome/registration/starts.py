"""Where the search for the first alignment begins: positions and turns, best first.

A climb finds the top of the hill it stands on; a head in a whole body, or a scan whose header says
the wrong thing about orientation, lies on another one. What is compared here costs milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply
from tomochrome.registration.levels import Level
from tomochrome.runtime import ThreadPool, check

LEAST_OVERLAP: Final = 0.02
"""Positions with a smaller overlap are none."""
_TURN: Final = np.radians(15.0)
_PLACES: Final = 2  # of each turn, at which the whole pictures fit best
_ALIKE: Final = 0.4  # starts nearer to each other, as a share of the radius, end at one place
_ENOUGH: Final = 0.15  # share of the smaller picture that must lie in the other to count
_BINS: Final = 24
_FEWEST: Final = 50  # voxels in common
_MARGIN: Final = 1.2  # how much more two pictures must say of each other to believe a half turn

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Start:
    """A position to begin at.

    Parameters
    ----------
    matrix
        4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    score, overlap
        Of `shared_information`.
    """

    matrix: Matrix
    score: float
    overlap: float


def starts(fixed: Level, moving: Level, count: int) -> list[Start]:
    """Return the most promising positions, the best first, none near another.

    Compared are both kinds of center and the files' own position, and where the two fit best of
    all places, each without and with turns of 15 and of 180 degrees about the axes of space.

    Parameters
    ----------
    fixed, moving
        The coarsest grids.
    count
        How many at most.
    """

    def judged(matrix: Matrix) -> Start:
        check()
        return Start(matrix, *shared_information(fixed, moving, matrix))

    turns = _turns()
    found = []
    for shift, about in (
        (moving.mass - fixed.mass, fixed.mass),
        (moving.center - fixed.center, fixed.center),
        (np.zeros(3), fixed.mass),
    ):
        found += [judged(_turned(turn, about, shift)) for turn in turns]
    for matrix in _scanned(fixed, moving, turns):
        found.append(judged(matrix))
    return _distinct(found, fixed, count)


def is_half_turn(matrix: Matrix) -> bool:
    """Whether a 4x4 turns by more than a right angle."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    return bool(np.trace(u @ vt) < 1.0 - 1e-6)  # 1 + 2 cos(angle)


def chosen(ends: list[Start]) -> Start:
    """Return the best of several ends; a half turn only where it is better by far.

    Headers seldom lie about orientation, and a body upside down still looks a little like itself.
    """
    best = max(ends, key=lambda end: end.score)
    upright = [end for end in ends if not is_half_turn(end.matrix)]
    if not upright or not is_half_turn(best.matrix):
        return best
    other = max(upright, key=lambda end: end.score)
    return best if best.score > _MARGIN * other.score else other


def shared_information(fixed: Level, moving: Level, matrix: Matrix) -> tuple[float, float]:
    """Return how much two pictures say of each other at a position, and their overlap.

    Returns
    -------
    tuple of float
        Mutual information in nats times the overlap, so that a small overlap cannot win by
        chance; and the overlap: the share of the smaller picture that lies in the other.
    """
    from tomochrome.registration.start_kernels import joint_histogram

    counts = np.zeros((_BINS, _BINS), np.int64)
    onto = np.linalg.inv(moving.affine) @ matrix @ fixed.affine
    joint_histogram(
        fixed.values, fixed.seen, moving.values, moving.seen, np.ascontiguousarray(onto[:3]), counts
    )
    found = int(counts.sum())
    joint = counts / max(found, 1)
    smaller = min(fixed.count * fixed.voxel_mm3, moving.count * moving.voxel_mm3)
    overlap = float(found * fixed.voxel_mm3 / smaller)
    if found < _FEWEST:
        return 0.0, overlap
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    information = float((joint[filled] * np.log(joint[filled] / apart[filled])).sum())
    return information * min(overlap, 1.0), overlap


def _scanned(fixed: Level, moving: Level, turns: list[Matrix]) -> list[Matrix]:
    """Return where the two pictures are most alike, of all shifts at each turn.

    Normalized correlation under masks by Fourier transforms: Padfield, "Masked object registration
    in the Fourier domain", IEEE Transactions on Image Processing 21, 2012. Its square is taken,
    as bright in one modality may be dark in the other.
    """
    import numba
    from scipy import fft

    # both pictures' voxels are counted where they lie: a finer grid would have holes
    step = np.max(
        [np.abs(level.affine[2::-1, :3]).max(axis=1) for level in (fixed, moving)], axis=0
    )
    ours = [_boxed(fixed, _turned(turn, fixed.mass, np.zeros(3)), step) for turn in turns]
    there, there_from = _boxed(moving, np.eye(4), step)
    wide = np.max([box.shape[1:] for box, _ in ours], axis=0)
    size = [fft.next_fast_len(int(n), real=True) for n in wide + there.shape[1:] - 1]
    second = fft.rfftn(there, size, axes=(1, 2, 3))
    least = min(ours[0][0][0].sum(), there[0].sum())

    def fits(turn: Matrix, box: NDArray[np.float32], start: NDArray[np.float64]) -> list[Matrix]:
        check()
        first = fft.rfftn(box, size, axes=(1, 2, 3)).conj()
        count, ours_1, theirs_1, ours_2, theirs_2, both = (
            fft.irfftn(first[a] * second[b], size)
            for a, b in ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1))
        )
        share = count / least
        known = share > _ENOUGH
        count = np.where(known, count, 1.0)
        spread = np.maximum(ours_2 - ours_1**2 / count, 0) * np.maximum(
            theirs_2 - theirs_1**2 / count, 0
        )
        known &= spread > 1e-9 * spread.max()
        alike = (both - ours_1 * theirs_1 / count) ** 2 / np.where(known, spread, 1.0)
        score = np.where(known, -np.log1p(-np.clip(alike, 0, 0.999)) * np.minimum(share, 1), 0.0)
        found = []
        for _ in range(_PLACES):
            at = np.array(np.unravel_index(np.argmax(score), score.shape))
            if score[tuple(at)] <= 0:
                break
            near = [
                (np.arange(-2, 3) + k) % n for k, n in zip(at, size, strict=True)
            ]  # the neighbours of a peak are the same place
            score[np.ix_(*near)] = 0.0
            offset = np.where(at < there.shape[1:], at, at - np.array(size))
            shift = there_from + (offset * step)[::-1] - start
            found.append(_turned(turn, fixed.mass, shift))
        return found

    with ThreadPool(numba.get_num_threads()) as pool:
        found = pool.map(fits, turns, *zip(*ours, strict=True))
        return [matrix for of_turn in found for matrix in of_turn]


def _boxed(
    level: Level, matrix: Matrix, step: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return mask, values and squares (3, z, y, x) along the axes of space, and where they begin.

    Each voxel is counted where it lies; of several in one place the mean is taken.
    """
    from tomochrome.registration.start_kernels import lay

    points = apply(matrix, level.points)
    start = points.min(axis=0)
    # a voxel more than they reach: they are rounded once more below
    reach = np.floor((points.max(axis=0) - start)[::-1] / step).astype(int) + 2
    onto = matrix @ level.affine
    onto[:3, 3] -= start
    box = np.zeros((3, *reach), np.float32)
    mean = np.float32(level.values.mean(where=level.seen))
    lay(level.values, level.seen, mean, onto[2::-1] / step[:, None], box)
    return box, start


def _distinct(found: list[Start], fixed: Level, count: int) -> list[Start]:
    """Return the best, each of them at least some way from those before it."""
    ends = np.concatenate([fixed.mass + fixed.radius * np.eye(3), [fixed.mass]])
    kept: list[Start] = []
    for start in sorted(found, key=lambda other: -other.score):
        if start.overlap < LEAST_OVERLAP:
            continue
        here = apply(start.matrix, ends)
        far = (
            np.linalg.norm(here - apply(other.matrix, ends), axis=1).max() > _ALIKE * fixed.radius
            for other in kept
        )
        if all(far):
            kept.append(start)
        if len(kept) == count:
            break
    return kept


def _turns() -> list[Matrix]:
    """No turn, 15 degrees either way and 180 degrees about each axis of space, 3x3 each."""
    from scipy.spatial.transform import Rotation

    vectors = [np.zeros(3)]
    for axis in np.eye(3):
        vectors += [_TURN * axis, -_TURN * axis, np.pi * axis]
    return [Rotation.from_rotvec(vector).as_matrix() for vector in vectors]


def _turned(rotation: Matrix, about: NDArray[np.float64], shift: NDArray[np.float64]) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = about - rotation @ about + shift
    return matrix

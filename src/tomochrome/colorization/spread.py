"""Spreading strokes along the edges of a CT: one sparse linear system for each meaning.

The energy is that of Levin, Lischinski and Weiss, "Colorization using optimization" (ACM Trans.
Graph. 23(3), 2004): neighbours of like brightness get a like membership. A term is added that
pulls the membership to 0, weakly everywhere, so that the reach is limited, and strongly where
the HU are not those under the stroke (the prior of Grady, "Multilabel random walker image
segmentation using prior models", CVPR 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import dia_array
from scipy.sparse.linalg import cg

from tomochrome.colorization.body import block_mean
from tomochrome.colorization.kernels import HIGHEST_HU, LOWEST_HU
from tomochrome.runtime import ThreadPool, check, report, thread_count

Field = NDArray[np.float32]
Spacing = tuple[float, float, float]

BARRIER_MM: Final = 3.0  #: length in which a membership falls to 1/e where the HU do not fit
LEAST_SIGMA: Final = 7.0  #: HU by which neighbours may differ even without noise
LEAST_WIDTH: Final = 12.0  #: HU around those under a stroke that still fit
RARE: Final = 0.2  #: HU less frequent than this share of the most frequent ones fit less
_SMALL: Final = 20_000  # cells that need no start from a coarser grid
_TOLERANCE: Final = 1e-4  # of the residual
_MOST_STEPS: Final = 400


@dataclass(frozen=True, eq=False)
class Ground:
    """What strokes spread over.

    Parameters
    ----------
    hu
        float32 (z, y, x), denoised.
    inside
        Booleans of the same shape: where a membership may be other than 0.
    spacing
        Of the cells along (z, y, x) in mm.
    noise
        Standard deviation of the noise that is left in ``hu``.
    """

    hu: Field
    inside: NDArray[np.bool_]
    spacing: Spacing
    noise: float = 0.0

    def coarser(self) -> tuple[Ground, tuple[int, int, int]]:
        """Return the ground in larger cells, nearly cubes, and how many make one."""
        least = min(mm for mm, n in zip(self.spacing, self.hu.shape, strict=True) if n > 1)
        fz, fy, fx = (
            2 if n > 1 and mm < 1.5 * least else 1
            for mm, n in zip(self.spacing, self.hu.shape, strict=True)
        )
        factors = fz, fy, fx
        z, y, x = (mm * factor for mm, factor in zip(self.spacing, factors, strict=True))
        hu, inside = (block_mean(a, factors) for a in (self.hu, self.inside.astype(np.float32)))
        return replace(self, hu=hu, inside=inside > 0.5, spacing=(z, y, x)), factors


def laplacian(ground: Ground) -> dia_array:
    """Return the matrix of sum_rs w_rs (x_r - x_s)^2 over neighbours: float32, sparse.

    The weight is the Gaussian of their difference in HU, divided by the square of their distance
    in mm; 0 where one of them is not inside.
    """
    hu, inside = ground.hu, ground.inside
    sigma = np.float32(np.hypot(LEAST_SIGMA, ground.noise))
    total = np.zeros(hu.shape, np.float32)
    rows, offsets = [], []
    stride = (hu.shape[1] * hu.shape[2], hu.shape[2], 1)
    for axis, (mm, step) in enumerate(zip(ground.spacing, stride, strict=True)):
        if hu.shape[axis] == 1:
            continue
        here, there = ((slice(None),) * axis + (s,) for s in (slice(None, -1), slice(1, None)))
        weight = np.zeros(hu.shape, np.float32)
        weight[here] = np.exp(-0.5 * (np.diff(hu, axis=axis) / sigma) ** 2) / np.float32(mm**2)
        weight[here] *= inside[here] & inside[there]
        total[here] += weight[here]
        total[there] += weight[here]
        flat = -weight.ravel()
        rows += [np.roll(flat, step), flat]  # the last of an axis have weight 0
        offsets += [step, -step]
    return dia_array((np.stack([total.ravel(), *rows]), [0, *offsets]), shape=(hu.size, hu.size))


def fit_table(values: NDArray[np.floating], noise: float) -> Field:
    """Return how well each HU fits those under a stroke, 0 to 1.

    Parameters
    ----------
    values
        HU under the stroke, perhaps none.
    noise
        Standard deviation of the noise in them.

    Returns
    -------
    ndarray
        float32, one for each HU from `LOWEST_HU` to `HIGHEST_HU`: 1 where the smoothed histogram
        of those under the stroke is at least `RARE` of its highest value.
    """
    size = HIGHEST_HU - LOWEST_HU + 1
    counts = np.bincount(table_row(values), minlength=size).astype(np.float32)
    width = float(np.hypot(LEAST_WIDTH, noise))
    smooth = ndimage.gaussian_filter1d(counts, width, mode="constant", truncate=6.0)
    return np.minimum(smooth / max(RARE * float(smooth.max()), 1e-9), 1).astype(np.float32)


def table_row(hu: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the row of each HU in a `fit_table`."""
    rows = np.rint(np.clip(hu, LOWEST_HU, HIGHEST_HU)).astype(np.int64)
    return np.asarray(rows - LOWEST_HU)


def spread(
    ground: Ground,
    strokes: Sequence[Field],
    fits: Sequence[Field],
    length_mm: float,
    threads: int | None = None,
) -> list[Field]:
    """Return the membership of each cell in each meaning.

    Parameters
    ----------
    ground
        What they spread over.
    strokes
        For each meaning the share of each cell that its strokes cover, float32 (z, y, x).
    fits
        For each meaning its `fit_table`.
    length_mm
        Length in which a membership falls to 1/e in uniform tissue.
    threads
        Meanings solved at once; by default as many as this process may use threads.

    Returns
    -------
    list of ndarray
        float32 (z, y, x) for each meaning, 0 to 1.

    Raises
    ------
    Cancelled
        If the task was cancelled.
    """
    starts = _coarse_start(ground, strokes, fits, length_mm, threads)
    matrix = laplacian(ground)
    covered = np.sum(strokes, axis=0, dtype=np.float32).ravel()
    free, fitting = (covered == 0).astype(np.float32), table_row(ground.hu)

    def solve(number: int) -> Field:
        check()
        lack = 1 - fits[number][fitting].ravel()
        pull = np.float32(length_mm**-2) + np.float32(BARRIER_MM**-2) * lack
        fixed = np.asarray(strokes[number].ravel() / np.maximum(covered, 1e-9), np.float32)
        start = None if starts is None else starts[number].ravel()
        found = solve_system(matrix, pull, free, fixed, start)
        return np.clip(found, 0, 1).reshape(ground.hu.shape)

    fields = []
    with ThreadPool(min(thread_count(threads), len(strokes))) as pool:
        for field in pool.map(solve, range(len(strokes))):
            fields.append(field)
            if ground.hu.size > _SMALL:
                report(len(fields), len(strokes), "spreading the strokes")
    return fields


def _coarse_start(
    ground: Ground,
    strokes: Sequence[Field],
    fits: Sequence[Field],
    length_mm: float,
    threads: int | None,
) -> list[Field] | None:
    """Return what the same strokes give in larger cells, brought back; None if there are few."""
    if ground.hu.size <= _SMALL:
        return None
    coarse, factors = ground.coarser()
    pooled = [block_mean(share, factors) for share in strokes]
    starts = spread(coarse, pooled, fits, length_mm, threads)
    for axis, factor in enumerate(factors):
        keep = slice(ground.hu.shape[axis])
        index = (slice(None),) * axis + (keep,)
        starts = [np.repeat(start, factor, axis)[index] for start in starts]
    return starts


def solve_system(
    matrix: dia_array, pull: Field, free: Field, fixed: Field, start: Field | None = None
) -> Field:
    """Return the x of least energy x' (matrix + diag(pull)) x where some of it is given.

    Parameters
    ----------
    matrix
        A `laplacian` of n cells.
    pull
        float32 (n,): how strongly each cell is pulled to 0, in 1/mm^2.
    free
        float32 (n,): 1 where x is sought, 0 where it is given.
    fixed
        float32 (n,): the x given, 0 elsewhere.
    start
        float32 (n,): where to begin.

    Returns
    -------
    ndarray
        float32 (n,), by conjugate gradients on the system scaled by its diagonal.

    Raises
    ------
    Cancelled
        If the task was cancelled.
    """
    # Scaled to a diagonal of 1 instead of preconditioned: then the tolerance is as strict for
    # cells that hardly hang on their neighbours.
    root = np.sqrt(np.maximum(matrix.diagonal() + pull, np.float32(1e-20)))
    scale = free / root
    scaled = dia_array((np.empty_like(matrix.data), matrix.offsets), shape=matrix.shape)
    for row, given, offset in zip(scaled.data, matrix.data, matrix.offsets, strict=True):
        np.multiply(given + pull if offset == 0 else given, scale, out=row)
        row *= np.roll(scale, offset)
    found, _ = cg(
        scaled,
        -scale * (matrix @ fixed),
        None if start is None else free * root * start,
        rtol=_TOLERANCE,
        maxiter=_MOST_STEPS,
        callback=lambda _: check(),
    )
    return np.asarray(scale * found + fixed, np.float32)

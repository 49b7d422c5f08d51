"""Edge-aware propagation of strokes in a CT: one sparse linear system for each meaning.

The energy is that of Levin, Lischinski and Weiss, "Colorization using optimization" (ACM Trans.
Graph. 23(3), 2004): adjacent cells of similar brightness get similar memberships. An additional
term pulls the membership to 0, weakly everywhere to limit the reach, and strongly where the HU
differ from those under the stroke (the prior of Grady, "Multilabel random walker image
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
from tomochrome.colorization.slab_kernels import MAX_HU, MIN_HU
from tomochrome.runtime import ThreadPool, check, report, thread_count

Field = NDArray[np.float32]
Spacing = tuple[float, float, float]

BARRIER_MM: Final = 3.0  #: decay length of a membership where the HU do not fit
MIN_SIGMA: Final = 7.0  #: HU difference of adjacent cells that is tolerated without noise
MIN_WIDTH: Final = 12.0  #: sigma in HU for smoothing the histogram under a stroke
RARE_SHARE: Final = 0.2  #: HU less frequent than this share of the mode fit only partly
_SMALL: Final = 20_000  # cells solved without an initial guess from a coarser grid
_TOLERANCE: Final = 1e-5  # of the residual
_MAX_ITERATIONS: Final = 400


@dataclass(frozen=True, eq=False)
class Domain:
    """The grid of cells over which strokes are propagated.

    Parameters
    ----------
    hu
        float32 (z, y, x), denoised.
    inside
        bool, same shape: where a membership may be nonzero.
    spacing
        Cell size (z, y, x) in mm.
    noise
        Standard deviation of the residual noise in ``hu``.
    """

    hu: Field
    inside: NDArray[np.bool_]
    spacing: Spacing
    noise: float = 0.0

    def coarser(self) -> tuple[Domain, tuple[int, int, int]]:
        """Return the domain in larger, nearly cubic cells, and the factor along each axis."""
        least = min(mm for mm, n in zip(self.spacing, self.hu.shape, strict=True) if n > 1)
        fz, fy, fx = (
            2 if n > 1 and mm < 1.5 * least else 1
            for mm, n in zip(self.spacing, self.hu.shape, strict=True)
        )
        factors = fz, fy, fx
        z, y, x = (mm * factor for mm, factor in zip(self.spacing, factors, strict=True))
        hu, inside = (block_mean(a, factors) for a in (self.hu, self.inside.astype(np.float32)))
        return replace(self, hu=hu, inside=inside > 0.5, spacing=(z, y, x)), factors


def laplacian(domain: Domain) -> dia_array:
    """Return the matrix of sum_rs w_rs (x_r - x_s)^2 over adjacent cells: float32, sparse.

    The weight is a Gaussian of the HU difference, divided by the squared distance in mm; it is 0
    if one of the cells is not inside.
    """
    hu, inside = domain.hu, domain.inside
    sigma = np.float32(np.hypot(MIN_SIGMA, domain.noise))
    total = np.zeros(hu.shape, np.float32)
    rows, offsets = [], []
    stride = (hu.shape[1] * hu.shape[2], hu.shape[2], 1)
    for axis, (mm, step) in enumerate(zip(domain.spacing, stride, strict=True)):
        if hu.shape[axis] == 1:
            continue
        low, high = ((slice(None),) * axis + (s,) for s in (slice(None, -1), slice(1, None)))
        weight = np.zeros(hu.shape, np.float32)
        weight[low] = np.exp(-0.5 * (np.diff(hu, axis=axis) / sigma) ** 2) / np.float32(mm**2)
        weight[low] *= inside[low] & inside[high]
        total[low] += weight[low]
        total[high] += weight[low]
        flat = -weight.ravel()
        rows += [np.roll(flat, step), flat]  # the last cells along an axis have weight 0
        offsets += [step, -step]
    return dia_array((np.stack([total.ravel(), *rows]), [0, *offsets]), shape=(hu.size, hu.size))


def fit_table(values: NDArray[np.floating], noise: float) -> Field:
    """Return how well each HU fits the HU under a stroke, 0 to 1.

    Parameters
    ----------
    values
        HU under the stroke; may be empty.
    noise
        Standard deviation of their noise.

    Returns
    -------
    ndarray
        float32, one value for each HU from `MIN_HU` to `MAX_HU`: 1 where the smoothed
        histogram of ``values`` is at least `RARE_SHARE` of its maximum.
    """
    size = MAX_HU - MIN_HU + 1
    counts = np.bincount(table_row(values), minlength=size).astype(np.float32)
    width = float(np.hypot(MIN_WIDTH, noise))
    smooth = ndimage.gaussian_filter1d(counts, width, mode="constant", truncate=6.0)
    return np.minimum(smooth / max(RARE_SHARE * float(smooth.max()), 1e-9), 1).astype(np.float32)


def table_row(hu: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the row of each HU in a `fit_table`."""
    rows = np.rint(np.clip(hu, MIN_HU, MAX_HU)).astype(np.int64)
    return np.asarray(rows - MIN_HU)


def spread(
    domain: Domain,
    strokes: Sequence[Field],
    fits: Sequence[Field],
    length_mm: float,
    threads: int | None = None,
) -> list[Field]:
    """Return the membership of each cell in each meaning.

    Parameters
    ----------
    domain
        The grid of cells.
    strokes
        For each meaning, the fraction of each cell covered by its strokes, float32 (z, y, x).
    fits
        For each meaning, its `fit_table`.
    length_mm
        Decay length (to 1/e) of a membership in uniform tissue, in mm.
    threads
        Number of meanings solved in parallel; by default the number of available threads.

    Returns
    -------
    list of ndarray
        float32 (z, y, x) for each meaning, 0 to 1.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    starts = _coarse_start(domain, strokes, fits, length_mm, threads)
    matrix = laplacian(domain)
    covered = np.sum(strokes, axis=0, dtype=np.float32).ravel()
    free, fitting = (covered == 0).astype(np.float32), table_row(domain.hu)

    def solve(number: int) -> Field:
        check()
        misfit = 1 - fits[number][fitting].ravel()
        prior = np.float32(length_mm**-2) + np.float32(BARRIER_MM**-2) * misfit
        fixed = np.asarray(strokes[number].ravel() / np.maximum(covered, 1e-9), np.float32)
        start = None if starts is None else starts[number].ravel()
        solution = solve_system(matrix, prior, free, fixed, start)
        return np.clip(solution, 0, 1).reshape(domain.hu.shape)

    fields = []
    with ThreadPool(min(thread_count(threads), len(strokes))) as pool:
        for field in pool.map(solve, range(len(strokes))):
            fields.append(field)
            if domain.hu.size > _SMALL:
                report(len(fields), len(strokes), "propagating the strokes")
    return fields


def _coarse_start(
    domain: Domain,
    strokes: Sequence[Field],
    fits: Sequence[Field],
    length_mm: float,
    threads: int | None,
) -> list[Field] | None:
    """Return the solution on a coarser grid, upsampled; None for few cells."""
    if domain.hu.size <= _SMALL:
        return None
    coarse, factors = domain.coarser()
    pooled = [block_mean(share, factors) for share in strokes]
    starts = spread(coarse, pooled, fits, length_mm, threads)
    for axis, factor in enumerate(factors):
        keep = slice(domain.hu.shape[axis])
        index = (slice(None),) * axis + (keep,)
        starts = [np.repeat(start, factor, axis)[index] for start in starts]
    return starts


def solve_system(
    matrix: dia_array, prior: Field, free: Field, fixed: Field, start: Field | None = None
) -> Field:
    """Minimize x' (matrix + diag(prior)) x with some elements of x fixed.

    The system is scaled to a unit diagonal and solved by conjugate gradients.

    Parameters
    ----------
    matrix
        A `laplacian` of n cells.
    prior
        float32 (n,): strength with which each cell is pulled to 0, in 1/mm^2.
    free
        float32 (n,): 1 for unknown elements of x, 0 for fixed ones.
    fixed
        float32 (n,): the fixed elements of x, 0 elsewhere.
    start
        float32 (n,): initial guess.

    Returns
    -------
    ndarray
        float32 (n,).

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    # Scaling, unlike preconditioning, makes the tolerance equally strict for cells that are
    # weakly coupled to adjacent ones.
    root = np.sqrt(np.maximum(matrix.diagonal() + prior, np.float32(1e-20)))
    scale = free / root
    scaled = dia_array((np.empty_like(matrix.data), matrix.offsets), shape=matrix.shape)
    for row, values, offset in zip(scaled.data, matrix.data, matrix.offsets, strict=True):
        np.multiply(values + prior if offset == 0 else values, scale, out=row)
        row *= np.roll(scale, offset)
    solution, _ = cg(
        scaled,
        -scale * (matrix @ fixed),
        None if start is None else free * root * start,
        rtol=_TOLERANCE,
        maxiter=_MAX_ITERATIONS,
        callback=lambda _: check(),
    )
    return np.asarray(scale * solution + fixed, np.float32)

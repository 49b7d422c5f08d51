"""Initial alignment: none, centers, rigid or affine, by Mattes mutual information.

Mattes et al., "Nonrigid multimodality image registration", SPIE Medical Imaging 2001, in
SimpleITK's implementation, from coarse to fine. Many starting positions are compared on the
coarse grid (`find_starts`), the most promising ones are optimized, and the best result is
refined on the finer grids.

A body resembles its mirror image, and noise has some best position too: an optimum is found in both
cases, which its measures alone do not tell from a valid one. `plausibility` says whether two images
are alike at all, or one of them is mirrored.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.registration.checked_input import METHODS, CheckedScan
from tomochrome.registration.levels import Level, make_levels
from tomochrome.registration.starts import (
    MIN_OVERLAP,
    Start,
    choose_best,
    find_starts,
    information,
    shared_information,
)
from tomochrome.runtime import ThreadPool, check, current, quietly, report
from tomochrome.transform import Transform

_MAX_STARTS: Final = 3  # that are optimized on the coarse grid
_MAX_STRETCH: Final = 2.0  # affine results with a larger scaling are rejected
_BINS: Final = 40
_PLAUSIBILITY_LEVELS: Final = 2
_GAIN: Final = 1.12
"""Factor by which a mirrored image must fit better. Measured on rigid and affine alignments: scans
of one patient of which one was mirrored 1.12 (head) to 3.5; of two patients at most 1.06."""
_MIN_MIRRORED: Final = 0.45  # nats; a poor fit of both proves nothing
_UNRELATED: Final = 0.08  # nats; abdomen and chest have 0.13, noise less than 0.01

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class _Schedule:
    """Parameters of the optimizer on one grid."""

    level: int
    samples: int
    iterations: int
    step: float  #: first step of the optimizer, in voxels of the grid
    least: float  #: smallest step


_RIGID = (_Schedule(1, 25_000, 60, 1.0, 0.01), _Schedule(2, 30_000, 80, 0.5, 0.001))
_AFFINE = (_Schedule(1, 25_000, 80, 0.7, 0.01), _Schedule(2, 30_000, 40, 0.4, 0.001))
_SEARCH = _Schedule(0, 12_000, 80, 2.0, 0.03)


def initialize(
    fixed: CheckedScan, moving: CheckedScan, method: str = "affine", *, seed: int = 0
) -> Transform:
    """Compute an affine map from the fixed to the moving volume.

    Parameters
    ----------
    fixed, moving
        They may differ in grid, spacing, orientation and field of view.
    method
        ``"none"`` (as in the files), ``"center"`` (geometric centers), ``"mass"`` (centers of
        mass), ``"rigid"`` or ``"affine"``.
    seed
        Random seed for sampling voxels.

    Returns
    -------
    Transform
        From points of the fixed volume to the moving one.

    Raises
    ------
    OptionError
        If the method is unknown.
    InputError
        If a mask contains no voxel, or a volume is constant in it.
    GeometryError
        If the volumes do not overlap (``"none"``) or no position with an overlap was found.
    Cancelled
        If the user cancelled.
    """
    if method not in METHODS:
        raise OptionError(f"unknown initialization '{method}': choose one of {', '.join(METHODS)}")
    check()
    report(0, 100, "initial alignment")
    coarse_only = method in ("none", "center", "mass")
    count = 1 if coarse_only else 3
    with ThreadPool(2) as pool:  # in a fixed order, so that the first error is reported
        ours, theirs = pool.map(make_levels, (fixed, moving), (count, count))
    check()
    if coarse_only:
        coarse, other = ours[0], theirs[0]
        if method == "none":
            _, overlap = shared_information(coarse, other, np.eye(4))
            if overlap < MIN_OVERLAP:
                raise GeometryError(
                    "the two volumes do not overlap in space; start from their centers or use "
                    "volumes of the same region"
                )
            return Transform.identity()
        matrix, center = np.eye(4), method == "center"
        matrix[:3, 3] = other.center - coarse.center if center else other.mass - coarse.mass
        return Transform.from_affine(matrix)
    search = _Search(ours, theirs, seed)
    matrix = search.run(affine=method == "affine")
    report(100, 100, "initial alignment")
    return Transform.from_affine(matrix)


def optimized_nearby(
    fixed: Sequence[Level], moving: Sequence[Level], start: NDArray[np.float64], seed: int = 0
) -> NDArray[np.float64]:
    """Return the best affine position near a start, on the coarse and the middle grid."""
    search = _Search(fixed, moving, seed)
    best = start
    for schedule, rigid in ((_SEARCH, True), (_RIGID[0], True), (_AFFINE[0], False)):
        position = search._optimize(best, schedule, rigid=rigid)
        best = search._better(best, position)
    return best


class _Search:
    """The optimization of one pair, from coarse to fine."""

    def __init__(self, fixed: Sequence[Level], moving: Sequence[Level], seed: int) -> None:
        self.fixed, self.moving = fixed, moving
        self.seed = seed

    def run(self, *, affine: bool) -> NDArray[np.float64]:
        """Return the best 4x4 from the fixed to the moving volume."""
        starts = find_starts(self.fixed[0], self.moving[0], _MAX_STARTS)
        if not starts:
            raise GeometryError(
                "no position was found at which the two volumes overlap: the masks contain too "
                "few voxels"
            )
        report(10, 100, "initial alignment: search")
        with ThreadPool(len(starts)) as pool:
            results = list(
                pool.map(lambda s: self._optimize(s.matrix, _SEARCH, rigid=True), starts)
            )
        ends = [starts[0]]
        for matrix in results:
            if matrix is None:
                continue
            score, overlap = shared_information(self.fixed[0], self.moving[0], matrix)
            if overlap >= MIN_OVERLAP:
                ends.append(Start(matrix, score, overlap))
        best = choose_best(ends).matrix
        report(40, 100, "initial alignment: rigid")
        if not affine:
            for schedule in _RIGID:
                best = self._better(best, self._optimize(best, schedule, rigid=True))
            return best
        best = self._better(best, self._optimize(best, _RIGID[0], rigid=True))
        report(60, 100, "initial alignment: affine")
        for schedule in _AFFINE:
            best = self._better(best, self._optimize(best, schedule, rigid=False))
        return best

    def _better(
        self, old: NDArray[np.float64], new: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Return the new position unless it is implausible or clearly worse."""
        if new is None:
            return old
        stretch = np.linalg.svd(new[:3, :3], compute_uv=False)
        if stretch.max() > _MAX_STRETCH or stretch.min() < 1 / _MAX_STRETCH:
            return old
        before, _ = shared_information(self.fixed[1], self.moving[1], old)
        after, overlap = shared_information(self.fixed[1], self.moving[1], new)
        return new if overlap >= MIN_OVERLAP and after > 0.99 * before else old

    def _optimize(
        self, start: NDArray[np.float64], schedule: _Schedule, *, rigid: bool
    ) -> NDArray[np.float64] | None:
        """Optimize from a start on one grid; None if the optimizer failed."""
        check()
        fixed, moving = self.fixed[schedule.level], self.moving[schedule.level]
        # in units of the patient's radius, equal changes of rotation and translation parameters
        # move voxels by similar distances, so that all parameters can have the same scale
        patient = self.fixed[0]  # the coarse grid suffices for size and center
        unit = patient.radius
        transform = _itk_transform(_in_units(start, unit), patient.mass / unit, rigid=rigid)
        method = SimpleITK.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        share = min(1.0, schedule.samples / max(fixed.count, 1))
        # the share refers to the full grid, and samples outside the mask are dropped
        method.SetMetricSamplingStrategy(method.RANDOM if share < 1 else method.NONE)
        if share < 1:
            method.SetMetricSamplingPercentage(share, self.seed + 1)
        if fixed.mask is not None:
            method.SetMetricFixedMask(_rescaled(fixed.mask, unit))
        if moving.mask is not None:
            method.SetMetricMovingMask(_rescaled(moving.mask, unit))
        method.SetInterpolator(SimpleITK.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=schedule.step * fixed.step_mm / unit,
            minStep=schedule.least * fixed.step_mm / unit,
            numberOfIterations=schedule.iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-9,
        )
        method.SetOptimizerScales([1.0] * transform.GetNumberOfParameters())
        method.SetInitialTransform(transform, inPlace=True)
        task = current()

        def stop_if_cancelled() -> None:
            if task.cancelled:
                method.StopRegistration()

        method.AddCommand(SimpleITK.sitkIterationEvent, stop_if_cancelled)
        try:
            with _ONE_THREAD:
                method.Execute(_rescaled(fixed.image, unit), _rescaled(moving.image, unit))
        except RuntimeError:  # "all samples map outside the moving image"
            check()
            return None
        finally:
            method.RemoveAllCommands()
        check()
        return _in_units(_matrix(transform), 1 / unit)


class _OneThread:
    """Restricts ITK's metric to one thread, so that sums are reproducible to the last digit.

    ITK only respects the number of threads of the process; the last to exit restores it.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
                SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(self._before)


_ONE_THREAD: Final = _OneThread()


def _in_units(matrix: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """Convert a 4x4 in mm to a longer unit of length."""
    result = np.array(matrix)
    result[:3, 3] /= unit
    return result


def _rescaled(image: SimpleITK.Image, unit: float) -> SimpleITK.Image:
    """Return an image with origin and spacing in another unit of length."""
    copy = SimpleITK.Image(image)
    copy.SetOrigin([v / unit for v in image.GetOrigin()])
    copy.SetSpacing([v / unit for v in image.GetSpacing()])
    return copy


def _itk_transform(
    matrix: NDArray[np.float64], center: NDArray[np.float64], *, rigid: bool
) -> SimpleITK.Transform:
    """Convert a 4x4 to an ITK transform with a center, for optimization."""
    transform: Any = SimpleITK.Euler3DTransform() if rigid else SimpleITK.AffineTransform(3)
    transform.SetCenter([float(v) for v in center])
    linear = matrix[:3, :3]
    if rigid:
        u, _, vt = np.linalg.svd(linear)
        linear = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        transform.SetMatrix([float(v) for v in linear.ravel()], 1e-6)
    else:
        transform.SetMatrix([float(v) for v in linear.ravel()])
    shift = apply(matrix, center) - center
    transform.SetTranslation([float(v) for v in shift])
    return transform


def _matrix(transform: Any) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    center = np.array(transform.GetCenter())
    matrix[:3, 3] = np.array(transform.GetTranslation()) + center - matrix[:3, :3] @ center
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise InputError("the initial alignment of the two volumes failed")
    return matrix


@dataclass(frozen=True)
class Plausibility:
    """How well two images fit on a coarse grid, as they are and with one of them mirrored.

    Parameters
    ----------
    similarity, mirrored_similarity
        Mutual information in nats after an affine alignment, times the overlap.
    """

    similarity: float
    mirrored_similarity: float

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are suspected to be swapped in one of the images."""
        best = self.mirrored_similarity
        return best > _MIN_MIRRORED and best > _GAIN * self.similarity

    @property
    def is_unrelated(self) -> bool:
        """Whether the images have nothing in common, mirrored or not."""
        return max(self.similarity, self.mirrored_similarity) < _UNRELATED

    def as_json(self) -> dict[str, Any]:
        """Return the figures as they are in ``report.json``."""
        return {
            "similarity": round(self.similarity, 4),
            "mirrored_similarity": round(self.mirrored_similarity, 4),
            "mirrored": self.is_mirrored,
            "unrelated": self.is_unrelated,
        }


@quietly()
def plausibility(fixed: CheckedScan, moving: CheckedScan, matrix: Matrix) -> Plausibility:
    """Compare an alignment with the best one nearby in which the moving image is mirrored.

    The moving image is mirrored at the sagittal plane through its center of mass, so that it
    stays in place, and aligned anew on a coarse grid; so is the image as it is.

    Parameters
    ----------
    fixed, moving
        On any grids.
    matrix
        The alignment: 4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    """
    ours = make_levels(fixed, _PLAUSIBILITY_LEVELS)
    check()
    theirs = make_levels(moving, _PLAUSIBILITY_LEVELS)
    about = float(theirs[0].mass[0])
    other = [mirrored(level, about) for level in theirs]

    def fitted(levels: Sequence[Level], start: Matrix) -> tuple[float, Matrix]:
        position = optimized_nearby(ours, levels, start)
        return information(ours[1], levels[1], position), position

    upright = np.eye(4)  # an alignment may have turned the body to make up for the mirroring
    upright[:3, 3] = other[0].mass - ours[0].mass
    with ThreadPool(3) as pool:
        (own, _), *rest = pool.map(fitted, (theirs, other, other), (matrix, matrix, upright))
    best, there = max(rest, key=lambda fit: fit[0])
    if best > own:  # the other one may just have escaped from a poor local optimum
        back = _mirror(about) @ there @ _mirror(float(ours[0].mass[0]))
        own = max(own, fitted(theirs, back)[0])
    return Plausibility(own, best)


def _mirror(about: float) -> Matrix:
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 3] = -1.0, 2 * about
    return matrix


def mirrored(level: Level, about: float) -> Level:
    """Return an image mirrored at the sagittal plane at ``about`` (LPS mm along x)."""
    flip = np.eye(4)  # of an axis of the array, so that the grid stays right-handed
    flip[2, 2], flip[2, 3] = -1.0, level.values.shape[2] - 1
    values = np.ascontiguousarray(level.values[:, :, ::-1])
    valid = np.ascontiguousarray(level.valid[:, :, ::-1])
    return Level(values, valid, _mirror(about) @ level.affine @ flip, level.hu)

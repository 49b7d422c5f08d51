"""Initial alignment: none, centers, rigid or affine, by Mattes mutual information.

Mattes et al., "Nonrigid multimodality image registration", SPIE Medical Imaging 2001, in
SimpleITK's implementation, from coarse to fine. Many starting positions are compared on the
coarse grid (`find_starts`), the most promising ones are optimized, and the best result is
refined on the finer grids.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.registration.levels import Level, make_levels
from tomochrome.registration.padding import without_padding
from tomochrome.registration.starts import (
    MIN_OVERLAP,
    Start,
    choose_best,
    find_starts,
    shared_information,
)
from tomochrome.runtime import ThreadPool, check, current, report
from tomochrome.transform import Transform
from tomochrome.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

METHODS: Final = ("none", "center", "mass", "rigid", "affine")
"""Methods of `initialize`."""
_MAX_STARTS: Final = 3  # that are optimized on the coarse grid
_MAX_STRETCH: Final = 2.0  # affine results with a larger scaling are rejected
_BINS: Final = 40


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
    fixed: Volume,
    moving: Volume,
    method: str = "affine",
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
    seed: int = 0,
    roles: tuple[str, str] = ("fixed", "moving"),
) -> Transform:
    """Compute an affine map from the fixed to the moving volume.

    Parameters
    ----------
    fixed, moving
        Scalar volumes; they may differ in grid, spacing, orientation and field of view.
    method
        ``"none"`` (as in the files), ``"center"`` (geometric centers), ``"mass"`` (centers of
        mass), ``"rigid"`` or ``"affine"``.
    fixed_mask, moving_mask
        Volumes on any grid, nonzero where the image is used.
    seed
        Random seed for sampling voxels.
    roles
        Names of the two volumes in error messages.

    Returns
    -------
    Transform
        From points of the fixed volume to the moving one.

    Raises
    ------
    OptionError
        If the method is unknown.
    InputError
        If a volume is colored, flat or constant, or contains NaN, or a mask contains no voxel.
    GeometryError
        If the volumes do not overlap (``"none"``) or no position with an overlap was found.
    Cancelled
        If the user cancelled.
    """
    from tomochrome.registration.pair import check_volume

    if method not in METHODS:
        raise OptionError(f"unknown initialization '{method}': choose one of {', '.join(METHODS)}")
    check_volume(fixed, roles[0])
    check_volume(moving, roles[1])
    check()
    report(0, 100, "initial alignment")
    coarse_only = method in ("none", "center", "mass")
    count = 1 if coarse_only else 3

    def levels(volume: Volume, mask: Volume | None, role: str) -> list[Level]:
        return make_levels(without_padding(volume), mask, role, count)

    with ThreadPool(2) as pool:  # in a fixed order, so that the first error is reported
        ours, theirs = pool.map(levels, (fixed, moving), (fixed_mask, moving_mask), roles)
    check()
    if coarse_only:
        return Transform.from_affine(_without_search(method, ours[0], theirs[0]))
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
        found = search._optimize(best, schedule, rigid=rigid)
        best = search._better(best, found)
    return best


def _without_search(method: str, fixed: Level, moving: Level) -> NDArray[np.float64]:
    """Return the alignment by headers or centers."""
    if method == "none":
        _, overlap = shared_information(fixed, moving, np.eye(4))
        if overlap < MIN_OVERLAP:
            raise GeometryError(
                "the two volumes do not overlap in space; start from their centers or use "
                "volumes of the same region"
            )
        return np.eye(4)
    if method == "center":
        return _shift(moving.center - fixed.center)
    return _shift(moving.mass - fixed.mass)


def _shift(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, 3] = vector
    return matrix


class _Search:
    """The optimization of one pair, from coarse to fine."""

    def __init__(self, fixed: Sequence[Level], moving: Sequence[Level], seed: int) -> None:
        self.fixed, self.moving = fixed, moving
        self.seed = seed

    def run(self, *, affine: bool) -> NDArray[np.float64]:
        """Return the best 4x4 from the fixed to the moving volume."""
        best = self._global_search()
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

    def _global_search(self) -> NDArray[np.float64]:
        """Compare all starts on the coarse grid, and optimize the best of them."""
        found = find_starts(self.fixed[0], self.moving[0], _MAX_STARTS)
        if not found:
            raise GeometryError(
                "no position was found at which the two volumes overlap: the masks contain too "
                "few voxels"
            )
        report(10, 100, "initial alignment: search")
        with ThreadPool(len(found)) as pool:
            results = list(pool.map(lambda s: self._optimize(s.matrix, _SEARCH, rigid=True), found))
        ends = [found[0]]
        for matrix in results:
            if matrix is None:
                continue
            score, overlap = shared_information(self.fixed[0], self.moving[0], matrix)
            if overlap >= MIN_OVERLAP:
                ends.append(Start(matrix, score, overlap))
        return choose_best(ends).matrix

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
        import SimpleITK

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
        from SimpleITK import ProcessObject

        with self._lock:
            if self._inside == 0:
                self._before = ProcessObject.GetGlobalDefaultNumberOfThreads()
                ProcessObject.SetGlobalDefaultNumberOfThreads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        from SimpleITK import ProcessObject

        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ProcessObject.SetGlobalDefaultNumberOfThreads(self._before)


_ONE_THREAD: Final = _OneThread()


def _in_units(matrix: NDArray[np.float64], unit: float) -> NDArray[np.float64]:
    """Convert a 4x4 in mm to a longer unit of length."""
    result = np.array(matrix)
    result[:3, 3] /= unit
    return result


def _rescaled(image: SimpleITK.Image, unit: float) -> SimpleITK.Image:
    """Return an image with origin and spacing in another unit of length."""
    import SimpleITK

    copy = SimpleITK.Image(image)
    copy.SetOrigin([v / unit for v in image.GetOrigin()])
    copy.SetSpacing([v / unit for v in image.GetSpacing()])
    return copy


def _itk_transform(
    matrix: NDArray[np.float64], center: NDArray[np.float64], *, rigid: bool
) -> SimpleITK.Transform:
    """Convert a 4x4 to an ITK transform with a center, for optimization."""
    import SimpleITK

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

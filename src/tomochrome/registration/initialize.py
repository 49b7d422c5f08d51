"""A first, affine answer: none, centers, rigid or affine, by Mattes mutual information.

Mattes et al., "Nonrigid multimodality image registration", SPIE Medical Imaging 2001, as
SimpleITK has it, from coarse to fine. Many starting positions are compared on the coarse grid
(`starts`), the most promising ones are followed, and the best of their ends goes on to the finer
grids.
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
    LEAST_OVERLAP,
    Start,
    chosen,
    shared_information,
    starts,
)
from tomochrome.runtime import ThreadPool, check, current, report
from tomochrome.transform import Transform
from tomochrome.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

METHODS: Final = ("none", "center", "mass", "rigid", "affine")
"""Names that `initialize` understands."""
_FOLLOWED: Final = 3  # starts that are optimized on the coarse grid
_STRETCH: Final = 2.0  # an affine answer that grows or shrinks any direction more is not believed
_BINS: Final = 40


@dataclass(frozen=True)
class _Effort:
    """How hard to try on one grid."""

    level: int
    samples: int
    iterations: int
    step: float  #: first step of the optimizer, in voxels of the grid
    least: float  #: last one


_RIGID = (_Effort(1, 25_000, 60, 1.0, 0.01), _Effort(2, 30_000, 80, 0.5, 0.001))
_AFFINE = (_Effort(1, 25_000, 80, 0.7, 0.01), _Effort(2, 30_000, 40, 0.4, 0.001))
_SEARCH = _Effort(0, 12_000, 80, 2.0, 0.03)


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
    """Find the affine map from the fixed to the moving volume.

    Parameters
    ----------
    fixed, moving
        Scalar volumes; they may differ in grid, spacing, orientation and field of view.
    method
        ``"none"`` (as the files have it), ``"center"`` (of geometry), ``"mass"`` (center of mass),
        ``"rigid"`` or ``"affine"``.
    fixed_mask, moving_mask
        Volumes, not 0 where the image counts, on any grid.
    seed
        Of the sampled voxels; the same seed gives the same answer.
    roles
        What the user calls the two, for the messages.

    Returns
    -------
    Transform
        From points of the fixed volume to the moving one.

    Raises
    ------
    OptionError
        If the method is not known.
    InputError
        If a volume is colored, flat, constant, or has NaN, or a mask leaves nothing.
    GeometryError
        If the volumes do not overlap (``"none"``) or have no position in common.
    Cancelled
        If the task was cancelled.
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

    with ThreadPool(2) as pool:  # in one order, so that the first of two errors is told
        ours, theirs = pool.map(levels, (fixed, moving), (fixed_mask, moving_mask), roles)
    check()
    if coarse_only:
        return Transform.from_affine(_simple(method, ours[0], theirs[0]))
    search = _Search(ours, theirs, seed)
    matrix = search.run(affine=method == "affine")
    report(100, 100, "initial alignment")
    return Transform.from_affine(matrix)


def _simple(method: str, fixed: Level, moving: Level) -> NDArray[np.float64]:
    """Answer without any optimization."""
    if method == "none":
        _, overlap = shared_information(fixed, moving, np.eye(4))
        if overlap < LEAST_OVERLAP:
            raise GeometryError(
                "the two volumes do not overlap in space; start from their centers or choose "
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
        best = self._rough()
        report(40, 100, "initial alignment: rigid")
        if not affine:
            for effort in _RIGID:
                best = self._better(best, self._climb(best, effort, rigid=True))
            return best
        best = self._better(best, self._climb(best, _RIGID[0], rigid=True))
        report(60, 100, "initial alignment: affine")
        for effort in _AFFINE:
            best = self._better(best, self._climb(best, effort, rigid=False))
        return best

    def _rough(self) -> NDArray[np.float64]:
        """Compare all starts on the coarse grid, follow the best of them."""
        found = starts(self.fixed[0], self.moving[0], _FOLLOWED)
        if not found:
            raise GeometryError(
                "the two volumes have no position in common: too few voxels are left by the masks"
            )
        report(10, 100, "initial alignment: search")
        with ThreadPool(len(found)) as pool:  # each of them on a thread, in one order
            matrices = pool.map(lambda s: self._climb(s.matrix, _SEARCH, rigid=True), found)
            reached = [matrix for matrix in matrices if matrix is not None]
        ends = [found[0]]
        for matrix in reached:
            score, overlap = shared_information(self.fixed[0], self.moving[0], matrix)
            if overlap >= LEAST_OVERLAP:
                ends.append(Start(matrix, score, overlap))
        return chosen(ends).matrix

    def _better(
        self, old: NDArray[np.float64], new: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Return the new position unless it is implausible or plainly worse."""
        if new is None:
            return old
        stretch = np.linalg.svd(new[:3, :3], compute_uv=False)
        if stretch.max() > _STRETCH or stretch.min() < 1 / _STRETCH:
            return old
        before, _ = shared_information(self.fixed[1], self.moving[1], old)
        after, overlap = shared_information(self.fixed[1], self.moving[1], new)
        return new if overlap >= LEAST_OVERLAP and after > 0.99 * before else old

    def _climb(
        self, start: NDArray[np.float64], effort: _Effort, *, rigid: bool
    ) -> NDArray[np.float64] | None:
        """Optimize from a start on one grid; None where the optimizer found no footing."""
        import SimpleITK

        check()
        fixed, moving = self.fixed[effort.level], self.moving[effort.level]
        # in units of the patient's radius a turn and a shift of like size move voxels alike far,
        # so that one step length suits all parameters
        patient = self.fixed[0]  # coarse is enough to tell its size and middle
        unit = patient.radius
        transform = _itk_transform(_in_units(start, unit), patient.mass / unit, rigid=rigid)
        method = SimpleITK.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        share = min(1.0, effort.samples / max(fixed.count, 1))
        # the share is of the whole grid, and samples off the mask are dropped
        method.SetMetricSamplingStrategy(method.RANDOM if share < 1 else method.NONE)
        if share < 1:
            method.SetMetricSamplingPercentage(share, self.seed + 1)
        if fixed.mask is not None:
            method.SetMetricFixedMask(_shrunk(fixed.mask, unit))
        if moving.mask is not None:
            method.SetMetricMovingMask(_shrunk(moving.mask, unit))
        method.SetInterpolator(SimpleITK.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=effort.step * fixed.step_mm / unit,
            minStep=effort.least * fixed.step_mm / unit,
            numberOfIterations=effort.iterations,
            relaxationFactor=0.6,
            gradientMagnitudeTolerance=1e-9,
        )
        method.SetOptimizerScales([1.0] * transform.GetNumberOfParameters())
        method.SetInitialTransform(transform, inPlace=True)
        task = current()

        def watch() -> None:
            if task.cancelled:
                method.StopRegistration()

        method.AddCommand(SimpleITK.sitkIterationEvent, watch)
        try:
            with _ONE_THREAD:
                method.Execute(_shrunk(fixed.image, unit), _shrunk(moving.image, unit))
        except RuntimeError:  # "all samples map outside the moving image": this start leads nowhere
            check()
            return None
        finally:
            method.RemoveAllCommands()
        check()
        return _in_units(_matrix(transform), 1 / unit)


class _OneThread:
    """Lets ITK's metric add up in one order: several threads give another last digit every time.

    ITK heeds only the number that holds for the whole process; the last to leave puts it back.
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
    """Return a 4x4 of mm as one of a longer unit of length."""
    result = np.array(matrix)
    result[:3, 3] /= unit
    return result


def _shrunk(image: SimpleITK.Image, unit: float) -> SimpleITK.Image:
    """Return an image whose lengths are counted in another unit."""
    import SimpleITK

    copy = SimpleITK.Image(image)
    copy.SetOrigin([v / unit for v in image.GetOrigin()])
    copy.SetSpacing([v / unit for v in image.GetSpacing()])
    return copy


def _itk_transform(
    matrix: NDArray[np.float64], center: NDArray[np.float64], *, rigid: bool
) -> SimpleITK.Transform:
    """4x4 as an ITK transform about a center, ready to be optimized."""
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
        raise InputError("the alignment of the two volumes led to no usable position")
    return matrix

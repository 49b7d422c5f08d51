"""Instance optimization: coarse-to-fine refinement of the velocities of one pair.

The initial velocities are the network's prediction or zero; network weights are not changed. The
loss is that of the network: dissimilarity in both image spaces and, at coarse resolution, in the
half-way space; roughness; and a penalty on small Jacobian determinants, which prevents folds.
Both directions share one velocity (`velocity.flow`), so that they are balanced by construction and
exchanging the images exchanges the maps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch.optim.adam import adam

from tomochrome.errors import OptionError
from tomochrome.registration.guides import FEATURE_WEIGHT, Guides
from tomochrome.registration.penalties import roughness, small_jacobian
from tomochrome.registration.similarity_losses import Loss, box_sums, lncc, mean_squares, similarity
from tomochrome.registration.velocity import (
    Shape,
    antisymmetric,
    both_velocities,
    flow,
    resize_field,
    sample_through,
    shrink,
    smaller,
    smooth,
    squares_through,
)
from tomochrome.runtime import check, report

Metric = Callable[[str, int, float], None]
"""Callback with the stage, the iteration counted over all stages, and the dissimilarity."""
DEFAULT_ITERATIONS = 40
FEATURE_ITERATIONS = 80
"""The default with the similarity ``features``, which moves organs farther."""
FINE_VOXELS, FINEST_VOXELS = 2_500_000, 4_000_000
ROUGHNESS, FINE_ROUGHNESS = 0.6, 2.4
"""Weight of the roughness, and with fine features, which would be overfitted with less."""
_FINEST_RATE = 0.08  # with fine features: larger first steps would lose what was reached
_SMOOTHING_PASSES = (1, 2, 4)  # alternatives for smoothing the initial velocity
_FOLD_WEIGHT = 25.0  # weight of `small_jacobian`
_MIN_DETERMINANT = 0.25  # below which `small_jacobian` is nonzero
_SQUARINGS = 3  # for the half-way maps
_MIN_COVERAGE = 0.02  # least measured fraction of a downsampled voxel
_MARGIN = 3  # voxels by which values are extrapolated, for interpolation


@dataclass(frozen=True)
class Stage:
    """One resolution of the optimization.

    Parameters
    ----------
    velocity, image
        Downsampling factors of the velocity and image grids relative to the pair's grid.
    iterations, rate
        Maximum number of Adam steps, and learning rate in voxels of the velocity grid.
    smooth
        Passes of a 3 x 3 x 3 mean filter on the steps, by which flat regions follow adjacent ones.
    name
        Name of the stage.
    radius
        Radius of the local correlation window, in voxels of the image grid.
    features
        Downsampling factor of the features' grid; not finer than that of the images.
    """

    velocity: int
    image: int
    iterations: int
    rate: float
    smooth: int = 2
    name: str = "refining"
    radius: int = 3
    features: int = 2

    @property
    def factors(self) -> tuple[int, int]:
        """The downsampling factors of the images and of the features that are compared."""
        return self.image, max(self.image, self.features)


@dataclass(frozen=True, eq=False)
class Refined:
    """The result of the optimization.

    Parameters
    ----------
    velocities
        (2, 3, z, y, x) on the grid of the last stage.
    curve
        Dissimilarity at each iteration: (name of the stage, value).
    seconds
        Wall-clock time.
    """

    velocities: torch.Tensor
    curve: tuple[tuple[str, float], ...]
    seconds: float


def stages(
    iterations: int,
    shape: Shape,
    *,
    started: bool = False,
    measure: str = "lncc",
    fine: bool = False,
) -> tuple[Stage, ...]:
    """Distribute a number of iterations over the resolutions.

    Parameters
    ----------
    iterations
        Total number; 0 for no stages.
    shape
        The pair's grid. Images of more than `FINE_VOXELS` are used at half resolution at most;
        with local correlation, which is cheap, the last iterations use images of up to
        `FINEST_VOXELS` at full resolution.
    started
        Whether a network's prediction is refined, which needs fewer coarse iterations.
    measure
        As for `refine`.
    fine
        Whether features at full resolution are compared, too: in the last iterations, because ribs
        and walls are lost at half resolution; the images at full resolution in most iterations.

    Raises
    ------
    OptionError
        If the number is negative.
    """
    if iterations < 0:
        raise OptionError(
            f"the number of refinement iterations must be 0 or more, not {iterations}"
        )
    first, second = (
        round(iterations * share) for share in ((0.4, 0.3) if started else (0.5, 0.24))
    )
    voxels = math.prod(shape)
    with_finest = measure == "lncc" and FINE_VOXELS < voxels <= FINEST_VOXELS
    last = round(iterations * (0.15 if with_finest else 0.1 if fine else 0.0))
    # small windows resolve thin walls, but contain too little at half resolution
    coarse, close, radius = (2, 1, 2) if voxels <= FINE_VOXELS or fine else (4, 2, 3)
    rate = _FINEST_RATE if fine else 0.2
    plan = (
        Stage(4, coarse, first, 0.25, name="coarse", radius=radius),
        Stage(4, close, second, 0.2, name="middle", radius=radius),
        Stage(2, close, iterations - first - second - last, 0.2, 1, "fine", radius),
        Stage(2, 1, last, rate, smooth=1, name="finest", radius=2, features=1 if fine else 2),
    )
    return tuple(stage for stage in plan if stage.iterations > 0)


def masked_shrink(
    images: torch.Tensor, masks: torch.Tensor, shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """Downsample images within their masks; see `velocity.shrink`.

    Values outside the field of view or the mask are meaningless. If they were averaged with
    measured values, or taken for the background, they would cause false edges and displacements.

    Parameters
    ----------
    images, masks
        (n, channels, z, y, x), and (n, 1, z, y, x), 0 to 1.
    shape
        The smaller or equal grid.

    Returns
    -------
    images, masks
        Means over the measured part of each voxel, extrapolated slightly; and that fraction.
    """
    share = shrink(masks, shape)
    filled = share > _MIN_COVERAGE
    means = shrink(images * masks, shape) / share.clamp(min=_MIN_COVERAGE)
    values = torch.where(filled, means, shrink(images, shape))
    for _ in range(_MARGIN):
        near = box_sums(filled[:, 0].to(values), 1)[:, None]
        sums = box_sums((values * filled).flatten(0, 1), 1).view_as(values)
        added = ~filled & (near > 0.5)
        values = torch.where(added, sums / near.clamp(min=1.0), values)
        filled = filled | added
    return values, share


class _Pair:
    """Both images and their masks at one resolution: index 0 is fixed, 1 is moving."""

    def __init__(self, images: torch.Tensor, masks: torch.Tensor | None) -> None:
        self.images, self.masks = images, masks

    @classmethod
    def of(cls, images: torch.Tensor, masks: torch.Tensor | None, shape: Shape) -> _Pair:
        """Return them downsampled to a grid."""
        return (
            cls(shrink(images, shape), None)
            if masks is None
            else cls(*masked_shrink(images, masks, shape))
        )

    @cached_property
    def others(self) -> torch.Tensor:
        """The images in reverse order."""
        return self.images.flip(0).contiguous()

    @cached_property
    def rows(self) -> torch.Tensor:
        """The images with their channels last, (2, z, y, x, channels)."""
        return self.images.movedim(1, -1).contiguous()

    def ends(self, full: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Return image, warped other image, and weight, in fixed and in moving space."""
        warped = sample_through(self.others, full)
        parts = [(self.images[k : k + 1], warped[k : k + 1]) for k in (0, 1)]
        if self.masks is None:
            return list(parts)
        weight = self.masks * sample_through(self.masks.flip(0), full.detach())
        return [(*part, weight[k : k + 1]) for k, part in enumerate(parts)]

    def middle(self, half: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return both images and the weight in half-way space."""
        warped = sample_through(self.others, half)
        if self.masks is None:
            return warped[:1], warped[1:]
        weight = sample_through(self.masks.flip(0), half.detach()).prod(dim=0, keepdim=True)
        return warped[:1], warped[1:], weight


class _Pairs(NamedTuple):
    """A pair of images, and one of their features, which can be coarser."""

    images: _Pair
    features: _Pair | None

    @classmethod
    def of(
        cls,
        images: torch.Tensor,
        masks: torch.Tensor | None,
        features: torch.Tensor | None,
        shape: Shape,
        features_shape: Shape,
    ) -> _Pairs:
        """Return both, each at its resolution."""
        pair = _Pair.of(images, masks, shape)
        if features is None:
            return cls(pair, None)
        own: Shape = (features.shape[2], features.shape[3], features.shape[4])
        z, y, x = (min(n, m) for n, m in zip(own, features_shape, strict=True))
        there = None if masks is None else shrink(masks, own)
        if (z, y, x) == own:  # not copied: there may be many channels
            return cls(pair, _Pair(features, there))
        return cls(pair, _Pair.of(features, there, (z, y, x)))


def refine(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    velocities: torch.Tensor | None = None,
    *,
    plan: tuple[Stage, ...] | None = None,
    iterations: int = DEFAULT_ITERATIONS,
    measure: str = "lncc",
    masks: torch.Tensor | None = None,
    features: torch.Tensor | None = None,
    guides: Guides | None = None,
    weight: float | None = None,
    metric: Metric | None = None,
) -> Refined:
    """Optimize the velocities of one pair.

    Parameters
    ----------
    fixed, moving
        (1, 1, z, y, x) on one grid, 0 to 1, finite.
    velocities
        Initial velocities, (2, 3, z, y, x) on a grid with the same corners; None for zero.
    plan, iterations
        Stages, or the number of iterations that `stages` distributes.
    measure
        ``"lncc"``, ``"mi"``, ``"mind"`` or ``"mse"``.
    masks
        (2, 1, z, y, x), fixed and moving: 1 for voxels that are used, 0 otherwise. None for all.
    features
        (2, channels, Z, Y, X) on a grid with the same corners, whose squared difference is part of
        the dissimilarity; see `working_pair.WorkingPair`.
    guides
        Landmarks and rigid regions, whose terms are part of the loss.
    weight
        Weight of the roughness relative to the dissimilarity; None for the default.
    metric
        Callback for each iteration.

    Raises
    ------
    TomochromeError
        If the measure is unknown or the user cancelled.
    """
    loss, factor = similarity(measure)
    shape: Shape = (fixed.shape[2], fixed.shape[3], fixed.shape[4])
    started = velocities is not None
    fine = features is not None and features.shape[2:] == fixed.shape[2:]
    if plan is None:
        plan = stages(iterations, shape, started=started, measure=measure, fine=fine)
    if weight is None:
        weight = FINE_ROUGHNESS if fine else ROUGHNESS
    total, done = sum(stage.iterations for stage in plan), 0
    images, begin = torch.cat([fixed, moving]), time.perf_counter()
    curve: list[tuple[str, float]] = []
    if velocities is None:
        velocity = images.new_zeros(1, 3, *smaller(shape, 4))
    else:
        velocity = antisymmetric(velocities.detach())
    objective = _Objective(loss, factor, weight, guides)
    for number, stage in enumerate(plan):
        if number == 0 or stage.factors != plan[number - 1].factors:
            pair = _Pairs.of(images, masks, features, *(smaller(shape, n) for n in stage.factors))
        start = resize_field(velocity, smaller(shape, stage.velocity))
        if number == 0 and velocities is not None:
            start = _best_start(start, objective, pair, stage)
        best = _BestSoFar()
        step = torch.zeros_like(start, requires_grad=True)
        optimizer = TensorAdam(step)
        for k in range(stage.iterations):
            check()
            report(done + k, total, "refining")
            velocity = start + smooth(step, stage.smooth)
            dissimilarity, penalty = objective(velocity, pair, stage)
            best.offer(float((dissimilarity + penalty).detach()), velocity)
            (dissimilarity + penalty).backward()  # type: ignore[no-untyped-call]
            optimizer.step(stage.rate * (1 - 0.6 * k / stage.iterations))
            curve.append((stage.name, float(dissimilarity.detach())))
            if metric is not None:
                metric(stage.name, done + k, curve[-1][1])
            if best.stalled:
                break
        done += stage.iterations
        velocity = start + smooth(step.detach(), stage.smooth)
        best.offer(objective.value(velocity, pair, stage), velocity)  # after the last step
        velocity = best.velocity
    if total:
        report(total, total, "refining")
    return Refined(both_velocities(velocity.detach()), tuple(curve), time.perf_counter() - begin)


@dataclass(frozen=True)
class _Objective:
    """The objective function."""

    loss: Callable[..., torch.Tensor]
    factor: float
    weight: float
    guides: Guides | None = None

    def __call__(
        self, velocity: torch.Tensor, pair: _Pairs, stage: Stage
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return dissimilarity and penalty of a velocity."""
        full, half = flow(velocity, _SQUARINGS)
        window = {"radius": stage.radius} if self.loss is lncc else {}
        unlike = self.factor * self._compare(pair.images, full, half, stage, self.loss, **window)
        if pair.features is not None:
            unlike = unlike + FEATURE_WEIGHT * self._compare(
                pair.features, full, half, stage, mean_squares
            )
        folds = small_jacobian(full.permute(0, 4, 1, 2, 3), _MIN_DETERMINANT)
        penalty = self.weight * roughness(velocity) + _FOLD_WEIGHT * folds
        return unlike, penalty if self.guides is None else penalty + self.guides.loss(full)

    @staticmethod
    def _compare(
        pair: _Pair, full: torch.Tensor, half: torch.Tensor, stage: Stage, loss: Loss, **how: int
    ) -> torch.Tensor:
        """Return the mean loss in fixed and in moving space, and at first half-way."""
        if loss is mean_squares and stage.image < 4 and full.device.type == "cpu":
            return squares_through(pair.rows, full, pair.masks).mean()
        parts = pair.ends(full) + ([pair.middle(half)] if stage.image >= 4 else [])
        return torch.stack([loss(*part, **how) for part in parts]).mean()

    @torch.no_grad()
    def value(self, velocity: torch.Tensor, pair: _Pairs, stage: Stage) -> float:
        """Return the sum of dissimilarity and penalty."""
        return float(sum(self(velocity, pair, stage)))


def _best_start(
    start: torch.Tensor, objective: _Objective, pair: _Pairs, stage: Stage
) -> torch.Tensor:
    """Return the best start of the network's prediction, smoothed versions of it, and zero.

    For very different bodies the prediction can fold, and is still useful after smoothing. For
    contrasts that differ from the training data it can be wrong, and zero is better.
    """
    starts = [
        start,
        *(smooth(start, passes) for passes in _SMOOTHING_PASSES),
        torch.zeros_like(start),
    ]
    return min(starts, key=lambda velocity: objective.value(velocity, pair, stage))


class TensorAdam:
    """`torch.optim.Adam` of one tensor, without its class.

    Making an object of that class imports torch's compiler, which takes longer than most
    refinements: 800 modules in 2 s.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self._mean, self._square = torch.zeros_like(tensor), torch.zeros_like(tensor)
        self._count = torch.tensor(0.0)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change the tensor by its gradient, and forget the gradient."""
        assert self._tensor.grad is not None
        adam(
            [self._tensor], [self._tensor.grad], [self._mean], [self._square], [], [self._count],
            amsgrad=False, beta1=0.9, beta2=0.99, lr=rate, weight_decay=0.0, eps=1e-8,
            maximize=False,
        )  # fmt: skip
        self._tensor.grad = None


class _BestSoFar:
    """The best loss so far, and detection of stagnation."""

    _patience, _least = 12, 1e-4

    def __init__(self) -> None:
        self._values: list[float] = []
        self._best = float("inf")
        self.velocity = torch.zeros(0)

    def offer(self, value: float, velocity: torch.Tensor) -> None:
        self._values.append(value)
        if value < self._best:
            self._best, self.velocity = value, velocity.detach().clone()

    @property
    def stalled(self) -> bool:
        """Whether the last iterations hardly improved on the earlier ones."""
        if len(self._values) <= 2 * self._patience:
            return False
        recent, before = self._values[-self._patience :], self._values[: -self._patience]
        return min(before) - min(recent) < self._least

"""Instance optimization: the velocities of one pair, improved coarse to fine.

Whatever the network answered (or nothing at all) is a start; its weights never change. The loss
is the network's own: similarity at both ends, and half-way while it is coarse; roughness, and a
penalty on small Jacobians that acts before anything folds. Both halves share one velocity
(`flow`), so that they are balanced by construction and exchanging the images exchanges the maps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tomochrome.errors import OptionError
from tomochrome.registration.flow import antisymmetric, both_velocities, flow, sample_through
from tomochrome.registration.masked_pyramid import masked_shrink
from tomochrome.registration.penalties import roughness, small_jacobian
from tomochrome.registration.similarity import lncc, similarity
from tomochrome.registration.velocity import Shape, resize_field, shrink, smooth
from tomochrome.runtime import check, report

Metric = Callable[[str, int, float], None]
"""Called with the stage's name, the number of the iteration over all stages, and the
dissimilarity now: the falling curve."""
DEFAULT_ITERATIONS = 40
FINE_VOXELS, FINEST_VOXELS = 2_500_000, 4_000_000
_CALMED = (1, 2, 4)  # passes of smoothing that a start may need
_FOLDS, _LEAST = 25.0, 0.25  # weight of `small_jacobian`, and the determinant below which it acts
_SQUARINGS = 3  # of the way to the half-way point


@dataclass(frozen=True)
class Stage:
    """One resolution of the optimization.

    Parameters
    ----------
    velocity, image
        How much smaller the grids of velocities and of the images are than the pair's.
    iterations, rate
        Steps of Adam at most, and the length of a step in voxels of the velocity's grid.
    smooth
        How often steps are averaged over three voxels: flat regions follow their surroundings.
    name
        What the stage is called.
    radius
        Of the window of local correlation, in voxels of the images' grid.
    """

    velocity: int
    image: int
    iterations: int
    rate: float
    smooth: int = 2
    name: str = "refining"
    radius: int = 3


@dataclass(frozen=True, eq=False)
class Refined:
    """What the optimization found.

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
    iterations: int, shape: Shape, *, started: bool = False, measure: str = "lncc"
) -> tuple[Stage, ...]:
    """Share out a number of iterations over the resolutions.

    Parameters
    ----------
    iterations
        In all. 0 gives no stage.
    shape
        The pair's grid: images of more than `FINE_VOXELS` are looked at no closer than at half
        of their resolution; with local correlation, which is cheap, the last iterations look at
        those of up to `FINEST_VOXELS` as they are.
    started
        Whether a network's answer is refined: less is left to do at the coarsest.
    measure
        As for `refine`.

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
    closer = measure == "lncc" and FINE_VOXELS < voxels <= FINEST_VOXELS
    last = round(iterations * 0.15) if closer else 0
    # small windows show thin walls; of pictures at half resolution they see too little
    coarse, close, radius = (4, 2, 3) if voxels > FINE_VOXELS else (2, 1, 2)
    plan = (
        Stage(4, coarse, first, 0.25, name="coarse", radius=radius),
        Stage(4, close, second, 0.2, name="middle", radius=radius),
        Stage(2, close, iterations - first - second - last, 0.2, 1, "fine", radius),
        Stage(2, 1, last, 0.2, smooth=1, name="finest", radius=2),
    )
    return tuple(stage for stage in plan if stage.iterations > 0)


def smaller(shape: Shape, factor: int) -> Shape:
    """Return the grid that is ``factor`` times smaller, at least 8 voxels an axis if it had."""
    z, y, x = (max(min(n, 8), -(-n // factor)) for n in shape)
    return z, y, x


class _Pair:
    """Both images, and their masks, at one resolution: index 0 is fixed, 1 moving."""

    def __init__(self, images: torch.Tensor, masks: torch.Tensor | None, shape: Shape) -> None:
        self.masks: torch.Tensor | None = None
        if masks is None:
            self.images = shrink(images, shape)
        else:
            self.images, self.masks = masked_shrink(images, masks, shape)
        self.others = self.images.flip(0).contiguous()

    def ends(self, whole: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """At the fixed, then at the moving end: the image, the other brought to it, the weight."""
        brought = sample_through(self.others, whole)
        parts = [(self.images[k : k + 1], brought[k : k + 1]) for k in (0, 1)]
        if self.masks is None:
            return list(parts)
        weight = self.masks * sample_through(self.masks.flip(0), whole.detach())
        return [(*part, weight[k : k + 1]) for k, part in enumerate(parts)]

    def middle(self, half: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Both images half-way, and the weight there."""
        met = sample_through(self.others, half)
        if self.masks is None:
            return met[:1], met[1:]
        weight = sample_through(self.masks.flip(0), half.detach()).prod(dim=0, keepdim=True)
        return met[:1], met[1:], weight


def refine(
    fixed: torch.Tensor,
    moving: torch.Tensor,
    velocities: torch.Tensor | None = None,
    *,
    plan: tuple[Stage, ...] | None = None,
    iterations: int = DEFAULT_ITERATIONS,
    measure: str = "lncc",
    masks: torch.Tensor | None = None,
    weight: float = 0.6,
    metric: Metric | None = None,
) -> Refined:
    """Optimize the velocities of one pair.

    Parameters
    ----------
    fixed, moving
        (1, 1, z, y, x) on one grid, 0 to 1, finite.
    velocities
        Where to begin, (2, 3, z, y, x) on a grid with the same corners; None begins at rest.
    plan, iterations
        Stages, or the number of iterations that `stages` shares out.
    measure
        ``"lncc"``, ``"mi"``, ``"mind"`` or ``"mse"``.
    masks
        (2, 1, z, y, x), fixed and moving: 1 where a voxel counts, 0 where not. None: all count.
    weight
        Of the roughness beside the similarity.
    metric
        Told each iteration.

    Raises
    ------
    TomochromeError
        If the measure is unknown or the user stopped it.
    """
    loss, factor = similarity(measure)
    shape: Shape = (fixed.shape[2], fixed.shape[3], fixed.shape[4])
    started = velocities is not None
    shared = stages(iterations, shape, started=started, measure=measure)
    chosen = shared if plan is None else plan
    total, done = sum(stage.iterations for stage in chosen), 0
    images, begun = torch.cat([fixed, moving]), time.perf_counter()
    curve: list[tuple[str, float]] = []
    pairs: dict[int, _Pair] = {}
    if velocities is None:
        velocity = images.new_zeros(1, 3, *smaller(shape, 4))
    else:
        velocity = antisymmetric(velocities.detach())
    goal = _Goal(loss, factor, weight)
    for number, stage in enumerate(chosen):
        if stage.image not in pairs:
            pairs[stage.image] = _Pair(images, masks, smaller(shape, stage.image))
        pair = pairs[stage.image]
        start = resize_field(velocity, smaller(shape, stage.velocity))
        if number == 0 and velocities is not None:
            start = _where_to_begin(start, goal, pair, stage)
        best = _Best()
        step = torch.zeros_like(start, requires_grad=True)
        optimizer = torch.optim.Adam([step], lr=stage.rate, betas=(0.9, 0.99))
        for k in range(stage.iterations):
            check()
            report(done + k, total, "refining")
            optimizer.param_groups[0]["lr"] = stage.rate * (1 - 0.6 * k / stage.iterations)
            optimizer.zero_grad(set_to_none=True)
            velocity = start + smooth(step, stage.smooth)  # neighbours move together
            differ, penalty = goal(velocity, pair, stage)
            best.offer(float((differ + penalty).detach()), velocity)
            (differ + penalty).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            curve.append((stage.name, float(differ.detach())))
            if metric is not None:
                metric(stage.name, done + k, curve[-1][1])
            if best.stalled:
                break
        done += stage.iterations
        velocity = start + smooth(step.detach(), stage.smooth)
        best.offer(goal.value(velocity, pair, stage), velocity)  # the last step, not looked at yet
        velocity = best.velocity
    if total:
        report(total, total, "refining")
    return Refined(both_velocities(velocity.detach()), tuple(curve), time.perf_counter() - begun)


@dataclass(frozen=True)
class _Goal:
    """What is minimized."""

    loss: Callable[..., torch.Tensor]
    factor: float
    weight: float

    def __call__(
        self, velocity: torch.Tensor, pair: _Pair, stage: Stage
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Dissimilarity and penalty of a velocity."""
        whole, half = flow(velocity, _SQUARINGS)
        parts = pair.ends(whole) + ([pair.middle(half)] if stage.image >= 4 else [])
        window = {"radius": stage.radius} if self.loss is lncc else {}
        differ = self.factor * torch.stack([self.loss(*part, **window) for part in parts]).mean()
        folds = small_jacobian(whole.permute(0, 4, 1, 2, 3), _LEAST)
        return differ, self.weight * roughness(velocity) + _FOLDS * folds

    @torch.no_grad()
    def value(self, velocity: torch.Tensor, pair: _Pair, stage: Stage) -> float:
        """Dissimilarity and penalty in one number."""
        return float(sum(self(velocity, pair, stage)))


def _where_to_begin(start: torch.Tensor, goal: _Goal, pair: _Pair, stage: Stage) -> torch.Tensor:
    """Return the network's answer, or that smoothed, or rest: whichever is the best start.

    Where two bodies are very unlike it may fold: smoothed, what it found is still of use. Trained
    on like contrasts, it may be lost on others: then rest is better.
    """
    starts = [start, *(smooth(start, passes) for passes in _CALMED), torch.zeros_like(start)]
    return min(starts, key=lambda velocity: goal.value(velocity, pair, stage))


class _Best:
    """The best loss so far: notices when nothing is gained any more."""

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
        """Whether the last iterations gained next to nothing over those before."""
        if len(self._values) <= 2 * self._patience:
            return False
        recent, before = self._values[-self._patience :], self._values[: -self._patience]
        return min(before) - min(recent) < self._least

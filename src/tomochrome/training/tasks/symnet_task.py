"""The symmetric registration network ``symnet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, model_validator

from tomochrome.registration.penalties import imbalance, roughness, small_jacobian
from tomochrome.registration.similarity_losses import local_correlation
from tomochrome.registration.symmetric_network import KIND, SymNet, build_symnet, halfway
from tomochrome.registration.velocity import pair_fields, resize_field, warp
from tomochrome.training.config import RULES, Decay, PhantomPlan, TrainingConfig, check_shape
from tomochrome.training.pairs import REAL, PairSamples, Sample, read_real
from tomochrome.training.pool import Pool
from tomochrome.training.precision import mixed_precision
from tomochrome.training.symnet_score import SHRINK_BY, measure_symnet
from tomochrome.training.task_interface import (
    Bundle,
    Evidence,
    Task,
    half_precision,
    image_format,
    register,
)

INTENDED_USE = "Not for diagnosis: a registration is a guess; look at it, and at its measures."


class Opening(BaseModel):
    """An initial stage with a smaller grid, smaller deformations and a single pass.

    Parameters
    ----------
    share
        Share of the run; the learning rate restarts after it.
    shape, sizes
        Values of the fields of `SymNetConfig` in this stage.
    """

    model_config = RULES

    share: Annotated[float, Field(gt=0, lt=1)]
    shape: tuple[int, int, int] = (32, 48, 48)
    sizes: tuple[NonNegativeFloat, NonNegativeFloat] = (0.1, 0.9)


class SymNetConfig(TrainingConfig):
    """One training run of `tomochrome.registration.symmetric_network.SymNet`.

    Parameters
    ----------
    shape
        Grid of the network's input (z, y, x).
    squarings
        Squaring steps of each integration in training.
    sizes
        Range of the mean length of the random velocity fields, in voxels of the half-size grid.
    truth, roughness, imbalance, folds
        Weights of the loss terms relative to local correlation.
    opening
        Initial stage of the run, if any.
    """

    batch: PositiveInt = 1
    weight_decay: NonNegativeFloat = 1e-4
    ema: Decay = 0.99
    phantoms: PhantomPlan | None = PhantomPlan()
    shape: tuple[int, int, int] = (64, 80, 96)
    squarings: PositiveInt = 5
    sizes: tuple[NonNegativeFloat, NonNegativeFloat] = (0.2, 1.6)
    truth: NonNegativeFloat = 0.5
    roughness: NonNegativeFloat = 0.5
    imbalance: NonNegativeFloat = 0.01
    folds: NonNegativeFloat = 1.0
    opening: Opening | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        channels = self.network.get("channels")
        multiple = 2 ** len(channels) if isinstance(channels, list | tuple) else 1
        for part in (self, self.opening) if self.opening else (self,):
            check_shape(part.shape, multiple)
            if part.sizes[0] > part.sizes[1]:
                raise ValueError(f"'sizes' must be in ascending order, not {list(part.sizes)}")
        return self


def pair_loss(
    velocities: torch.Tensor, sample: Sample, config: SymNetConfig
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of one pair's velocity fields (2, 3, z, y, x), and its parts.

    Its terms are the local correlation of the hidden images in fixed, moving or midpoint space,
    the mean distance to the true deformation if it is known, roughness, imbalance and small
    Jacobians.
    """
    fields = pair_fields(velocities, config.squarings)
    both = torch.cat([fields.forward, fields.inverse])
    halves = torch.cat([fields.to_fixed, fields.to_moving])
    hidden = sample.hidden
    grid = (hidden.shape[2], hidden.shape[3], hidden.shape[4])
    # with a known truth one random space is enough for the comparison
    places = range(3) if sample.truth is None else (sample.place,)
    alike = velocities.new_zeros(())
    for place in places:
        if place == 2:
            pair = warp(hidden, resize_field(halves, grid))
        else:
            moved = warp(hidden[1 - place : 2 - place], resize_field(both[place : place + 1], grid))
            pair = torch.cat([hidden[place : place + 1], moved])
        alike = alike + local_correlation(pair[:1], pair[1:]) / len(places)
    parts = {"alike": float(alike.detach())}
    error = velocities.new_zeros(())
    if sample.truth is not None:
        distance = ((both - sample.truth).square().sum(1, keepdim=True) + 1e-4).sqrt()
        weight = sample.body + 0.05
        error = (distance * weight).sum() / weight.sum()
        before = sample.truth.square().sum(1, keepdim=True).sqrt()
        parts["error"] = float(error.detach())
        parts["before"] = float((before * sample.body).sum() / sample.body.sum().clamp(min=1))
    folds = small_jacobian(fields.forward) + small_jacobian(fields.inverse)
    total = (
        1.0 - alike
        + config.truth * error
        + config.roughness * roughness(velocities)
        + config.imbalance * imbalance(velocities)
        + config.folds * folds
    )  # fmt: skip
    return total, parts


@register("symnet")
class SymNetTask(Task[SymNetConfig]):
    """The registration network: pairs drawn from shapes, phantoms and real CT."""

    description = "where each of two volumes has to move to meet the other half-way"
    config_type = SymNetConfig
    command = "register --model"
    kind = KIND
    figures = ("alike", "error", "before")

    def __init__(self, config: SymNetConfig, pool: Path, data: Path | None = None) -> None:
        super().__init__(config, pool, data)
        self.real = read_real(data)
        self.stages = (config.opening.share, 1.0) if config.opening else (1.0,)

    def network(self) -> SymNet:
        """Build the network."""
        return build_symnet(self.config.network)

    def samples(self, stage: int, pool: Path, seed: int) -> PairSamples:
        """Return the pairs of a stage of the run."""
        opening = self.config.opening if stage + 1 < len(self.stages) else None
        part, passes = opening or self.config, self.config.network.get("passes", 1)
        phantoms = Pool(pool, self.config.phantoms or PhantomPlan())
        return PairSamples(
            phantoms, self.real, part.shape, seed, part.sizes, 1 if opening else passes
        )

    def dataset(self, stage: int = 0) -> PairSamples:
        """Return the training pairs of a stage."""
        return self.samples(stage, self.pool, self.config.seed * 1000)

    def collate(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the list of pairs unchanged, as not all have a known truth."""
        return list(samples)

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the mean loss of the pairs; gradients flow through the last pass only."""
        total = torch.zeros((), device=batch[0].inputs.device)
        seen: dict[str, list[float]] = {}
        for sample in batch:
            with torch.no_grad():
                before = _earlier(net, sample.inputs, sample.passes - 1)
            inputs = sample.inputs if before is None else halfway(sample.inputs, before)
            velocities = _velocities(net, inputs)
            if before is not None:
                velocities = velocities + before
            loss, parts = pair_loss(velocities, sample, self.config)
            total = total + loss / len(batch)
            for name, value in parts.items():
                seen.setdefault(name, []).append(value)
        return total, {name: sum(values) / len(values) for name, values in seen.items()}

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        count = self.config.phantoms.count if self.config.phantoms else 0
        lines = [
            "random smooth shapes of random contrast, new for each pair (after SynthMorph)",
            f"{count} procedural patients of tomochrome.phantom (no two alike), warped "
            "against themselves or paired",
        ]
        if self.real:
            lines.append(
                f"{len(REAL)} real CT, each warped against itself: a chest angiography "
                "(TotalSegmentator's example, Apache-2.0) and the head of the Visible Human Female"
            )
        return lines

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network with its scores on held-out pairs."""
        assert isinstance(net, SymNet) and evidence.held_out is not None
        held_out = self.samples(len(self.stages) - 1, evidence.held_out, 77_000_001)
        scores = measure_symnet(net, held_out, self.data)
        name = self.config.name
        metadata = {
            "kind": self.kind,
            "intended_use": INTENDED_USE,
            "scores": {**evidence.scores.get(name, {}), **scores},
            "title": "Registration network",
            "description": self.description,
            "task": "first answer of a symmetric diffeomorphic registration, which is then refined",
            "network": dict(self.config.network),
            "shrink_by": SHRINK_BY,
            "network_data_format": _data_format(net),
        }
        words = {
            "channels": ", ".join(map(str, self.config.network["channels"])),
            "reach": net.reach,
            "passes": net.passes,
            "opening": _opening(self.config),
        }
        return [Bundle(name, half_precision(net.state_dict()), metadata, words, "symnet")]


def _velocities(net: torch.nn.Module, pair: torch.Tensor) -> torch.Tensor:
    """Return the velocity fields (2, 3, z/2, y/2, x/2) of a pair (2, 1, z, y, x)."""
    with mixed_precision(pair.device):
        fields: torch.Tensor = net(pair[:1], pair[1:])[0]
    return fields


def _earlier(net: torch.nn.Module, pair: torch.Tensor, passes: int) -> torch.Tensor | None:
    """Return the velocity fields after some passes, or None for no pass."""
    fields = None
    for _ in range(passes):
        seen = pair if fields is None else halfway(pair, fields)
        fields = _velocities(net, seen) + (0.0 if fields is None else fields)
    return fields


def _opening(config: SymNetConfig) -> str:
    part = config.opening
    if part is None:
        return ""
    shape = " x ".join(map(str, part.shape))
    return (
        f". The first {100 * part.share:.0f} % of the time: {shape} voxels, {part.sizes[0]:g} to "
        f"{part.sizes[1]:g}, a single look"
    )


def _data_format(net: SymNet) -> dict[str, Any]:
    image = image_format(1, [f"{net.multiple}*n"] * 3, "magnitude", [0, 1])
    velocity = image_format(6, [f"{net.multiple // 2}*n"] * 3, "field", [-net.reach, net.reach])
    kind = "velocities of fixed and moving image, voxels of their own grid, (z, y, x)"
    return {
        "inputs": {"fixed": image, "moving": image},
        "outputs": {"pred": {**velocity, "type": kind}},
    }

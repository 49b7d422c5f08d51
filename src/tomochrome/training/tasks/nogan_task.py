"""Color generators trained against a critic: `artistic`, `stable` and `bigcolor`.

NoGAN training (J. Antic, DeOldify, 2019): the generator alone with a squared error and a feature
loss, the critic alone, and an adversarial stage, in which the critic learns alone whenever it is
fooled, and which ends when the colors get worse. The feature loss uses the critic's features, at
first with its initial weights: the network `tissue` reads HU and cannot judge a coloring, and
nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch.nn import functional

from tomochrome.colorization.color_networks import REGIONS, BigColor
from tomochrome.colorization.network_builder import size_multiple
from tomochrome.errors import OptionError
from tomochrome.training.adversaries import Adversaries, feature_loss, hinge, patch_critic
from tomochrome.training.color_config import ColorConfig
from tomochrome.training.color_samples import BODY, UNKNOWN, ColorSamples
from tomochrome.training.config import RULES, Rate, Share, check_shape
from tomochrome.training.parallel import processes
from tomochrome.training.task_interface import Bundle, Evidence, RandomSamples, Task, register
from tomochrome.training.tasks.color_task import Colors, outputs

_REGION_KEPT = 0.7  # otherwise the region is unknown, as it is in prediction


class Stage(BaseModel):
    """A stage of a run.

    Parameters
    ----------
    share
        Share of the run.
    shape
        Height and width of its samples; the field of view stays the same.
    learns
        ``"generator"``, ``"critic"``, or ``"both"`` (adversarial).
    rate
        The generator's learning rate, as a share of the run's: the adversarial stage needs less
        than a generator that learns from the start, or it undoes what was learned.
    critic_rate
        The critic's; None for that of the generator. A critic that learns faster is fooled less
        (M. Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017).
    """

    model_config = RULES

    share: Annotated[float, Field(gt=0, le=1)]
    shape: tuple[int, int]
    learns: Literal["generator", "critic", "both"] = "generator"
    rate: Rate = 1.0
    critic_rate: Rate | None = None


class NoGanConfig(ColorConfig):
    """One training run of a generator and its critic.

    Parameters
    ----------
    shape
        Height and width of the samples in pixels of ``pixel_mm``; ``parts`` can have fewer.
    parts
        The stages of the run. Only the last one may be adversarial.
    feature_weight
        Weight of the feature loss.
    adversarial_weight
        Weight of the critic's score in the adversarial stage.
    saturation
        Factor on the chroma of the ground truth.
    variety
        Minimum mean color difference, in CIELAB units in the body, between two codes z; for
        networks with such a code.
    variety_weight
        Weight of the shortfall of ``variety``.
    critic_width
        Channels of the critic's first layer.
    fooled, recovered
        In the adversarial stage, the critic learns alone from when it classifies less than the
        first share of patches correctly until it classifies more than the second correctly.
    worse
        The run ends when the color error exceeds this multiple of that before the adversarial
        stage.
    """

    parts: tuple[Stage, ...]
    feature_weight: NonNegativeFloat = 0.02
    adversarial_weight: NonNegativeFloat = 0.01
    saturation: PositiveFloat = 1.0
    variety: PositiveFloat = 6.0
    variety_weight: NonNegativeFloat = 0.02
    critic_width: PositiveInt = 24
    fooled: Share = 0.55
    recovered: Share = 0.7
    worse: Annotated[float, Field(ge=1)] = 1.1

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for part in self.parts:
            check_shape(part.shape, size_multiple(self.network))
        if abs(sum(part.share for part in self.parts) - 1) > 1e-6:
            raise ValueError("the shares of 'parts' must sum to 1")
        if any(part.learns == "both" for part in self.parts[:-1]):
            raise ValueError("only the last of 'parts' may learn 'both'")
        if self.validate_every:
            raise ValueError(
                "'validate_every' must be 0: the least squared error would keep the weights from "
                "before the adversarial part"
            )
        if self.head.get("name") == "bins":
            raise ValueError("the head 'bins' has no squared error; use tanh or doubled-sigmoid")
        return self


class RegionSamples(RandomSamples):
    """Samples with their body region: an index into `color_networks.REGIONS`.

    Parameters
    ----------
    samples
        The samples; the region of photographs and real scans is unknown.
    """

    def __init__(self, samples: ColorSamples) -> None:
        super().__init__(samples.seed)
        self.samples = samples

    def draw(self) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
        """Draw luminances, colors and region."""
        self.samples.rng = self.rng
        images, truth = self.samples.draw()
        region = self.samples.region
        return images, truth, REGIONS.index(region) if region in REGIONS else 0


@register("nogan")
class NoGan(Colors):
    """A color generator trained against a critic."""

    description = "predicts color directly, by a generator that was trained against a critic"
    config_type = NoGanConfig
    config: NoGanConfig
    figures = (*Colors.figures, "critic_right")
    limits = (
        "The critic rewards colors that look true, which are not always the true ones: expect "
        "crisp colors at the wrong place more than dull ones"
    )

    def __init__(self, config: NoGanConfig, pool: Path, data: Path | None = None) -> None:
        if processes() > 1:
            raise OptionError(
                f"'{config.name}' trains against a critic, which needs a single process; start it "
                "without torchrun"
            )
        super().__init__(config, pool, data)
        self.stages = (*list(accumulate(part.share for part in config.parts))[:-1], 1.0)
        self.part = config.parts[0]
        self.turns = ""  #: what the card says of the adversarial stage, known at the end

    def network(self) -> torch.nn.Module:
        """Build the generator and its critic."""
        critic = patch_critic(len(self.config.windows), self.config.critic_width)
        return Adversaries(super().network(), critic.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def parts(self, net: torch.nn.Module) -> Sequence[torch.nn.Module]:
        """Return the generator and its critic."""
        assert isinstance(net, Adversaries)
        return net.generator, net.critic

    def rates(self, stage: int) -> Sequence[float]:
        """Return their learning rates in a stage, as shares of the configuration's."""
        part = self.config.parts[stage]
        return part.rate, part.rate if part.critic_rate is None else part.critic_rate

    def second_run(self, net: torch.nn.Module) -> tuple[Task[Any], float] | None:
        """Return the training of the generator on photographs alone, without the critic."""
        return super().second_run(net.generator if isinstance(net, Adversaries) else net)

    def finished(self, net: torch.nn.Module) -> bool:
        """Return whether the colors have become worse in the adversarial stage."""
        assert isinstance(net, Adversaries)
        return float(net.error) > self.config.worse * float(net.before)

    def dataset(self, stage: int = 0) -> Any:
        """Enter a stage of the run and return its samples."""
        self.part = part = self.config.parts[stage]
        scale = part.shape[0] / self.config.used_shape[0]
        sized = {
            "pixel_mm": self.config.pixel_mm / scale,
            "body_pixels": round(self.config.body_pixels * scale),
            "shape": tuple(round(size * scale) for size in self.config.shape),
            "crop": part.shape if self.config.crop else None,
        }
        samples = self.samples(self.config.seed * 1000, config=self.config.model_copy(update=sized))
        return RegionSamples(samples) if self.config.network["name"] == "BigColor" else samples

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the sum of the losses of the networks in training and the figures."""
        if not isinstance(net, Adversaries):
            return super().loss(net, batch)
        config, learns = self.config, self.part.learns
        adversarial = learns == "both"
        if adversarial and net.training:
            net.take_turns(config.fooled, config.recovered)
            learns = "critic" if int(net.alone) else "both"
        images, truth, kind = batch[0], batch[1][:, :2], batch[1][:, 2]
        has_truth, target = kind > UNKNOWN, config.saturation * truth
        with torch.set_grad_enabled(learns != "critic"):
            raw, lack = self._generate(net.generator, batch)
            shown = self.head.colors(raw) * has_truth[:, None]
        figures = self.measured(raw, truth, kind)
        target_shown = target * has_truth[:, None]
        total = raw.new_zeros(())
        if learns != "critic":
            *features, judged = net.judge(images, shown, learn=False)
            with torch.no_grad():
                *true_features, _ = net.judge(images, target_shown, learn=False)
            total = self._error(raw, target, has_truth) + config.variety_weight * lack
            total = total + config.feature_weight * feature_loss(features, true_features)
            if learns == "both":
                total = total - config.adversarial_weight * judged.mean()
        if learns != "generator":
            both = torch.cat([target_shown, shown.detach()])
            scores = net.judge(torch.cat([images, images]), both, learn=True)[-1]
            on_true, on_generated = scores.chunk(2)
            total = total + hinge(on_true, on_generated)
            right = float(((on_true > 0).float().mean() + (on_generated < 0).float().mean()) / 2)
            net.note(right, figures["ab_error"], adversarial=adversarial)
            figures["critic_right"] = right
            (net.adversarial_steps if learns == "both" else net.critic_steps).add_(1)
        return total, figures

    def _generate(
        self, generator: torch.nn.Module, batch: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the generator's outputs, and the shortfall of variety of the codes, 0 to 1."""
        images, kind = batch[0], batch[1][:, 2]
        if not isinstance(generator, BigColor):
            raw = outputs(generator, images)
            return raw, raw.new_zeros(())
        count, few = len(images), max(1, len(images) // 4)
        # the first images are used twice, with different random codes; the others have the code 0
        codes = torch.randn(count + few, len(generator.code), device=images.device)
        codes[few:count] = 0
        regions = batch[2] if len(batch) > 2 else torch.zeros(count, dtype=torch.long)
        kept = torch.rand(count, device=images.device) < _REGION_KEPT
        regions = regions.to(images.device) * kept
        doubled = (torch.cat([part, part[:few]]) for part in (images, regions))
        images, regions = doubled
        raw = outputs(generator, images, codes, regions)
        first, second = self.head.colors(raw[:few]), self.head.colors(raw[count:])
        distance = (first - second).norm(dim=1)[kind[:few] == BODY]
        lack = functional.relu(1 - distance.mean() / self.config.variety).square()
        return raw[:count], lack if len(distance) else raw.new_zeros(())

    def course(self) -> str:
        """Return the card's text on how the weights were chosen."""
        parts = ", ".join(
            f"{part.learns} {part.share:.0%} at {part.shape[0]} x {part.shape[1]}"
            + (f" and {part.rate:g} of the learning rate" if part.rate < 1 else "")
            + (f", the critic {part.critic_rate:g}" if part.critic_rate is not None else "")
            for part in self.config.parts
        )
        return (
            f"{self._began()}The NoGAN way, shares of the time: {parts}. Beside the squared error "
            f"the features of the critic ({self.config.feature_weight:g}) and in the last part its "
            f"judgement ({self.config.adversarial_weight:g}); the chroma that was learned is "
            f"{self.config.saturation:g} of the true one. In the last part the critic learned "
            f"alone from when it was right on less than {self.config.fooled:.0%} of the patches "
            f"until it was on {self.config.recovered:.0%}. It ended with the time, or when the "
            f"color error was {self.config.worse:g} times that before; kept is the running mean at "
            f"the end. {self.turns}"
        )

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the generator with calibrated confidences, without the critic."""
        assert isinstance(net, Adversaries)
        if isinstance(net.generator, BigColor) and self.config.source == "photographs":
            regions = net.generator.regions.weight.data  # none was known but "unknown"
            regions[:] = regions[REGIONS.index("unknown")]
        self.turns = (
            f"Both learned against each other in {int(net.adversarial_steps)} steps, the critic "
            f"alone in {int(net.critic_steps)}; it was fooled {int(net.rounds)} times."
        )
        size = sum(parameter.numel() for parameter in net.generator.parameters())
        bundles = super().bundles(net.generator, evidence)
        words = {"parameters": f"{size / 1e6:.2f}"}
        return [replace(bundle, words={**bundle.words, **words}) for bundle in bundles]

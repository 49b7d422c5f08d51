"""Predicting (a*, b*) directly: `scim`, `unet`, `unet-quantized` and `zhang`.

The truth is a palette's color of each pixel's tissue, on phantoms and on real labelled CT. Of the
phantom patients 70 % are learned from, 20 % decide when to stop, and 10 % are left for measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch.nn import functional

from tomochrome.color.palette import palette
from tomochrome.colorization.color_heads import (
    AB_SCALE,
    CLOSE,
    BinsHead,
    ColorHead,
    RegressionHead,
    make_head,
    soft_bins,
)
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.colorization.network import build_network, size_multiple
from tomochrome.colorization.quantize import median_cut, quantize
from tomochrome.errors import ModelError
from tomochrome.runtime import check
from tomochrome.training.augment import Augmentation
from tomochrome.training.calibrate import fit_confidence
from tomochrome.training.config import Millimeters, PhantomPlan, Share, TrainingConfig, check_shape
from tomochrome.training.pool import HELD_OUT_TENTH, LEARNED_TENTHS, VALIDATION_TENTHS
from tomochrome.training.task import (
    NOT_FOR_DIAGNOSIS,
    Bundle,
    Evidence,
    Task,
    half_precision,
    image_format,
    register,
)
from tomochrome.training.tasks.tissue import CALIBRATION, TissueSamples, real_patients

VALIDATION_SAMPLES = 32
MEASURED_SAMPLES = 48
_BATCH = 8


class ColorConfig(TrainingConfig):
    """One training run of a network that predicts color.

    Parameters
    ----------
    shape
        Height and width of a sample in pixels.
    pixel_mm
        Size of a pixel.
    windows
        Center and width in HU of each luminance that the network sees.
    head
        What its outputs mean, see `color_heads.make_head`.
    variance_weight
        Weight of the learned variance's likelihood beside the squared error.
    rebalancing
        Of color bins: 0 weighs them all alike, 1 by how rare they are (Zhang et al. 2016).
    grey_levels
        Number of grey levels that the network sees, chosen by median cut; None for all.
    real_share
        Share of samples from real labelled CT, when a data folder is given.
    title, about
        What people call the model, and a sentence for its card: where it comes from.
    """

    phantoms: PhantomPlan | None = PhantomPlan()
    shape: tuple[int, int] = (256, 256)
    pixel_mm: Millimeters = 2.0
    windows: tuple[tuple[float, PositiveFloat], ...] = ((40.0, 400.0),)
    head: dict[str, Any] = Field(default_factory=lambda: {"name": "tanh"})
    variance_weight: NonNegativeFloat = 2e-3
    rebalancing: Share = 0.5
    grey_levels: PositiveInt | None = None
    real_share: Share = 0.4
    title: str = ""
    about: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            check_shape(self.shape, size_multiple(self.network))
            channels = make_head(self.head).channels
        except ModelError as error:
            raise ValueError(str(error)) from error
        ends = len(self.windows), channels
        given = self.network.get("in_channels"), self.network.get("out_channels")
        if given != ends:
            raise ValueError(
                f"the network must have {ends[0]} 'in_channels', one for each window, and "
                f"{ends[1]} 'out_channels', which its head reads, not {given[0]} and {given[1]}"
            )
        return self

    @property
    def spec(self) -> InputSpec:
        """What the network sees of a scan."""
        channels = tuple(Channel(center, width) for center, width in self.windows)
        return InputSpec(self.pixel_mm, channels=channels)


class _Samples(TissueSamples):
    """Slices with their tissues, as `TissueSamples`, in few grey levels where those are given."""

    def __init__(
        self,
        config: ColorConfig,
        pool: Path,
        real: list[Any],
        seed: int,
        *,
        tenths: tuple[int, ...] = (),
        settings: Augmentation | None = None,
        levels: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(config, pool, real, seed, settings, spec=config.spec, tenths=tenths)
        self.levels = levels

    def draw(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Draw luminances and tissues."""
        images, names = super().draw()
        return (images if self.levels is None else quantize(images, self.levels)), names


@register("color")
class Colors(Task[ColorConfig]):
    """A network that predicts color."""

    description = "predicts the color of each pixel of a CT slice directly"
    config_type = ColorConfig
    kind = "color-network"
    figures = ("ab_error", "close", "accuracy")

    def __init__(self, config: ColorConfig, pool: Path, data: Path | None = None) -> None:
        super().__init__(config, pool, data)
        self.real = real_patients(data)
        self.head: ColorHead = make_head(config.head)
        self.ab = torch.from_numpy(palette("natural").ab.astype(np.float32))
        self.levels: NDArray[np.float32] | None = None
        self.bin_weights: torch.Tensor | None = None
        self.bins: torch.Tensor | None = None

    def network(self) -> torch.nn.Module:
        """Build the network."""
        net = build_network(self.config.network)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def samples(self, seed: int, tenths: tuple[int, ...] = LEARNED_TENTHS) -> _Samples:
        """Return samples of a part of the patients, disturbed as in training."""
        real = self.real if tenths == LEARNED_TENTHS else []
        return _Samples(self.config, self.pool, real, seed, tenths=tenths, levels=self.levels)

    def prepare(self) -> None:
        """Choose the grey levels, and weigh the color bins by how often they occur."""
        seed = self.config.seed * 1000 + 77
        samples = self.samples(seed)
        drawn = [samples[k] for k in range(MEASURED_SAMPLES)]
        if self.config.grey_levels is not None:
            bodies = np.concatenate([images[:, names > 0].ravel() for images, names in drawn])
            self.levels = median_cut(bodies, self.config.grey_levels)
        if isinstance(self.head, BinsHead):
            counts = torch.zeros(len(self.ab))
            for _, names in drawn:
                counts += torch.bincount(torch.from_numpy(names).ravel(), minlength=len(self.ab))
            self.bins = soft_bins(self.ab)
            share = (counts / counts.sum()) @ self.bins
            self.bin_weights = rebalanced(share, self.config.rebalancing)

    def dataset(self, stage: int = 0) -> _Samples:
        """Return slices of phantoms and real scans."""
        return self.samples(self.config.seed * 1000)

    def validation(self) -> list[Any]:
        """Return slices of patients that are not learned from."""
        samples = self.samples(self.config.seed * 1000 + 1, VALIDATION_TENTHS)
        return [samples[k] for k in range(VALIDATION_SAMPLES)] if len(samples.pool) else []

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss, the mean color error in the body, and the share that is close.

        ``accuracy`` is what Keras gives a network with two outputs under that name, and what
        the thesis quotes: how often the same of a* and b* is the larger one.
        """
        images, names = batch[0].contiguous(memory_format=torch.channels_last), batch[1].long()
        with torch.autocast(images.device.type, torch.bfloat16):
            raw = net(images)
        raw = raw.float()
        stride = images.shape[-1] // raw.shape[-1]
        names = names[:, stride // 2 :: stride, stride // 2 :: stride]
        truth = self.ab.to(raw)[names].movedim(-1, 1)
        total = self._bins_loss(raw, names) if self.bins is not None else self._error(raw, truth)
        with torch.no_grad():
            ab = self.head.colors(raw)
            error = (ab - truth).norm(dim=1)[names > 0]
            larger = (ab.argmax(1) == truth.argmax(1)).float().mean()
        close = (error < CLOSE).float().mean()
        figures = {"ab_error": error.mean(), "close": close, "accuracy": larger}
        return total, {name: float(value) for name, value in figures.items()}

    def _error(self, raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the color, and the likelihood of the variance beside it."""
        assert isinstance(self.head, RegressionHead)
        difference = (self.head.colors(raw) - truth).square()
        log_sigma = self.head.log_sigma(raw)[:, 0]
        spread = 0.5 * difference.detach().sum(1) * torch.exp(-2 * log_sigma) + 2 * log_sigma
        return difference.mean() / AB_SCALE**2 + self.config.variance_weight * spread.mean()

    def _bins_loss(self, raw: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
        """Cross-entropy with soft bins, each pixel weighed by its color's rareness."""
        assert self.bins is not None and self.bin_weights is not None  # `prepare` makes them
        table = self.bins.to(raw)
        weight = self.bin_weights.to(raw)[table.argmax(1)][names]
        logs = functional.log_softmax(raw, dim=1).movedim(1, -1)
        entropy = -(table[names] * logs).sum(-1)
        return (entropy * weight).sum() / weight.sum()

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        count = len(self.samples(0).pool)
        lines = [f"{count} procedural patients of tomochrome.phantom, in the palette natural"]
        if self.real:
            lines.append(
                f"{len(self.real)} real labelled CT (abdomen, no contrast agent; "
                "TotalSegmentator's example, Apache-2.0), in the palette natural"
            )
        return lines

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network with calibrated confidences."""
        config = self.config
        assert evidence.held_out is not None
        self.prepare()
        held_out = _Samples(
            config, evidence.held_out, [], 987, settings=CALIBRATION, levels=self.levels
        )
        measured = self._measure(net, held_out)
        scores = {**evidence.scores.get(config.name, {}), **measured}
        metadata = {
            "kind": self.kind,
            "intended_use": NOT_FOR_DIAGNOSIS,
            "scores": scores,
            "title": config.title or config.name,
            "description": self.description,
            "task": "predicting the chroma of each pixel of a CT slice",
            "network": dict(config.network),
            "head": dict(config.head),
            "input": config.spec.to_dict(),
            "temperature": round(self.head.temperature, 4),
            "network_data_format": {
                "inputs": {
                    "image": image_format(
                        len(config.windows), [f"{size_multiple(config.network)}*n"] * 2,
                        "luminance", [0, 1],
                    )
                },
                "outputs": {"pred": image_format(self.head.channels, ["n", "n"], "chroma")},
            },
        }  # fmt: skip
        tensors = half_precision(net.state_dict())
        if self.levels is not None:
            tensors["grey_levels"] = torch.from_numpy(self.levels)
        words = {
            "about": config.about,
            "split": f"{len(LEARNED_TENTHS)}0 % of the phantom patients were learned from, "
            f"{len(VALIDATION_TENTHS)}0 % decided when to stop, {len(HELD_OUT_TENTH)}0 % were left",
            "temperature": f"{self.head.temperature:.3f}",
            "confidence": "a learned variance"
            if isinstance(self.head, RegressionHead)
            else "the probabilities of the color bins",
        }
        return [Bundle(config.name, tensors, metadata, words, "color")]

    def _measure(self, net: torch.nn.Module, samples: _Samples) -> dict[str, float]:
        """Calibrate the confidence on held-out phantoms; return what was measured on them."""
        raws, truths, losses = [], [], []
        for first in range(0, MEASURED_SAMPLES, _BATCH):
            check()
            batch = [samples[k] for k in range(first, first + _BATCH)]
            images, names = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
            with torch.inference_mode():
                _, figures = self.loss(net, (images, names))
                raw = net(images.contiguous(memory_format=torch.channels_last)).float()
            losses.append(figures)
            stride = images.shape[-1] // raw.shape[-1]
            names = names.long()[:, stride // 2 :: stride, stride // 2 :: stride]
            inside = torch.nonzero(names > 0)[::23]
            rows = raw.movedim(1, -1)[inside[:, 0], inside[:, 1], inside[:, 2]]
            raws.append(rows.T[None, :, :, None])
            truths.append(self.ab[names[inside[:, 0], inside[:, 1], inside[:, 2]]])
        raw, truth = torch.cat(raws, dim=2), torch.cat(truths)
        right = (self.head.colors(raw)[0, :, :, 0].T - truth).norm(dim=1) < CLOSE
        before, after = fit_confidence(self.head, raw, right)
        mean = {name: float(np.mean([row[name] for row in losses])) for name in losses[0]}
        squared = float((self.head.colors(raw)[0, :, :, 0].T - truth).square().mean())
        return {
            "held_out_phantoms_chroma_error": round(mean["ab_error"], 2),
            "held_out_phantoms_close": round(mean["close"], 4),
            "held_out_phantoms_squared_error": round(squared / AB_SCALE**2, 5),
            "held_out_phantoms_accuracy_as_in_the_thesis": round(mean["accuracy"], 4),
            "expected_calibration_error": round(after, 4),
            "expected_calibration_error_uncalibrated": round(before, 4),
        }


def rebalanced(share: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the weights of color bins by how often they occur (Zhang et al. 2016, eq. 4).

    Parameters
    ----------
    share
        Share of each bin among all pixels, (bins,), sums to 1.
    strength
        1 - lambda of the paper: 0 weighs all alike.

    Returns
    -------
    torch.Tensor
        (bins,), with a mean of 1 over the pixels.
    """
    weight = 1.0 / (strength * share + (1.0 - strength) / len(share))
    return weight / (share * weight).sum()

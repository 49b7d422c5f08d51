"""Feature networks for registration, which learn to name the tissue of each pixel of a slice.

A small head that names the tissues from the features of all levels is trained along, and dropped
afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator
from torch import nn
from torch.nn import functional

from tomochrome.color.palettes import palette
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.errors import ModelError
from tomochrome.registration.feature_networks import (
    N_CHANNELS,
    SPEC,
    FeatureNetwork,
    build_features,
)
from tomochrome.tissue import N_TISSUES
from tomochrome.training.calibrate import calibrate
from tomochrome.training.color_samples import AROUND, BODY, ColorSamples, ReusedSamples, Sample
from tomochrome.training.config import Millimeters, PhantomPlan, Share, TrainingConfig, check_shape
from tomochrome.training.precision import arranged, mixed_precision
from tomochrome.training.task_interface import (
    Bundle,
    Evidence,
    Task,
    half_precision,
    image_format,
    register,
)
from tomochrome.training.tasks.tissue_task import (
    CALIBRATION,
    WEIGHT_SLICES,
    TissueSamples,
    real_patients,
    tissue_frequencies,
    tissue_weights,
)
from tomochrome.training.tissue_loss import TissueLoss

HEAD_CHANNELS: Final = 64
HELD_OUT_SLICES: Final = 48
INTENDED_USE: Final = (
    "Not for diagnosis: its features steer a registration; look at it, and at its measures."
)


class FeaturesConfig(TrainingConfig):
    """One training run of a feature network.

    Parameters
    ----------
    shape
        Height and width of a sample in pixels.
    pixel_mm
        Pixel size in mm.
    windows
        Center and width in HU of each luminance channel.
    real_share
        Share of samples from real labelled CT if there is a data folder.
    reuse
        Number of different samples, which are kept in memory and used again and again; 0 for new
        ones all the time.
    crop
        Height and width of the part of such a sample that is used.
    frequency_power
        Class weights are ``frequency ** -frequency_power``.
    """

    phantoms: PhantomPlan | None = PhantomPlan()
    shape: tuple[int, int] = (192, 224)
    pixel_mm: Millimeters = SPEC.pixel_mm
    windows: tuple[tuple[float, PositiveFloat], ...] = tuple(
        (channel.center, channel.width) for channel in SPEC.channels
    )
    real_share: Share = 0.4
    reuse: NonNegativeInt = 0
    crop: tuple[int, int] = (128, 160)
    frequency_power: NonNegativeFloat = 0.5

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            multiple = build_features(self.network).multiple
        except ModelError as error:
            raise ValueError(str(error)) from error
        check_shape(self.shape, multiple)
        check_shape(self.crop, multiple, "crop")
        if any(np.greater(self.crop, self.shape)):
            raise ValueError("'crop' cannot be larger than 'shape'")
        if len(self.windows) != N_CHANNELS:
            raise ValueError(f"there must be {N_CHANNELS} 'windows', not {len(self.windows)}")
        return self

    @property
    def spec(self) -> InputSpec:
        """The network's input."""
        channels = tuple(Channel(center, width) for center, width in self.windows)
        return InputSpec(self.pixel_mm, channels=channels)


class NamedSamples(ColorSamples):
    """Slices with the tissue of each pixel, as a target (3, y, x): tissue, 0, and kind of pixel.

    Parameters
    ----------
    slices
        The slices and their tissues.
    """

    def __init__(self, slices: TissueSamples) -> None:
        super().__init__(slices.seed)
        self.slices = slices

    def draw(self) -> Sample:
        """Draw luminances and tissues."""
        self.slices.rng = self.rng
        images, names = self.slices.draw()
        kind = np.where(names > 0, BODY, AROUND)
        return images, np.stack([names, np.zeros_like(names), kind]).astype(np.float32)


class NamingNetwork(nn.Module):
    """A feature network, and a head that names the tissue of each pixel from its features."""

    def __init__(self, extractor: FeatureNetwork) -> None:
        super().__init__()
        self.extractor = extractor
        self.sides = nn.ModuleList(nn.Conv2d(n, HEAD_CHANNELS, 1) for n in extractor.widths)
        self.head = nn.Conv2d(HEAD_CHANNELS, N_TISSUES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (n, tissues, y, x) of luminances (n, channels, y, x)."""
        levels = self.extractor(images)
        parts = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        finest = parts[0].shape[2:]
        total = parts[0]
        for part in parts[1:]:
            total = total + functional.interpolate(part, finest, mode="bilinear")
        logits = self.head(functional.relu(total))
        return functional.interpolate(logits, images.shape[2:], mode="bilinear")


@register("features")
class FeatureTask(Task[FeaturesConfig]):
    """The feature networks `features-alexnet`, `features-vgg16` and `features-resnet18`."""

    description = "features of axial slices, by which a registration compares two volumes"
    config_type = FeaturesConfig
    command = "register --similarity features --weights"
    kind = "features"
    figures = ("entropy", "right")

    def __init__(self, config: FeaturesConfig, pool: Path, data: Path | None = None) -> None:
        super().__init__(config, pool, data)
        self.real = real_patients(data)
        self.criterion: TissueLoss | None = None

    def network(self) -> NamingNetwork:
        """Build the network and its head."""
        network = NamingNetwork(build_features(self.config.network))
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def samples(self, seed: int) -> TissueSamples:
        """Return slices with the tissue of each pixel."""
        return TissueSamples(self.config, self.pool, self.real, seed, spec=self.config.spec)

    def prepare(self) -> None:
        """Compute the class weights from the frequency of the tissues."""
        frequency = tissue_frequencies(self.samples(self.config.seed * 1000 + 77), WEIGHT_SLICES)
        weights = tissue_weights(frequency, self.config.frequency_power)
        self.criterion = TissueLoss(weights, palette("natural").ab, 0.0)

    def dataset(self, stage: int = 0) -> ColorSamples:
        """Return slices of phantoms and real scans."""
        samples = NamedSamples(self.samples(self.config.seed * 1000))
        if not self.config.reuse:
            return samples
        return ReusedSamples(samples, self.config.reuse, self.config.crop)

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the cross-entropy, and the accuracy in the body."""
        assert self.criterion is not None  # `prepare` makes it
        images, names = arranged(batch[0]), batch[1][:, 0].long()
        with mixed_precision(images.device):
            logits = net(images)
        entropy = self.criterion.to(images.device)(logits.float(), names)[1]
        right = (logits.detach().argmax(1) == names)[names > 0].float().mean()
        return entropy, {"entropy": float(entropy.detach()), "right": float(right)}

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        lines = [
            f"the tissues of {len(self.samples(0).pool)} procedural patients of "
            "tomochrome.phantom (no two alike)"
        ]
        if self.real:
            lines.append(
                f"those of {len(self.real)} real labelled CT (abdomen, no contrast agent; "
                "TotalSegmentator's example, Apache-2.0), its contrast and shape varied"
            )
        return lines

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network without its head, with the head's accuracy on held-out phantoms."""
        assert isinstance(net, NamingNetwork) and evidence.held_out is not None
        config = self.config
        held_out = TissueSamples(config, evidence.held_out, [], 987, CALIBRATION, spec=config.spec)
        right = calibrate(net, held_out, HELD_OUT_SLICES).right
        levels = list(zip(net.extractor.widths, net.extractor.strides, strict=True))
        multiple = net.extractor.multiple
        image = image_format(N_CHANNELS, [f"{multiple}*n"] * 2, "luminance", [0, 1])
        metadata = {
            "kind": self.kind,
            "intended_use": INTENDED_USE,
            "scores": {
                **evidence.scores.get(config.name, {}),
                "held_out_phantoms_voxels_right": round(right, 4),
            },
            "title": f"Features of {config.network['name']}",
            "description": self.description,
            "task": "comparing two volumes in a registration by the features of their slices",
            "network": dict(config.network),
            "input": config.spec.to_dict(),
            "network_data_format": {
                "inputs": {"image": {**image, "modality": "CT"}},
                "outputs": {
                    f"level{k}": image_format(width, [f"{multiple // step}*n"] * 2, "features")
                    for k, (width, step) in enumerate(levels)
                },
            },
        }
        tensors = half_precision(net.extractor.state_dict())
        return [Bundle(config.name, tensors, metadata)]

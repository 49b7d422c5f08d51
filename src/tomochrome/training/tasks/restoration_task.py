"""The networks that fill defects, and the samples of all networks of restoration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch.nn import functional

from tomochrome.bundles import DEFECTS, RESTORATION, eight_bit
from tomochrome.restoration.defects import KINDS
from tomochrome.restoration.networks import (
    MULTIPLE,
    STEP_HU,
    TranslationVAE,
    build_network,
    filler_input,
    finder_input,
    soft,
    wide,
)
from tomochrome.training.config import (
    ModelName,
    PhantomPlan,
    Rate,
    Share,
    TrainingConfig,
    check_shape,
)
from tomochrome.training.defect_scans import SHARES, DefectScan, DefectScans, Source
from tomochrome.training.precision import mixed_precision
from tomochrome.training.self_training import taught_files
from tomochrome.training.start import start_from
from tomochrome.training.task_interface import (
    Bundle,
    Evidence,
    RandomSamples,
    Task,
    half_precision,
    image_format,
    register,
)

INTENDED_USE: Final = (
    "Not for diagnosis: what it fills in is a guess, not a measurement, and is marked as such."
)
VALIDATION_SAMPLES: Final = 64
MEASURED_SAMPLES: Final = 240
_SAME_PLACE: Final = 0.7  # share of crops around a damaged pixel


class RestorationConfig(TrainingConfig):
    """A training of a network of `tomochrome.restoration.networks`.

    Parameters
    ----------
    scans
        Number of scans with simulated defects, drawn before the training.
    shares
        How often each kind of defect is drawn.
    real_share
        Share of the scans that are slices of living people, if there is a data folder.
    shape
        Height and width of a sample in pixels.
    divergence
        Weight of the Kullback-Leibler terms, for autoencoders.
    start
        Model with the initial weights, of the same network; None for random ones.
    prior
        Model whose filling is the prior of the interpolation in half of the scans with metal.
    """

    learning_rate: Rate = 5e-4
    weight_decay: NonNegativeFloat = 1e-4
    warm_up: PositiveInt = 100
    phantoms: PhantomPlan | None = PhantomPlan(spacing=(3.5, 0.9, 0.9), count=40, first=40)
    scans: PositiveInt = 800
    shares: dict[str, NonNegativeFloat] = Field(default_factory=lambda: dict(SHARES))
    real_share: Share = 0.35
    shape: tuple[int, int] = (192, 192)
    divergence: NonNegativeFloat = 1e-4
    start: ModelName | None = None
    prior: ModelName | None = None

    @model_validator(mode="after")
    def _fits(self) -> RestorationConfig:
        check_shape(self.shape, MULTIPLE)
        if unknown := [name for name in self.shares if name not in SHARES]:
            raise ValueError(f"'{unknown[0]}' is not a kind of defect")
        return self


class DefectSamples(RandomSamples):
    """Crops of slices with a defect.

    A sample is the input of a filler or of a finder, float32 (channels, y, x), the true HU and
    the HU filled without a network, float32 (1, y, x), and the defects, int64 (y, x).

    Parameters
    ----------
    scans
        The scans.
    shape
        Height and width in pixels.
    seed
        Seed of the samples.
    finding
        Whether the input is that of a finder.
    """

    def __init__(
        self, scans: DefectScans, shape: tuple[int, int], seed: int, *, finding: bool = False
    ) -> None:
        super().__init__(seed)
        self.scans, self.shape, self.finding = scans, shape, finding

    def draw(self) -> tuple[NDArray[Any], ...]:
        """Draw a crop, in most cases around a damaged pixel."""
        rng = self.rng
        scan = self.scans.draw(rng)
        z = int(rng.choice(scan.targets))
        part = self._part(scan, z)
        flip = 1 if rng.random() < 0.5 else -1
        if self.finding:
            images = finder_input(scan.measured, z, part)
        else:
            images = filler_input(scan.measured, scan.filled, scan.code, z, part)
        planes = [np.asarray(v[z][part], np.float32)[None] for v in (scan.clean, scan.filled)]
        code = scan.code[z][part].astype(np.int64)
        arrays = (images, *planes, code)
        return tuple(np.ascontiguousarray(array[..., ::flip]) for array in arrays)

    def _part(self, scan: DefectScan, z: int) -> tuple[slice, slice]:
        damaged = np.argwhere(scan.code[z] > 0)
        if len(damaged) and self.rng.random() < _SAME_PLACE:
            center = damaged[self.rng.integers(len(damaged))]
        else:
            center = self.rng.integers(scan.code.shape[1:])
        firsts = (
            int(np.clip(middle - n // 2 + self.rng.integers(-n // 4, n // 4 + 1), 0, size - n))
            for middle, n, size in zip(center, self.shape, scan.code.shape[1:], strict=True)
        )
        rows, columns = (slice(f, f + n) for f, n in zip(firsts, self.shape, strict=True))
        return rows, columns


class RestorationTask(Task[RestorationConfig]):
    """What the fillers and the finder share: the scans."""

    config_type = RestorationConfig
    command = "restore"

    @property
    def sources(self) -> list[Source]:
        """The patients and scans that defects are simulated in."""
        real = taught_files(self.data) if self.data is not None else []
        return [*(Source(path, False) for path in sorted(self.pool.glob("*.npz"))),
                *(Source(path, True) for path in real)]  # fmt: skip

    @property
    def folder(self) -> Path:
        """Folder of the scans with defects."""
        return self.pool.with_name(f"{self.pool.name}-defects")

    def prepare(self) -> None:
        """Draw the scans that are missing."""
        DefectScans.generate(
            self.folder, self.sources, self.config.scans, self.config.shares,
            self.config.real_share, prior=self.config.prior,
        )  # fmt: skip

    def samples(self, seed: int, *, held_out: bool = False) -> DefectSamples:
        """Return samples of the scans that are learned from, or of the others."""
        scans = DefectScans(self.folder, held_out)
        return DefectSamples(scans, self.config.shape, seed, finding=self.kind == "defects")

    def network(self) -> torch.nn.Module:
        """Build the network with its initial weights."""
        net = build_network(self.config.network)
        if self.config.start is not None:
            purpose = DEFECTS if self.kind == "defects" else RESTORATION
            start_from(net, self.config.start, purpose=purpose)
        return net

    def dataset(self, stage: int = 0) -> DefectSamples:
        """Return crops of slices with a defect."""
        return self.samples(self.config.seed * 1000)

    def validation(self) -> Sequence[Any]:
        """Return crops of patients that are not learned from."""
        samples = self.samples(self.config.seed * 1000 + 1, held_out=True)
        return [samples[k] for k in range(VALIDATION_SAMPLES)] if len(samples.scans) else []

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        scans = DefectScans(self.folder)
        lines = [
            f"{len(scans)} scans with simulated defects of {len(KINDS)} kinds, in slices of "
            "procedural patients of tomochrome.phantom"
        ]
        real = [source for source in self.sources if source.real]
        if real:
            lines[0] += f" and of {len(real)} CT of living people"
        return lines


@register("restoration")
class Filler(RestorationTask):
    """A network that fills defects."""

    description = "fills defects of a CT; what it fills in is a guess"
    kind = "restoration"
    figures = ("hu", "before")

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss within the defects.

        It is quadratic below `STEP_HU`, so that the mean and not the median of what is possible is
        learned: the bias of a tissue is small. The figures are the root mean square errors in HU
        of the network and without it.
        """
        images, clean, filled, code = batch
        mask = (code > 0)[:, None].float()
        with mixed_precision(images.device):
            if isinstance(net, TranslationVAE):
                change, extra = self._translated(net, images, clean)
            else:
                change, extra = net(images), images.new_zeros(())
        result = filled + STEP_HU * change.float()
        error = functional.smooth_l1_loss(result / STEP_HU, clean / STEP_HU, reduction="none")
        share = mask.sum((1, 2, 3))
        valid = share > 0
        each = (error * mask).sum((1, 2, 3))[valid] / share[valid]
        loss = each.mean() if len(each) else 0 * change.sum()
        with torch.no_grad():
            squares = [((part - clean).square() * mask).sum() for part in (result, filled)]
            hu, before = (float((s / mask.sum().clamp(min=1)).sqrt()) for s in squares)
        return loss + extra, {"hu": hu, "before": before}

    def _translated(
        self, net: TranslationVAE, images: torch.Tensor, clean: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the change of the slice, and the loss of both autoencoders and the mapping."""
        seen, target = images[:, :2], torch.cat([soft(clean), wide(clean)], 1)
        mean, spread = net.damaged.latents(images)
        clean_mean, clean_spread = net.clean.latents(target)
        noise, clean_noise = torch.randn_like(mean), torch.randn_like(mean)
        again = net.damaged.decode(mean + noise * (0.5 * spread).exp())
        clean_again = net.clean.decode(clean_mean + clean_noise * (0.5 * clean_spread).exp())
        mapped = net.mapping(mean)
        divergence = _divergence(mean, spread) + _divergence(clean_mean, clean_spread)
        extra = (
            functional.l1_loss(again, seen)
            + functional.l1_loss(clean_again, target)
            + 0.1 * functional.l1_loss(mapped, clean_mean.detach())
            + self.config.divergence * divergence
        )
        return net.change(mean, mapped), extra

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network with its errors on patients that were not learned from."""
        samples = self.samples(4242, held_out=True)
        scores = _errors(net, samples) if len(samples.scans) else {}
        metadata = {
            "kind": self.kind,
            "intended_use": INTENDED_USE,
            "scores": {**evidence.scores.get(self.config.name, {}), **scores},
            "title": TITLES.get(self.config.name, self.config.name),
            "description": self.description,
            "task": "filling of defects of a CT",
            "network": dict(self.config.network),
            "network_data_format": data_format(net, 1),
        }
        stored = eight_bit if isinstance(net, TranslationVAE) else half_precision
        return [Bundle(self.config.name, stored(net.state_dict()), metadata)]


TITLES: Final = {
    "restoration": "Masked U-Net",
    "restoration-vae": "Variational autoencoders",
    "restoration-vae-resnet": "Variational autoencoders with ResNet blocks",
}


def _divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence from the standard normal distribution, per value."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def _errors(net: torch.nn.Module, samples: DefectSamples) -> dict[str, float]:
    """Return the root mean square error in HU of each kind, as a share of that without network."""
    after, before = np.zeros(len(KINDS) + 1), np.zeros(len(KINDS) + 1)
    device = next(net.parameters()).device
    for k in range(MEASURED_SAMPLES):
        images, clean, filled, code = samples[k]
        with torch.no_grad():
            change = net(torch.from_numpy(images)[None].to(device)).cpu().numpy()[0]
        for totals, hu in ((after, filled + STEP_HU * change), (before, filled)):
            squares = np.square(hu - clean)[0]
            totals += np.bincount(code.ravel(), squares.ravel(), minlength=len(totals))
    return {
        f"error_ratio_{kind}": round(float(np.sqrt(after[k + 1] / before[k + 1])), 3)
        for k, kind in enumerate(KINDS)
        if before[k + 1] > 0
    }


def data_format(net: torch.nn.Module, outputs: int) -> dict[str, Any]:
    """Return the description of input and output for a bundle's metadata."""
    first = next(net.parameters()).shape[1] // 4
    size = [f"{MULTIPLE}*n"] * 2
    return {
        "inputs": {"image": {**image_format(first, size, "luminance"), "modality": "CT"}},
        "outputs": {"pred": image_format(outputs, size, "segmentation" if outputs > 1 else "HU")},
    }

"""Networks that predict color directly: `scim`, `unet`, `unet-quantized`, `coloria-cnn`, `zhang`.

The ground truth is a palette's color of each pixel's tissue, on phantoms and real labelled CT, or a
photograph of the same section. 70 % of the patients or blocks of sections are used for training,
20 % for validation and 10 % for testing.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.bundles import PHOTOGRAPH
from tomochrome.color.convert import lab_to_srgb
from tomochrome.colorization.color_heads import (
    AB_SCALE,
    CLOSE,
    BinsHead,
    ColorHead,
    RegressionHead,
    RGBHead,
    TableHead,
    make_head,
    nearest_bin,
    soft_bins,
)
from tomochrome.colorization.network_builder import build_network, size_multiple
from tomochrome.colorization.quantize import median_cut
from tomochrome.errors import OptionError
from tomochrome.evaluate.calibration import Reliability, reliability_table
from tomochrome.runtime import check
from tomochrome.training.calibrate import fit_confidence
from tomochrome.training.color_config import ColorConfig, PhotographPlan
from tomochrome.training.color_data import RealColors, read_real_colors
from tomochrome.training.color_samples import (
    BODY,
    UNKNOWN,
    ColorSamples,
    MixedSamples,
    PairSamples,
    PaletteSamples,
    ReusedSamples,
    ScanSamples,
    SectionSamples,
    stacked,
)
from tomochrome.training.photographs import find_pairs
from tomochrome.training.precision import arranged, mixed_precision
from tomochrome.training.section_pairs import Part
from tomochrome.training.start import start_from
from tomochrome.training.task_interface import (
    NOT_FOR_DIAGNOSIS,
    Bundle,
    Evidence,
    RandomSamples,
    Task,
    half_precision,
    image_format,
    register,
)
from tomochrome.training.tasks.tissue_task import CALIBRATION, TissueSamples, real_patients

LAST_DIGITS: Final[dict[Part, tuple[int, ...]]] = {
    "learn": (0, 1, 2, 3, 4, 5, 6), "validate": (7, 8), "test": (9,)
}  # fmt: skip
"""Phantom patients of each part, by the last digit of their seed."""
DATA: Final = {
    "palette": """\
70 % of the phantom patients were learned from, 20 % decided when to stop, 10 % were left. The true
color of a pixel is the palette's color of its tissue: what it learned are conventions for tissues,
not photographs.""",
    "photographs": """\
Photographs, or blocks of neighbouring slices, were split: 70 % were learned from, 20 % decided when
to stop, on 10 % it was measured. The true color of a pixel is that of the photograph.""",
    "mixture": """\
70 % of the phantom patients were learned from, 20 % chose the weights, 10 % were left. Of each
three photographs of a body region one without neighbors was left out. The true color of a pixel of
a phantom or labelled CT is the palette's color of its tissue, that of a section, and of the CT in
its plane, is the photograph's, and that of other CT is what the model {teacher} expects. The
unlabelled CT are those of the collections CPTAC-PDA, C4KC-KiTS, ACRIN-NSCLC-FDG-PET, LIDC and
Lung-Fused-CT-Pathology (TCIA) and of NLST. The first networks of these kinds, which learned
phantoms alone for 408 to 1,169 steps, gave all organs one brown. What ended it: thousands of steps
on these kinds of samples, large crops, and a loss rebalanced by color.""",
}
VALIDATION_SAMPLES = 32
MEASURED_SAMPLES = 48
_BATCH = 8
_SECTIONS: Final = "held_out_sections"
_CHROMA_WEIGHT: Final = 0.045  # CIE94
_SMOOTHING: Final = 0.01  # squared color difference below which an error is nearly quadratic


@register("color")
class Colors(Task[ColorConfig]):
    """A network that predicts color."""

    description = "predicts the color of each pixel of a CT slice directly"
    config_type: ClassVar[type[ColorConfig]] = ColorConfig
    kind = "color-network"
    figures: ClassVar[tuple[str, ...]] = ("ab_error", "close", "accuracy")
    limits: ClassVar[str] = (
        "A mean of possible colors is a dull color: what it is unsure of comes out brownish and "
        "fades"
    )  #: limits of this way of training, for the card

    def __init__(self, config: ColorConfig, pool: Path, data: Path | None = None) -> None:
        super().__init__(config, pool, data)
        if config.source != "palette" and data is None:
            raise OptionError(
                f"'{config.name}' is trained on photographs: give a folder of them with --data"
            )
        mixed = config.source == "mixture"
        self.real = [] if config.source == "photographs" else real_patients(data, optional=mixed)
        self.head: ColorHead = make_head(config.head)
        self.levels: NDArray[np.float32] | None = None
        self.bin_weights: torch.Tensor | None = None

    def network(self) -> torch.nn.Module:
        """Build the network."""
        net = build_network(self.config.network)
        if self.config.start is not None:
            start_from(net, self.config.start, partly=True)
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def samples(
        self, seed: int, part: Part = "learn", config: ColorConfig | None = None
    ) -> ColorSamples:
        """Return samples of one part of the patients or pairs; ``config`` overrides their size."""
        config = config or self.config
        if config.source == "photographs":
            samples: ColorSamples = self.photographs(seed, part, config)
        elif config.source == "palette":
            samples = self.phantoms(seed, part, config)
        else:
            samples = self.mixture(seed, part, config)
        if config.reuse and part == "learn":
            return ReusedSamples(samples, config.reuse, config.used_shape)
        return samples

    def photographs(self, seed: int, part: Part, config: ColorConfig) -> PairSamples:
        """Return samples of pair files."""
        return PairSamples(
            self.pairs, part, config.spec, config.shape, seed, levels=self.levels,
            augment=part != "test",
        )  # fmt: skip

    def phantoms(
        self, seed: int, part: Part, config: ColorConfig, pool: Path | None = None
    ) -> PaletteSamples:
        """Return samples of phantoms, for training of labelled CT too; or of another pool."""
        real = self.real if part == "learn" and pool is None else []
        digits = LAST_DIGITS[part] if pool is None else ()
        settings = None if pool is None else CALIBRATION
        slices = TissueSamples(
            config, pool or self.pool, real, seed, settings, spec=config.spec, last_digits=digits
        )
        return PaletteSamples(slices, self.levels)

    def mixture(self, seed: int, part: Part, config: ColorConfig) -> ColorSamples:
        """Return samples of phantoms, photographs, pairs and of scans with a teacher."""
        augment = part != "test"
        parts: list[tuple[float, ColorSamples]] = []
        if share := config.shares.get("palette"):
            parts.append((share, self.phantoms(seed, part, config)))
        sections = self.colors.sections.get(part, [])
        if (share := config.shares.get("sections")) and sections:
            parts.append((share, SectionSamples(
                sections, len(config.windows), config.body_pixels, config.shape, seed,
                levels=self.levels, augment=augment,
            )))  # fmt: skip
        taught = self.colors.taught if part == "learn" else []
        for kind, scans in (("pairs", self.colors.pairs.get(part, [])), ("teacher", taught)):
            if (share := config.shares.get(kind)) and scans:  # type: ignore[call-overload]
                parts.append((share, ScanSamples(
                    scans, config.spec, config.shape, seed, levels=self.levels, augment=augment
                )))  # fmt: skip
        return MixedSamples(parts, seed)

    @cached_property
    def colors(self) -> RealColors:
        """The real data of the source ``mixture``."""
        assert self.data is not None
        return read_real_colors(self.data, self.config.teacher)

    @cached_property
    def pairs(self) -> Path:
        """Folder of pair files: the data folder, or the folder it is imported into."""
        assert self.data is not None
        return find_pairs(self.data, self.pool.with_name("pairs"), self.config.windows)

    def prepare(self) -> None:
        """Choose the grey levels, and compute the weights of the color bins."""
        strength, bins = self.config.rebalancing, isinstance(self.head, BinsHead)
        if strength is None:
            strength = 0.5 if bins else 0.0
        if self.config.grey_levels is None and not strength and not bins:
            return
        samples = self.samples(self.config.seed * 1000 + 77)
        images, truths = stacked([samples[k] for k in range(MEASURED_SAMPLES)])
        if self.config.grey_levels is not None:
            bodies = images.transpose(0, 2, 3, 1)[truths[:, 2] == BODY]
            self.levels = median_cut(bodies, self.config.grey_levels)
        if strength or bins:
            has_truth = truths[:, 2, ::4, ::4] > UNKNOWN
            ab = torch.from_numpy(truths[:, :2, ::4, ::4].transpose(0, 2, 3, 1)[has_truth])
            self.bin_weights = rebalanced(soft_bins(ab).mean(0), strength)

    def second_run(self, net: torch.nn.Module) -> tuple[Task[Any], float] | None:
        """Return the training on photographs alone, if the configuration asks for it."""
        plan = self.config.photographs
        return None if plan is None else (PhotographColors(self, plan, net), plan.share)

    def dataset(self, stage: int = 0) -> RandomSamples:
        """Return slices of phantoms and real scans, or of pairs."""
        return self.samples(self.config.seed * 1000)

    def validation(self) -> list[Any]:
        """Return slices of the validation patients."""
        samples = self.samples(self.config.seed * 1000 + 1, "validate")
        if self.config.source != "photographs" and not len(
            self.phantoms(0, "validate", self.config).slices.pool
        ):
            return []  # too few phantoms
        return [samples[k] for k in range(VALIDATION_SAMPLES)]

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss, the mean color error in the body, and the share of close colors.

        ``accuracy`` is that of Keras for two outputs, which the thesis reports: how often the
        larger of a* and b* is the same.
        """
        raw = outputs(net, batch[0])
        truth, kind = _at_outputs(batch[1], raw)
        has_truth = kind > UNKNOWN
        if not has_truth.any():  # crops of photographs without body
            return 0 * raw.sum(), {}
        if isinstance(self.head, BinsHead):
            loss = self._bins_loss(raw, truth, has_truth)
        elif isinstance(self.head, RGBHead):
            loss = self._rgb_error(raw, truth, has_truth, batch[0].mean(1))
        else:
            loss = self._error(raw, truth, has_truth)
        return loss, self.measured(raw, truth, kind)

    def measured(
        self, raw: torch.Tensor, truth: torch.Tensor, kind: torch.Tensor
    ) -> dict[str, float]:
        """Return the `figures` of a network's outputs."""
        has_truth, body = kind > UNKNOWN, kind == BODY
        with torch.no_grad():
            ab = self.head.colors(raw)
            error = (ab - truth).norm(dim=1)[body]
            larger = (ab.argmax(1) == truth.argmax(1))[has_truth].float().mean()
        close = (error < CLOSE).float().mean()
        figures = {"ab_error": error.mean(), "close": close, "accuracy": larger}
        return {name: float(value) for name, value in figures.items()}

    def _error(
        self, raw: torch.Tensor, truth: torch.Tensor, has_truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean squared color error plus the likelihood of a learned variance."""
        squared = (self.head.colors(raw) - truth).square().sum(1)[has_truth]
        error = self._color_error(squared, truth, has_truth)
        if not isinstance(self.head, RegressionHead):
            return error
        log_sigma = self.head.log_sigma(raw)[:, 0][has_truth]
        spread = 0.5 * squared.detach() * torch.exp(-2 * log_sigma) + 2 * log_sigma
        return error + self.config.variance_weight * spread.mean()

    def _color_error(
        self, squared: torch.Tensor, truth: torch.Tensor, has_truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean error, given the squared differences of known pixels (pixels,)."""
        return self._weighted(squared, truth, has_truth) / 2 / AB_SCALE**2

    def _rgb_error(
        self,
        raw: torch.Tensor,
        truth: torch.Tensor,
        has_truth: torch.Tensor,
        luminance: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean absolute error of sRGB at a luminance, from 0 to 1 (n, y, x).

        It is the mean of the windows, as few colors are in gamut where a window is black or white.
        """
        assert isinstance(self.head, RGBHead)
        lab = torch.cat([100 * luminance[:, None], truth], dim=1).movedim(1, -1)
        target = torch.from_numpy(lab_to_srgb(lab.cpu().numpy())).to(raw)
        error = (self.head.rgb(raw).movedim(1, -1) - target).abs().mean(-1)[has_truth]
        return self._weighted(error, truth, has_truth)

    def _weighted(
        self, error: torch.Tensor, truth: torch.Tensor, has_truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean of the errors of known pixels (pixels,), rebalanced by their color."""
        if self.bin_weights is None:
            return error.mean()
        weight = self.bin_weights.to(error)[nearest_bin(truth.movedim(1, -1)[has_truth])]
        return (error * weight).sum() / weight.sum()

    def _bins_loss(
        self, raw: torch.Tensor, truth: torch.Tensor, has_truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the cross-entropy with soft bins, weighted by the rarity of each color."""
        assert self.bin_weights is not None  # `prepare` makes it
        bins = soft_bins(truth.movedim(1, -1)[has_truth])
        weight = self.bin_weights.to(raw)[bins.argmax(-1)]
        logs = functional.log_softmax(raw, dim=1).movedim(1, -1)[has_truth]
        entropy = -(bins * logs).sum(-1)
        return (entropy * weight).sum() / weight.sum()

    def course(self) -> str:
        """Return the card's text on how the weights were chosen."""
        return self._began() + (
            f"Every {self.config.validate_every} steps the loss on patients that were not learned "
            "from decided which weights to keep."
        )

    def _began(self) -> str:
        """Return the card's sentence on the initial weights, empty if they were random."""
        start = self.config.start
        return f"It began with the weights of the model `{start}`. " if start else ""

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        if self.config.source == "photographs":
            return [self.photographs(0, "learn", self.config).description]
        count = len(self.phantoms(0, "learn", self.config).slices.pool)
        lines = [f"{count} procedural patients of tomochrome.phantom, in the palette natural"]
        if self.real:
            lines.append(
                f"{len(self.real)} real labelled CT (abdomen, no contrast agent; "
                "TotalSegmentator's example, Apache-2.0), in the palette natural"
            )
        if self.config.source == "mixture":
            sections, pairs = (part.get("learn", []) for part in
                               (self.colors.sections, self.colors.pairs))  # fmt: skip
            lines += [
                f"{len(sections)} photographs of frozen sections of the Visible Human Female "
                f"(National Library of Medicine), and the CT in the plane of {len(pairs)} of them",
                f"{len(self.colors.taught)} unlabelled CT of living people (TCIA, CC BY 3.0; NLST, "
                f"CC BY 4.0), in the colors that the model {self.config.teacher} expects",
            ]
        return lines

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network with calibrated confidences."""
        config = self.config
        self.prepare()
        scores = dict(evidence.scores.get(config.name, {}))
        photographs, second = evidence.second or (self, None)
        assert isinstance(photographs, Colors)
        photographs.levels = self.levels
        if config.source == "mixture":  # first, as the confidence is calibrated on CT
            alone = photographs.config.model_copy(update={"shares": {"sections": 1.0}})
            sections = photographs.mixture(987, "test", alone)
            scores |= self._measure(net if second is None else second, sections, _SECTIONS)[0]
        if config.source == "photographs":
            measured, reliability = self._measure(net, self.samples(987, "test"), _SECTIONS)
        else:
            held_out = self.phantoms(987, "learn", config, evidence.held_out)
            measured, reliability = self._measure(net, held_out, "held_out_phantoms")
        scores |= measured
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
            **({PHOTOGRAPH: {"body_pixels": photographs.config.body_pixels}}
               if config.source == "mixture" else {}),
            "temperature": round(self.head.temperature, 4),
            "max_confidence": round(self.head.max_confidence, 4),
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
        bins = isinstance(self.head, BinsHead)
        source = "the probabilities of the color bins" if bins else "a learned variance"
        source += f", scaled by {self.head.temperature:.3f}"
        if self.head.max_confidence < 1:
            source += f" and at most {self.head.max_confidence:.3f}"
        if isinstance(self.head, TableHead):
            tensors["confidences"] = self.head.rates
            source = "a table by the predicted color"
        words = {
            "about": config.about,
            "data": DATA[config.source].format(teacher=config.teacher),
            "course": self.course(),
            "limits": self.limits,
            "reliability": reliability_table(reliability),
            "luminances": "one luminance"
            if len(config.windows) == 1
            else f"{len(config.windows)} luminance windows",
            "confidence": source,
        }
        photograph = None
        if second is not None:
            photograph = {**tensors, **half_precision(second.state_dict())}
            steps, seconds = evidence.second_log[-1].split(",")[:2]
            words["course"] = (
                f"{self.course()} A copy of these weights then learned photographs alone, for "
                f"{steps} steps in {float(seconds) / 60:.0f} minutes (`docs/log-photographs.csv`): "
                "`models/photograph.safetensors`, which colors photographs."
            )
        return [Bundle(config.name, tensors, metadata, words, "color", photograph)]

    def _measure(
        self, net: torch.nn.Module, samples: RandomSamples, held_out: str
    ) -> tuple[dict[str, float], Reliability]:
        """Calibrate the confidence on held-out samples; return the scores there."""
        raws, truths, figures = [], [], []
        for first in range(0, MEASURED_SAMPLES, _BATCH):
            check()
            batch = stacked([samples[k] for k in range(first, first + _BATCH)])
            images, truth = (torch.from_numpy(part) for part in batch)
            with torch.inference_mode():
                raw = net(arranged(images)).float()
            colors, kind = _at_outputs(truth, raw)
            figures.append(self.measured(raw, colors, kind))
            inside = kind == BODY
            raws.append(raw.movedim(1, -1)[inside][::23])
            truths.append(colors.movedim(1, -1)[inside][::23])
        raw, truth = torch.cat(raws).T[None, :, :, None], torch.cat(truths)
        difference = self.head.colors(raw)[0, :, :, 0].T - truth
        before, after = fit_confidence(self.head, raw, difference.norm(dim=1) < CLOSE)
        mean = {name: float(np.mean([row[name] for row in figures])) for name in figures[0]}
        scores = {
            f"{held_out}_chroma_error": round(mean["ab_error"], 2),
            f"{held_out}_close": round(mean["close"], 4),
            f"{held_out}_squared_error": round(float(difference.square().mean()) / AB_SCALE**2, 5),
            f"{held_out}_accuracy_as_in_the_thesis": round(mean["accuracy"], 4),
            "expected_calibration_error": round(after.error, 4),
            "expected_calibration_error_uncalibrated": round(before.error, 4),
        }
        return scores, after


class PhotographColors(Colors):
    """A second run, on photographs of sections alone.

    Parameters
    ----------
    first
        The task of the first run.
    plan
        What this run is.
    net
        The network of the first run, trained.
    """

    def __init__(self, first: Colors, plan: PhotographPlan, net: torch.nn.Module) -> None:
        old, multiple = first.config, size_multiple(first.config.network)
        scale = plan.body_pixels / old.body_pixels
        alone = {
            "shares": {"sections": 1.0}, "phantoms": None, "validate_every": 0,
            "body_pixels": plan.body_pixels, "crop": plan.crop or old.crop,
            "rebalancing": old.rebalancing if plan.rebalancing is None else plan.rebalancing,
            "shape": tuple(round(n * scale / multiple) * multiple for n in old.shape),
        }  # fmt: skip
        # not that of `Colors`, which would read the labelled scans again
        Task.__init__(self, old.model_copy(update=alone), first.pool, first.data)
        self.first, self.initial, self.perceptual = first, net, plan.perceptual
        self.real, self.head, self.bin_weights = [], first.head, None
        self.levels = first.levels

    @property
    def colors(self) -> RealColors:
        """The real data of the first run."""
        return self.first.colors

    def network(self) -> torch.nn.Module:
        """Return a copy of the network, trainable."""
        return deepcopy(self.initial).train().requires_grad_(True)

    def _color_error(
        self, squared: torch.Tensor, truth: torch.Tensor, has_truth: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean error: that of the first run, or of color differences as seen.

        CIE94 (CIE 116-1995) divides a difference of chroma by 1 + 0.045 times the chroma; here the
        whole difference of (a*, b*) is divided by that of the true color.
        """
        if not self.perceptual:
            return super()._color_error(squared, truth, has_truth)
        chroma = truth.norm(dim=1)[has_truth]
        seen = (squared / (1 + _CHROMA_WEIGHT * chroma).square() + _SMOOTHING).sqrt()
        return self._weighted(seen, truth, has_truth) / CLOSE

    def prepare(self) -> None:
        """Compute the weights of the color bins; the grey levels remain."""
        super().prepare()
        self.levels = self.first.levels


def outputs(net: torch.nn.Module, images: torch.Tensor, *conditions: torch.Tensor) -> torch.Tensor:
    """Return the outputs of a network as float32."""
    with mixed_precision(images.device):
        raw: torch.Tensor = net(arranged(images), *conditions)
    return raw.float()


def _at_outputs(truth: torch.Tensor, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (a*, b*) and kinds at the output pixels of a network: (n, 2, y, x), (n, y, x)."""
    stride = truth.shape[-1] // raw.shape[-1]
    truth = truth[:, :, stride // 2 :: stride, stride // 2 :: stride]
    return truth[:, :2], truth[:, 2]


def rebalanced(share: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the class weights of color bins from their frequency (Zhang et al. 2016, eq. 4).

    Parameters
    ----------
    share
        Share of each bin among all pixels, (bins,); sums to 1.
    strength
        1 - lambda of the paper; 0 gives equal weights.

    Returns
    -------
    torch.Tensor
        (bins,), with a mean of 1 over the pixels.
    """
    weight = 1.0 / (strength * share + (1.0 - strength) / len(share))
    return weight / (share * weight).sum()

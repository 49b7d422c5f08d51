"""Tissue segmentation: the tissue networks, and the lookup table as their baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, field_validator, model_validator

from tomochrome.color.palettes import palette
from tomochrome.colorization.inputs import DEFAULT_CHANNELS, InputSpec
from tomochrome.colorization.network_builder import build_network, size_multiple
from tomochrome.errors import InputError, ModelError
from tomochrome.evaluate.calibration import reliability_table
from tomochrome.phantom import Structure
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue
from tomochrome.training.augment import Augmentation, Sampler
from tomochrome.training.calibrate import calibrate
from tomochrome.training.config import (
    FarMillimeters,
    Millimeters,
    ModelName,
    PhantomPlan,
    Rate,
    Share,
    TrainingConfig,
    check_shape,
)
from tomochrome.training.fit import HU_EDGES, count_hu, likelihood_table, transfer_table
from tomochrome.training.labelled import read_labelled
from tomochrome.training.patients import UNSURE, TrainingPatient
from tomochrome.training.pool import Pool
from tomochrome.training.precision import arranged, mixed_precision
from tomochrome.training.self_training import read_taught, taught_files
from tomochrome.training.start import began_with, interpolate_weights, start_from
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
from tomochrome.training.tissue_loss import TissueLoss

LABELLED = (("ct/abdomen_3mm.nii.gz", "ct/abdomen_3mm_labels.nii.gz"),)
"""Real scans of a data folder used for training; all others are held out."""
CALIBRATION = Augmentation(
    tilt_degrees=3, scale=(0.92, 1.1), elastic_mm=1, inflation=0.05, arms=0, focus=0.2
)
"""Augmentation of held-out phantoms, limited to what occurs in real scans."""
BLOCK_SHARE = 0.25
"""Share of a block's voxels that the loss samples."""
WEIGHT_SLICES, CALIBRATION_SLICES, HISTOGRAM_SLICES = 48, 96, 400
"""Slices drawn for the class weights, the temperature and the HU histograms."""

_TITLES = {
    "tissue": "Tissue network, 2.5D",
    "tissue-7-slices": "Tissue network, 2.5D, 7 slices",
    "tissue-3d-unet": "Tissue network, 3D U-Net",
    "tissue-3d-segresnet": "Tissue network, 3D SegResNet",
}
_MIN_COARSE: Final = 3
"""Minimum size of a block at the network's lowest resolution: for a depth of 2, oneDNN's weight
gradients of bfloat16 3D convolutions read uninitialized memory (torch 2.13), and become NaN."""


class TissueConfig(TrainingConfig):
    """One training run of a tissue network.

    Parameters
    ----------
    shape
        Height and width of a sample in pixels of the input grid.
    block
        Depth, height and width of a sample instead of ``shape``, for a 3D network.
    pixel_mm
        Pixel size of the input grid in mm.
    ab_weight
        Weight of the expected chroma error (in tens of CIELAB units) relative to cross-entropy.
    frequency_power
        Class weights are ``frequency ** -frequency_power``.
    real_share
        Share of samples from real labelled CT if there is a data folder.
    far_mm
        Distances of additional context slices above and below the slice.
    start
        Model with the initial weights, by name or bundle folder; weights of channels that it
        lacks start at zero.
    keep
        Interpolation of the final weights back towards those of ``start``, 0 to 1.
    structure_weights
        Weights of the voxels of single structures by name, 1 for those not named.
    teacher
        Model that names the tissues of unlabelled scans, by name or bundle folder.
    taught_share
        Share of samples from unlabelled scans, if there is a data folder.
    taught_confidence
        Lowest confidence of the teacher at which a voxel has weight in the loss.
    """

    learning_rate: Rate = 2e-3
    warm_up: NonNegativeInt = 200
    phantoms: PhantomPlan | None = PhantomPlan()
    shape: tuple[int, int] = (160, 224)
    block: tuple[int, int, int] | None = None
    pixel_mm: Millimeters = 2.0
    ab_weight: NonNegativeFloat = 0.5
    frequency_power: NonNegativeFloat = 0.5
    real_share: Share = 0.45
    far_mm: tuple[FarMillimeters, ...] = ()
    start: ModelName | None = None
    keep: Share = 0.0
    structure_weights: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    teacher: ModelName | None = None
    taught_share: Share = 0.0
    taught_confidence: Share = 0.9

    @field_validator("structure_weights")
    @classmethod
    def _are_names(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := [name for name in weights if name not in Structure.__members__]:
            raise ValueError(f"'{unknown[0]}' is not a structure of the phantom")
        return weights

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            multiple = size_multiple(self.network)
            check_shape(self.shape, multiple)
            check_shape(self.block or (), multiple, "block", max(16, _MIN_COARSE * multiple))
        except ModelError as error:
            raise ValueError(str(error)) from error
        required = 2 if self.block is None else 3, len(self.spec.channels)
        given = self.network.get("spatial_dims", 2), self.network.get("in_channels")
        if given != required:
            raise ValueError(
                f"the network must have 'spatial_dims' {required[0]} and 'in_channels' "
                f"{required[1]} {'without' if self.block is None else 'with'} a 'block', "
                f"not {given[0]} and {given[1]}"
            )
        return self

    @property
    def spec(self) -> InputSpec:
        """The network's input: slices with neighbors, or blocks."""
        if self.block is None:
            soft, *_ = (c for c in DEFAULT_CHANNELS if c.offset_mm)
            far = [replace(soft, offset_mm=mm * side) for mm in self.far_mm for side in (-1, 1)]
            return InputSpec(self.pixel_mm, channels=(*DEFAULT_CHANNELS, *far))
        channels = tuple(channel for channel in DEFAULT_CHANNELS if not channel.offset_mm)
        return InputSpec(self.pixel_mm, channels=channels, block=self.block)

    @property
    def voxel_weights(self) -> NDArray[np.float32] | None:
        """The weight of each value in a structure map, float32 (256,); None if all are 1."""
        if not self.structure_weights and self.teacher is None:
            return None
        weights = np.ones(256, np.float32)
        weights[UNSURE] = 0.0
        for name, weight in self.structure_weights.items():
            weights[Structure[name]] = weight
        return weights


class SliceConfig(Protocol):
    """The fields of a configuration that `TissueSamples` uses."""

    @property
    def phantoms(self) -> PhantomPlan | None:
        """The phantom patients."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a sample."""

    @property
    def real_share(self) -> float:
        """Share of samples from real scans."""


class TissueSamples(RandomSamples):
    """Augmented slices or blocks with their tissue labels.

    A sample consists of float32 (channels, [z,] y, x) and uint8 ([z,] y, x), and float32
    ([z,] y, x) if there are weights of voxels.

    Parameters
    ----------
    config, pool
        As for `Task`.
    real
        Real labelled patients.
    seed
        Seed of the samples.
    settings
        Strengths of the augmentation.
    spec
        The network's input.
    last_digits
        Selection of the patients of the pool, see `Pool`.
    taught
        Share of the samples from unlabelled scans, and these scans.
    weights
        Weight of each value in a structure map, float32 (256,).
    """

    def __init__(
        self,
        config: SliceConfig,
        pool: Path,
        real: list[TrainingPatient],
        seed: int,
        settings: Augmentation | None = None,
        *,
        spec: InputSpec | None = None,
        last_digits: tuple[int, ...] = (),
        taught: tuple[float, list[TrainingPatient]] = (0.0, []),
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(seed)
        self.pool = Pool(pool, config.phantoms or PhantomPlan(), last_digits)
        (self.taught_share, self.taught), self.weights = taught, weights
        self.real, self.real_share = real, config.real_share
        self.sampler = Sampler(spec or InputSpec(), config.shape, settings)
        self.last_patient = ""  # name of the last patient drawn

    def patient(self) -> TrainingPatient:
        """Draw an unlabelled scan, a labelled one, or a phantom."""
        if self.taught and self.rng.random() < self.taught_share:
            patient = self.taught[self.rng.integers(len(self.taught))]
        elif self.real and (not len(self.pool) or self.rng.random() < self.real_share):
            patient = self.real[self.rng.integers(len(self.real))]
        else:
            patient = self.pool.draw(self.rng)
        self.last_patient = patient.name
        return patient

    def draw(self) -> tuple[NDArray[Any], ...]:
        """Draw luminances and tissues, and the weights of voxels if there are any."""
        self.sampler.rng = self.rng
        x = np.empty((len(self.sampler.spec.channels), *self.sampler.size), np.float32)
        y = np.empty(self.sampler.size, np.uint8)
        structures = self.sampler.sample(self.patient(), x, y)
        return (x, y) if self.weights is None else (x, y, self.weights[structures])

    def scan(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Draw HU and structures of a slice (y, x), or of a block."""
        self.sampler.rng = self.rng
        planes, structures = self.sampler.scan(self.patient())
        return planes[self.sampler.labelled], structures


def tissue_frequencies(samples: TissueSamples, count: int) -> NDArray[np.float64]:
    """Return the number of voxels of each tissue in the first samples."""
    counts = [np.bincount(samples[k][1].ravel(), minlength=N_TISSUES) for k in range(count)]
    return np.sum(counts, axis=0, dtype=np.float64)


def tissue_weights(frequency: NDArray[np.float64], power: float = 0.5) -> NDArray[np.float32]:
    """Return class weights ``frequency ** -power`` with a voxel-weighted mean of 1.

    The weight of air is the lowest of the other tissues; frequencies below 0.04 % count as 0.04 %.
    """
    share = np.maximum(frequency / frequency.sum(), 4e-4)
    weight = share**-power
    weight[Tissue.AIR] = weight[1:].min()
    return np.asarray(weight / (weight * share).sum(), dtype=np.float32)


@register("tissue")
class Tissues(Task[TissueConfig]):
    """The tissue networks, and the lookup table ``transfer-function``."""

    description = "names the tissue of each voxel of a CT; its color follows from a palette"
    config_type = TissueConfig
    figures = ("entropy", "ab_error", "right")

    def __init__(self, config: TissueConfig, pool: Path, data: Path | None = None) -> None:
        super().__init__(config, pool, data)
        self.real = real_patients(data)
        self.criterion: TissueLoss | None = None
        # a block counts as four slices, as its slices are of one patient
        self.slices_each = 1 if config.spec.block is None else 4

    @cached_property
    def taught(self) -> list[TrainingPatient]:
        """The unlabelled scans with the teacher's names, which only the training itself needs."""
        config = self.config
        if self.data is None or config.teacher is None or not config.taught_share:
            return []
        return read_taught(self.data, config.teacher, config.taught_confidence)

    def network(self) -> torch.nn.Module:
        """Build the network with its initial weights."""
        net = build_network(self.config.network)
        if self.config.start is not None:
            start_from(net, self.config.start)
        deep = self.config.spec.block is not None
        form = torch.channels_last_3d if deep else torch.channels_last
        return net.to(memory_format=form)  # type: ignore[call-overload]

    def samples(self, seed: int) -> TissueSamples:
        """Return training samples."""
        return TissueSamples(self.config, self.pool, self.real, seed, spec=self.config.spec)

    def prepare(self) -> None:
        """Compute the class weights from the frequency of the tissues."""
        samples = self.samples(self.config.seed * 1000 + 77)
        frequency = tissue_frequencies(samples, WEIGHT_SLICES // self.slices_each)
        weights = tissue_weights(frequency, self.config.frequency_power)
        share = 1.0 if self.config.block is None else BLOCK_SHARE
        self.criterion = TissueLoss(weights, palette("natural").ab, self.config.ab_weight, share)

    def dataset(self, stage: int = 0) -> TissueSamples:
        """Return slices of phantoms and real scans."""
        config = self.config
        return TissueSamples(
            config, self.pool, self.real, config.seed * 1000, spec=config.spec,
            taught=(config.taught_share, self.taught), weights=config.voxel_weights,
        )  # fmt: skip

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return the loss, its two parts, and the accuracy in the body."""
        assert self.criterion is not None  # `prepare` makes it
        images, names = arranged(batch[0]), batch[1].long()
        weights = batch[2] if len(batch) > 2 else None
        with mixed_precision(images.device):
            logits = net(images)
        total, entropy, chroma = self.criterion.to(images.device)(logits, names, weights)
        guess, truth = logits.detach()[..., ::2, ::2].argmax(1), names[..., ::2, ::2]
        right = (guess == truth)[truth > 0].float().mean()
        return total, {
            "entropy": float(entropy.detach()),
            "ab_error": float(chroma.detach()),
            "right": float(right),
        }

    def trained_on(self) -> list[str]:
        """Return what the model was trained on, a sentence each."""
        count = len(self.samples(0).pool)
        lines = [f"{count} procedural patients of tomochrome.phantom (no two alike)"]
        if self.real:
            lines.append(
                f"{len(self.real)} real labelled CT (abdomen, no contrast agent; "
                "TotalSegmentator's example, Apache-2.0), its contrast and shape varied"
            )
        teacher = self.config.teacher if self.config.taught_share else None
        if self.data is not None and teacher and (scans := len(taught_files(self.data))):
            lines.append(
                f"{scans} CT of living people without labels, where the model "
                f"`{Path(teacher).name}` is sure of the tissue"
            )
        return lines

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the calibrated network, and the lookup table fitted on the same samples."""
        assert evidence.held_out is not None
        config, spec, each = self.config, self.config.spec, self.slices_each
        if config.start is not None:
            interpolate_weights(net, self.network(), config.keep)
        held_out = TissueSamples(config, evidence.held_out, [], 987, CALIBRATION, spec=spec)
        calibration = calibrate(net, held_out, CALIBRATION_SLICES // each, 8 // each)
        counts = count_hu(self.samples(4242).scan, HISTOGRAM_SLICES // each)
        scores = {
            **evidence.scores.get(self.config.name, {}),
            "expected_calibration_error": round(calibration.after.error, 4),
            "expected_calibration_error_uncalibrated": round(calibration.before.error, 4),
            "held_out_phantoms_voxels_right": round(calibration.right, 4),
        }
        likelihood = torch.from_numpy(likelihood_table(counts))
        tensors = {**half_precision(net.state_dict()), "hu_likelihood": likelihood}
        words = {
            "temperature": f"{calibration.temperature:.3f}",
            "reliability": reliability_table(calibration.after),
            "began": began_with(config.start, config.keep),
            "emphasis": emphasis(config.structure_weights),
        }
        metadata = self.metadata(scores, calibration.temperature)
        words |= reading(spec)
        bundle = Bundle(self.config.name, tensors, metadata, words, "tissue")
        if spec.block is not None or config.start is not None:  # ``tissue-7-slices`` has it
            return [bundle]
        table = {"probability": torch.from_numpy(transfer_table(counts))}
        return [
            bundle,
            Bundle(
                "transfer-function", table, curve_metadata(evidence.scores), {}, "transfer-function"
            ),
        ]

    def metadata(self, scores: Mapping[str, Any], temperature: float) -> dict[str, Any]:
        """Return the bundle's metadata of the network."""
        name, network, spec = self.config.name, self.config.network, self.config.spec
        sizes = [f"{size_multiple(network)}*n"] * (2 if spec.block is None else 3)
        names = {str(k): label for k, label in enumerate(TISSUE_NAMES)}
        image = image_format(len(spec.channels), sizes, "luminance", [0, 1])
        logits = {"type": "logits", "channel_def": names}
        return {
            "kind": "network",
            "intended_use": NOT_FOR_DIAGNOSIS,
            "scores": scores,
            "classes": list(TISSUE_NAMES),
            "hu_edges": HU_EDGES,
            "title": _TITLES.get(name, f"Tissue network ({name})"),
            "description": self.description,
            "task": "naming the tissue of each voxel of a CT, from which its color follows",
            "network": dict(network),
            "input": spec.to_dict(),
            "temperature": round(temperature, 4),
            "network_data_format": {
                "inputs": {"image": {**image, "modality": "CT"}},
                "outputs": {"pred": {**image_format(N_TISSUES, sizes, "segmentation"), **logits}},
            },
        }


def real_patients(data: Path | None, *, optional: bool = False) -> list[TrainingPatient]:
    """Read the labelled scans of a data folder, which may be absent if they are optional.

    Raises
    ------
    InputError
        If the folder has none of them.
    """
    if data is None:
        return []
    files = [(data / ct, data / labels) for ct, labels in LABELLED if (data / ct).is_file()]
    if not files and not optional:
        names = ", ".join(ct for ct, _ in LABELLED)
        raise InputError(f"the data folder '{data}' has none of the scans to train on ({names})")
    return [read_labelled(ct, labels) for ct, labels in files]


def reading(spec: InputSpec) -> dict[str, str]:
    """Return the card's description of the network's input."""
    pixels = f"pixels of {spec.pixel_mm:g} mm"
    if spec.block is None:
        *near, last = (f"{c.offset_mm:g}" for c in spec.channels if c.offset_mm > 0)
        neighbours = (
            f"its neighbours {', '.join(near)} and {last} mm above and below through the "
            "soft-tissue window"
        )
        return {
            "unit": "slice",
            "dimensions": "2.5D",
            "reads": "the slice through a lung, soft-tissue, bone and narrow window, and "
            f"{neighbours}, on {pixels}",
        }
    return {
        "unit": "block",
        "dimensions": "3D",
        "shape": " x ".join(map(str, spec.block)),
        "reads": "its voxels through a lung, soft-tissue, bone and narrow window, in slices "
        f"{spec.slice_mm:g} mm apart on {pixels}; blocks overlap by {spec.overlap:.0%} of their "
        "size, and where they do the mean is taken",
    }


def emphasis(weights: Mapping[str, float]) -> str:
    """Return the card's sentence on the weights of single structures; empty without any."""
    if not weights:
        return ""
    parts = [f"{name.lower().replace('_', ' ')} {weight:g}" for name, weight in weights.items()]
    return f" Voxels of some structures count more: {', '.join(parts)}."


def curve_metadata(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of the lookup table; ``scores`` are by bundle name."""
    return {
        "kind": "transfer-function",
        "intended_use": NOT_FOR_DIAGNOSIS,
        "scores": dict(scores.get("transfer-function", {})),
        "classes": list(TISSUE_NAMES),
        "hu_edges": HU_EDGES,
        "title": "Transfer function (no network)",
        "description": "the best curve from HU to color, no network: the baseline and fallback",
        "task": "color by Hounsfield unit alone",
    }

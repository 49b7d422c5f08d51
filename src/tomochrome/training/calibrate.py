"""Temperature of a network's probabilities or confidences, and how well they are calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.colorization.color_heads import ColorHead
from tomochrome.runtime import check
from tomochrome.training.task import Samples

_BATCH = 8


@dataclass(frozen=True)
class Calibration:
    """Temperature, the calibration error before and after it, and the share of voxels right."""

    temperature: float
    error_before: float
    error_after: float
    right: float


def calibrate(net: torch.nn.Module, samples: Samples, count: int = 96) -> Calibration:
    """Fit the temperature on samples (luminances, classes) that no training saw.

    Parameters
    ----------
    net
        Gives logits (n, classes, y, x).
    samples
        What to fit on.
    count
        How many samples.
    """
    rng = np.random.default_rng(5)
    found = []
    for first in range(0, count, _BATCH):
        check()
        batch = [samples[k] for k in range(first, first + _BATCH)]
        images, names = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
        images = images.contiguous(memory_format=torch.channels_last)
        found.append(collect(net, images, names.long(), rng))
    logits, truths = (torch.cat(part) for part in zip(*found, strict=True))
    temperature = fit_temperature(logits, truths)
    return Calibration(
        temperature,
        expected_calibration_error(logits, truths),
        expected_calibration_error(logits, truths, temperature),
        float((logits.argmax(1) == truths).float().mean()),
    )


def fit_confidence(head: ColorHead, raw: torch.Tensor, right: torch.Tensor) -> tuple[float, float]:
    """Set the temperature of a color head to that of the least squared error (Brier score).

    Parameters
    ----------
    head
        Gives the confidence; its temperature is set.
    raw
        Outputs of its network, (1, channels, pixels, 1).
    right
        Whether each pixel's color is close to the truth, bool (pixels,).

    Returns
    -------
    before, after
        Expected calibration error at a temperature of 1, and at the one that was found.
    """
    truth, errors, scores = right.float(), {}, {}
    for temperature in (1.0, *np.exp(np.linspace(np.log(0.3), np.log(6.0), 40))):
        head.temperature = float(temperature)
        confidence = head.confidence(raw).flatten()
        scores[head.temperature] = float((confidence - truth).square().mean())
        errors[head.temperature] = calibration_gap(confidence, right)
    head.temperature = min(scores, key=lambda temperature: scores[temperature])
    return errors[1.0], errors[head.temperature]


def collect(
    net: torch.nn.Module,
    images: torch.Tensor,
    names: torch.Tensor,
    rng: np.random.Generator,
    per_image: int = 2000,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (n, classes) and truths (n,) of voxels drawn inside the body."""
    with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16):
        logits = net(images).float().permute(0, 2, 3, 1)
    rows, truths = [], []
    for k in range(len(images)):
        inside = torch.nonzero(names[k] > 0)
        if not len(inside):
            continue
        chosen = inside[torch.from_numpy(rng.integers(len(inside), size=per_image))]
        rows.append(logits[k, chosen[:, 0], chosen[:, 1]])
        truths.append(names[k, chosen[:, 0], chosen[:, 1]])
    return torch.cat(rows), torch.cat(truths)


def fit_temperature(logits: torch.Tensor, truths: torch.Tensor) -> float:
    """Return the temperature of least negative log-likelihood (Guo et al., ICML 2017)."""
    grid = np.exp(np.linspace(np.log(0.4), np.log(4.0), 60))
    losses = [float(functional.cross_entropy(logits / float(t), truths)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def expected_calibration_error(
    logits: torch.Tensor, truths: torch.Tensor, temperature: float = 1.0, bins: int = 15
) -> float:
    """Return the mean gap between confidence and share right over equal bins of confidence."""
    probability, guess = torch.softmax(logits / temperature, dim=1).max(dim=1)
    return calibration_gap(probability, guess == truths, bins)


def calibration_gap(confidence: torch.Tensor, right: torch.Tensor, bins: int = 15) -> float:
    """Return the mean gap between confidence (n,) and share right (n,) over equal bins."""
    sure: NDArray[np.float32] = confidence.numpy()
    hit = right.numpy()
    row = np.minimum((sure * bins).astype(int), bins - 1)
    gap = 0.0
    for k in range(bins):
        inside = row == k
        if inside.any():
            gap += inside.mean() * abs(float(sure[inside].mean()) - float(hit[inside].mean()))
    return float(gap)

"""Temperature scaling of a network's probabilities or confidences, and their reliability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.colorization.color_heads import ColorHead, TableHead
from tomochrome.evaluate.calibration import Reliability, reliability
from tomochrome.runtime import check
from tomochrome.training.precision import arranged, mixed_precision
from tomochrome.training.task_interface import Samples

_BATCH = 8
_VOXELS = 2000  # of each image
_LOG_TEMPERATURES = np.linspace(np.log(0.4), np.log(4.0), 60)


@dataclass(frozen=True)
class Calibration:
    """The temperature, the reliability before and after scaling, and the accuracy per voxel."""

    temperature: float
    before: Reliability
    after: Reliability
    right: float


def calibrate(
    net: torch.nn.Module, samples: Samples, count: int = 96, size: int = _BATCH
) -> Calibration:
    """Fit the temperature on held-out samples (luminances, classes).

    Parameters
    ----------
    net
        Network that returns logits (n, classes, [z,] y, x).
    samples
        Held-out samples.
    count
        Number of samples.
    size
        Samples per batch.
    """
    rng = np.random.default_rng(5)
    parts = []
    for first in range(0, count, size):
        check()
        batch = [samples[k] for k in range(first, min(first + size, count))]
        images, names = (torch.from_numpy(np.stack(part)) for part in zip(*batch, strict=True))
        images = arranged(images)
        parts.append(collect(net, images, names.long(), rng))
    logits, truths = (torch.cat(part) for part in zip(*parts, strict=True))
    temperature = fit_temperature(logits, truths)
    return Calibration(
        temperature,
        reliability_of_logits(logits, truths),
        reliability_of_logits(logits, truths, temperature),
        float((logits.argmax(1) == truths).float().mean()),
    )


def fit_confidence(
    head: ColorHead, raw: torch.Tensor, right: torch.Tensor
) -> tuple[Reliability, Reliability]:
    """Calibrate a color head: temperature and highest confidence, or its table.

    The temperature and `ColorHead.max_confidence` are those with the lowest Brier score.

    Parameters
    ----------
    head
        Head that computes the confidence; it is changed.
    raw
        Network outputs (1, channels, pixels, 1).
    right
        Whether each pixel's color is close to the truth, bool (pixels,).

    Returns
    -------
    before, after
        Reliability uncalibrated and calibrated; of a table, on the second half of the pixels, at
        the mean of the first half and as fitted on it. All pixels are used then.
    """
    if isinstance(head, TableHead):
        half = len(right) // 2
        head.fit(raw[:, :, :half], right[:half])
        unseen = right[half:]
        mean = torch.full(unseen.shape, float(right[:half].float().mean()))
        after = reliability_of(head.confidence(raw[:, :, half:]).flatten(), unseen)
        head.fit(raw, right)
        return reliability_of(mean, unseen), after
    truth, fits = right.float(), []
    head.temperature = 1.0
    before = reliability_of(head.probability(raw).flatten(), right)
    for temperature in np.exp(np.linspace(np.log(0.3), np.log(6.0), 40)):
        head.temperature = float(temperature)
        probability = head.probability(raw).flatten()
        most = (probability * truth).sum() / probability.square().sum().clamp(min=1e-9)
        most = most.clamp(0.01, 1.0)
        score = (most * probability - truth).square().mean()
        fits.append((float(score), head.temperature, float(most)))
    _, head.temperature, head.max_confidence = min(fits)
    return before, reliability_of(head.confidence(raw).flatten(), right)


def collect(
    net: torch.nn.Module,
    images: torch.Tensor,
    names: torch.Tensor,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (n, classes) and labels (n,) of random voxels inside the body."""
    with torch.inference_mode(), mixed_precision(images.device):
        logits = net(images).float().movedim(1, -1)
    rows, truths = [], []
    for k in range(len(images)):
        inside = torch.nonzero(names[k] > 0)
        if not len(inside):
            continue
        chosen = inside[torch.from_numpy(rng.integers(len(inside), size=_VOXELS))]
        rows.append(logits[k][chosen.unbind(1)])
        truths.append(names[k][chosen.unbind(1)])
    return torch.cat(rows), torch.cat(truths)


def fit_temperature(
    logits: torch.Tensor, truths: torch.Tensor, logs: NDArray[np.float64] = _LOG_TEMPERATURES
) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al., ICML 2017).

    Parameters
    ----------
    logits, truths
        Logits (n, classes) and labels (n,).
    logs
        Logarithms of the temperatures to try.
    """
    grid = np.exp(logs)
    losses = [float(functional.cross_entropy(logits / float(t), truths)) for t in grid]
    return float(grid[int(np.argmin(losses))])


def reliability_of_logits(
    logits: torch.Tensor, truths: torch.Tensor, temperature: float = 1.0
) -> Reliability:
    """Return the reliability of the largest probability; logits (n, classes), labels (n,)."""
    probability, guess = torch.softmax(logits / temperature, dim=1).max(dim=1)
    return reliability_of(probability, guess == truths)


def reliability_of(confidence: torch.Tensor, right: torch.Tensor) -> Reliability:
    """Return the reliability of confidences (n,), quantized to 8 bits; ``right`` is bool (n,)."""
    levels = (confidence * 255).round().to(torch.uint8).numpy()
    hits = np.bincount(levels[right.numpy()], minlength=256)
    table = reliability(np.bincount(levels, minlength=256), hits)
    assert table is not None  # every sample shows the body
    return table

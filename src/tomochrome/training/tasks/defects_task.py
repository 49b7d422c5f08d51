"""The network that finds defects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tomochrome.evaluate.calibration import reliability_table
from tomochrome.restoration.defects import KINDS
from tomochrome.training.calibrate import fit_temperature, reliability_of
from tomochrome.training.precision import mixed_precision
from tomochrome.training.task_interface import Bundle, Evidence, half_precision, register
from tomochrome.training.tasks.restoration_task import (
    INTENDED_USE,
    MEASURED_SAMPLES,
    DefectSamples,
    RestorationTask,
    data_format,
)


@register("defects")
class Finder(RestorationTask):
    """The network that finds defects."""

    description = "finds defects of a CT, and tells their kinds"
    kind = "defects"
    figures = ("dice", "right")

    def loss(self, net: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, float]]:
        """Return cross-entropy and one minus Dice, and as figures Dice and the share right."""
        seen, _, _, code = batch
        with mixed_precision(seen.device):
            logits = net(seen)
        logits = logits.float()
        probability = logits.softmax(1)
        truth = functional.one_hot(code, len(KINDS) + 1).movedim(-1, 1).float()
        overlap = (probability * truth).sum((0, 2, 3))
        dice = (2 * overlap + 1) / (probability.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
        occurs = truth.sum((0, 2, 3)) > 0
        loss = functional.cross_entropy(logits, code) + 0.3 * (1 - dice[occurs].mean())
        with torch.no_grad():
            guess = logits.argmax(1)
            right = (guess == code).float().mean()
        return loss, {"dice": _dice(guess, code), "right": float(right)}

    def bundles(self, net: torch.nn.Module, evidence: Evidence) -> list[Bundle]:
        """Return the network, calibrated on patients that were not learned from."""
        temperature, scores, table = _calibrated(net, self.samples(4242, held_out=True))
        metadata = {
            "kind": self.kind,
            "intended_use": INTENDED_USE,
            "scores": {**evidence.scores.get(self.config.name, {}), **scores},
            "classes": ["none", *KINDS],
            "title": "Defect finder",
            "description": self.description,
            "task": "finding of defects of a CT",
            "network": dict(self.config.network),
            "temperature": round(temperature, 4),
            "network_data_format": data_format(net, len(KINDS) + 1),
        }
        words = {"reliability": table}
        return [Bundle(self.config.name, half_precision(net.state_dict()), metadata, words)]


def _calibrated(
    net: torch.nn.Module, samples: DefectSamples
) -> tuple[float, dict[str, float], str]:
    """Return the temperature with the lowest cross-entropy, scores, and a reliability table."""
    if not len(samples.scans):
        return 1.0, {}, ""
    logits, codes = [], []
    for k in range(MEASURED_SAMPLES // 4):
        seen, _, _, code = samples[k]
        with torch.no_grad():
            out = net(torch.from_numpy(seen)[None])[0]
        logits.append(out.flatten(1).T[::16])
        codes.append(torch.from_numpy(code.ravel()[::16].copy()))
    every, truth = torch.cat(logits), torch.cat(codes)
    temperature = fit_temperature(every, truth, np.linspace(-1, 1.2, 45))
    confidence, guess = (every / temperature).softmax(1).max(1)
    after = reliability_of(confidence, guess == truth)
    scores = {
        "held_out_dice": round(_dice(guess, truth), 4),
        "held_out_voxels_right": round(float((guess == truth).float().mean()), 4),
        "expected_calibration_error": round(after.error, 4),
    }
    return temperature, scores, reliability_table(after)


def _dice(guess: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the Dice of the voxels with any defect."""
    both = ((guess > 0) & (truth > 0)).sum()
    return float(2 * both / ((guess > 0).sum() + (truth > 0).sum()).clamp(min=1))

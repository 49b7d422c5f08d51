"""The training loop: wall-clock budget, running mean of the weights, checkpoints, a log."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from tomochrome.colorization.inputs import InputSpec
from tomochrome.colorization.network import build_network
from tomochrome.errors import InputError
from tomochrome.runtime import CancelToken, Progress, check, report, write_whole
from tomochrome.training.augment import tissue_weights
from tomochrome.training.config import TrainingConfig, load_config
from tomochrome.training.feed import Feed
from tomochrome.training.folder import CHECKPOINT, open_run
from tomochrome.training.labelled import read_labelled
from tomochrome.training.losses import TissueLoss
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.pool import Painter

LOG = "log.csv"
_CHECKPOINT_SECONDS = 120.0
_WARM_UP = 200
_MEAN_EVERY = 4
_FIRST_PHANTOMS = 24
LABELLED = (("ct/abdomen_3mm.nii.gz", "ct/abdomen_3mm_labels.nii.gz"),)
"""Real scans that training reads from a data folder; all others are held out."""


def real_patients(data: Path | None) -> list[TrainingPatient]:
    """Read the labelled scans of a data folder.

    Raises
    ------
    InputError
        If the folder holds none of them.
    """
    if data is None:
        return []
    found = [(data / ct, data / labels) for ct, labels in LABELLED if (data / ct).is_file()]
    if not found:
        names = ", ".join(ct for ct, _ in LABELLED)
        raise InputError(f"the data folder '{data}' has none of the scans to train on ({names})")
    return [read_labelled(ct, labels) for ct, labels in found]


class _State:
    """Network, running mean, optimizer and clock of one run."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.net = build_network(config.network).to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(),
            config.learning_rate,
            weight_decay=config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        self.step, self.elapsed, self.weights = 0, 0.0, np.zeros(0, np.float32)

    def rate(self, minutes: float) -> float:
        """Learning rate now: warm-up by steps, cosine by the clock."""
        done = min(1.0, self.elapsed / (60.0 * minutes))
        cosine = 0.5 * (1.0 + math.cos(math.pi * done))
        return self.config.learning_rate * max(0.005, cosine) * min(1.0, (self.step + 1) / _WARM_UP)

    def average(self) -> None:
        """Move the running mean towards the weights, every few steps."""
        if self.step % _MEAN_EVERY:
            return
        decay = min(self.config.ema, (1.0 + self.step) / (10.0 + self.step)) ** _MEAN_EVERY
        current = self.net.state_dict()
        floats = [k for k, v in self.mean.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.mean[k] for k in floats], [current[k] for k in floats], 1.0 - decay
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        with write_whole(path, force=True) as temporary:
            torch.save(
                {
                    "net": self.net.state_dict(),
                    "mean": self.mean,
                    "optimizer": self.optimizer.state_dict(),
                    "step": self.step,
                    "elapsed": self.elapsed,
                    "weights": torch.as_tensor(self.weights),
                },
                temporary,
            )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        try:
            data = torch.load(path, map_location="cpu", weights_only=True)
            self.net.load_state_dict(data["net"])
            self.mean = {k: v.clone() for k, v in data["mean"].items()}
            fused = self.optimizer.param_groups[0]["fused"]
            self.optimizer.load_state_dict(data["optimizer"])
            for group in self.optimizer.param_groups:  # a checkpoint may be of another device
                group["fused"], group["foreach"] = fused, None
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            raise InputError(
                f"'{path}' is no checkpoint of this configuration; train without --resume"
            ) from error
        self.step, self.elapsed = int(data["step"]), float(data["elapsed"])
        self.weights = data["weights"].numpy()


def train(
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs/tissue",
    *,
    resume: bool = False,
    minutes: float | None = None,
    pool: str | os.PathLike[str] | None = None,
    device: str = "auto",
    paint: bool = True,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Train a network and leave a checkpoint and a log.

    Parameters
    ----------
    config
        Name of a shipped configuration, a JSON file, a mapping, or a `TrainingConfig`.
    data
        Folder with the labelled CT (``ct/abdomen_3mm.nii.gz`` and its labels); without it
        only phantom patients are used.
    out
        Folder for ``checkpoint.pt`` and ``log.csv``; created if missing.
    resume
        Continue from the checkpoint in ``out``.
    minutes
        Wall-clock budget instead of the configuration's.
    pool
        Folder of painted phantoms, by default ``out/pool``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    paint
        Whether to paint missing phantoms beside the training.
    progress, cancel
        Called with the seconds done and in all; looked at each step. Cancelling leaves the
        last checkpoint.

    Returns
    -------
    pathlib.Path
        The checkpoint. `tomochrome.training.export` turns it into a bundle.

    Raises
    ------
    TomochromeError
        If configuration or data are unfit, or the run was cancelled.
    """
    from tomochrome.color.palette import palette
    from tomochrome.runtime import choose_device

    plan = config if isinstance(config, TrainingConfig) else load_config(config)
    budget = minutes or plan.minutes
    folder, checkpoint = open_run(out, resume=resume)
    target = choose_device(device)
    state = _State(plan, target)
    if resume and checkpoint.exists():
        state.load(checkpoint)
    store = Path(pool) if pool is not None else folder / "pool"
    feed = Feed(
        InputSpec(), plan.shape, plan.batch, store, real_patients(Path(data) if data else None),
        plan.real_share, dict(plan.phantoms.regions), seed=plan.seed * 1000 + state.step,
    )  # fmt: skip
    painter = Painter(store, plan.phantoms) if paint else None
    try:
        if painter is not None:  # enough to know how frequent each tissue is
            report(progress, 0, int(60 * budget), "painting phantoms")
            feed.wait(min(_FIRST_PHANTOMS, plan.phantoms.count), cancel=cancel)
        if not len(state.weights):
            state.weights = tissue_weights(feed.frequencies(), plan.frequency_power)
        loss = TissueLoss(state.weights, palette("natural").ab, plan.ab_weight).to(target)
        feed.start()
        try:
            _run(state, loss, feed, budget, folder, progress, cancel)
        finally:
            feed.stop()
            state.save(checkpoint)
    finally:
        if painter is not None:
            painter.stop()
    return checkpoint


def _run(
    state: _State,
    loss: TissueLoss,
    feed: Feed,
    minutes: float,
    folder: Path,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> None:
    device = next(state.net.parameters()).device
    clock, saved = time.monotonic() - state.elapsed, time.monotonic()
    sums, counted = np.zeros(4), 0
    new = not (folder / LOG).exists()
    state.net.train()
    with (folder / LOG).open("a", newline="", encoding="utf-8") as stream:
        log = csv.writer(stream)
        if new:
            log.writerow(
                ["step", "seconds", "rate", "loss", "entropy", "ab_error", "right", "phantoms"]
            )
        while state.elapsed < 60.0 * minutes:
            check(cancel)
            images, names = feed.next()
            images, names = images.to(device), names.to(device)
            rate = state.rate(minutes)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16):
                logits = state.net(images)
            total, entropy, chroma = loss(logits, names)
            state.optimizer.zero_grad(set_to_none=True)
            total.backward()
            torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
            state.optimizer.step()
            state.average()
            state.step += 1
            state.elapsed = time.monotonic() - clock
            right = _right(logits.detach(), names)
            sums += [float(v.detach()) for v in (total, entropy, chroma, right)]
            counted += 1
            if counted == 50:
                row = [f"{v:.4f}" for v in sums / counted]
                log.writerow(
                    [state.step, round(state.elapsed), f"{rate:.2e}", *row, feed.phantom_count]
                )
                stream.flush()
                sums[:], counted = 0, 0
                report(progress, int(state.elapsed), int(60 * minutes), "training")
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                state.save(folder / CHECKPOINT)
                saved = time.monotonic()


def _right(logits: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """Share of the body's voxels named right, on every other row and column."""
    guess, truth = logits[:, :, ::2, ::2].argmax(1), names[:, ::2, ::2]
    return (guess == truth)[truth > 0].float().mean()

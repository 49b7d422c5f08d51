"""The training loop: a budget, running mean of the weights, checkpoints, a log."""

from __future__ import annotations

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
from tomochrome.runtime import CancelToken, Progress, check
from tomochrome.training.augment import tissue_weights
from tomochrome.training.budget import Budget
from tomochrome.training.config import TrainingConfig, load_config
from tomochrome.training.feed import Feed
from tomochrome.training.folder import (
    CHECKPOINT,
    LOG,
    append_row,
    open_run,
    save_checkpoint,
    saved_at_the_end,
)
from tomochrome.training.labelled import read_labelled
from tomochrome.training.losses import TissueLoss
from tomochrome.training.patients import TrainingPatient
from tomochrome.training.pool import Painter

_HEADER = ("step", "seconds", "rate", "loss", "entropy", "ab_error", "right", "phantoms")
_EVERY = 50
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

    def rate(self, budget: Budget) -> float:
        """Learning rate now: warm-up by steps, a cosine over the budget."""
        done = budget.share(self.step, self.elapsed)
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
        save_checkpoint(
            path,
            {
                "net": self.net.state_dict(),
                "mean": self.mean,
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "elapsed": self.elapsed,
                "weights": torch.as_tensor(self.weights),
            },
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
    steps: int | None = None,
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
    steps
        Steps of the optimizer instead of a time.
    pool
        Folder of painted phantoms, by default ``out/pool``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    paint
        Whether to paint missing phantoms beside the training.
    progress, cancel
        Called with the seconds (or steps) done and in all; looked at each step. Cancelling
        leaves the last checkpoint.

    Returns
    -------
    pathlib.Path
        The checkpoint. `tomochrome.training.export` turns it into a bundle.

    Raises
    ------
    TomochromeError
        If configuration or data are unfit, something cannot be written (the last checkpoint
        stays), or the run was cancelled.
    """
    from tomochrome.color.palette import palette
    from tomochrome.runtime import choose_device

    plan = config if isinstance(config, TrainingConfig) else load_config(config)
    budget = Budget(minutes or plan.minutes, steps)
    folder, checkpoint = open_run(out, resume=resume)
    target = choose_device(device)
    state = _State(plan, target)
    if resume:
        state.load(checkpoint)
    store = Path(pool) if pool is not None else folder / "pool"
    feed = Feed(
        InputSpec(), plan.shape, plan.batch, store, real_patients(Path(data) if data else None),
        plan.real_share, dict(plan.phantoms.regions), seed=plan.seed * 1000 + state.step,
    )  # fmt: skip
    painter = Painter(store, plan.phantoms) if paint else None
    try:
        if painter is not None:  # enough to know how frequent each tissue is
            budget.report(progress, 0, 0.0, "painting phantoms")
            few = min(_FIRST_PHANTOMS, plan.phantoms.count)
            feed.wait(few, cancel=cancel, watch=painter.check)
        if not len(state.weights):
            state.weights = tissue_weights(feed.frequencies(), plan.frequency_power)
        loss = TissueLoss(state.weights, palette("natural").ab, plan.ab_weight).to(target)
        feed.start()
        with saved_at_the_end(lambda: state.save(checkpoint)):
            try:
                _run(state, loss, feed, painter, budget, folder, progress, cancel)
            finally:
                feed.stop()
    finally:
        if painter is not None:
            painter.stop()
    return checkpoint


def _run(
    state: _State,
    loss: TissueLoss,
    feed: Feed,
    painter: Painter | None,
    budget: Budget,
    folder: Path,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> None:
    device = next(state.net.parameters()).device
    clock, saved = time.monotonic() - state.elapsed, time.monotonic()
    sums, counted = np.zeros(4), 0
    state.net.train()
    while budget.share(state.step, state.elapsed) < 1.0:
        check(cancel)
        if painter is not None:
            painter.check()
        images, names = feed.next()
        images, names = images.to(device), names.to(device)
        rate = state.rate(budget)
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
        if counted == _EVERY or budget.share(state.step, state.elapsed) == 1.0:
            means = [f"{v:.4f}" for v in sums / counted]
            row = [state.step, round(state.elapsed), f"{rate:.2e}", *means, feed.phantom_count]
            append_row(folder / LOG, _HEADER, row)
            sums[:], counted = 0, 0
            budget.report(progress, state.step, state.elapsed, "training")
        if time.monotonic() - saved > _CHECKPOINT_SECONDS:
            state.save(folder / CHECKPOINT)
            saved = time.monotonic()


def _right(logits: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """Share of the body's voxels named right, on every other row and column."""
    guess, truth = logits[:, :, ::2, ::2].argmax(1), names[:, ::2, ::2]
    return (guess == truth)[truth > 0].float().mean()

"""Training of the registration network: pairs drawn beside it, a budget, checkpoints."""

from __future__ import annotations

import math
import os
import queue
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from tomochrome.errors import InputError
from tomochrome.registration.penalties import imbalance, roughness, small_jacobian
from tomochrome.registration.similarity import local_correlation
from tomochrome.registration.symnet import SymNet, build_symnet, halfway
from tomochrome.registration.velocity import pair_fields, resize_field, warp
from tomochrome.runtime import CancelToken, Progress, check, choose_device, report
from tomochrome.training.budget import Budget
from tomochrome.training.folder import (
    CHECKPOINT,
    LOG,
    append_row,
    make_folder,
    open_run,
    save_checkpoint,
    saved_at_the_end,
)
from tomochrome.training.symnet_config import SymNetConfig, load_symnet_config
from tomochrome.training.symnet_data import PairSampler, Sample, Source, read_sources

_HEADER = ("step", "seconds", "rate", "loss", "alike", "error", "before")
_CHECKPOINT_SECONDS = 120.0
_WARM_UP = 50
_WARM_AGAIN = 0.02
_EVERY = 20


class PairFeed:
    """Draws pairs in a thread of its own while the network trains on the last ones."""

    def __init__(self, sampler: PairSampler, ahead: int = 3) -> None:
        self._sampler, self._stop = sampler, threading.Event()
        self._ready: queue.Queue[Sample | BaseException] = queue.Queue(ahead)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                item: Sample | BaseException = self._sampler.draw()
            except BaseException as error:
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return

    def next(self) -> Sample:
        """Return the next pair; raises what drawing it raised."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(30)


def pair_loss(
    velocities: torch.Tensor, sample: Sample, config: SymNetConfig
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of one pair's velocities (2, 3, z, y, x) and its parts.

    Local correlation of the hidden twins at both ends and half-way, the mean distance to the
    true deformation where it is known, roughness, imbalance and small Jacobians.
    """
    fields = pair_fields(velocities, config.squarings)
    both = torch.cat([fields.forward, fields.inverse])
    halves = torch.cat([fields.to_fixed, fields.to_moving])
    hidden = sample.hidden
    grid = (hidden.shape[2], hidden.shape[3], hidden.shape[4])
    # where the truth is known one look is enough, a different one each step
    looks = range(3) if sample.truth is None else (random.randrange(3),)
    alike = velocities.new_zeros(())
    for look in looks:
        if look == 2:
            pair = warp(hidden, resize_field(halves, grid))
        else:
            moved = warp(hidden[1 - look : 2 - look], resize_field(both[look : look + 1], grid))
            pair = torch.cat([hidden[look : look + 1], moved])
        alike = alike + local_correlation(pair[:1], pair[1:]) / len(looks)
    error = velocities.new_zeros(())
    if sample.truth is not None:
        distance = ((both - sample.truth).square().sum(1, keepdim=True) + 1e-4).sqrt()
        weight = sample.body + 0.05
        error = (distance * weight).sum() / weight.sum()
    folds = small_jacobian(fields.forward) + small_jacobian(fields.inverse)
    total = (
        1.0 - alike
        + config.truth * error
        + config.roughness * roughness(velocities)
        + config.imbalance * imbalance(velocities)
        + config.folds * folds
    )  # fmt: skip
    parts = {"alike": float(alike.detach()), "error": float(error.detach())}
    if sample.truth is not None:
        before = sample.truth.square().sum(1, keepdim=True).sqrt()
        parts["before"] = float((before * sample.body).sum() / sample.body.sum().clamp(min=1))
    return total, parts


class _State:
    """Network, running mean, optimizer and clock of one run."""

    def __init__(self, config: SymNetConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.net: SymNet = build_symnet(config.network).to(device)
        self.mean = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), config.learning_rate, weight_decay=1e-4
        )
        self.step, self.elapsed = 0, 0.0

    def rate(self, budget: Budget) -> float:
        """Learning rate now: warm-up by steps, a cosine over each part of the run."""
        done = budget.share(self.step, self.elapsed)
        share = self.config.opening.share if self.config.opening else 0.0
        opens = done < share
        done = done / share if opens else (done - share) / (1.0 - share)
        cosine = max(0.01, 0.5 * (1.0 + math.cos(math.pi * done)))
        # Adam has forgotten the first part's large gradients: its second one begins gently too
        again = 1.0 if opens or not share else min(1.0, done / _WARM_AGAIN)
        return self.config.learning_rate * cosine * again * min(1.0, (self.step + 1) / _WARM_UP)

    def opens(self, budget: Budget) -> bool:
        """Whether the run is still in its opening."""
        opening = self.config.opening
        return opening is not None and budget.share(self.step, self.elapsed) < opening.share

    def feed(self, sources: list[Source], budget: Budget) -> PairFeed:
        """Start drawing pairs for the part of the run that it is in."""
        config = self.config
        part = config.opening if config.opening and self.opens(budget) else config
        seed = config.seed * 1000 + self.step
        return PairFeed(PairSampler(sources, part.shape, seed, part.sizes))

    def average(self) -> None:
        """Move the running mean towards the weights."""
        decay = min(self.config.ema, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.net.state_dict().items():
            self.mean[name].lerp_(value, 1.0 - decay)

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
            },
        )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        try:
            data = torch.load(path, map_location="cpu", weights_only=True)
            self.net.load_state_dict(data["net"])
            self.mean = {k: v.clone() for k, v in data["mean"].items()}
            self.optimizer.load_state_dict(data["optimizer"])
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
            raise InputError(
                f"'{path}' is no checkpoint of this configuration; train without --resume"
            ) from error
        self.step, self.elapsed = int(data["step"]), float(data["elapsed"])


def train_symnet(
    config: str | os.PathLike[str] | Mapping[str, Any] | SymNetConfig,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "runs/symnet",
    *,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    pool: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Train the registration network and leave a checkpoint and a log.

    Parameters
    ----------
    config
        Name of a shipped configuration, a JSON file, a mapping, or a `SymNetConfig`.
    data
        Folder with the real CT of `symnet_data.REAL`; without it none is used.
    out
        Folder for ``checkpoint.pt`` and ``log.csv``; created if missing.
    resume
        Continue from the checkpoint in ``out``.
    minutes
        Wall-clock budget instead of the configuration's.
    steps
        Steps of the optimizer instead of a time.
    pool
        Folder of painted phantoms, by default ``out/pool``; what is missing is painted first.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    progress, cancel
        Called with the seconds (or steps) done and in all; looked at each step. Cancelling
        leaves the last checkpoint.

    Raises
    ------
    TomochromeError
        If configuration or data are unfit, something cannot be written (the last checkpoint
        stays), or the run was cancelled.
    """
    from tomochrome.training.pool import paint, plan_jobs

    plan = config if isinstance(config, SymNetConfig) else load_symnet_config(config)
    budget = Budget(minutes or plan.minutes, steps)
    folder, checkpoint = open_run(out, resume=resume)
    store = Path(pool) if pool is not None else folder / "pool"
    make_folder(store)
    missing = max(0, plan.phantoms.count - len(list(store.glob("*.npz"))))
    for k, (seed, region) in enumerate(plan_jobs(plan.phantoms)):
        if k >= missing:
            break
        check(cancel)
        report(progress, k, missing, "painting phantoms")
        paint(store, seed, region, plan.phantoms.spacing)
    sources = read_sources(store, Path(data) if data else None, plan.phantoms.count)
    state = _State(plan, choose_device(device))
    if resume:
        state.load(checkpoint)
    with saved_at_the_end(lambda: state.save(checkpoint)):
        _run(state, sources, budget, folder, progress, cancel)
    return checkpoint


def _run(
    state: _State,
    sources: list[Source],
    budget: Budget,
    folder: Path,
    progress: Progress | None,
    cancel: CancelToken | None,
) -> None:
    target = next(state.net.parameters()).device
    feed, opens = state.feed(sources, budget), state.opens(budget)
    clock, saved = time.monotonic() - state.elapsed, time.monotonic()
    sums = _Sums()
    try:
        while budget.share(state.step, state.elapsed) < 1.0:
            check(cancel)
            rate = state.rate(budget)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            if opens and not state.opens(budget):
                feed.stop()
                feed, opens = state.feed(sources, budget), False
            # the first look is practised most: all others start from it
            draws = [random.randint(1, state.net.passes) for _ in range(2)]
            passes = 1 if opens else min(draws)
            total, parts = _step(state, feed, passes, target)
            sums.add(total, parts)
            state.average()
            state.step += 1
            state.elapsed = time.monotonic() - clock
            if state.step % _EVERY == 0 or budget.share(state.step, state.elapsed) == 1.0:
                row = [state.step, round(state.elapsed), f"{rate:.2e}", *sums.row()]
                append_row(folder / LOG, _HEADER, row)
                sums = _Sums()
                budget.report(progress, state.step, state.elapsed, "training")
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                state.save(folder / CHECKPOINT)
                saved = time.monotonic()
    finally:
        feed.stop()


def _step(
    state: _State, feed: PairFeed, passes: int, device: torch.device
) -> tuple[float, dict[str, float]]:
    """One step of the optimizer over a batch of pairs, one after the other.

    Of several passes only the last is learned from: what came before is where it starts.
    """
    batch = state.config.batch
    state.optimizer.zero_grad(set_to_none=True)
    mean, seen = 0.0, _Sums()
    for _ in range(batch):
        drawn = feed.next()
        sample = Sample(
            drawn.inputs.to(device),
            drawn.hidden.to(device),
            None if drawn.truth is None else drawn.truth.to(device),
            drawn.body.to(device),
            drawn.kind,
        )
        with torch.no_grad():
            before = _earlier(state.net, sample.inputs, passes - 1)
        seen_so_far = sample.inputs if before is None else halfway(sample.inputs, before)
        velocities = _look(state.net, seen_so_far)
        if before is not None:
            velocities = velocities + before
        total, parts = pair_loss(velocities, sample, state.config)
        (total / batch).backward()  # type: ignore[no-untyped-call]
        mean += float(total.detach()) / batch
        seen.add(mean, parts)
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
    state.optimizer.step()
    return mean, seen.means()


def _look(net: SymNet, pair: torch.Tensor) -> torch.Tensor:
    """Velocities (2, 3, z/2, y/2, x/2) of a pair (2, 1, z, y, x), in one order."""
    with torch.autocast(pair.device.type, torch.bfloat16):
        found: torch.Tensor = net(pair[:1], pair[1:])[0]
    return found


def _earlier(net: SymNet, pair: torch.Tensor, passes: int) -> torch.Tensor | None:
    """Velocities after some passes, None before the first."""
    found = None
    for _ in range(passes):
        found = _look(net, pair) if found is None else found + _look(net, halfway(pair, found))
    return found


class _Sums:
    """Running means of the loss and its parts; parts that are not there are not counted."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, total: float, parts: Mapping[str, float]) -> None:
        for name, value in (("loss", total), *parts.items()):
            if name != "error" or "before" in parts:
                self._values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        return {k: sum(v) / len(v) for k, v in self._values.items() if k != "loss"}

    def row(self) -> list[str]:
        means = {k: sum(v) / len(v) for k, v in self._values.items()}
        return [
            f"{means[name]:.4f}" if name in means else ""
            for name in ("loss", "alike", "error", "before")
        ]

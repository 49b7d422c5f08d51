"""The trainer of all models: budget, moving average of the weights, checkpoints, log."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from tomochrome.errors import InputError, OptionError, TomochromeError
from tomochrome.runtime import check, choose_device, quietly, report
from tomochrome.training.batches import Batches
from tomochrome.training.config import TrainingConfig
from tomochrome.training.folder import (
    CHECKPOINT,
    LOG,
    SECOND,
    Board,
    append_row,
    make_folder,
    open_run,
    save_checkpoint,
    saved_at_the_end,
)
from tomochrome.training.parallel import Group, group
from tomochrome.training.pool import PhantomGenerator
from tomochrome.training.precision import place
from tomochrome.training.task_interface import Task, find_task, load_config

_LOG_EVERY = 20
_CHECKPOINT_SECONDS = 120.0
_MIN_RATE = 0.005
_WARM_AGAIN = 0.02


@dataclass(frozen=True)
class Budget:
    """A wall-clock budget in minutes, or a number of optimizer steps.

    Parameters
    ----------
    minutes
        Wall-clock time, including that before a run was resumed.
    steps
        Optimizer steps; if given, ``minutes`` is ignored.

    Raises
    ------
    OptionError
        If ``steps`` is below 1.
    """

    minutes: float
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise OptionError(f"a training needs at least 1 step, not {self.steps}")

    def part(self, share: float) -> Budget:
        """Return a share of this budget."""
        steps = None if self.steps is None else max(1, round(self.steps * share))
        return Budget(self.minutes * share, steps)

    def share(self, step: int, seconds: float) -> float:
        """Return the share of the budget, from 0 to 1, that these steps or seconds have used."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60.0 * self.minutes))

    def report(self, step: int, seconds: float, stage: str) -> None:
        """Report progress in steps or in seconds."""
        if self.steps is not None:
            report(step, self.steps, stage)
        else:
            report(int(seconds), int(60 * self.minutes), stage)


def train(
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    pool: str | os.PathLike[str] | None = None,
    device: str = "auto",
    paint: bool = True,
) -> Path:
    """Train a model and write a checkpoint and a log.

    Processes started by ``torchrun`` train together (see `tomochrome.training.parallel`), each
    with the configuration's batch; rank 0 writes.

    Parameters
    ----------
    config
        Name of a shipped configuration, a JSON file, a mapping, or a `TrainingConfig`.
    data
        Folder with real data for the configuration's task; by default none are used.
    out
        Folder for ``checkpoint.pt`` and ``log.csv``, by default ``runs/NAME``; created if missing.
    resume
        Continue from the checkpoint in ``out``. With the same phantoms and a budget in steps the
        final weights equal those of an uninterrupted run.
    minutes
        Wall-clock budget instead of the configuration's.
    steps
        Budget in optimizer steps instead of minutes.
    pool
        Folder of generated phantoms, by default ``out/pool``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    paint
        Whether to generate missing phantoms, the first of them before training starts.

    Returns
    -------
    pathlib.Path
        The checkpoint. `tomochrome.training.finish` turns it into bundles.

    Raises
    ------
    TomochromeError
        If the configuration or data are invalid, a file cannot be written (the last checkpoint
        is kept), the loss is not finite, or the run was cancelled.
    """
    plan = load_config(config)
    budget = Budget(minutes or plan.minutes, steps)
    folder, checkpoint = open_run(out or Path("runs") / plan.name, resume=resume)
    task = start_task(plan, folder, data, pool)
    with group(choose_device(device)) as ranks:
        state = _State(task, ranks)
        if resume:
            state.load(checkpoint)
        missing = plan.phantoms if paint and ranks.leads else None
        with PhantomGenerator(task.pool, missing) as generator:
            if missing is not None:
                generator.wait(missing.first, "generating phantoms")
            ranks.wait()  # for the first phantoms
            with quietly():
                task.prepare()
            _run_and_save(state, generator, budget, folder)
            second = task.second_run(state.trained_weights())
            if second is not None:
                task, share = second
                state, folder = _State(task, ranks), make_folder(folder / SECOND)
                if resume and (folder / CHECKPOINT).exists():
                    state.load(folder / CHECKPOINT)
                task.prepare()
                _run_and_save(state, generator, budget.part(share), folder)
    return checkpoint


def _run_and_save(state: _State, generator: PhantomGenerator, budget: Budget, folder: Path) -> None:
    leads = state.ranks.leads
    save = saved_at_the_end(lambda: state.save(folder / CHECKPOINT) if state.step else None)
    with save if leads else nullcontext():
        _run(state, generator, budget, folder)


def start_task(
    config: TrainingConfig,
    folder: Path,
    data: str | os.PathLike[str] | None,
    pool: str | os.PathLike[str] | None,
) -> Task[Any]:
    """Return the task of a run; its phantoms are by default in the subfolder ``pool``."""
    store = Path(pool) if pool is not None else folder / "pool"
    with quietly():
        return find_task(config.task)(config, store, Path(data) if data is not None else None)


def learning_rate(
    config: TrainingConfig, stages: Sequence[float], step: int, done: float
) -> tuple[int, float]:
    """Return the current stage of the run and the learning rate.

    The schedule is a warm-up in steps and a cosine over each stage. Every later stage has a short
    warm-up too, until Adam's moments fit the new gradients.

    Parameters
    ----------
    config
        The run's configuration.
    stages
        Shares of the run at which its stages end; the last is 1.
    step
        Steps so far.
    done
        Completed share of the run.
    """
    stage = sum(done >= end for end in stages[:-1])
    start = stages[stage - 1] if stage else 0.0
    within = (done - start) / (stages[stage] - start)
    cosine = max(_MIN_RATE, 0.5 * (1.0 + math.cos(math.pi * within)))
    again = min(1.0, within / _WARM_AGAIN) if stage else 1.0
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    return stage, config.learning_rate * cosine * again * warm


class _State:
    """Network, moving average, optimizer, and progress of one run."""

    def __init__(self, task: Task[Any], ranks: Group) -> None:
        self.task, self.config, self.ranks = task, task.config, ranks
        torch.manual_seed(self.config.seed)
        self.net = place(task.network(), ranks.device)
        self.trained = ranks.wrap(self.net)
        self.mean = AveragedModel(self.net, avg_fn=self._average, use_buffers=True)
        self.optimizer = task.optimizer(self.net)
        self.step, self.elapsed = 0, 0.0
        self.best: dict[str, torch.Tensor] = {}
        self.lowest, self.validations, self.best_validation = math.inf, 0, 0

    def done(self, budget: Budget) -> float:
        """Return the completed share of the run, the same in all processes."""
        share = 1.0 if self.exhausted else budget.share(self.step, self.elapsed)
        return self.ranks.broadcast(share)

    @property
    def exhausted(self) -> bool:
        """Whether the validation loss has stopped falling, or the task is finished."""
        late = self.validations - self.best_validation > self.config.patience
        return late or self.task.finished(self.net)

    def validate(self, samples: Sequence[Any]) -> float:
        """Return the mean validation loss; keep a copy of the weights if they are the best."""
        net, losses = self.mean.module.eval(), []
        with torch.no_grad():
            for first in range(0, len(samples), self.config.batch):
                check()
                batch = self.task.collate(samples[first : first + self.config.batch])
                losses.append(float(self.task.loss(net, _moved(batch, self.ranks.device))[0]))
        loss = sum(losses) / len(losses)
        self.validations += 1
        if loss < self.lowest:
            self.lowest, self.best_validation = loss, self.validations
            self.best = {name: value.clone() for name, value in net.state_dict().items()}
        return loss

    def _average(
        self, mean: torch.Tensor, now: torch.Tensor, _: torch.Tensor | int
    ) -> torch.Tensor:
        """Update an exponential moving average, with a smaller decay in the first steps."""
        decay = min(self.config.ema, (1.0 + self.step) / (10.0 + self.step))
        return torch.lerp(mean, now, 1.0 - decay) if mean.is_floating_point() else now

    def learn(self, batch: Any, rates: Sequence[float]) -> dict[str, float]:
        """Take an optimizer step with a rate for each part; return the loss and the figures.

        Raises
        ------
        TomochromeError
            If the loss is not finite; the weights are unchanged.
        """
        # seeding by step makes a resumed run equal to an uninterrupted one
        torch.manual_seed(
            self.config.seed * 1_000_003 + self.step * self.ranks.size + self.ranks.rank
        )
        for parameters, rate in zip(self.optimizer.param_groups, rates, strict=True):
            parameters["lr"] = rate
        loss, figures = self.task.loss(self.trained, _moved(batch, self.ranks.device))
        value = self.ranks.mean(float(loss.detach()))
        if not math.isfinite(value):
            raise TomochromeError(
                f"the loss is {value} at step {self.step + 1}: lower 'learning_rate' and train "
                "again; the last checkpoint is kept"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step(lambda: value)
        self.mean.update_parameters(self.net)
        self.step += 1
        return {"loss": value, **figures}

    def trained_weights(self) -> torch.nn.Module:
        """Return the network with the weights to ship, in evaluation mode.

        These are those with the lowest validation loss or, without validation, the running mean.
        """
        net = deepcopy(self.mean.module)
        if self.best:
            net.load_state_dict(self.best)
        return net.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        save_checkpoint(
            path,
            {
                "net": self.net.state_dict(),
                "mean": self.mean.module.state_dict(),
                "best": self.best,
                "validation": [self.lowest, self.validations, self.best_validation],
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "elapsed": self.elapsed,
            },
        )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        data = read_checkpoint(path, "train without --resume")
        try:
            self.net.load_state_dict(data["net"])
            self.mean.module.load_state_dict(data["mean"])
            self.optimizer.load_state_dict(data["optimizer"])
            self.step, self.elapsed = int(data["step"]), float(data["elapsed"])
            self.best = data.get("best", {})
            self.lowest, *counts = data.get("validation", (math.inf, 0, 0))
            self.validations, self.best_validation = map(int, counts)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise foreign_checkpoint(path, "train without --resume") from error
        self.mean.n_averaged.fill_(self.step)


def read_checkpoint(path: Path, advice: str) -> dict[str, Any]:
    """Read a run's checkpoint.

    Raises
    ------
    InputError
        If it is damaged or not a checkpoint.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(data, dict):
            return data
    except (OSError, RuntimeError, KeyError, ValueError, EOFError, UnpicklingError) as error:
        raise foreign_checkpoint(path, advice) from error
    raise foreign_checkpoint(path, advice)


def foreign_checkpoint(path: Path, advice: str) -> InputError:
    """Return the error for a checkpoint that does not match the configuration."""
    return InputError(f"'{path}' is not a checkpoint of this configuration; {advice}")


def _run(state: _State, generator: PhantomGenerator, budget: Budget, folder: Path) -> None:
    task, config = state.task, state.config
    clock, saved = time.monotonic() - state.elapsed, time.monotonic()
    means, batches, stage = _Means(), None, -1
    leads = state.ranks.leads
    validation = task.validation() if config.validate_every and leads else ()
    columns = ("rate", "loss", *task.figures, *(("validation",) if validation else ()))
    board = Board(folder, state.step) if leads else None
    try:
        while (done := state.done(budget)) < 1.0:
            check()
            generator.check()
            now, rate = learning_rate(config, task.stages, state.step, done)
            rates = [rate * share for share in task.rates(now)]
            if batches is None or now != stage:
                if batches is not None:
                    batches.stop()
                batches, stage = _batches(task, now, state), now
            means.add(state.learn(batches.next(), rates))
            if validation and not state.step % config.validate_every:
                means.add({"validation": state.validate(validation)})
            state.elapsed = time.monotonic() - clock
            last = budget.share(state.step, state.elapsed) == 1.0 or state.exhausted
            if leads and (last or not state.step % _LOG_EVERY):
                row = [f"{rates[0]:.2e}", *means.row(columns[1:])]
                append_row(
                    folder / LOG, ("step", "seconds", *columns),
                    (state.step, round(state.elapsed), *row),
                )  # fmt: skip
                if board is not None:
                    board.add(state.step, dict(zip(columns, row, strict=True)))
                means = _Means()
                budget.report(state.step, state.elapsed, "training")
            if leads and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                state.save(folder / CHECKPOINT)
                saved = time.monotonic()
    finally:
        if batches is not None:
            batches.stop()
        if board is not None:
            board.close()


def _batches(task: Task[Any], stage: int, state: _State) -> Batches:
    config, ranks = task.config, state.ranks
    return Batches(
        task.dataset(stage), task.collate, config.batch, first=state.step, seed=config.seed,
        workers=config.workers, part=(ranks.rank, ranks.size),
    )  # fmt: skip


def _moved(batch: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_moved(value, device) for value in batch)
    return batch


class _Means:
    """Means of figures over several steps; steps without a figure are not counted."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._values.setdefault(name, []).append(value)

    def row(self, names: Sequence[str]) -> list[str]:
        columns = [self._values.get(name, []) for name in names]
        return [f"{sum(values) / len(values):.4f}" if values else "" for values in columns]

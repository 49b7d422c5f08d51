"""From a checkpoint to the two shipped bundles: tables, temperature, cards."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tomochrome.colorization.inputs import InputSpec
from tomochrome.errors import InputError
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.training.augment import Augmentation
from tomochrome.training.calibrate import collect, expected_calibration_error, fit_temperature
from tomochrome.training.cards import network_card, transfer_card
from tomochrome.training.config import PhantomPlan, TrainingConfig, load_config
from tomochrome.training.export import export_network, export_transfer, load_mean, run_files
from tomochrome.training.feed import Feed
from tomochrome.training.fit import count_hu, likelihood_table, transfer_table
from tomochrome.training.folder import CHECKPOINT, LOG, make_folder
from tomochrome.training.loop import LABELLED, real_patients
from tomochrome.training.pool import HELD_OUT, paint, plan_jobs

LICENSE_FILE = Path(__file__).resolve().parents[3] / "LICENSE"
_HELD_OUT_PATIENTS = 12


@dataclass(frozen=True)
class Calibration:
    """Temperature, and the calibration error before and after it."""

    temperature: float
    error_before: float
    error_after: float
    right: float


def held_out_pool(
    folder: Path,
    plan: PhantomPlan,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Paint phantom patients that no training ever sees; return their folder."""
    make_folder(folder)
    plan = replace(plan, count=_HELD_OUT_PATIENTS)
    for k, (seed, region) in enumerate(plan_jobs(plan, HELD_OUT)):
        check(cancel)
        report(progress, k, plan.count, "painting held-out phantoms")
        paint(folder, seed, region, plan.spacing)
    return folder


def calibrate(
    net: torch.nn.Module,
    config: TrainingConfig,
    pool: Path,
    samples: int = 96,
    cancel: CancelToken | None = None,
) -> Calibration:
    """Fit the temperature on held-out phantom patients, disturbed as a scanner would."""
    settings = Augmentation(
        tilt_degrees=3, scale=(0.92, 1.1), elastic_mm=1, inflation=0.05, arms=0, focus=0.2
    )
    feed = Feed(
        InputSpec(), config.shape, 8, pool, [], 0.0, dict(config.phantoms.regions),
        seed=987, settings=settings,
    )  # fmt: skip
    feed.wait(1, timeout=5)
    rng = np.random.default_rng(5)
    x = torch.empty(8, len(InputSpec().channels), *config.shape)
    x = x.contiguous(memory_format=torch.channels_last)
    y = np.empty((8, *config.shape), np.uint8)
    plain = np.empty(x.shape[1:], np.float32)
    logits, truths = [], []
    for _ in range(samples // 8):
        check(cancel)
        for k in range(8):
            feed.sampler.sample(feed.draw(), plain, y[k])
            x[k] = torch.from_numpy(plain)
        rows, names = collect(net, x, torch.from_numpy(y).long(), rng)
        logits.append(rows)
        truths.append(names)
    rows, names = torch.cat(logits), torch.cat(truths)
    temperature = fit_temperature(rows, names)
    return Calibration(
        temperature,
        expected_calibration_error(rows, names),
        expected_calibration_error(rows, names, temperature),
        float((rows.argmax(1) == names).float().mean()),
    )


def finish(
    run: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | TrainingConfig = "tissue",
    data: str | os.PathLike[str] | None = None,
    pool: str | os.PathLike[str] | None = None,
    held_out: str | os.PathLike[str] | None = None,
    scores: Mapping[str, Any] | None = None,
    transfer_scores: Mapping[str, Any] | None = None,
    power: float = 1.0,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> tuple[Path, Path]:
    """Write the bundles ``tissue`` and ``transfer-function`` from a finished run.

    Parameters
    ----------
    run
        Folder of the run, with its checkpoint and log.
    weights
        Folder of bundles to write into.
    config, data, pool
        As `tomochrome.training.train` had them.
    held_out
        Folder of phantom patients to calibrate on; painted into the run's folder by default.
    scores, transfer_scores
        Figures for the cards (``benchmarks/color_accuracy.py`` measures them).
    power
        Of the HU likelihood, see `fit.likelihood_table`.
    notes
        Paragraphs on this very run, for the card.
    progress, cancel
        Called for each phantom painted; looked at between phantoms and between batches.

    Returns
    -------
    tuple of pathlib.Path
        The two bundle folders.

    Raises
    ------
    InputError
        If the run holds no checkpoint of this configuration.
    """
    plan = config if isinstance(config, TrainingConfig) else load_config(config)
    folder = Path(run)
    net = load_mean(folder / CHECKPOINT, plan.network)
    store = Path(pool) if pool is not None else folder / "pool"
    feed = Feed(
        InputSpec(), plan.shape, 1, store, real_patients(Path(data) if data else None),
        plan.real_share, dict(plan.phantoms.regions), seed=4242,
    )  # fmt: skip
    feed.load_all()
    counts = count_hu(feed)
    if held_out is None:
        held_out = held_out_pool(folder / "held-out", plan.phantoms, progress, cancel)
    calibration = calibrate(net, plan, Path(held_out), cancel=cancel)
    phantoms = feed.phantom_count
    trained_on = [f"{phantoms} procedural patients of tomochrome.phantom (no two alike)"]
    if data is not None:
        trained_on.append(
            f"{len(LABELLED)} real labelled CT (abdomen, no contrast agent; TotalSegmentator's "
            "example, Apache-2.0), its contrast and shape varied"
        )
    license_text = read_license()
    figures = {
        **(scores or {}),
        "expected_calibration_error": round(calibration.error_after, 4),
        "expected_calibration_error_uncalibrated": round(calibration.error_before, 4),
        "held_out_phantoms_voxels_right": round(calibration.right, 4),
    }
    log = (folder / LOG).read_text(encoding="utf-8").strip().splitlines()
    target = Path(weights)
    make_folder(target)
    network = export_network(
        target / plan.name, plan.name, plan.network, net, likelihood_table(counts, power),
        temperature=calibration.temperature, trained_on=trained_on, scores=figures,
        card=network_card(plan, trained_on, figures, calibration.temperature, net, log, notes),
        license_text=license_text, extra=run_files(plan, log),
        title="Tissue network" if plan.name == "tissue" else f"Tissue network ({plan.name})",
        description="names the tissue of each voxel of a CT; its color follows from a palette",
    )  # fmt: skip
    transfer = export_transfer(
        target / "transfer-function", transfer_table(counts), trained_on=trained_on,
        scores=transfer_scores or {}, card=transfer_card(trained_on, transfer_scores or {}),
        license_text=license_text,
    )  # fmt: skip
    return network, transfer


def read_license() -> str:
    """Return the project's licence, which every bundle carries.

    Raises
    ------
    InputError
        If the program does not run from a checkout.
    """
    try:
        return LICENSE_FILE.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the licence '{LICENSE_FILE}' is missing; bundles are written from a checkout"
        ) from error

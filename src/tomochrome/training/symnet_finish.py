"""From the checkpoint of a registration run to its bundle: measured, described, exported."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.training.folder import CHECKPOINT, LOG, make_folder
from tomochrome.training.pool import HELD_OUT, paint, plan_jobs
from tomochrome.training.symnet_config import SymNetConfig, load_symnet_config
from tomochrome.training.symnet_data import REAL
from tomochrome.training.symnet_export import SHRINK_BY, export_symnet, load_symnet_mean
from tomochrome.training.symnet_score import measure_symnet
from tomochrome.training.tissue_finish import read_license

_HELD_OUT_PATIENTS = 12


def finish_symnet(
    run: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | SymNetConfig = "symnet",
    data: str | os.PathLike[str] | None = None,
    held_out: str | os.PathLike[str] | None = None,
    pairs: int = 24,
    notes: Sequence[str] = (),
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Path:
    """Write the bundle of a registration run, with what the network does on held-out pairs.

    Parameters
    ----------
    run
        Folder of the run, with its checkpoint and log.
    weights
        Folder of bundles to write into.
    config, data
        As `tomochrome.training.train_symnet` had them.
    held_out
        Folder for phantom patients to measure on; painted if there are none.
    pairs
        Pairs of each kind to measure on.
    notes
        Paragraphs on this very run, for the card.
    progress, cancel
        Called for each phantom painted; looked at between phantoms and between pairs.

    Returns
    -------
    pathlib.Path
        The bundle's folder.

    Raises
    ------
    InputError
        If the run holds no checkpoint of this configuration.
    """
    plan = config if isinstance(config, SymNetConfig) else load_symnet_config(config)
    folder, target = Path(run), Path(weights)
    net = load_symnet_mean(folder / CHECKPOINT, plan.network)
    pool = Path(held_out) if held_out is not None else folder / "held-out"
    make_folder(pool)
    if not any(pool.glob("*.npz")):
        few = replace(plan.phantoms, count=_HELD_OUT_PATIENTS)
        for k, (seed, region) in enumerate(plan_jobs(few, HELD_OUT)):
            check(cancel)
            report(progress, k, few.count, "painting held-out phantoms")
            paint(pool, seed, region, few.spacing)
    source = Path(data) if data is not None else None
    scores = measure_symnet(
        net, plan.shape, plan.sizes, pool, source,
        shrink_by=SHRINK_BY, count=pairs, cancel=cancel,
    )  # fmt: skip
    log = (folder / LOG).read_text(encoding="utf-8").strip().splitlines()
    make_folder(target)
    return export_symnet(
        target / plan.name, plan, net,
        trained_on=_trained_on(plan, source is not None), scores=scores, log=log,
        license_text=read_license(), notes=notes,
    )  # fmt: skip


def _trained_on(plan: SymNetConfig, real: bool) -> list[str]:
    lines = [
        "random smooth shapes of random contrast, new for each pair (after SynthMorph)",
        f"{plan.phantoms.count} procedural patients of tomochrome.phantom (no two alike), warped "
        "against themselves or paired",
    ]
    if real:
        lines.append(
            f"{len(REAL)} real CT, each warped against itself: a chest angiography "
            "(TotalSegmentator's example, Apache-2.0) and the head of the Visible Human Female"
        )
    return lines

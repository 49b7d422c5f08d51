"""Train slices with neighbors, a 3D U-Net and a 3D SegResNet for the same time, and compare them.

Usage::

    python benchmarks/architectures.py --data ../shared/data --out runs/architectures [--minutes 8]

All three start with random weights and use the same phantom patients, which are generated before,
the same labelled scan, loss, optimizer and processor. They are the configurations `tissue`,
`tissue-3d-unet` and `tissue-3d-segresnet`; the last two get one block of 48 x 80 x 112 voxels in a
step, so that a step takes about as long as one of `tissue`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from color_accuracy import abdomen, held_out, joined

from tomochrome.colorization import colorize
from tomochrome.training import finish, load_config, train
from tomochrome.training.pool import PhantomGenerator

SAME = {"start": None, "learning_rate": 2e-3, "warm_up": 100, "ema": 0.995}
BLOCK = {"batch": 1, "block": (48, 80, 112)}
CHANGES: dict[str, dict[str, Any]] = {
    "tissue": {},
    "tissue-3d-unet": BLOCK,
    "tissue-3d-segresnet": BLOCK,
}


def main() -> None:
    """Generate phantoms, train, and print a line of JSON for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real scans")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, each")
    parser.add_argument("--patients", type=int, default=500, help="phantom patients to train on")
    options = parser.parse_args()
    pool = options.out / "pool"
    plan = load_config("tissue").phantoms.model_copy(update={"count": options.patients})
    with PhantomGenerator(pool, plan) as generator:
        generator.wait(plan.count, "generating phantoms")
    for name, changes in CHANGES.items():
        config = load_config(name).model_copy(update={**SAME, **changes, "phantoms": plan})
        run = options.out / name
        train(config, options.data, run, minutes=options.minutes, pool=pool, paint=False)
        bundle, *_ = finish(
            run, run / "weights", config=config, data=options.data, pool=pool,
            held_out=options.out / "held-out",
        )  # fmt: skip
        steps = (run / "log.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")[0]
        print(json.dumps({"model": name, "steps": int(steps), **measured(bundle, options.data)}))


def measured(bundle: Path, data: Path) -> dict[str, Any]:
    """Return the errors on held-out phantoms and on the contrast-enhanced abdomen."""
    chromas, truths, slices, seconds = [], [], 0, 0.0
    for _, patient in held_out():
        began = time.perf_counter()
        chromas.append(colorize(patient.ct, bundle))
        seconds += time.perf_counter() - began
        slices += patient.ct.shape[0]
        truths.append(np.asarray(patient.tissue.voxels))
    real = abdomen({"network": str(bundle), "transfer": "transfer-function"}, data)
    return {
        "phantoms": short(joined(chromas, truths).to_json()),
        "contrast_abdomen": short(real["network"]),
        "seconds_per_slice": round(seconds / slices, 3),
    }


def short(score: dict[str, Any]) -> dict[str, float]:
    """Return the mean errors of a score."""
    return {name: score[name] for name in ("organ_error", "voxel_error", "right")}


if __name__ == "__main__":
    main()

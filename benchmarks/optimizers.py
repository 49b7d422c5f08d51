"""Comparison of optimizers for the networks `scim` or `restoration` with the same budget.

Usage::

    python benchmarks/optimizers.py --pool DIR [--data DIR] [--out runs/optimizers] [--steps 300] \
        [--model restoration]
    python benchmarks/optimizers.py --out runs/optimizers --report docs/optimizers.md

Each optimizer trains with several learning rates, from the same initial weights and on the same
samples: 128 x 128 pixels of 3.2 mm for `scim`; for `restoration`, a small network, 96 x 96 pixels
of real CT (``--data``) with simulated defects. The criterion is the lowest validation loss.
Existing runs are not repeated. ``--report`` writes the table and the curves; that of `restoration`
replaces its section.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

RATES = {
    "sgd": (3e-3, 1e-2, 3e-2),
    "rmsprop": (3e-5, 1e-4, 3e-4),
    "adam": (1e-4, 3e-4, 1e-3),
    "adamw": (1e-4, 3e-4, 1e-3),
}
RESTORATION_RATES = {
    "sgd": (1e-2, 1e-1),
    "sgd-auto": (1.0,),
    "rmsprop": (3e-4, 1e-3),
    "adam": (1e-3, 3e-3),
    "adamax": (3e-3, 1e-2),
    "adamw": (1e-3, 3e-3),
}
COLORS = {
    "sgd": "#888", "sgd-auto": "#b4b", "rmsprop": "#d80", "adam": "#06c", "adamax": "#c22",
    "adamw": "#0a6",
}  # fmt: skip
CHANGES = {
    "scim": {
        "shape": (128, 128), "pixel_mm": 3.2, "source": "palette", "reuse": 0, "crop": None,
        "rebalancing": None,
    },
    "restoration": {
        "shape": (96, 96), "batch": 8, "scans": 60, "real_share": 1.0, "warm_up": 25, "ema": 0.95,
        "network": {"name": "MaskedUNet", "widths": [16, 32, 64]},
    },
}  # fmt: skip
SECTION = "## Restoration"
EVERY = 25
WIDE, HIGH, LEFT = 640, 320, 60

Curves = dict[tuple[str, float], list[tuple[int, float, float]]]
Best = dict[str, tuple[str, float]]


def main() -> None:
    """Train, or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(CHANGES), default="scim")
    parser.add_argument("--pool", type=Path, help="folder of painted phantoms")
    parser.add_argument("--data", type=Path, help="folder with the real labelled CT")
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--report", type=Path, help="Markdown file; a picture lies beside it")
    options = parser.parse_args()
    if options.report is not None:
        write = write_section if options.model == "restoration" else write_report
        write(options.out, options.report)
        return
    from tomochrome.training import train
    from tomochrome.training.task_interface import load_config

    changes = {**CHANGES[options.model], "validate_every": EVERY, "patience": 1000}
    tried = RESTORATION_RATES if options.model == "restoration" else RATES
    for name, rates in tried.items():
        for rate in rates:
            folder = options.out / f"{name}-{rate:g}"
            if (folder / "done").exists():
                continue
            config = load_config(options.model).model_copy(
                update={**changes, "optimizer": name, "learning_rate": rate}
            )
            train(
                config, options.data, folder, pool=options.pool, steps=options.steps, paint=False,
                resume=(folder / "checkpoint.pt").exists(),
            )  # fmt: skip
            (folder / "done").touch()
            print(name, rate, least(curve(folder)), flush=True)


def curve(folder: Path) -> list[tuple[int, float, float]]:
    """Return (step, validation loss, error of the training samples) of a run."""
    with (folder / "log.csv").open(encoding="utf-8") as stream:
        return [
            (int(row["step"]), float(row["validation"]), float(row.get("ab_error") or row["hu"]))
            for row in csv.DictReader(stream)
            if row["validation"]
        ]


def least(points: list[tuple[int, float, float]]) -> float:
    """Return the lowest validation loss."""
    return min(loss for _, loss, _ in points)


def finished(runs: Path, tried: Mapping[str, Sequence[float]]) -> tuple[Curves, Best]:
    """Return the curves of the finished runs by optimizer and rate, and the best of each."""
    curves = {
        (name, rate): curve(runs / f"{name}-{rate:g}")
        for name, rates in tried.items()
        for rate in rates
        if (runs / f"{name}-{rate:g}" / "done").exists()
    }
    best = {
        name: min((key for key in curves if key[0] == name), key=lambda key: least(curves[key]))
        for name in dict.fromkeys(name for name, _ in curves)
    }
    return curves, best


def ranked(curves: Curves, best: Best, digits: int = 4) -> str:
    """Return the optimizers with the lowest loss of each, the best first."""
    keys = sorted(best.values(), key=lambda key: least(curves[key]))
    return ", ".join(f"{key[0]} {least(curves[key]):.{digits}f}" for key in keys)


def write_report(runs: Path, report: Path) -> None:
    """Write the table of all runs, and the curves of the best run of each optimizer."""
    found, best = finished(runs, RATES)
    steps = max(points[-1][0] for points in found.values())
    rows = [
        f"| {'**' + name + '**' if best[name] == (name, rate) else name} | {rate:g} "
        f"| {least(points):.4f} | {points[-1][1]:.4f} | {points[-1][2]:.1f} |"
        for (name, rate), points in found.items()
    ]
    picture = report.parent / "pictures" / f"{report.stem}.svg"
    picture.write_text(drawing({name: found[key] for name, key in best.items()}), encoding="utf-8")
    words = ranked(found, best)
    report.write_text(
        "# Study of optimizers\n\n"
        "Which optimizer trains `scim` best in the same number of steps? Each started from the "
        "same\n"
        f"weights and used the same {steps} batches of 8 slices of phantoms (128 x 128 pixels of\n"
        "3.2 mm), with a warm-up of 100 steps and a cosine\n"
        "schedule. The loss is the validation loss on held-out phantom patients, of the running\n"
        "mean of the weights. With one seed and three learning rates each, differences of a few\n"
        "percent are not significant. Where the highest rate is the best, an even higher one may\n"
        "be better.\n\n"
        f"Lowest loss: {words}.\n\n"
        f"![Validation loss over steps](pictures/{picture.name})\n\n"
        "| optimizer (best rate in bold) | learning rate | lowest loss | final loss | final color "
        "error in training |\n| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(rows) + "\n\n"
        "SGD uses Nesterov momentum 0.9, AdamW the configuration's weight decay. To choose an\n"
        "optimizer, use `tomochrome train scim --optimizer NAME`. Generated by "
        "`python benchmarks/optimizers.py`.\n",
        encoding="utf-8",
    )


def write_section(runs: Path, report: Path) -> None:
    """Write the section of `restoration`, and its curves."""
    curves, best = finished(runs, RESTORATION_RATES)
    picture = report.parent / "pictures" / f"{report.stem}_restoration.svg"
    shown = {name: curves[key] for name, key in best.items()}
    picture.write_text(drawing(shown), encoding="utf-8")
    steps = max(points[-1][0] for points in curves.values())
    rows = "\n".join(
        f"| {'**' + name + '**' if best[name] == (name, rate) else name} | {rate:g} "
        f"| {least(points):.3f} | {points[-1][1]:.3f} |"
        for (name, rate), points in curves.items()
    )
    text = (
        f"{SECTION}\n\nThe same for the filler of [restoration](restoration.md), in a small form "
        "(levels of 16, 32\nand 64 channels, 96 x 96 pixels, batches of 8) on "
        f"{CHANGES['restoration']['scans']} parts of real CT with simulated defects, {steps}\n"
        "steps each; every fourth CT is left out, and gives the validation loss. `sgd-auto`\n"
        "chooses its rate by Polyak's step; 1 bounds it. With one seed, differences of a few\n"
        "percent are not significant. Generated by\n"
        "`python benchmarks/optimizers.py --model restoration`.\n\n"
        f"Lowest loss: {ranked(curves, best, 3)}.\n\n"
        f"![Validation loss over steps](pictures/{picture.name})\n\n"
        "| optimizer (best rate in bold) | learning rate | lowest loss | final loss |\n"
        f"| --- | ---: | ---: | ---: |\n{rows}\n"
    )
    before = report.read_text(encoding="utf-8").partition(SECTION)[0].rstrip()
    report.write_text(f"{before}\n\n{text}", encoding="utf-8")


def drawing(curves: dict[str, list[tuple[int, float, float]]]) -> str:
    """Return an SVG of the validation loss over steps."""
    points = [point for curve in curves.values() for point in curve]
    last = max(step for step, *_ in points)
    top = sorted(loss for _, loss, _ in points)[int(0.95 * (len(points) - 1))]
    low = min(loss for _, loss, _ in points)

    def place(step: int, loss: float) -> str:
        x = LEFT + (WIDE - LEFT) * step / last
        y = (HIGH - 30) * (1 - (min(loss, top) - low) / (top - low)) + 5
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE + 90} {HIGH}" '
        'font-family="sans-serif" font-size="13"><rect width="730" height="320" fill="#fff"/>',
        f'<path d="M{LEFT} 5V{HIGH - 25}H{WIDE}" stroke="#333" fill="none"/>',
        f'<text x="{WIDE - 60}" y="{HIGH - 8}">{last} steps</text>',
        f'<text x="4" y="16">{top:.4f}</text><text x="4" y="{HIGH - 26}">{low:.4f}</text>',
    ]
    for k, (name, curve) in enumerate(curves.items()):
        line = " ".join(place(step, loss) for step, loss, _ in curve)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{COLORS[name]}" stroke-width="2"/>'
            f'<text x="{WIDE + 10}" y="{30 + 20 * k}" fill="{COLORS[name]}">{name}</text>'
        )
    return "".join(parts) + "</svg>\n"


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    main()

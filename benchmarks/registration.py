"""What registration reaches, beside what is asked of it.

    python benchmarks/registration.py brains --data ../shared/data       two real T1 brains
    python benchmarks/registration.py known-truth --data ../shared/data  a real CT deformed in a
                                                                         known way
    python benchmarks/registration.py phantoms                           two different patients
    python benchmarks/registration.py symmetry --data ../shared/data     fixed and moving swapped
    python benchmarks/registration.py contrast --data ../shared/data     inverted grey values
    python benchmarks/registration.py couch                              a couch that lies elsewhere
    python benchmarks/registration.py speed --data ../shared/data        against the published way

Each prints its figures, one a line, with what is asked for. ``--model none`` leaves the network
out, ``--refine`` changes the iterations. Times are wall-clock with ``--threads`` threads; CPU
seconds stand beside them, because they hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import tomochrome as tc
from tomochrome.volume import Volume

VESSELS = (52, 63, 64, 65, 66, 67, 68)  #: labels of abdomen_3mm that take up contrast agent
KIDNEYS = (2, 3)


def say(name: str, value: float, asked: str = "", reached: bool | None = None) -> None:
    """Print one figure, and whether it is what was asked for."""
    verdict = "" if reached is None else ("reached" if reached else "MISSED")
    print(f"{name:<52}{value:>12.4f}   {asked:<12}{verdict}", flush=True)


def at_most(name: str, value: float, limit: float) -> None:
    """Print a figure that should not exceed a limit."""
    say(name, value, f"<= {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float) -> None:
    """Print a figure that should not fall below a limit."""
    say(name, value, f">= {limit:g}", value >= limit)


def correlation(a: Volume, b: Volume) -> float:
    """Normalized cross-correlation over the whole grid."""
    x, y = (np.asarray(v.voxels, np.float64).ravel() for v in (a, b))
    return float(np.corrcoef(x, y)[0, 1])


def options(asked: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `tomochrome.register` that the command line may change."""
    return {"model": asked.model, "refine": asked.refine, "threads": asked.threads}


def say_regular(report: dict[str, Any], voxel_mm: float, most_sd: float | None = 0.35) -> None:
    """Folds, spread of the Jacobian, inverse consistency."""
    at_most("folded voxels, %", report["jacobian"]["folded_percent"], 0.0)
    if most_sd is None:  # two bodies of different build: nobody knows how much must grow
        say("sd of the log Jacobian", report["jacobian"]["sd_log"])
    else:
        at_most("sd of the log Jacobian", report["jacobian"]["sd_log"], most_sd)
    apart = report["inverse_consistency_mm"]
    at_most("inverse consistency, mean, voxels", apart["mean"] / voxel_mm, 0.1)
    at_most("inverse consistency, 99th percentile, voxels", apart["p99"] / voxel_mm, 0.5)


def brains(asked: argparse.Namespace) -> None:
    """Two brains, affinely aligned by their makers; never trained on."""
    a, b = (tc.read(asked.data / f"registration/brain_{k}.nii.gz") for k in "ab")
    say("NCC before", correlation(a, b))
    found = tc.register(a, b, init="none", **options(asked))
    at_least("NCC, b brought to a", correlation(a, found.moved), 0.985)
    at_least("NCC, a brought to b", correlation(b, found.moved_inverse), 0.985)
    say_regular(found.report, 1.0)
    for stage, taken in found.report["seconds"].items():
        say(f"seconds, {stage}", taken)


def known_truth(asked: argparse.Namespace) -> None:
    """A real CT, deformed, noisy, its vessels and kidneys enhanced."""
    from tomochrome.evaluate import validate_synthetic

    volume, labels = (tc.read(asked.data / f"ct/abdomen_3mm{k}.nii.gz") for k in ("", "_labels"))
    agent = {**dict.fromkeys(VESSELS, 140.0), **dict.fromkeys(KIDNEYS, 120.0)}
    for seed in range(asked.seeds):
        mean = (6.0, 9.0, 12.0)[seed % 3]
        print(f"seed {seed}, mean displacement {mean:g} mm")
        found = validate_synthetic(
            volume, labels=labels, mean_mm=mean, noise=15.0, contrast=agent, seed=seed,
            options=options(asked),
        )  # fmt: skip
        say("error in the body, mm", found["error_mm"]["after"]["mean"])
        at_most("error, % of the initial one", found["error_mm"]["percent"], 30.0)
        say("mean Dice of all labels before", found["before"]["dice_mean"])
        at_least("mean Dice of all labels", found["after"]["dice_mean"], 0.85)
        at_least("mean Dice over 30 ml", found["after"]["dice_mean_large"], 0.93)
        say_regular(found, min(volume.spacing))


def phantoms(asked: argparse.Namespace) -> None:
    """Two patients of different build, breathing and phase, judged by their structures."""
    from tomochrome.evaluate import overlap
    from tomochrome.phantom import make_patient

    for region, seeds in (("abdomen", (11, 12)), ("chest", (21, 22)), ("pelvis", (31, 32))):
        spacing = (3.0, 2.5, 2.5)
        one = make_patient(seeds[0], region, spacing, phase="portal", noise=0.5)
        other = make_patient(seeds[1], region, spacing, phase="native", noise=0.5)
        found = tc.register(one.ct, other.ct, **options(asked))
        labels = [
            replace(p.ct, voxels=np.asarray(p.structures, np.uint16), unit="label")
            for p in (one, other)
        ]
        rough = tc.register(one.ct, other.ct, model="none", refine=0, threads=asked.threads)
        moved = [
            r.forward.apply(labels[1], labels[0], order="nearest", fill=0) for r in (rough, found)
        ]
        counts = np.bincount(np.asarray(labels[0].voxels).ravel())
        large = np.flatnonzero(counts * np.prod(spacing) > 30_000)
        print(f"{region}, patients {seeds[0]} and {seeds[1]}")
        means = {}
        for how, map_ in (
            ("as they lie", tc_like(labels[1], labels[0])),
            ("affine alone", moved[0]),
            ("registered", moved[1]),
        ):
            dice = overlap(labels[0], map_)["dice"]
            means[how] = float(np.mean([v for k, v in dice.items() if int(k) in large]))
            say(f"mean Dice of all structures, {how}", float(np.mean(list(dice.values()))))
            say(f"mean Dice of structures over 30 ml, {how}", means[how])
        at_least("gain in Dice over affine alone", means["registered"] - means["affine alone"], 0.0)
        say_regular(found.report, min(one.ct.spacing), None)


def tc_like(labels: Volume, like: Volume) -> Volume:
    """Labels on another grid, nothing else done."""
    from tomochrome.geometry.resample import resample

    return resample(labels, like, order="nearest", fill=0)


def symmetry(asked: argparse.Namespace) -> None:
    """Fixed and moving swapped: forward and inverse should swap too."""
    from tomochrome.evaluate.synthetic import make_synthetic
    from tomochrome.geometry.resample import to_spacing

    volume = tc.read(asked.data / "ct/abdomen_3mm.nii.gz")
    case = make_synthetic(volume, mean_mm=9.0, noise=15.0, seed=4)
    other = to_spacing(case.moving, (3.5, 2.8, 2.8))
    turned = replace(
        other,
        voxels=np.ascontiguousarray(other.voxels[:, ::-1]),
        affine=other.affine @ _flip(other.shape[1]),
    )
    for name, moving in (("same grid", case.moving), ("another grid and orientation", turned)):
        one = tc.register(case.fixed, moving, init="none", **options(asked))
        two = tc.register(moving, case.fixed, init="none", **options(asked))
        index = np.argwhere(case.body[::3, ::3, ::3]) * 3
        points = index @ case.fixed.affine[:3, :3].T + case.fixed.affine[:3, 3]
        for way, (a, b) in (
            ("forward", (one.forward, two.inverse)),
            ("inverse", (one.inverse, two.forward)),
        ):
            apart = np.linalg.norm(a.points(points) - b.points(points), axis=1) / 3.0
            at_most(f"{name}: {way}, mean, voxels", float(apart.mean()), 0.2)
            at_most(f"{name}: {way}, 99th %, voxels", float(np.quantile(apart, 0.99)), 0.2)


def _flip(size: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[1, 1], matrix[1, 3] = -1.0, size - 1
    return matrix


def contrast(asked: argparse.Namespace) -> None:
    """The moving CT's grey values inverted: nothing that compares them directly can work."""
    from tomochrome.evaluate import validate_synthetic

    volume = tc.read(asked.data / "ct/abdomen_3mm.nii.gz")

    def inverted(fixed: Volume, moving: Volume, **rest: Any) -> Any:
        values = 300.0 - np.clip(np.asarray(moving.voxels, np.float32), -300.0, 300.0)
        clipped = np.clip(np.asarray(fixed.voxels, np.float32), -300.0, 300.0)
        pair = (
            replace(v, voxels=x, unit="unknown")
            for v, x in ((fixed, clipped), (moving, values))
        )  # fmt: skip
        return tc.register(*pair, **rest)

    for measure in ("mind", "mi", "lncc", "mse"):
        found = validate_synthetic(
            volume, mean_mm=9.0, noise=15.0, seed=1, register=inverted,
            options={**options(asked), "similarity": measure},
        )  # fmt: skip
        left = found["error_mm"]["percent"]
        if measure == "mse":  # beside the others: squares of differences cannot be small here
            say(f"{measure}: error, % of the initial one", left)
        else:
            at_most(f"{measure}: error, % of the initial one", left, 60.0)
        say(f"{measure}: folded voxels, %", found["jacobian"]["folded_percent"])


def couch(asked: argparse.Namespace) -> None:
    """One patient scanned twice, the couch 15 mm lower the second time; with and without masks."""
    from tomochrome.evaluate.synthetic import body_of
    from tomochrome.phantom import make_patient

    patient = make_patient(5, "abdomen", (4.0, 3.0, 3.0), couch=True, noise=0.5)
    bare = make_patient(5, "abdomen", (4.0, 3.0, 3.0), couch=False, noise=0.5)
    hu, empty = (np.asarray(p.ct.voxels, np.float32) for p in (patient, bare))
    body = body_of(bare.ct)
    inside = np.asarray(body.voxels) != 0
    table = np.where(inside, 0.0, hu - empty)
    lower = np.zeros_like(table)
    lower[:, 5:] = table[:, :-5]
    moving = replace(patient.ct, voxels=empty + lower)
    fixed = replace(patient.ct, voxels=hu)
    for name, masks in (("no masks", {}), ("masks", {"fixed_mask": body, "moving_mask": body})):
        found = tc.register(fixed, moving, init="none", **masks, **options(asked))
        points = np.argwhere(inside[::2, ::2, ::2]) * 2
        points = points @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
        apart = np.linalg.norm(found.forward.points(points) - points, axis=1)
        say(f"{name}: the body is moved by, mean, mm", float(apart.mean()))
        value = float(np.quantile(apart, 0.99))
        if masks:
            at_most(f"{name}: 99th percentile, mm", value, 3.0)
        else:
            say(f"{name}: 99th percentile, mm", value)


def published_integration(velocities: Any) -> None:
    """Mok and Chung's code in its own steps: full resolution, one field after the other."""
    import torch

    z, y, x = velocities.shape[2:]
    grid = torch.from_numpy(np.mgrid[0:z, 0:y, 0:x].transpose(1, 2, 3, 0)[None, ..., ::-1].copy())
    grid = grid.float()

    def sample(flow: Any, at: Any) -> Any:
        places = grid + at.permute(0, 2, 3, 4, 1).flip(-1)
        for k, size in enumerate((x, y, z)):
            places[..., k] = (places[..., k] - (size - 1) / 2) / (size - 1) * 2
        return torch.nn.functional.grid_sample(flow, places, mode="bilinear", align_corners=True)

    def integrated(flow: Any) -> Any:
        flow = flow / 2.0**7
        for _ in range(7):
            flow = flow + sample(flow, flow)
        return flow

    one, other = velocities[:1], velocities[1:]
    to_one, to_other, from_one, from_other = map(integrated, (one, other, -one, -other))
    _ = sample(to_other, from_one) + from_one, sample(to_one, from_other) + from_other


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and CPU seconds of a piece of work, and its result."""
    wall, busy = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - busy, result


def speed(asked: argparse.Namespace) -> None:
    """Network and integration against the published way; a whole registration against both."""
    if asked.child:
        whole(asked)
        return
    import torch

    from tomochrome.registration.pair import make_pair
    from tomochrome.registration.refine import settle, smaller
    from tomochrome.registration.symnet import load_symnet, predict
    from tomochrome.registration.velocity import integrate, pair_fields, resize_field

    torch.set_num_threads(asked.threads or 2)
    a, b = (tc.read(asked.data / f"registration/brain_{k}.nii.gz") for k in "ab")
    pair = make_pair(a, b)
    net, card = load_symnet("symnet" if asked.model == "none" else asked.model)
    shrink_by = int(card.metadata.get("shrink_by", 2))
    grid = smaller(pair.shape, 2 * shrink_by)

    def network() -> Any:
        return predict(net, pair.fixed, pair.moving, grid, shrink_by)

    velocities = network()
    ways: dict[str, Callable[[], Any]] = {
        "network": network,
        "integration, ours": lambda: settle(integrate(velocities, pair.shape)),
        "integration, published way": lambda: published_integration(
            resize_field(velocities, pair.shape)
        ),
        "published way, our compiled sampling": lambda: pair_fields(
            resize_field(velocities, pair.shape), 7
        ),
    }
    ways["integration, ours"]()  # compiled
    best: dict[str, tuple[float, float]] = {}
    for _ in range(asked.repeats):
        for name, work in ways.items():
            wall, busy, _ = timed(work)
            old = best.get(name, (np.inf, np.inf))
            best[name] = (min(old[0], wall), min(old[1], busy))
    for name, (wall, busy) in best.items():
        say(f"{name}: seconds", wall)
        say(f"{name}: CPU seconds", busy)
    ours, full = (
        best["network"][0] + best[f"integration, {how}"][0] for how in ("ours", "published way")
    )
    at_least("network and integration: times faster", full / ours, 4.0)
    say("time of two full-resolution passes, seconds", 2 * full)
    command = [sys.executable, __file__, "speed", "--child", "--data", str(asked.data)]
    command += ["--model", asked.model, "--threads", str(asked.threads or 2)]
    if asked.refine is not None:
        command += ["--refine", str(asked.refine)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(answer, end="")
    total = float(answer.splitlines()[-2].split()[-1])
    at_most("whole registration, in full-resolution passes", total / full, 2.0)
    at_most("its peak memory, GiB", float(answer.splitlines()[-1].split()[-1]), 4.0)


def whole(asked: argparse.Namespace) -> None:
    """Everything, affine and refinement included, in a process of its own; the second time."""
    a, b = (tc.read(asked.data / f"registration/brain_{k}.nii.gz") for k in "ab")
    found = tc.register(a, b, **{**options(asked), "refine": 3})  # compiles, loads
    wall, busy, found = timed(lambda: tc.register(a, b, **options(asked)))
    for stage, taken in found.report["seconds"].items():
        say(f"whole registration, {stage}: seconds", taken)
    say("whole registration: CPU seconds", busy)
    say("whole registration: seconds", wall)
    say("whole registration: GiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "brains": brains,
    "known-truth": known_truth,
    "phantoms": phantoms,
    "symmetry": symmetry,
    "contrast": contrast,
    "couch": couch,
    "speed": speed,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="symnet")
    parser.add_argument("--refine", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seeds", type=int, default=3, help="known-truth: deformations")
    parser.add_argument("--repeats", type=int, default=3, help="speed: the best of so many")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    COMMANDS[asked.what](asked)


if __name__ == "__main__":
    main()

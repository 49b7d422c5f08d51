"""Results of registration, compared with its goals.

    python benchmarks/registration.py brains --data ../shared/data       two real T1 brains
    python benchmarks/registration.py known-truth --data ../shared/data  a real CT deformed in a
                                                                         known way
    python benchmarks/registration.py phantoms                           two different patients;
                                                                         one patient, inspiration
    python benchmarks/registration.py symmetry --data ../shared/data     fixed and moving swapped
    python benchmarks/registration.py contrast --data ../shared/data     inverted grey values
    python benchmarks/registration.py couch                              a couch at another height
    python benchmarks/registration.py coverage --data ../shared/data     half of the slices missing
    python benchmarks/registration.py backbones --data ../shared/data    networks of 'features'

Each prints one figure with its goal per line (``backbones`` a table). ``--model none`` omits the
network, ``--refine`` changes the number of iterations, ``--similarity features`` compares features.
For speed see ``registration_speed.py``.
"""

from __future__ import annotations

import argparse
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
    """Print one figure, its goal, and whether the goal is met."""
    verdict = "" if reached is None else ("reached" if reached else "MISSED")
    print(f"{name:<52}{value:>12.4f}   {asked:<12}{verdict}", flush=True)


def at_most(name: str, value: float, limit: float) -> None:
    """Print a figure that must not exceed a limit."""
    say(name, value, f"<= {limit:g}", value <= limit)


def at_least(name: str, value: float, limit: float) -> None:
    """Print a figure that must not be below a limit."""
    say(name, value, f">= {limit:g}", value >= limit)


def correlation(a: Volume, b: Volume) -> float:
    """Return the normalized cross-correlation over the entire grid."""
    x, y = (np.asarray(v.voxels, np.float64).ravel() for v in (a, b))
    return float(np.corrcoef(x, y)[0, 1])


def options(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `tomochrome.register` from the command line."""
    names = "model", "refine", "similarity", "backbone", "threads"
    return {name: getattr(asked, name) for name in names if hasattr(asked, name)}


def say_regular(report: dict[str, Any], voxel_mm: float, most_sd: float | None = 0.35) -> None:
    """Print folds, standard deviation of the log Jacobian, and inverse consistency."""
    at_most("folded voxels, %", report["jacobian"]["folded_percent"], 0.0)
    if most_sd is None:  # the true change in volume between different patients is unknown
        say("sd of the log Jacobian", report["jacobian"]["sd_log"])
    else:
        at_most("sd of the log Jacobian", report["jacobian"]["sd_log"], most_sd)
    apart = report["inverse_consistency_mm"]
    at_most("inverse consistency, mean, voxels", apart["mean"] / voxel_mm, 0.1)
    at_most("inverse consistency, 99th percentile, voxels", apart["p99"] / voxel_mm, 0.5)


def brains(asked: argparse.Namespace) -> None:
    """Register two brains that are already affinely aligned, and were not used for training."""
    a, b = (tc.read(asked.data / f"registration/brain_{k}.nii.gz") for k in "ab")
    say("NCC before", correlation(a, b))
    found = tc.register(a, b, init="none", **options(asked))
    at_least("NCC, b registered to a", correlation(a, found.moved), 0.985)
    at_least("NCC, a registered to b", correlation(b, found.moved_inverse), 0.985)
    say_regular(found.report, 1.0)
    for stage, taken in found.report["seconds"].items():
        say(f"seconds, {stage}", taken)


def known_truth(asked: argparse.Namespace) -> None:
    """Register a real CT to itself after deformation, noise and contrast enhancement."""
    from tomochrome.registration.validation import make_synthetic, validate_synthetic

    volume, labels = (tc.read(asked.data / f"ct/abdomen_3mm{k}.nii.gz") for k in ("", "_labels"))
    agent = {**dict.fromkeys(VESSELS, 140.0), **dict.fromkeys(KIDNEYS, 120.0)}
    for seed in range(asked.seeds):
        mean = (6.0, 9.0, 12.0)[seed % 3]
        print(f"seed {seed}, mean displacement {mean:g} mm")
        case = make_synthetic(
            volume, labels=labels, mean_mm=mean, noise=15.0, contrast=agent, seed=seed
        )
        found = validate_synthetic(case, options=options(asked))
        say("error in the body, mm", found["error_mm"]["after"]["mean"])
        at_most("error, % of the initial one", found["error_mm"]["percent"], 30.0)
        say("mean Dice of all labels before", found["before"]["dice_mean"])
        at_least("mean Dice of all labels", found["after"]["dice_mean"], 0.85)
        at_least("mean Dice over 30 ml", found["after"]["dice_mean_large"], 0.93)
        say_regular(found, min(volume.spacing))


#: Region, and for each of two scans: seed of the patient, and acquisition parameters.
PATIENTS: tuple[tuple[str, tuple[int, dict[str, Any]], tuple[int, dict[str, Any]]], ...] = (
    ("abdomen", (11, {"phase": "portal"}), (12, {"phase": "native"})),
    ("chest", (21, {"phase": "portal"}), (22, {"phase": "native"})),
    ("pelvis", (31, {"phase": "portal"}), (32, {"phase": "native"})),
    (
        "abdomen",
        (11, {"phase": "portal", "breathing": 0.0}),
        (11, {"phase": "native", "breathing": 1.0}),
    ),
    (
        "chest",
        (21, {"phase": "portal", "breathing": 0.0}),
        (21, {"phase": "native", "breathing": 1.0}),
    ),
)


SPACING = (3.0, 2.5, 2.5)
#: Organs, and the structures of the phantom (`tomochrome.phantom.Structure`) they consist of.
ORGANS: dict[str, tuple[int, ...]] = {
    "liver": (41, 42, 43, 63, 64), "gallbladder": (44, 45), "spleen": (47,), "pancreas": (48,),
    "adrenals": (49,), "kidneys": (50, 51, 52), "stomach": (54, 55, 56), "small bowel": (57, 58),
    "colon": (59, 60, 61), "lungs": (20, 21, 22), "heart": (25, 26, 27), "aorta": (29,),
    "inferior vena cava": (34,), "superior vena cava": (33,), "pulmonary artery": (31,),
    "airways": (23, 24), "esophagus": (36,), "thyroid": (37,), "bladder": (65, 66),
    "uterus": (69,), "ovaries": (70,), "vagina": (72,), "bones": (12, 13, 14), "discs": (17,),
    "cartilage": (18,), "muscle": (7,), "spinal canal": (79, 80),
}  # fmt: skip


def phantoms(asked: argparse.Namespace) -> None:
    """Register different patients in different phases, and one patient after inspiration.

    Bowel loops, glands and vessels of two patients do not correspond, many are small, and a
    structure of only one patient has a Dice of 0. ``registration_bound.py``, which knows every
    label, shows what maps without folds can achieve. At the ends of a scan, parts of the other one
    have no counterpart, so the middle slices are evaluated separately.
    """
    from tomochrome.phantom import make_patient

    for region, one, other in PATIENTS:
        a, b = (make_patient(s, region, SPACING, noise=0.5, **how) for s, how in (one, other))
        whose = f"patients {one[0]} and {other[0]}"
        if one[0] == other[0]:
            whose = f"patient {one[0]}, breathed out and in"
        print(f"{region}, {whose}")
        labels = [
            replace(p.ct, voxels=np.asarray(p.structures, np.uint16), unit="label") for p in (a, b)
        ]
        counts = np.bincount(np.asarray(labels[0].voxels).ravel())
        large = np.flatnonzero(counts * np.prod(SPACING) > 30_000)
        found = tc.register(a.ct, b.ct, **options(asked))
        rough = tc.register(a.ct, b.ct, model="none", refine=0, threads=asked.threads)
        means = {}
        for how, map_ in (
            ("as they lie", tc_like(labels[1], labels[0])),
            ("affine alone", nearest(rough, labels)),
            ("registered", nearest(found, labels)),
        ):
            means[how] = say_overlap(how, labels[0], map_, large)
            say(f"mean Dice of whole organs, {how}", whole_organs(labels[0], map_))
            inner = middle(labels[0]), middle(map_)
            say("  of the middle 70 % of the slices", whole_organs(*inner))
        at_least("gain in Dice over affine alone", means["registered"] - means["affine alone"], 0.0)
        say_regular(found.report, min(a.ct.spacing), None)


def middle(labels: Volume) -> Volume:
    """Return the middle 70 % of the slices."""
    low, high = (round(share * labels.shape[0]) for share in (0.15, 0.85))
    return replace(labels, voxels=np.asarray(labels.voxels)[low:high], outside=None)


def nearest(found: Any, labels: Sequence[Volume]) -> Volume:
    """Return the moving labels on the fixed grid."""
    moved: Volume = found.forward.apply(labels[1], labels[0], order="nearest", fill=0)
    return moved


def say_overlap(how: str, fixed: Volume, moved: Volume, large: np.ndarray) -> float:
    """Print the mean Dice of all labels and of the large ones; return the latter."""
    from tomochrome.evaluate import overlap

    dice = overlap(fixed, moved)["dice"]
    there = np.unique(np.asarray(moved.voxels))
    of_large = {int(label): value for label, value in dice.items() if int(label) in large}
    most = float(np.mean(list(of_large.values())))
    say(f"mean Dice of all structures, {how}", float(np.mean(list(dice.values()))))
    say(f"mean Dice over 30 ml, {how}", most)
    shared = [value for label, value in of_large.items() if label in there]
    say("  without what only one has", float(np.mean(shared)))
    return most


def organs(structures: Volume) -> Volume:
    """Return labels of whole organs, including contents, vessels and walls."""
    table = np.zeros(256, np.uint8)
    for number, parts in enumerate(ORGANS.values(), start=1):
        table[list(parts)] = number
    return replace(structures, voxels=table[np.asarray(structures.voxels)])


def whole_organs(fixed: Volume, moved: Volume) -> float:
    """Return the mean Dice of organs over 30 ml."""
    from tomochrome.evaluate import overlap

    whole = [organs(labels) for labels in (fixed, moved)]
    counts = np.bincount(np.asarray(whole[0].voxels).ravel()) * np.prod(SPACING)
    dice = overlap(*whole)["dice"]
    return float(np.mean([v for k, v in dice.items() if counts[int(k)] > 30_000]))


def tc_like(labels: Volume, like: Volume) -> Volume:
    """Resample labels to another grid."""
    from tomochrome.geometry.resample import resample

    return resample(labels, like, order="nearest", fill=0)


def backbones(asked: argparse.Namespace) -> None:
    """Compare the networks whose features `tomochrome.register` can compare, and none."""
    from tomochrome.cli.evaluate_features import table
    from tomochrome.phantom import make_patient
    from tomochrome.registration.checked_input import FEATURE_BACKBONES
    from tomochrome.registration.opponents import compare_methods
    from tomochrome.registration.validation import make_synthetic

    networks = [asked.backbone] if asked.backbone else list(FEATURE_BACKBONES)
    how = {name: getattr(asked, name) for name in ("model", "refine", "threads")}

    def show(name: str, *pair: Volume, methods: Sequence[str] = networks, **rest: Any) -> None:
        print(f"{name}\n{table(compare_methods(*pair, ['lncc', *methods], **rest, **how))}\n",
              flush=True)  # fmt: skip

    for region, one, other in PATIENTS[:3]:
        a, b = (make_patient(s, region, SPACING, noise=0.5, **scan) for s, scan in (one, other))
        labels = [organs(replace(p.ct, voxels=np.asarray(p.structures), unit="label"))
                  for p in (a, b)]  # fmt: skip
        counts = np.bincount(np.ravel(labels[0].voxels), minlength=256) * np.prod(SPACING)
        kept = np.where(counts > 30_000, np.arange(len(counts)), 0).astype(np.uint8)
        of_fixed, of_moving = (replace(v, voxels=kept[v.voxels]) for v in labels)
        show(
            f"{region}, patients {one[0]} and {other[0]}", a.ct, b.ct,
            fixed_labels=of_fixed, moving_labels=of_moving,
        )  # fmt: skip
    volume = tc.read(asked.data / "ct/abdomen_3mm.nii.gz")
    case = make_synthetic(volume, mean_mm=9.0, noise=15.0, seed=1)
    show("a real CT deformed by 9 mm", case.fixed, case.moving, case=case, init="none")
    brain = [tc.read(asked.data / f"registration/brain_{k}.nii.gz") for k in "ab"]
    general = [name for name in networks if name != "tissue"]
    show("two brains, MRI", *brain, methods=general, init="none")


def symmetry(asked: argparse.Namespace) -> None:
    """Exchange fixed and moving: forward and inverse must be exchanged."""
    from tomochrome.geometry.resample import to_spacing
    from tomochrome.registration.validation import make_synthetic

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
    """Invert the moving CT's grey values, so that direct comparisons of intensities fail."""
    from tomochrome.registration.validation import make_synthetic, validate_synthetic

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
        case = make_synthetic(volume, mean_mm=9.0, noise=15.0, seed=1)
        found = validate_synthetic(
            case, register=inverted, options={**options(asked), "similarity": measure}
        )
        left = found["error_mm"]["percent"]
        if measure == "mse":  # beside the others: squares of differences cannot be small here
            say(f"{measure}: error, % of the initial one", left)
        else:
            at_most(f"{measure}: error, % of the initial one", left, 60.0)
        say(f"{measure}: folded voxels, %", found["jacobian"]["folded_percent"])


def couch(asked: argparse.Namespace) -> None:
    """Register a patient to a scan with the couch 15 mm lower, with and without masks."""
    from tomochrome.phantom import make_patient
    from tomochrome.registration.report import find_body_mask

    patient = make_patient(5, "abdomen", (4.0, 3.0, 3.0), couch=True, noise=0.5)
    bare = make_patient(5, "abdomen", (4.0, 3.0, 3.0), couch=False, noise=0.5)
    hu, empty = (np.asarray(p.ct.voxels, np.float32) for p in (patient, bare))
    body = find_body_mask(bare.ct)
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


def coverage(asked: argparse.Namespace) -> None:
    """Register a real CT with a known deformation to half of its slices."""
    from tomochrome.registration.validation import make_synthetic

    volume = tc.read(asked.data / "ct/abdomen_3mm.nii.gz")
    slices = volume.shape[0]
    for seed, mean in ((1, 8.0), (2, 12.0)):
        case = make_synthetic(volume, mean_mm=mean, noise=15.0, seed=seed)
        points = np.argwhere(case.body[::2, ::2, ::2]) * 2
        points = points @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        there = case.truth.points(points)
        matrix = np.linalg.inv(case.moving.affine)
        row = there @ matrix[0, :3] + matrix[0, 3]
        ways = {"all": (0, slices), "middle": (slices // 4, 3 * slices // 4)}
        for name, (first, last) in {**ways, "lower half": (0, slices // 2)}.items():
            affine = np.array(case.moving.affine)
            affine[:3, 3] += first * affine[:3, 0]
            voxels = np.asarray(case.moving.voxels)[first:last]
            moving = replace(case.moving, voxels=voxels, affine=affine, outside=None)
            found = tc.register(volume, moving, init="none", **options(asked))
            seen = (row >= first) & (row <= last - 1)
            missed = np.linalg.norm(found.forward.points(points[seen]) - there[seen], axis=1)
            before = float(np.linalg.norm(there - points, axis=1)[seen].mean())
            at_most(f"{mean:g} mm, {name}: error, % of before", 100 * missed.mean() / before, 30.0)
            say("  mean, mm", float(missed.mean()))
            say("  95th percentile, mm", float(np.quantile(missed, 0.95)))
            say("  sd of the log Jacobian", found.report["jacobian"]["sd_log"])


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "brains": brains,
    "known-truth": known_truth,
    "phantoms": phantoms,
    "symmetry": symmetry,
    "contrast": contrast,
    "couch": couch,
    "coverage": coverage,
    "backbones": backbones,
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
    parser.add_argument("--similarity", default="lncc")
    parser.add_argument("--backbone", help="of the similarity 'features'")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seeds", type=int, default=3, help="known-truth: deformations")
    asked = parser.parse_args(arguments)
    COMMANDS[asked.what](asked)


if __name__ == "__main__":
    main()

"""All figures on color in the model cards, in one run.

Usage::

    python benchmarks/color_accuracy.py [--data ../shared/data] [--json FILE] [--tissue BUNDLE]

A network and the lookup curve are compared on held-out phantom patients, the contrast-enhanced
abdomen with hand-drawn tissues, the chest CT angiography (heart and pulmonary artery), and the head
CT with its photograph; color outside the body and flicker between slices are measured as well. Real
data is used if the folder is given; it was not used for training.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from contrast_abdomen import labelled_abdomen

HELD_OUT = 2_000_000
PATIENTS = (
    ("abdomen", "portal"),
    ("abdomen", "portal"),
    ("abdomen", "portal"),
    ("abdomen", "arterial"),
    ("thorax", "arterial"),
    ("thorax", "portal"),
    ("pelvis", "portal"),
    ("head", "native"),
)
SPACING = (3.0, 1.2, 1.2)
PLANE = np.array(
    [
        [-0.08416, 0.00895, 131.80818],
        [1.32829, 0.01069, 118.63239],
        [-0.01078, 1.33947, 160.13627],
    ]
)
"""The photographed section in the head CT: voxel (z, y, x) = PLANE @ (row, column, 1)."""
SLICE_MM, SLICES_AROUND = 1.33, 60
"""Distance of the slices above and below it, and how many there are on each side."""


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=None, help="folder with the real scans")
    parser.add_argument("--json", type=Path, default=None, help="file for the figures")
    parser.add_argument("--tissue", default="tissue", help="name or bundle folder of the network")
    parser.add_argument("--transfer", default="transfer-function", help="the lookup curve")
    parser.add_argument("--patients", type=int, default=len(PATIENTS))
    options = parser.parse_args()
    models = {"network": options.tissue, "transfer": options.transfer}
    figures: dict[str, Any] = {"phantoms": phantoms(models, options.patients)}
    if options.data is not None:
        figures["contrast_abdomen"] = abdomen(models, options.data)
        figures["chest_angiography"] = angiography(models, options.data)
        figures["head_photograph"] = photograph(models, options.data)
    text = json.dumps(figures, indent=2)
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def held_out(count: int | None = None) -> Iterator[tuple[str, Any]]:
    """Yield region and patient of the held-out phantoms."""
    from tomochrome.phantom import make_patient

    for k, (region, phase) in enumerate(PATIENTS[:count]):
        yield region, make_patient(HELD_OUT + k, region, SPACING, phase=phase)


def phantoms(models: dict[str, str], count: int) -> dict[str, Any]:
    """Score held-out phantom patients, all regions together and abdomens only."""
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

    from tomochrome.color.palettes import palette
    from tomochrome.colorization import colorize
    from tomochrome.evaluate import colored_outside, flicker
    from tomochrome.phantom import Structure
    from tomochrome.tissue import Tissue

    codes: dict[str, list[Any]] = {name: [] for name in models}
    truths: list[np.ndarray] = []
    outside: dict[str, list[float]] = {name: [] for name in models}
    beyond: dict[str, list[float]] = {name: [] for name in models}  # more than a voxel outside
    moving: dict[str, list[Any]] = {name: [] for name in models}
    errors: dict[str, list[Any]] = {name: [] for name in models}  # within organs, at boundaries
    regions = []
    for region, patient in held_out(count):
        truths.append(np.asarray(patient.tissue.voxels))
        regions.append(region)
        body = patient.structures > Structure.BLANKET
        for name, model in models.items():
            chroma = colorize(patient.ct, model)
            codes[name].append(chroma)
            outside[name].append(colored_outside(chroma, body))
            beyond[name].append(colored_outside(chroma, binary_dilation(body)))
            error = np.linalg.norm(chroma.ab() - palette("natural").ab[truths[-1]], axis=-1)
            tissue = truths[-1] > Tissue.AIR
            boundary = maximum_filter(truths[-1], 3) != minimum_filter(truths[-1], 3)
            parts = (tissue & ~boundary, tissue & boundary)
            errors[name].append([(error[part].sum(), part.sum()) for part in parts])
            moving[name].append(flicker(chroma, patient.ct.voxels))
    result: dict[str, Any] = {}
    for group, chosen in (
        ("all", list(range(len(truths)))),
        ("abdomen", [k for k, region in enumerate(regions) if region == "abdomen"]),
    ):
        scores = {
            name: joined([codes[name][k] for k in chosen], [truths[k] for k in chosen])
            for name in models
        }
        result[group] = _side_by_side(scores)
        plain = [replace(c, table=replace(c.table, contrast=1.0)) for c in codes["network"]]
        score = joined([plain[k] for k in chosen], [truths[k] for k in chosen])
        result[group]["network_without_contrast"] = score.to_json()
    for key, shares in (
        ("colored_outside_body", outside),
        ("colored_over_a_voxel_outside", beyond),
    ):
        result[key] = {n: round(float(np.mean(v)), 5) for n, v in shares.items()}
    result["voxel_error"] = {
        name: {
            part: {
                "mean": round(float(total / count), 2),
                "share_of_voxels": round(count / every, 3),
            }
            for part, (total, count) in zip(("within_organs", "at_boundaries"), sums, strict=True)
        }
        for name, found in errors.items()
        for sums in [np.sum(found, axis=0)]
        for every in [float(sums[:, 1].sum())]
    }
    result["flicker"] = {
        name: {
            "chroma": round(float(np.mean([f.chroma for f in found])), 3),
            "chroma_where_still": round(float(np.mean([f.chroma_where_still for f in found])), 3),
            "luminance": round(float(np.mean([f.luminance for f in found])), 3),
        }
        for name, found in moving.items()
    }
    return result


def joined(chromas: list[Any], truths: list[np.ndarray]) -> Any:
    """Score several patients as one."""
    from tomochrome.evaluate import score_color

    code = np.concatenate([chroma.code.ravel() for chroma in chromas])[None, None]
    sure = np.concatenate([chroma.confidence.ravel() for chroma in chromas])[None, None]
    truth = np.concatenate([truth.ravel() for truth in truths])[None, None]
    return score_color(replace(chromas[0], code=code, confidence=sure), truth)


def _side_by_side(scores: dict[str, Any]) -> dict[str, Any]:
    """Format the ratios of the project's goals, then each score."""
    network, transfer = scores["network"], scores["transfer"]
    return {
        "organ_error_to_transfer": round(network.organ_error / transfer.organ_error, 3),
        "organ_error_to_grey": round(network.organ_error / network.grey_organ_error, 3),
        "voxel_error_to_transfer": round(network.voxel_error / transfer.voxel_error, 3),
        "voxel_error_to_grey": round(network.voxel_error / network.grey_voxel_error, 3),
        **{name: score.to_json() for name, score in scores.items()},
    }


def abdomen(models: dict[str, str], data: Path) -> dict[str, Any]:
    """Score the tissues drawn on slices of the contrast-enhanced abdomen."""
    from tomochrome.colorization import colorize
    from tomochrome.evaluate import score_color
    from tomochrome.evaluate.calibration import reliability
    from tomochrome.tissue import NO_TISSUE

    scan, truth = labelled_abdomen(data)
    chromas = {name: colorize(scan, model) for name, model in models.items()}
    result = _side_by_side({name: score_color(c, truth) for name, c in chromas.items()})
    network, known = chromas["network"], truth != NO_TISSUE
    right = known & (network.tissue == truth)
    calibration = reliability(
        *(np.bincount(network.confidence[part], minlength=256) for part in (known, right))
    )
    return {"right_where_confident": calibration.sure_right, **result}


def labelled_angiography(data: Path) -> tuple[Any, np.ndarray]:
    """Return the chest angiography, and the tissues of its masks: heart and pulmonary artery."""
    import tomochrome as tc
    from tomochrome.geometry.resample import resample
    from tomochrome.tissue import NO_TISSUE, Tissue

    stem = data / "ct" / "thorax_cta_1p5mm"
    scan = tc.read(f"{stem}.nii.gz")
    truth = np.full(scan.shape, NO_TISSUE, np.uint8)
    for ending, tissue in (
        ("heart_larger_grid", Tissue.HEART),
        ("pulmonary_artery", Tissue.VESSEL),
    ):
        mask = resample(tc.read(f"{stem}_{ending}.nii.gz"), scan, order="nearest", fill=0)
        truth[np.asarray(mask.voxels) > 0] = tissue
    return scan, truth


def angiography(models: dict[str, str], data: Path) -> dict[str, Any]:
    """Score heart and pulmonary artery in the chest angiography, by their masks."""
    from tomochrome.colorization import colorize
    from tomochrome.evaluate import flicker, score_color

    scan, truth = labelled_angiography(data)
    chromas = {name: colorize(scan, model, force=True) for name, model in models.items()}
    scores = {name: score_color(chroma, truth) for name, chroma in chromas.items()}
    moving = {name: flicker(chroma, scan.voxels) for name, chroma in chromas.items()}
    result = _side_by_side(scores)
    for organ in ("heart", "vessel"):
        network, transfer = (scores[name].organs[organ].error for name in ("network", "transfer"))
        result[f"{organ}_error_to_transfer"] = round(network / transfer, 3)
    result["flicker"] = {
        name: [round(v, 3) for v in (f.chroma, f.chroma_where_still, f.luminance)]
        for name, f in moving.items()
    }
    return result


def photographed_head(data: Path) -> tuple[Any, np.ndarray, np.ndarray, int]:
    """Return the head around a photographed section, photograph, tissue without gel, and slice.

    The pair's HU are a slice of the head CT (`PLANE`): models get that slice within its volume, as
    in practice. Its HU differ from the pair's by less than 1 on average.
    """
    from PIL import Image

    from tomochrome.color.convert import srgb_to_lab
    from tomochrome.geometry.resample import resample
    from tomochrome.io import read
    from tomochrome.volume import Volume

    stem = data / "cryosection" / "pair_head_female"
    image = np.asarray(Image.open(f"{stem}_rgb.png").convert("RGB"))
    hu, body = np.load(f"{stem}_hu.npy"), np.load(f"{stem}_body.npy").astype(bool)
    mask = body & (srgb_to_lab(image)[..., 2] > -5)  # the gel is blue
    head = read(data / "ct" / "head_female_1mm.nii.gz")
    down, right, corner = PLANE.T
    normal = np.cross(right, down)
    up = SLICE_MM * normal / np.linalg.norm(normal)
    axes = np.eye(4)
    axes[:3] = np.stack([up, down, right, corner - SLICES_AROUND * up], axis=1)
    grid = np.zeros((2 * SLICES_AROUND + 1, *hu.shape), np.int16)
    volume = resample(head, Volume(grid, head.affine @ axes, "HU"))
    found = volume.voxels[SLICES_AROUND]
    apart = np.abs(np.clip(found, -1024.0, 1500) - np.clip(hu, -1024, 1500)).mean()
    if apart > 1:
        raise SystemExit(f"the head CT does not fit the photograph: {apart:.1f} HU apart")
    return volume, image, mask, SLICES_AROUND


def photograph(models: dict[str, str], data: Path) -> dict[str, Any]:
    """Compare the slice of the head with the photograph of the section, without sinus gel."""
    from tomochrome.colorization import colorize
    from tomochrome.evaluate import photograph_error

    volume, image, mask, k = photographed_head(data)
    result: dict[str, Any] = {}
    for name, model in models.items():
        error, grey = photograph_error(colorize(volume, model).ab()[k], image, mask)
        result[name], result["grey"] = round(error, 2), round(grey, 2)
    return result


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()

"""Restoration on simulated defects whose truth is known, beside the methods without a network.

Usage::

    python benchmarks/restoration.py --data ../shared/data [--models restoration,...] \
        [--kinds metal,...] [--draws 1] [--keep DIR] [--json FILE] [--page docs/restoration.md]

Defects are drawn as for the training, in phantoms held out from it and in slices of three real
scans. Figures are of the slices with the defect, within the body: RMSE in HU in the mask (without
the metal itself) and outside of it, PSNR and SSIM at a range of 2000 HU; on phantoms also the
largest bias of a tissue in the mask, and how many of its voxels the model ``tissue`` names rightly,
which is measured of the clean slices, too.
Total variation and non-local means have the best of three strengths, chosen by the truth. BM3D is
left out: the licence of the package ``bm3d`` allows non-commercial use only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.restoration import (
    denoise_nl_means,
    denoise_tv_chambolle,
    inpaint_biharmonic,
)

import tomochrome as tc
from tomochrome.geometry.orient import closest_axial
from tomochrome.phantom import Structure
from tomochrome.restoration.classical import interpolate_slices, metal_mask
from tomochrome.restoration.defects import KINDS, code_of
from tomochrome.training.defect_scans import DefectScan, draw_defect, draw_slab
from tomochrome.training.patients import TrainingPatient, hu_of, tissues_of_structures
from tomochrome.training.pool import HELD_OUT, generate_phantom, load
from tomochrome.volume import Volume, default_affine

BEGIN, END = "<!-- table -->", "<!-- end of table -->"
REGIONS = ("head", "thorax", "abdomen", "pelvis")
REAL = ("abdomen_3mm", "thorax_cta_1p5mm", "head_female_1mm")
SPACING = (3.0, 0.9, 0.9)
BODY_HU = -300.0
RANGE_HU = 2000.0
SOFT_HU = (-200.0, 250.0)
MAX_INPAINTED = 20_000  # pixels of a slice; biharmonic inpainting of more takes hours
MIN_TISSUE = 200  # voxels for a bias
NAMED = ("damaged", "without network")  # whose tissues are predicted, beside the models'
COLUMNS = ("inside", "outside", "psnr", "ssim", "bias", "accuracy")


def phantoms(folder: Path, count: int) -> Iterator[TrainingPatient]:
    """Generate held-out phantoms of all regions, unless they are in the folder."""
    for k in range(count):
        for n, region in enumerate(REGIONS):
            yield load(generate_phantom(folder, HELD_OUT + len(REGIONS) * k + n, region, SPACING))


def real_scans(data: Path) -> Iterator[TrainingPatient]:
    """Read the real scans; all that is not air stands for their structures."""
    for name in REAL:
        scan = closest_axial(tc.read(data / "ct" / f"{name}.nii.gz"))
        hu = hu_of(scan)
        body = np.where(hu > BODY_HU, np.uint8(Structure.MUSCLE), np.uint8(0))
        yield TrainingPatient(name, body, scan.spacing, hu)


def drawn(patient: TrainingPatient, kind: str, seed: int) -> tuple[DefectScan, np.ndarray | None]:
    """Draw a defect, with the tissues of a phantom."""
    rng = np.random.default_rng([seed, 33])
    scan = draw_defect(draw_slab(patient, rng), kind, rng)
    if patient.hu is not None:
        return scan, None
    labelled = replace(patient, hu=patient.structures.astype(np.int16))
    labels = draw_slab(labelled, np.random.default_rng([seed, 33])).hu.astype(np.uint8)
    first = (len(labels) - len(scan.clean) + 1) // 2
    return scan, tissues_of_structures()[labels[first : first + len(scan.clean)]]


def cubic(scan: DefectScan) -> np.ndarray:
    """Interpolate missing slices by cubic splines."""
    missing = (scan.code == code_of("missing")).all(axis=(1, 2))
    return interpolate_slices(scan.measured.astype(np.float32), missing, 3)


def biharmonic(scan: DefectScan) -> np.ndarray:
    """Inpaint what is masked in each slice."""
    out = scan.measured.astype(np.float32)
    for z in scan.targets:
        mask = scan.code[z] > 0
        if 0 < mask.sum() <= MAX_INPAINTED:
            out[z] = inpaint_biharmonic(out[z], mask)
    return out


def smoothed(scan: DefectScan, smooth: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """Smooth each slice where it is masked, with the best of three strengths."""
    out, body = scan.measured.astype(np.float32), bodies(scan)
    for z in scan.targets:
        mask = scan.code[z] > 0
        given, judged = out[z].copy(), mask & body[z]
        tries = [np.where(mask, smooth(given, k), given) for k in (0.5, 1.0, 2.0)]
        out[z] = min(tries, key=lambda t: float(((t - scan.clean[z])[judged] ** 2).sum()))
    return out


def noise_sd(hu: np.ndarray) -> float:
    """Estimate the standard deviation of the noise of a slice in soft tissue, in HU."""
    pair = hu[:, 2:], hu[:, :-2]
    soft = np.logical_and(*((part > SOFT_HU[0]) & (part < SOFT_HU[1]) for part in pair))
    return float(1.4826 / np.sqrt(2) * np.median(np.abs(np.subtract(*pair))[soft]))


def total_variation(hu: np.ndarray, strength: float) -> np.ndarray:
    """Denoise a slice by total variation."""
    return denoise_tv_chambolle(hu, weight=1.5 * strength * noise_sd(hu) + 1e-3)


def non_local_means(hu: np.ndarray, strength: float) -> np.ndarray:
    """Denoise a slice by non-local means."""
    sigma = noise_sd(hu)
    return denoise_nl_means(hu, 5, 6, h=strength * sigma + 1e-3, sigma=sigma, fast_mode=True)


def methods(kind: str, models: list[str]) -> dict[str, Callable[[DefectScan], np.ndarray]]:
    """Return the methods that can fill a kind."""
    out: dict[str, Callable[[DefectScan], np.ndarray]] = {
        "damaged": lambda scan: scan.measured.astype(np.float32)
    }
    if kind not in ("noise", "field"):
        out["without network"] = lambda scan: scan.filled.astype(np.float32)
    if kind == "missing":
        out["cubic interpolation"] = cubic
    if kind in ("metal", "ring", "lines"):
        out["biharmonic inpainting"] = biharmonic
    if kind in ("metal", "ring", "noise"):
        out["total variation"] = lambda scan: smoothed(scan, total_variation)
        out["non-local means"] = lambda scan: smoothed(scan, non_local_means)
    for name in models:
        out[name] = lambda scan, name=name: network(scan, name)
    return out


def network(scan: DefectScan, name: str) -> np.ndarray:
    """Fill with a model."""
    from tomochrome.restoration.fill import fill

    return fill(scan.measured.astype(np.float32), scan.code, scan.spacing, model=name)


def bodies(scan: DefectScan) -> np.ndarray:
    """Return the body with its cavities, booleans (z, y, x)."""
    opened = ndimage.binary_opening(scan.clean > BODY_HU, np.ones((1, 3, 3)))
    return np.stack([ndimage.binary_fill_holes(part) for part in opened])


def named(hu: np.ndarray, scan: DefectScan) -> np.ndarray:
    """Return the tissue map of the model ``tissue``."""
    volume = Volume(np.rint(hu).astype(np.int16), default_affine(scan.spacing))
    tissue = tc.colorize(volume).tissue
    return np.asarray(getattr(tissue, "voxels", tissue))


def measure(
    scan: DefectScan, hu: np.ndarray, tissue: np.ndarray | None, name_tissues: bool
) -> dict[str, object]:
    """Return the figures of one filling."""
    where = np.zeros(scan.code.shape, np.bool_)
    where[list(scan.targets)] = True
    body = bodies(scan) & where & ~metal_mask(scan.measured)
    mask = body & (scan.code > 0)
    clean = scan.clean.astype(np.float32)
    error = hu - clean
    shown = [np.clip(part, -RANGE_HU / 2, RANGE_HU / 2) for part in (hu, clean)]
    squared = float(((shown[0] - shown[1])[body] ** 2).mean())
    similar = [
        structural_similarity(*(part[z] for part in shown), data_range=RANGE_HU, full=True)[1]
        for z in scan.targets
    ]
    out: dict[str, object] = {
        "inside": rms(error[mask]), "outside": rms(error[body & (scan.code == 0)]),
        "psnr": float(10 * np.log10(RANGE_HU**2 / max(squared, 1e-6))),
        "ssim": float(np.stack(similar)[body[list(scan.targets)]].mean()),
    }  # fmt: skip
    if tissue is not None:
        count = np.bincount(tissue[mask], minlength=256)
        total = np.bincount(tissue[mask], error[mask], minlength=256)
        biases = {int(t): float(total[t] / count[t]) for t in np.flatnonzero(count >= MIN_TISSUE)}
        out["biases"] = biases
        out["bias"] = max(map(abs, biases.values()), default=None)
        if name_tissues:
            out["accuracy"] = 100 * float((named(hu, scan) == tissue)[mask].mean())
    return out


def rms(values: np.ndarray) -> float | None:
    """Return the root mean square, None of nothing."""
    return float(np.sqrt((values**2).mean())) if values.size else None


def table(rows: list[dict[str, object]]) -> str:
    """Return Markdown: the means of each method, kind and set."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, object]]]] = defaultdict(dict)
    for row in rows:
        group = groups[str(row["set"]), str(row["kind"])]
        group.setdefault(str(row["method"]), []).append(row)
    lines = []
    for (where, kind), group in groups.items():
        count = len(next(iter(group.values())))
        lines += ["", f"**{kind}, {where}** ({count} scans)", ""]
        lines.append("| method | RMSE in the mask, HU | outside | PSNR, dB | SSIM | bias, HU "
                     "| tissues right, % |")  # fmt: skip
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for method, measured in group.items():
            cells = [method]
            for column, digits in zip(COLUMNS, (1, 1, 1, 3, 1, 1), strict=True):
                values = [row[column] for row in measured if row.get(column) is not None]
                cells.append(f"{np.mean(values):.{digits}f}" if values else "")  # type: ignore[arg-type]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines).strip() + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the real scans")
    parser.add_argument("--models", default="", help="names of models, separated by commas")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--draws", type=int, default=1, help="defects of a kind in each patient")
    parser.add_argument("--phantoms", type=int, default=1, help="patients of each region")
    parser.add_argument("--keep", type=Path, help="folder in which the phantoms are kept")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--page", type=Path, help="Markdown file with the table's two comments")
    options = parser.parse_args()
    models = [name for name in options.models.split(",") if name]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep or Path(made)
        folder.mkdir(exist_ok=True, parents=True)
        patients = [*phantoms(folder, options.phantoms), *real_scans(options.data)]
        for kind in options.kinds.split(","):
            for n, patient in enumerate(patients):
                for draw in range(options.draws):
                    scan, tissue = drawn(patient, kind, 100 * n + draw)
                    about = {
                        "set": "phantoms" if tissue is not None else "real scans",
                        "kind": kind, "patient": patient.name, "draw": draw,
                    }  # fmt: skip
                    if not (bodies(scan) & (scan.code > 0)).any():
                        continue  # the defect misses the body
                    for name, method in methods(kind, models).items():
                        judged = name in NAMED or name in models
                        figures = measure(scan, method(scan), tissue, judged)
                        rows.append({**about, "method": name, **figures})
                    if tissue is not None:  # as many as there could be right
                        figures = measure(scan, scan.clean.astype(np.float32), tissue, True)
                        rows.append({**about, "method": "clean", "accuracy": figures["accuracy"]})
                    print(kind, patient.name, flush=True)
    text = table(rows)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.page is not None:
        page = options.page.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        options.page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

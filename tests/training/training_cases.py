"""Small patients, configurations and data folders for training runs of a few seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tomochrome.phantom import Structure
from tomochrome.training.augment import Augmentation
from tomochrome.training.config import CONFIGS
from tomochrome.training.defect_scans import DefectScan
from tomochrome.training.pool import HELD_OUT

PHANTOMS = {"spacing": [8.0, 8.0, 8.0], "regions": {"abdomen": 1.0}, "count": 2}
NOGAN = {
    "shape": [32, 32],
    "batch": 2,
    "critic_width": 4,
    "parts": [
        {"share": 0.3, "shape": [32, 32], "learns": "generator"},
        {"share": 0.3, "shape": [32, 32], "learns": "critic"},
        {"share": 0.4, "shape": [32, 32], "learns": "both"},
    ],
}
RESNET = {"layers": 18, "widths": [4, 4, 8, 8], "decoder": [8, 8, 8, 8, 8]}
SMALL = {
    "DynamicUNet": {"network": RESNET, **NOGAN},
    "BigColor": {"network": {**RESNET, "latent": 4}, **NOGAN},
    "UNet": {
        "start": None,
        "network": {"channels": [8, 16, 16], "strides": [2, 2], "num_res_units": 1},
        "shape": [32, 48],
        "batch": 2,
    },
    "Scim": {"shape": [32, 48], "batch": 2},
    "ColorUNet": {
        "network": {"features": [4, 4, 8, 8, 8, 4]},
        "shape": [32, 48],
        "batch": 2,
    },
    "Zhang": {"network": {"width": 4}, "shape": [32, 48], "batch": 2},
    "tissue-3d-unet": {
        "network": {"channels": [8, 16, 16], "strides": [2, 2], "num_res_units": 1},
        "block": [16, 32, 48],
        "batch": 2,
    },
    "tissue-3d-segresnet": {
        "network": {"init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
        "block": [16, 32, 48],
        "batch": 2,
    },
    **{
        name: {"shape": [32, 48], "crop": [24, 32], "reuse": 2, "batch": 2}
        for name in ("AlexNet", "VGG16", "ResNet18")
    },
    "MaskedUNet": {"network": {"widths": [4, 8]}, "shape": [32, 32], "batch": 2, "scans": 3},
    "DefectUNet": {"network": {"widths": [4, 8]}, "shape": [32, 32], "batch": 2, "scans": 3},
    "TranslationVAE": {"network": {"widths": [4, 8]}, "shape": [32, 32], "batch": 2, "scans": 3},
    "SymNet": {
        "network": {"channels": [8, 12], "reach": 4.0, "passes": 2},
        "shape": [16, 16, 20],
        "opening": {"share": 0.5, "shape": [16, 16, 16], "sizes": [0.1, 0.5]},
    },
}


STILL = Augmentation(
    tilt_degrees=0.0, scale=(1.0, 1.0001), elastic_mm=0.0, inflation=0.0, shift_mm=0.0,
    noise_hu=0.0, blur_px=0.0, couch=0.0, arms=0.0, small_field=0.0, short_volume=0.0, streaks=0.0,
    prone=0.0,
)  # fmt: skip
"""Samples as the patient is, in the middle of the image."""


def shipped() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def small(name: str) -> dict:
    """Return a shipped configuration with a small network, grid and pool."""
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    change = SMALL.get(name) or SMALL[config["network"]["name"]]
    network = {**config["network"], **change.get("network", {})}
    if config.get("source") == "mixture":  # needs real data
        config |= {"source": "palette", "crop": None, "reuse": 0, "rebalancing": None}
        config |= {"start": None, "photographs": None}
    return {**config, **change, "network": network, "phantoms": PHANTOMS}


def write_pool(folder: Path, seeds: range) -> Path:
    """Write patients made of boxes in the pool's own file format."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        s = np.zeros((24, 36, 40), np.uint8)
        s[:, 3:33, 3:37] = Structure.SUBCUTANEOUS_FAT
        s[:, 6 + seed % 4 : 30, 6:34] = Structure.MUSCLE
        s[5:18, 9:24, 8:18] = Structure.LIVER
        header = json.dumps({"seed": seed, "region": "abdomen", "spacing": [4.0, 4.0, 4.0]})
        np.savez_compressed(folder / f"abdomen-{seed}.npz", structures=s, header=np.array(header))
    return folder


def write_run(folder: Path, count: int = 2) -> Path:
    """Write a run's folder whose phantoms, held-out ones too, are all there."""
    write_pool(folder / "pool", range(1, count + 1))
    write_pool(folder / "held-out", range(HELD_OUT, HELD_OUT + 12))
    return folder


def write_defect_scans(folder: Path) -> Path:
    """Write three scans to learn from and one held out, as `DefectScans` names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(("learn-00000", "learn-00001", "learn-00002", "test-00003")):
        rng = np.random.default_rng(k)
        clean = rng.integers(-50, 90, (5, 40, 48)).astype(np.int16)
        measured, code = clean.copy(), np.zeros(clean.shape, np.uint8)
        code[1:4, 10:30, 12:30] = k + 1
        measured[code > 0] += 150
        scan = DefectScan(measured, measured, clean, code, (3.0, 1.0, 1.0), (1, 2, 3))
        scan.save(folder / f"{name}.npy")
    return folder


def write_data(folder: Path) -> Path:
    """Write a data folder as training and scoring look for it: CT, labels and two brains."""
    import nibabel

    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:20, :28, :32]
    hu = np.full((20, 28, 32), -1000.0)
    hu[:, 3:25, 3:29] = -100
    hu[:, 5:23, 5:27] = 50
    hu[5:15, 8:16, 8:15] = 110
    hu[((y - 14) ** 2 + (x - 16) ** 2 + 0 * z) < 9] = 400
    hu += rng.normal(0, 8, hu.shape)
    labels = np.zeros(hu.shape)
    labels[5:15, 8:16, 8:15] = 5  # TotalSegmentator's liver
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    images = {
        "ct/abdomen_3mm": hu,
        "ct/abdomen_3mm_labels": labels,
        "ct/thorax_cta_1p5mm": hu,
        "ct/head_female_1mm": hu,
        "registration/brain_a": np.clip(hu, -100, 200) + 100,
        "registration/brain_b": np.roll(np.clip(hu, -100, 200) + 100, 1, 2),
    }
    for name, voxels in images.items():
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels.T.astype(np.int16), affine), path)
    return folder

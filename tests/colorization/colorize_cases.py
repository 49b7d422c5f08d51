"""A synthetic patient and small model bundles, so that no test depends on the shipped weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue

EDGES = {"first": -1024, "step": 8, "bins": 512}
NETWORK = {
    "name": "UNet",
    "in_channels": 2,
    "out_channels": N_TISSUES,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 0,
    "norm": "batch",
    "act": "relu",
}
INPUT = {
    "pixel_mm": 2.0,
    "slice_mm": 3.0,
    "channels": [
        {"center": 40, "width": 400, "offset_mm": 0.0},
        {"center": 40, "width": 400, "offset_mm": 6.0},
    ],
}


def write_bundle(path: Path, weights: bytes, **metadata: Any) -> Path:
    """Write a bundle folder whose metadata names the weights' SHA-256."""
    (path / "configs").mkdir(parents=True)
    (path / "models").mkdir()
    (path / "models" / "model.safetensors").write_bytes(weights)
    card = {
        "name": path.name,
        "kind": "network",
        "trained_on": "nothing: made for a test",
        "scores": {"none": 0},
        "license": "BSD-3-Clause",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "classes": list(TISSUE_NAMES),
        "hu_edges": EDGES,
        **metadata,
    }
    (path / "configs" / "metadata.json").write_text(json.dumps(card))
    return path


def likelihood(**ranges: tuple[float, float]) -> np.ndarray:
    """Likelihood 1 between two HU for each named tissue, nearly 0 elsewhere."""
    table = np.full((EDGES["bins"], N_TISSUES), 1e-4, dtype=np.float32)
    hu = EDGES["first"] + EDGES["step"] * (np.arange(EDGES["bins"]) + 0.5)
    for name, (low, high) in ranges.items():
        table[(hu >= low) & (hu < high), Tissue[name]] = 1.0
    return table


SIMPLE = {
    "AIR": (-2000, -950),
    "LUNG": (-950, -300),
    "FAT": (-300, -20),
    "MUSCLE": (-20, 200),
    "CORTICAL_BONE": (200, 2500),
    "FOREIGN_BODY": (2500, 9000),
}


def draw_patient(
    shape: tuple[int, int, int] = (8, 120, 140), mm: float = 2.5, noise: float = 8.0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Create a trunk with lungs, spine, bowel gas, a metal screw and an arm, above a couch.

    Returns
    -------
    hu
        int16, shape (z, y, x).
    masks
        bool, same shape: body (with its cavities), couch, lung, gas, metal, fat, muscle, bone.
    """
    rng = np.random.default_rng(5)
    _, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    x, y = (x - shape[2] / 2) * mm, (y - shape[1] / 2) * mm

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1

    trunk = ellipse(0, -15, 118, 82)
    arm = ellipse(-148, 0, 22, 22)
    muscle = ellipse(0, -15, 98, 64) | ellipse(-148, 0, 14, 14)
    lung = ellipse(45, -30, 36, 28)
    gas = ellipse(-45, -40, 14, 12)
    bone = ellipse(0, 28, 16, 13)
    metal = ellipse(0, 28, 5, 5)
    couch = np.abs(y - 84 - (x / 60) ** 2) < 2.0
    hu = np.full(shape, -1000.0)
    hu[couch] = 60
    hu[trunk | arm] = -100
    for where, value in ((muscle, 55), (lung, -840), (gas, -1000), (bone, 500), (metal, 3000)):
        hu[where] = value
    hu += rng.normal(0, noise, shape)
    masks = {
        "body": trunk | arm,
        "couch": couch & ~trunk,
        "lung": lung,
        "gas": gas,
        "metal": metal,
        "bone": bone & ~metal,
        "muscle": muscle & ~(lung | gas | bone),
        "fat": (trunk | arm) & ~muscle & ~lung,
    }
    return np.rint(hu).clip(-1024, 3071).astype(np.int16), masks

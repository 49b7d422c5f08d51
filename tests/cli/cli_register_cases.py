"""A patient before and after a motion, as files, and a registration that takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tomochrome.io import write
from tomochrome.io.points import write_points
from tomochrome.phantom import make_patient
from tomochrome.volume import Volume

QUICK = ("--model", "none", "--refine", 4, "--device", "cpu")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_inputs(folder: Path) -> Path:
    """A patient as DICOM would have it and again, moved, with labels, masks and landmarks."""
    patient = make_patient(1, "abdomen", (13.0, 13.0, 13.0))
    write(patient.ct, folder / "fixed.nii.gz")
    moved = patient.ct.affine.copy()
    moved[:3, 3] += (14.0, -8.0, 11.0)
    write(replace(patient.ct, affine=moved), folder / "moving.nii.gz")
    write(patient.tissue, folder / "fixed_labels.nii.gz")
    write(replace(patient.tissue, affine=moved), folder / "moving_labels.nii.gz")
    body = (np.asarray(patient.tissue.voxels) > 0).astype(np.uint8)
    write(Volume(body, patient.ct.affine, "unknown"), folder / "mask.nii.gz")
    middle = patient.ct.affine[:3, 3] + 100
    points = middle + np.random.default_rng(0).uniform(-40, 40, (5, 3))
    write_points(points, folder / "fixed.fcsv")
    write_points(points + np.array([14.0, -8.0, 11.0]), folder / "moving.csv")
    write_points(points[:3], folder / "three.csv")
    return folder

"""Unlabelled scans for the training of a tissue network, with a teacher's labels.

The teacher sees each scan at three sizes. Where it names the same tissue each time and is sure of
it, the scan is learned from; elsewhere it has no weight (D.-H. Lee, "Pseudo-label", ICML workshop
2013; Q. Xie et al., "Self-training with noisy student", CVPR 2020).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.colorization.predict import colorize
from tomochrome.geometry.orient import closest_axial
from tomochrome.io import read
from tomochrome.phantom import Structure, tissue_table
from tomochrome.runtime import check, report
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.training.patients import UNSURE, TrainingPatient, coarsened, hu_of
from tomochrome.volume import Volume

TAUGHT: Final = (
    "ct/abdomen_contrast_pancreas_5mm.nii.gz",
    "ct/kidneys_arterial_18slices.nii.gz",
    "ct/torso_petct_couch.nii.gz",
    "ct/chest_effusion_tumor.nii.gz",
    "ct/chest_plain_a.nii.gz",
    "ct/chest_lowdose.nii.gz",
)
"""CT of living people without labels."""
SPACING: Final = (2.0, 1.6, 1.6)
"""Finest spacing (z, y, x) at which the scans are kept, in mm."""
SIZES: Final = (1.0, 0.9, 1.1)
"""Factors of the patient's size in the teacher's views."""


def taught_files(data: Path) -> list[Path]:
    """Return the scans of `TAUGHT` that a data folder has."""
    return [data / name for name in TAUGHT if (data / name).is_file()]


def read_taught(data: Path, teacher: str, confidence: float) -> list[TrainingPatient]:
    """Read the unlabelled scans of a folder; those that it lacks are left out.

    Parameters
    ----------
    data
        Folder with real data.
    teacher
        Model that names the tissues, by name or bundle folder.
    confidence
        Lowest confidence that counts, 0 to 1.

    Raises
    ------
    TomochromeError
        If a scan cannot be read, or there is no such model.
    """
    paths, patients = taught_files(data), []
    for done, path in enumerate(paths):
        check()
        report(done, len(paths), "naming tissues of unlabelled scans")
        scan = closest_axial(read(path))
        small, name = coarsened(scan, SPACING), path.name.split(".")[0]
        structures = teach(small, teacher, confidence)
        patients.append(TrainingPatient(name, structures, small.spacing, hu_of(small), taught=True))
    return patients


def teach(scan: Volume, teacher: str, confidence: float) -> NDArray[np.uint8]:
    """Return a structure of each tissue that a model is sure of, `UNSURE` elsewhere.

    Parameters
    ----------
    scan
        CT in HU.
    teacher
        Model that names the tissues.
    confidence
        Lowest mean confidence of the views, 0 to 1.

    Returns
    -------
    ndarray
        uint8 (z, y, x) of `tomochrome.phantom.Structure`, or `UNSURE`.
    """
    tissue, total = None, np.zeros(scan.shape, np.float32)
    for size in SIZES:
        view = replace(scan, affine=scan.affine @ np.diag([size, size, size, 1.0]))
        chroma = colorize(view, model=teacher)
        total += chroma.confidence / np.float32(255)
        if tissue is None:
            tissue = np.asarray(chroma.tissue).copy()
        tissue[np.asarray(chroma.tissue) != tissue] = N_TISSUES
    assert tissue is not None
    structures = np.full(N_TISSUES + 1, UNSURE, np.uint8)
    of_structure = tissue_table()
    for number in Tissue:
        structures[number] = np.flatnonzero(of_structure == number)[0]
    structures[Tissue.AIR] = Structure.OUTSIDE_AIR
    named = structures[tissue]
    sure = (total >= confidence * len(SIZES)) | (tissue == Tissue.AIR)
    return np.where(sure, named, UNSURE).astype(np.uint8)

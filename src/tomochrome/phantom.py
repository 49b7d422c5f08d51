"""Phantom patients as volumes: the phantom of `ctphantom`, its tissues, and DICOM series of it.

This is the only module that imports the patient of `ctphantom`. It adds what the phantom knows
nothing of: volumes, tissues, tasks (progress, cancel), errors and files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

import ctphantom
from ctphantom import N_STRUCTURES, PHASES, REGIONS, Anatomy, Structure, StructureMap
from ctphantom.materials import hu_table, sample_hu, texture_table
from tomochrome.errors import OptionError
from tomochrome.runtime.sandbox import call
from tomochrome.runtime.task import check, report
from tomochrome.tissue import NO_TISSUE, Tissue
from tomochrome.volume import Provenance, Volume

__all__ = [
    "N_STRUCTURES",
    "PHASES",
    "REGIONS",
    "Anatomy",
    "Patient",
    "Structure",
    "StructureMap",
    "Variations",
    "draw_anatomy",
    "draw_variations",
    "hu_table",
    "make_ct",
    "make_patient",
    "make_structures",
    "render_hu",
    "sample_hu",
    "texture_table",
    "tissue_table",
    "write_dicom",
]

_S = Structure
_STRUCTURES: Final = {
    Tissue.AIR: (
        _S.OUTSIDE_AIR, _S.COUCH, _S.COUCH_FOAM, _S.BLANKET, _S.STOMACH_GAS, _S.BOWEL_GAS,
    ),
    Tissue.LUNG: (_S.LUNG, _S.LUNG_DEPENDENT, _S.LUNG_SOLID),
    Tissue.AIRWAY: (_S.AIRWAY_GAS, _S.SINUS_GAS, _S.MASTOID_AIR),
    Tissue.FAT: (
        _S.SUBCUTANEOUS_FAT, _S.VISCERAL_FAT, _S.INTERMUSCULAR_FAT, _S.BREAST_GLAND,
        _S.PERICARDIAL_FAT, _S.THYMUS, _S.ORBITAL_FAT,
    ),
    Tissue.MUSCLE: (
        _S.MUSCLE, _S.DIAPHRAGM, _S.FASCIA, _S.THYROID, _S.LYMPH_NODE, _S.MUCOSA, _S.PAROTID,
        _S.SALIVARY_GLAND, _S.TONGUE,
    ),
    Tissue.SKIN: (_S.SKIN,),
    Tissue.CORTICAL_BONE: (_S.CORTICAL_BONE, _S.TOOTH, _S.CALCIFICATION),
    Tissue.MARROW: (_S.TRABECULAR_BONE, _S.FATTY_MARROW, _S.DIPLOE),
    Tissue.CARTILAGE: (_S.INTERVERTEBRAL_DISC, _S.CARTILAGE, _S.AIRWAY_WALL),
    Tissue.LIVER: (_S.LIVER, _S.LESION),
    Tissue.SPLEEN: (_S.SPLEEN,),
    Tissue.KIDNEY: (_S.KIDNEY_CORTEX, _S.KIDNEY_MEDULLA, _S.RENAL_PELVIS),
    Tissue.PANCREAS: (_S.PANCREAS,),
    Tissue.ADRENAL: (_S.ADRENAL,),
    Tissue.GALLBLADDER: (_S.GALLBLADDER, _S.GALLBLADDER_WALL, _S.BILE_DUCT),
    Tissue.STOMACH: (_S.ESOPHAGUS, _S.STOMACH_WALL, _S.STOMACH_CONTENT),
    Tissue.BOWEL: (
        _S.SMALL_BOWEL_WALL, _S.SMALL_BOWEL_CONTENT, _S.COLON_WALL, _S.COLON_CONTENT,
    ),
    Tissue.BLADDER: (_S.URETER, _S.BLADDER_WALL, _S.URINE),
    Tissue.VESSEL: (
        _S.LUNG_VESSEL, _S.AORTA, _S.ARTERY, _S.PULMONARY_ARTERY, _S.PULMONARY_VEIN,
        _S.SUPERIOR_VENA_CAVA, _S.VENA_CAVA, _S.VEIN, _S.HEPATIC_VEIN, _S.PORTAL_VEIN,
        _S.DURAL_SINUS,
    ),
    Tissue.HEART: (_S.MYOCARDIUM, _S.LEFT_HEART_BLOOD, _S.RIGHT_HEART_BLOOD),
    Tissue.BRAIN: (
        _S.GREY_MATTER, _S.WHITE_MATTER, _S.DEEP_GREY, _S.CEREBELLUM, _S.BRAINSTEM,
        _S.OPTIC_NERVE, _S.PITUITARY, _S.DURA,
    ),
    Tissue.SPINAL_CORD: (_S.SPINAL_CORD,),
    Tissue.EYE: (_S.VITREOUS, _S.LENS, _S.SCLERA),
    Tissue.REPRODUCTIVE: (
        _S.PROSTATE, _S.SEMINAL_VESICLE, _S.UTERUS, _S.OVARY, _S.TESTIS, _S.VAGINA, _S.PENIS,
    ),
    Tissue.FLUID: (_S.EFFUSION_FLUID, _S.ASCITES, _S.CYST, _S.CSF),
    Tissue.FOREIGN_BODY: (_S.METAL, _S.CATHETER),
}  # fmt: skip
"""The structures of each tissue; those without a tissue of their own are in the most similar."""

_MEMORY: Final = 16 << 30  # address space; the compiler reserves much more than it uses
_SECONDS: Final = 600.0


def tissue_table() -> NDArray[np.uint8]:
    """Return the `Tissue` of each `Structure`, uint8 (n_structures,)."""
    table = np.full(N_STRUCTURES, NO_TISSUE, np.uint8)
    for tissue, structures in _STRUCTURES.items():
        table[list(structures)] = tissue
    return table


@contextmanager
def _option_errors() -> Iterator[None]:
    """Raise an `OptionError` in place of the phantom's own error."""
    try:
        yield
    except ctphantom.PhantomError as error:
        raise OptionError(str(error)) from error


def _progress(done: int, total: int, stage: str) -> None:
    check()
    report(done, total, stage)


def _only_check(done: int, total: int, stage: str) -> None:
    check()


class Variations(ctphantom.Variations):
    """Differences of one phantom patient from a healthy adult, as `ctphantom.Variations`.

    Raises
    ------
    OptionError
        If a value is out of range, or a name is unknown.
    """

    def __post_init__(self) -> None:
        with _option_errors():
            super().__post_init__()


def draw_variations(seed: int) -> Variations:
    """Draw one to three variations of the patient of a seed, as `ctphantom.draw_variations`."""
    return Variations(**vars(ctphantom.draw_variations(seed)))


def draw_anatomy(seed: int, **overrides: Any) -> Anatomy:
    """Draw the anatomy of a realistic adult from a seed.

    Parameters
    ----------
    seed, **overrides
        As for `ctphantom.draw_anatomy`.

    Returns
    -------
    Anatomy
        The parameters of the patient.

    Raises
    ------
    OptionError
        If an override is invalid.
    """
    with _option_errors():
        return ctphantom.draw_anatomy(seed, **overrides)


def make_structures(
    seed: int = 0,
    region: str = "torso",
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    *,
    threads: int | None = 1,
    **options: Any,
) -> StructureMap:
    """Make a patient's structures without rendering a CT, as for training.

    Parameters
    ----------
    seed, region, spacing, threads, **options
        As for `ctphantom.make_structures`.

    Returns
    -------
    StructureMap
        Structures (z, y, x), affine and anatomy.

    Raises
    ------
    OptionError
        If an option is invalid.
    Cancelled
        If cancelled.
    """
    with _option_errors():
        return ctphantom.make_structures(
            seed, region, spacing, threads=threads, progress=_progress, **options
        )


@dataclass(frozen=True, eq=False)
class Patient:
    """A phantom patient with all data on one grid.

    Attributes
    ----------
    ct
        int16 HU (z, y, x).
    tissue
        uint8 of `tomochrome.tissue.Tissue` on the same grid.
    structures
        uint8 (z, y, x) of `Structure`, finer than tissues.
    anatomy
        The parameters of the patient.
    description
        One line on the patient and the scan.
    """

    ct: Volume
    tissue: Volume
    structures: NDArray[np.uint8]
    anatomy: Anatomy
    description: str

    def cryosection(self) -> NDArray[np.uint8]:
        """Return the colors of photographs of frozen sections, uint8 (z, y, x, 3), sRGB."""
        patient = ctphantom.Patient(
            self.ct.voxels, self.structures, self.ct.affine, self.anatomy, self.description
        )
        return patient.cryosection(progress=_only_check)


def make_patient(
    seed: int = 0,
    region: str = "chest",
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.5),
    **options: Any,
) -> Patient:
    """Make a realistic adult patient with its CT.

    Parameters
    ----------
    seed, region, spacing, **options
        As for `ctphantom.make_patient`.

    Returns
    -------
    Patient
        CT, tissues and structures on one grid.

    Raises
    ------
    OptionError
        If an option is invalid.
    Cancelled
        If cancelled.
    """
    started = time.perf_counter()
    with _option_errors():
        made = ctphantom.make_patient(seed, region, spacing, progress=_progress, **options)
    duration = f"generated in {time.perf_counter() - started:.1f} s"
    origin = Provenance(
        source=f"phantom:{seed}", kind="phantom", modality="CT",
        history=(made.description, duration),
    )  # fmt: skip
    return Patient(
        Volume(made.ct, made.affine, "HU", origin),
        Volume(tissue_table()[made.structures], made.affine, "tissue", origin),
        made.structures,
        made.anatomy,
        made.description,
    )


def render_hu(
    structures: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    rng: np.random.Generator,
    noise: float = 1.0,
) -> NDArray[np.int16]:
    """Render the CT of a structure map at a random time after contrast agent, or without it.

    Parameters
    ----------
    structures
        `Structure` of each voxel, uint8 (z, y, x).
    spacing
        Spacing (z, y, x) in mm.
    rng
        Random number generator.
    noise
        Factor on the scanner's noise.

    Returns
    -------
    ndarray
        HU, int16 (z, y, x).
    """
    from ctphantom.rendered_ct import Scanner, render_ct  # compiles

    return render_ct(
        structures, spacing, rng=rng, hu=sample_hu(None, rng), scanner=Scanner(noise=noise),
        threads=1,
    )  # fmt: skip


def write_dicom(
    patient: Patient,
    folder: str | os.PathLike[str],
    *,
    compress: Literal["j2k"] | None = None,
    force: bool = False,
) -> Path:
    """Write a phantom's CT as a classic CT series, one file per slice.

    Parameters
    ----------
    patient
        A patient from `make_patient`.
    folder
        As for `tomochrome.io.dicom.write_series`.
    compress
        ``"j2k"`` for JPEG 2000 lossless; None for uncompressed explicit little endian.
    force
        Replace an existing series in that folder.

    Returns
    -------
    Path
        As from `tomochrome.io.dicom.write_series`.

    Raises
    ------
    OutputError, Cancelled
        As for `tomochrome.io.dicom.write_series`.
    """
    from tomochrome.io.dicom import write_series

    return write_series(
        patient.ct,
        folder,
        description=patient.description,
        patient_position="HFS",
        compress=compress,
        force=force,
    )


def make_ct(region: str, **options: Any) -> Volume:
    """Return the CT of a phantom patient, made in a child process.

    A window stays responsive meanwhile: compiling the kernels, the first time, holds Python's
    global interpreter lock for seconds.

    Parameters
    ----------
    region, **options
        As for `make_patient`.

    Returns
    -------
    Volume
        The CT in HU.

    Raises
    ------
    SandboxError
        If the child process fails.
    TomochromeError
        As `make_patient`; also if the task was cancelled.
    """
    voxels, affine, source, history = call(
        _parts, region, options, subject="the sample", memory=_MEMORY, seconds=_SECONDS
    )
    provenance = Provenance(
        source=source, kind="phantom", modality="CT", history=tuple(map(str, history))
    )
    return Volume(voxels, affine, "HU", provenance)


def _parts(region: str, options: dict[str, Any]) -> tuple[Any, Any, str, list[str]]:
    """Make the CT, in the child: only arrays and plain values can be returned."""
    ct = make_patient(region=region, **options).ct
    return ct.voxels, ct.affine, ct.provenance.source, list(ct.provenance.history)

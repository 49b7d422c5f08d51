"""Completion of a labelled CT to a structure map of every voxel.

The labels (TotalSegmentator's task "total") cover organs, vertebrae, ribs and some muscles. The
remaining structures follow from HU and position: fat, other muscle, skin, cortical bone and
marrow, gas in the gut, walls of hollow organs, renal cortex.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.errors import InputError
from tomochrome.geometry.morphology import largest_part
from tomochrome.geometry.orient import closest_axial
from tomochrome.io import read
from tomochrome.phantom import Structure
from tomochrome.training.patients import TrainingPatient, hu_of

S = Structure  # short, for the tables below
ORGANS: dict[int, S] = {
    1: S.SPLEEN,
    2: S.KIDNEY_CORTEX,
    3: S.KIDNEY_CORTEX,
    4: S.GALLBLADDER,
    5: S.LIVER,
    6: S.STOMACH_CONTENT,
    7: S.PANCREAS,
    8: S.ADRENAL,
    9: S.ADRENAL,
    **dict.fromkeys(range(10, 15), S.LUNG),
    15: S.ESOPHAGUS,
    16: S.AIRWAY_GAS,
    17: S.THYROID,
    18: S.SMALL_BOWEL_CONTENT,
    19: S.SMALL_BOWEL_CONTENT,
    20: S.COLON_CONTENT,
    21: S.URINE,
    22: S.PROSTATE,
    23: S.CYST,
    24: S.CYST,
    51: S.MYOCARDIUM,
    52: S.AORTA,
    53: S.PULMONARY_VEIN,
    **dict.fromkeys((54, 55, 56, 57, 58), S.ARTERY),
    **dict.fromkeys((59, 60), S.VEIN),
    61: S.LEFT_HEART_BLOOD,
    62: S.SUPERIOR_VENA_CAVA,
    63: S.VENA_CAVA,
    64: S.PORTAL_VEIN,
    65: S.ARTERY,
    66: S.ARTERY,
    67: S.VEIN,
    68: S.VEIN,
    79: S.SPINAL_CORD,
    **dict.fromkeys(range(80, 90), S.MUSCLE),
    90: S.GREY_MATTER,
    117: S.CARTILAGE,
}
"""Structure of each label of TotalSegmentator's task "total", without the bones."""
BONES = frozenset((*range(25, 51), *range(69, 79), *range(91, 117)))
FATTY_BONES = frozenset(range(69, 77))  # limbs: fatty marrow
CORTICAL_HU = 280.0
METAL_HU = 1900.0


def read_labelled(ct: Path, labels: Path) -> TrainingPatient:
    """Read a CT and its labels (NIfTI, same grid) as a patient to train on.

    Raises
    ------
    InputError
        If either is missing or their grids differ.
    """
    scan, names = closest_axial(read(ct)), closest_axial(read(labels))
    if scan.shape != names.shape or not np.allclose(scan.affine, names.affine, atol=1e-2):
        raise InputError(f"'{labels}' is not on the voxel grid of '{ct}'; resample it to that grid")
    hu = hu_of(scan)
    structures = complete_structures(hu, np.rint(names.voxels).astype(np.int16), scan.spacing)
    return TrainingPatient(ct.name.split(".")[0], structures, scan.spacing, hu)


def body_mask(hu: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the body: the largest component above -300 HU after opening, with holes filled."""
    solid = ndimage.binary_opening(hu > -300, iterations=1)
    body = ndimage.binary_dilation(largest_part(solid), iterations=1) & (hu > -500)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])


def complete_structures(
    hu: NDArray[np.int16], labels: NDArray[np.int16], spacing: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Assign a structure to every voxel of a labelled CT.

    Parameters
    ----------
    hu, labels
        (z, y, x), canonical axial; labels are those of TotalSegmentator's task "total".
    spacing
        Spacing (z, y, x) in mm.

    Returns
    -------
    ndarray
        uint8 (z, y, x) of `Structure`.
    """
    body = body_mask(hu) | (labels > 0)
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), 0.6)
    out = np.full(hu.shape, S.OUTSIDE_AIR, np.uint8)
    out[body] = S.MUSCLE
    out[body & (smooth < -25)] = S.VISCERAL_FAT
    out[body & (hu < -250)] = S.BOWEL_GAS
    # small islands of soft tissue in fat are vessels of the mesentery and limbs
    soft = body & (smooth >= -25) & (labels == 0) & (hu < 180)
    thick = ndimage.binary_opening(soft | (labels > 0), iterations=2)
    islands = soft & ~ndimage.binary_dilation(thick, iterations=1)
    depth = ndimage.distance_transform_edt(body, sampling=spacing)
    out[islands & (depth > 25)] = S.VEIN

    structure_of_label = np.full(256, 255, np.uint8)
    for label, structure in ORGANS.items():
        structure_of_label[label] = structure
    named = structure_of_label[labels]
    out = np.where(named != 255, named, out).astype(np.uint8)

    bone = np.isin(labels, list(BONES)) | (body & (labels == 0) & (hu > 200))
    cord = ndimage.binary_dilation(labels == 79, iterations=1)
    bone &= ~(cord & (hu < 120))
    out[bone] = S.TRABECULAR_BONE
    out[bone & (hu < 40)] = S.FATTY_MARROW
    out[bone & np.isin(labels, list(FATTY_BONES))] = S.FATTY_MARROW
    out[bone & (hu > CORTICAL_HU)] = S.CORTICAL_BONE
    out[body & (hu > METAL_HU)] = S.METAL
    # the spinal cord's label covers the whole canal, including its fat
    out[(labels == 79) & (hu < -25)] = S.VISCERAL_FAT
    _split_organs(out, labels, hu, spacing)
    skin = body & ~ndimage.binary_erosion(body, np.ones((1, 3, 3)), border_value=1)
    skin &= (hu > -450) & (labels == 0)
    out[skin] = S.SKIN
    out[~body] = S.OUTSIDE_AIR
    return out


def _split_organs(
    out: NDArray[np.uint8],
    labels: NDArray[np.int16],
    hu: NDArray[np.int16],
    spacing: tuple[float, float, float],
) -> None:
    """Split kidneys into cortex and medulla, hollow organs into wall and lumen, find lung vessels.

    ``out`` is changed in place.
    """
    kidney = np.isin(labels, (2, 3))
    inside = ndimage.distance_transform_edt(kidney, sampling=spacing)
    out[kidney & (inside > 8)] = S.KIDNEY_MEDULLA
    out[kidney & (inside > 8) & (hu < -10)] = S.VISCERAL_FAT
    for ids, wall, gas in (
        ((6,), S.STOMACH_WALL, S.STOMACH_GAS),
        ((18, 19), S.SMALL_BOWEL_WALL, S.BOWEL_GAS),
        ((20,), S.COLON_WALL, S.BOWEL_GAS),
    ):
        lumen = np.isin(labels, ids)
        rim = lumen & ~ndimage.binary_erosion(lumen, np.ones((1, 3, 3)))
        out[rim] = wall
        out[lumen & (hu < -350)] = gas
    bladder = labels == 21
    out[bladder & ~ndimage.binary_erosion(bladder)] = S.BLADDER_WALL
    lung = np.isin(labels, tuple(range(10, 15)))
    inner = ndimage.binary_erosion(lung, iterations=2)
    out[inner & (hu > -350)] = S.LUNG_VESSEL

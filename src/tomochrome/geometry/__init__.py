"""Voxel geometry: affines, LPS and RAS, orientation, resampling."""

from tomochrome.geometry.affine import (
    LPS_FROM_RAS,
    from_nifti_affine,
    lps_to_ras,
    ras_to_lps,
    same_grid,
    to_nifti_affine,
)
from tomochrome.geometry.measurement import (
    LabelStatistics,
    Measurement,
    describe_label,
    describe_measurement,
    mask_statistics,
    measure,
    region_statistics,
)
from tomochrome.geometry.orient import (
    closest_axial,
    edge_letters,
    orientation_letters,
    reorient_like,
)
from tomochrome.geometry.resample import resample, to_spacing
from tomochrome.geometry.sitk import from_sitk, to_sitk

__all__ = [
    "LPS_FROM_RAS",
    "LabelStatistics",
    "Measurement",
    "closest_axial",
    "describe_label",
    "describe_measurement",
    "edge_letters",
    "from_nifti_affine",
    "from_sitk",
    "lps_to_ras",
    "mask_statistics",
    "measure",
    "orientation_letters",
    "ras_to_lps",
    "region_statistics",
    "reorient_like",
    "resample",
    "same_grid",
    "to_nifti_affine",
    "to_sitk",
    "to_spacing",
]

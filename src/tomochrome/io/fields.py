"""Displacement fields stored as images: NIfTI, NRRD and MetaImage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tomochrome.errors import InputError
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io.archive import display_path
from tomochrome.io.image_file import read_vectors
from tomochrome.io.image_formats import open_image

KINDS: Final = {
    ".nii.gz": "nifti", ".nii": "nifti", ".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "metaimage",
    ".mhd": "metaimage",
}  # fmt: skip
"""File endings from which displacement fields can be read, with their formats."""
_LPS_FROM_RAS: Final = np.array((-1.0, -1.0, 1.0), np.float32)


@dataclass(frozen=True, eq=False)
class InverseField:
    """A field stored in the opposite direction, to be inverted when it is applied.

    3D Slicer marks fields that map points of the moving image to the fixed image in this way.
    """

    field: DisplacementField


def read_field(path: Path) -> DisplacementField | InverseField:
    """Read a displacement field.

    Vectors are in LPS mm, as in ITK and ANTs, except with NIfTI's intent code 1006, which
    means RAS mm.

    Raises
    ------
    InputError
        If the file is damaged, claims more data than it can hold, or is not a displacement field.
    GeometryError
        If its values are not finite.
    """
    where = display_path(path)
    image = open_image(path, next(k for end, k in KINDS.items() if path.name.lower().endswith(end)))
    scaled = (image.slope, image.intercept) != (1.0, 0.0)
    components = image.components if image.channels * image.volumes == 3 else 1
    if components != 3:
        raise InputError(
            f"'{where}' is not a displacement field: a field is 3D with three components per "
            f"voxel, and this file has {max(components, image.channels)}"
        )
    if image.dtype.kind != "f" and not scaled:
        raise InputError(f"'{where}' is not a displacement field: its values are {image.dtype}")
    vectors = read_vectors(image)
    if scaled:
        vectors = vectors * image.slope + image.intercept
    if image.ras_vectors:
        vectors = vectors * _LPS_FROM_RAS
    field = DisplacementField(vectors, image.affine)
    # https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html#nrrd
    kind = image.pairs.get("displacement field type", "")
    return InverseField(field) if kind.strip().lower() == "modeling" else field

"""Displacement fields in image files: NIfTI, NRRD and MetaImage, read by our own readers.

ITK's reader of NIfTI takes the voxels of ``warp.nii`` for those of a ``warp.nii.gz`` beside it; it
takes packed files with flipped bits for whole, and allocates whatever a header claims.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.io.archive import shown
from tomochrome.io.bounds import damaged
from tomochrome.io.metaimage import open_metaimage
from tomochrome.io.nifti_header import read_layout
from tomochrome.io.nrrd import Nrrd, open_nrrd
from tomochrome.io.stream import fill, opened

ENDINGS: Final = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Names of files that displacement fields are read from."""
_RAS_VECTORS: Final = 1006  # NIFTI_INTENT_DISPVECT
_LPS_FROM_RAS: Final = np.array((-1.0, -1.0, 1.0), np.float32)


@dataclass(frozen=True, eq=False)
class Backwards:
    """A field that is stored for the other direction: points follow it backwards.

    3D Slicer marks fields so that take points of the moving image to the fixed one.
    """

    field: DisplacementField


def read_field(path: Path) -> DisplacementField | Backwards:
    """Read a displacement field.

    Vectors are LPS mm, as ITK and ANTs have them, but for NIfTI's intent code 1006, which
    stands for RAS mm.

    Raises
    ------
    InputError
        If the file is damaged, claims more than it can hold, or is no such field.
    GeometryError
        If its values are not finite.
    """
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            return _from_nifti(path)
        return _from_itk_image(path)
    except (EOFError, zlib.error, RuntimeError) as error:
        raise damaged(shown(path), "a displacement field") from error
    except MemoryError as error:
        raise InputError(f"'{shown(path)}' does not fit into memory") from error


def _from_nifti(path: Path) -> DisplacementField:
    layout = read_layout(path, vectors=True)
    scaled = (layout.slope, layout.intercept) != (1.0, 0.0)
    _check(path, layout.volumes if layout.is_vectors else 1, layout.dtype, scaled=scaled)
    stored = np.empty((3, *layout.shape), layout.dtype)
    with opened(
        layout.data, seek=0, skip=layout.offset, packed=layout.packed, cancel=None
    ) as stream:
        fill(stored, stream)
        if layout.packed:
            stream.read(1)  # so that the check sum is looked at
    vectors = np.moveaxis(stored, 0, -1)
    if scaled:
        vectors = vectors * layout.slope + layout.intercept
    if layout.intent == _RAS_VECTORS:
        vectors = vectors * _LPS_FROM_RAS
    return DisplacementField(vectors, layout.affine)


def _from_itk_image(path: Path) -> DisplacementField | Backwards:
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr"))
    image = open_nrrd(path) if is_nrrd else open_metaimage(path)
    as_list = isinstance(image, Nrrd) and image.as_vector  # an axis that is called a list
    components = image.volumes if as_list else image.channels if image.volumes == 1 else 1
    _check(path, components, None)
    parts = list(image.voxels(0, 3 if as_list else 1))
    stored: NDArray[Any] = np.stack(parts, axis=-1) if as_list else parts[0]
    _check(path, components, stored.dtype)
    field = DisplacementField(stored, image.affine)
    # https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html#nrrd
    kind = image.pairs.get("displacement field type", "") if isinstance(image, Nrrd) else ""
    return Backwards(field) if kind.strip().lower() == "modeling" else field


def _check(
    path: Path, components: int, dtype: np.dtype[Any] | None, *, scaled: bool = False
) -> None:
    if components != 3:
        raise InputError(
            f"'{shown(path)}' is no displacement field: a field holds three values in each voxel "
            f"of three dimensions, this file {components}"
        )
    if dtype is not None and dtype.kind != "f" and not scaled:
        raise InputError(f"'{shown(path)}' is no displacement field: its values are {dtype}")

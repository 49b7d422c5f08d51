"""Conversion between volumes and SimpleITK images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import compose, decompose, is_orthogonal
from tomochrome.volume import Provenance, Unit, Volume, require_volume

if TYPE_CHECKING:
    import SimpleITK

_ITK_TYPES = {"float16": np.float32, "bool": np.uint8}


def to_sitk(volume: Volume) -> SimpleITK.Image:
    """Convert a volume to a SimpleITK image at the same position in LPS space.

    RGBA becomes a vector image of four components. SimpleITK supports neither half floats nor
    booleans: they become float32 and uint8.

    Raises
    ------
    GeometryError
        If the axes are sheared, which ITK images do not support.
    """
    require_volume(volume, "what is converted")
    if not is_orthogonal(volume.affine):
        raise GeometryError(
            "the volume's axes are not orthogonal (a tilted gantry, or a sheared affine), which "
            "ITK images cannot store; resample it onto an orthogonal grid first"
        )
    return placed_image(volume.voxels, volume.affine)


def placed_image(voxels: NDArray[Any], affine: NDArray[np.float64]) -> SimpleITK.Image:
    """Convert voxels (z, y, x) or (z, y, x, channels) to an image positioned in LPS space."""
    import SimpleITK

    array: Any = np.asarray(voxels)
    kind = np.dtype(_ITK_TYPES.get(array.dtype.name, array.dtype))
    array = np.ascontiguousarray(array, kind.newbyteorder("="))
    image = SimpleITK.GetImageFromArray(array, isVector=array.ndim == 4)
    origin, directions, spacing = decompose(affine)
    image.SetOrigin([float(v) for v in origin])
    image.SetSpacing([float(v) for v in spacing[::-1]])
    image.SetDirection([float(v) for v in directions[:, ::-1].ravel()])
    return image


def from_sitk(
    image: SimpleITK.Image, unit: Unit = "unknown", provenance: Provenance | None = None
) -> Volume:
    """Convert a 3D SimpleITK image to a volume at the same position in LPS space.

    Parameters
    ----------
    image
        Three-dimensional image; RGBA as a vector of four bytes.
    unit
        Unit of its values.
    provenance
        Its provenance.

    Returns
    -------
    Volume
        Voxels (z, y, x), affine to LPS mm.

    Raises
    ------
    GeometryError
        If the image is not 3D, or its voxels are vectors other than RGBA bytes.
    """
    import SimpleITK

    if image.GetDimension() != 3:
        raise GeometryError(f"the image has {image.GetDimension()} dimensions instead of three")
    voxels = SimpleITK.GetArrayFromImage(image)
    return Volume(voxels, affine_of(image), unit, provenance or Provenance())


def affine_of(image: SimpleITK.Image) -> NDArray[np.float64]:
    """Return the affine of a 3D image, from (z, y, x) index to LPS mm."""
    directions = np.asarray(image.GetDirection(), dtype=np.float64).reshape(3, 3)[:, ::-1]
    return compose(image.GetOrigin(), directions, image.GetSpacing()[::-1])

"""Displacement fields in patient space, the dense part of a transform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import apply, is_orthogonal
from tomochrome.geometry.sitk import affine_of, placed_image
from tomochrome.volume import Volume

if TYPE_CHECKING:
    import SimpleITK


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A displacement field on a grid, mapping a point ``p`` to ``p + u(p)``.

    The field is interpolated linearly between voxels. Points more than half a voxel outside the
    grid are not displaced, as in ITK.

    Parameters
    ----------
    vectors
        (z, y, x, 3): dx, dy, dz in LPS mm, converted to float32.
    affine
        4x4 from (z, y, x) index to LPS mm.

    Raises
    ------
    GeometryError
        If the array has another shape, is empty or contains non-finite values, or the affine is
        singular.
    """

    vectors: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(np.shape(self.vectors))
        if len(shape) != 4 or shape[3] != 3:
            raise GeometryError(
                f"a displacement field needs vectors (z, y, x, 3), not an array of shape {shape}"
            )
        with np.errstate(over="ignore"):  # overflow gives infinity, which is rejected below
            vectors = np.ascontiguousarray(self.vectors, dtype=np.float32)
        if 0 in shape or not np.isfinite(vectors).all():
            raise GeometryError("the displacement field is empty or not finite everywhere")
        like = Volume(np.broadcast_to(np.uint8(0), shape[:3]), self.affine, "unknown")
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "affine", like.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the grid."""
        z, y, x = self.vectors.shape[:3]
        return int(z), int(y), int(x)

    @property
    def like(self) -> Volume:
        """An empty volume with this grid, as reference for resampling."""
        return Volume(np.broadcast_to(np.uint8(0), self.shape), self.affine, "unknown")

    def covers(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which points (..., 3) in LPS mm are inside the grid."""
        index = apply(np.linalg.inv(self.affine), points)
        return np.asarray(((index >= -0.5) & (index < np.array(self.shape) - 0.5)).all(axis=-1))

    def to_sitk(self) -> SimpleITK.Image:
        """Convert to a three-component image in LPS space.

        Raises
        ------
        GeometryError
            If the axes are sheared, which an ITK image cannot express.
        """
        if not is_orthogonal(self.affine):
            raise GeometryError("the displacement field's axes are not orthogonal")
        return placed_image(self.vectors, self.affine)

    @classmethod
    def from_sitk(cls, image: SimpleITK.Image) -> DisplacementField:
        """Convert from a three-component 3D SimpleITK image.

        Raises
        ------
        GeometryError
            If the image is not 3D or does not have three components.
        """
        import SimpleITK

        components = image.GetNumberOfComponentsPerPixel()
        if image.GetDimension() != 3 or components != 3:
            raise GeometryError(
                f"a displacement field is 3D with three components, not {image.GetDimension()}D "
                f"with {components}"
            )
        return cls(SimpleITK.GetArrayFromImage(image), affine_of(image))

"""Affines, and conversion between LPS and RAS.

In Tomochrome every affine maps a homogeneous voxel index (z, y, x, 1) to LPS millimetres (x to the
patient's left, y to posterior, z to superior), the convention of DICOM and ITK. NIfTI maps
(x, y, z, 1) to RAS millimetres (x to the right, y to anterior).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.volume import Volume

Affine = NDArray[np.float64]

LPS_FROM_RAS: Final[Affine] = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Converts homogeneous RAS millimetres to LPS millimetres; it is its own inverse."""

_ZYX_FROM_XYZ: Final[Affine] = np.eye(4)[[2, 1, 0, 3]]
for _constant in (LPS_FROM_RAS, _ZYX_FROM_XYZ):
    _constant.setflags(write=False)


def ras_to_lps(affine: ArrayLike) -> Affine:
    """Convert an affine to RAS mm into an affine to LPS mm, for any index order."""
    return LPS_FROM_RAS @ np.asarray(affine, dtype=np.float64)


def lps_to_ras(affine: ArrayLike) -> Affine:
    """Convert an affine to LPS mm into an affine to RAS mm, for any index order."""
    return LPS_FROM_RAS @ np.asarray(affine, dtype=np.float64)


def to_nifti_affine(affine: ArrayLike) -> Affine:
    """Convert an affine from (z, y, x) index to LPS mm into NIfTI's (x, y, z) index to RAS mm."""
    return lps_to_ras(affine) @ _ZYX_FROM_XYZ


def from_nifti_affine(affine: ArrayLike) -> Affine:
    """Convert NIfTI's affine from (x, y, z) index to RAS mm into (z, y, x) index to LPS mm."""
    return ras_to_lps(affine) @ _ZYX_FROM_XYZ


def compose(origin: ArrayLike, directions: ArrayLike, spacing: ArrayLike) -> Affine:
    """Build an affine from origin, directions and spacing.

    Parameters
    ----------
    origin
        LPS position (x, y, z) in mm of voxel (0, 0, 0).
    directions
        Array (3, 3) whose columns are the LPS unit vectors of the index axes z, y and x.
    spacing
        Distance between voxel centres along z, y and x in mm.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, dtype=np.float64) * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


def decompose(affine: ArrayLike) -> tuple[Affine, Affine, Affine]:
    """Return origin (3,), unit directions as columns (3, 3) and spacing (3,) of an affine.

    The directions are those of the index axes z, y, x; they are not made orthogonal.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return matrix[:3, 3].copy(), matrix[:3, :3] / spacing, spacing


def plane_normal(affine: ArrayLike, axis: int = 0) -> Affine:
    """Return the LPS unit vector (3,) that is normal to the planes of voxels across an index axis.

    Parameters
    ----------
    affine
        4x4, from (z, y, x) index to LPS mm.
    axis
        0 to 2 for the index axes z, y, x.
    """
    first, second = np.delete(np.asarray(affine, dtype=np.float64)[:3, :3], axis, axis=1).T
    normal = np.cross(first, second)
    return np.asarray(normal / np.linalg.norm(normal))


def plane_distance(affine: ArrayLike, axis: int = 0) -> float:
    """Return the distance in mm of adjacent planes of voxels across an index axis.

    If the axes are sheared it is less than the spacing, which is measured along the axis.

    Parameters
    ----------
    affine, axis
        As for `plane_normal`.
    """
    return float(abs(plane_normal(affine, axis) @ np.asarray(affine, np.float64)[:3, axis]))


def apply(affine: ArrayLike, points: ArrayLike) -> Affine:
    """Map points of shape (..., 3) by an affine, for example indices (z, y, x) to LPS mm."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def nearest_orthogonal(affine: ArrayLike) -> Affine:
    """Return the orthogonal matrix (3, 3) closest to the directions of the index axes."""
    _, directions, _ = decompose(affine)
    u, _, vt = np.linalg.svd(directions)
    return np.asarray(u @ vt)


def is_orthogonal(affine: ArrayLike, tolerance: float = 1e-3) -> bool:
    """Return whether the index axes are orthogonal (cosines up to ``tolerance``)."""
    _, directions, _ = decompose(affine)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() <= tolerance)


def corners(shape: tuple[int, int, int], affine: ArrayLike) -> Affine:
    """Return the LPS positions (8, 3) in mm of the centres of the eight corner voxels."""
    ends = [(0, n - 1) for n in shape]
    indices = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    return apply(affine, indices)


def same_grid(a: Volume, b: Volume, tolerance_mm: float = 1e-3) -> bool:
    """Return whether two volumes have the same shape and voxel positions.

    Affine maps are linear, so it is sufficient to compare the eight corners.

    Parameters
    ----------
    a, b
        The volumes.
    tolerance_mm
        Maximum distance between corresponding corners.

    Returns
    -------
    bool
        True if the voxel grids are the same.
    """
    if a.shape != b.shape:
        return False
    apart = np.abs(corners(a.shape, a.affine) - corners(b.shape, b.affine)).max()
    return bool(apart <= tolerance_mm)


def require_same_grid(a: Volume, b: Volume, what: str, tolerance_mm: float = 1e-3) -> None:
    """Raise an exception unless two volumes have the same grid.

    ``what`` names the two volumes in the message.

    Raises
    ------
    GeometryError
        If shapes or positions differ.
    """
    if not same_grid(a, b, tolerance_mm):
        raise GeometryError(
            f"{what} are not on the same voxel grid ({a.shape} and {b.shape} voxels); "
            "resample one onto the other first"
        )

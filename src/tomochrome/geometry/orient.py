"""Lossless reorientation by axis flips and transposes, with the affine updated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import decompose, same_grid
from tomochrome.volume import Volume

# Directions of the axes (z, y, x) of an upright axial volume (superior, posterior, left) as rows
# of the LPS matrix.
_UPRIGHT_ROWS = (2, 1, 0)

#: Letters for the negative and positive directions of LPS x, y and z (DICOM PS3.3 C.7.6.1.1.1).
_LETTERS: Final = ("RL", "AP", "FH")
#: Direction cosines below this (about 6 degrees) are omitted from letters.
OBLIQUE_COSINE: Final = 0.1


def orientation_letters(direction: ArrayLike) -> str:
    """Return the anatomical direction of a vector, such as "L", or "LP" if it is oblique.

    Parameters
    ----------
    direction
        Vector (x, y, z) in LPS, of any length.

    Returns
    -------
    str
        One to three of the letters R, L, A, P, F (feet) and H (head), the principal direction
        first, as in DICOM's Patient Orientation (PS3.3 C.7.6.1.1.1). Directions with a cosine
        below `OBLIQUE_COSINE` are omitted. Empty for a vector of length zero.
    """
    vector = np.asarray(direction, dtype=np.float64)
    length = float(np.linalg.norm(vector))
    if not length > 0:
        return ""
    cosines = vector / length
    # Rounded, so that opposite directions halfway between two axes get opposite letters.
    principal_first = np.argsort(-np.abs(cosines).round(6), kind="stable")
    shown = [axis for axis in principal_first if abs(cosines[axis]) >= OBLIQUE_COSINE]
    return "".join(_LETTERS[axis][int(cosines[axis] > 0)] for axis in shown)


def edge_letters(right: ArrayLike, up: ArrayLike) -> dict[str, str]:
    """Return the letters for the edges of an image: "left", "right", "top" and "bottom".

    Parameters
    ----------
    right, up
        LPS vectors of the image's right and up directions.

    Returns
    -------
    dict
        For each edge, up to three of R, L, A, P, H and F, the principal direction first.
    """
    right, up = np.asarray(right, dtype=np.float64), np.asarray(up, dtype=np.float64)
    return {
        "left": orientation_letters(-right),
        "right": orientation_letters(right),
        "top": orientation_letters(up),
        "bottom": orientation_letters(-up),
    }


def axis_map(affine: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return the axis permutation and flips that make a volume upright axial.

    Returns
    -------
    order
        For each new axis (z, y, x), the index of the old axis.
    flips
        For each new axis, whether it is reversed.

    Notes
    -----
    Of the six permutations, the one with the greatest product of direction cosines is chosen, so
    that the assignment is unique even for strongly oblique volumes.
    """
    _, directions, _ = decompose(affine)
    cosines = directions[list(_UPRIGHT_ROWS)]  # [new axis, old axis]
    logs = np.log(np.abs(cosines) + 1e-12)  # the offset keeps them finite for perpendicular axes
    closest = max(permutations(range(3)), key=lambda order: logs[range(3), order].sum())
    order = (closest[0], closest[1], closest[2])
    z, y, x = (bool(cosines[new, old] < 0) for new, old in enumerate(order))
    return order, (z, y, x)


def reorient(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """Permute and then flip the axes of a volume; voxels keep their positions in space.

    Parameters
    ----------
    order, flips
        For each new axis, the index of the old axis and whether it is reversed.
    """
    if order == (0, 1, 2) and not any(flips):
        return volume
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    rest = tuple(range(3, volume.voxels.ndim))
    voxels = np.transpose(np.asarray(volume.voxels), (*order, *rest))[step]
    affine = reoriented_affine(volume.affine, volume.shape, order, flips)
    outside, restored = (
        None if mask is None else np.ascontiguousarray(np.transpose(mask, order)[step])
        for mask in (volume.outside, volume.restored)
    )
    voxels = np.ascontiguousarray(voxels)
    return Volume(voxels, affine, volume.unit, volume.provenance, outside, restored)


def reoriented_affine(
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    order: Sequence[int],
    flips: Sequence[bool],
) -> NDArray[np.float64]:
    """Return the affine of a grid whose axes are permuted and then flipped.

    Parameters
    ----------
    affine, shape
        Affine and shape of the original grid.
    order, flips
        As for `reorient`.
    """
    turned = np.eye(4)
    turned[:3, 3] = affine[:3, 3]
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        column = affine[:3, old]
        turned[:3, new] = -column if flip else column
        if flip:
            turned[:3, 3] += column * (shape[old] - 1)
    return turned


def closest_axial(volume: Volume) -> Volume:
    """Return the volume reoriented to upright axial: z superior, y posterior, x to the left.

    Axes are only flipped and permuted: voxel values and their positions in space do not change. An
    oblique volume stays oblique, in the closest such orientation.
    """
    return reorient(volume, *axis_map(volume.affine))


def reorient_like(volume: Volume, original: Volume) -> Volume:
    """Reorient a volume derived from ``closest_axial(original)`` to the axes of the original.

    Parameters
    ----------
    volume
        A volume on the grid of ``closest_axial(original)`` or of the original.
    original
        The volume that defines the axes.

    Returns
    -------
    Volume
        The same voxels along the axes of the original.

    Raises
    ------
    GeometryError
        If the grids differ by more than flips and transposes.
    """
    if same_grid(volume, original):
        return volume
    order, flips = axis_map(original.affine)
    back = [0, 0, 0]
    flip_back = [False, False, False]
    for new, old in enumerate(order):
        back[old], flip_back[old] = new, flips[new]
    result = reorient(
        volume,
        (back[0], back[1], back[2]),
        (flip_back[0], flip_back[1], flip_back[2]),
    )
    if not same_grid(result, original):
        raise GeometryError(
            "the volume cannot be reoriented to the axes of the original because the grids differ; "
            "resample it onto the original instead"
        )
    return result

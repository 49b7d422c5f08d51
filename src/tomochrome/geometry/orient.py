"""Lossless reorientation: whole-axis flips and transposes, with the affine carried along."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError
from tomochrome.geometry.affine import decompose, same_grid
from tomochrome.volume import Volume

# Where the axes (z, y, x) point in an upright axial volume: superior, posterior, left,
# as rows of the LPS matrix.
_UPRIGHT_ROWS = (2, 1, 0)

#: Letters for the negative and positive directions of LPS x, y and z (DICOM PS3.3 C.7.6.1.1.1).
_LETTERS: Final = ("RL", "AP", "FH")
#: Direction cosines below this (about 6 degrees) get no letter of their own.
OBLIQUE_COSINE: Final = 0.1


def orientation_letters(direction: ArrayLike) -> str:
    """Return where a direction points in the patient: "L", or "LP" where it is oblique.

    Parameters
    ----------
    direction
        Vector (x, y, z) in LPS, of any length.

    Returns
    -------
    str
        One to three of the letters R, L, A, P, F (feet) and H (head), the principal direction
        first, as in DICOM's Patient Orientation (PS3.3 C.7.6.1.1.1). Directions with a cosine
        below `OBLIQUE_COSINE` are left out. Empty for a vector of length zero.
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
    """Return the letters for the edges of a picture: "left", "right", "top" and "bottom".

    Parameters
    ----------
    right, up
        Where right and up in the picture point in the patient, as LPS vectors.

    Returns
    -------
    dict
        For each edge up to three of R, L, A, P, H and F, the closest direction first.
    """
    right, up = np.asarray(right, dtype=np.float64), np.asarray(up, dtype=np.float64)
    return {
        "left": orientation_letters(-right),
        "right": orientation_letters(right),
        "top": orientation_letters(up),
        "bottom": orientation_letters(-up),
    }


def axis_map(affine: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Find the flips and the order of axes that make a volume upright axial.

    Returns
    -------
    order
        For each new axis (z, y, x) the old axis that it is.
    flips
        For each new axis whether it runs against the old one.

    Notes
    -----
    Among the six orders the one with the greatest product of direction cosines is taken,
    so that no two axes claim the same direction even in strongly oblique volumes.
    """
    _, directions, _ = decompose(affine)
    cosines = directions[list(_UPRIGHT_ROWS)]  # [new axis, old axis]
    closest = max(permutations(range(3)), key=lambda p: _score(cosines, p))
    order = (closest[0], closest[1], closest[2])
    z, y, x = (bool(cosines[new, old] < 0) for new, old in enumerate(order))
    return order, (z, y, x)


def _score(cosines: NDArray[np.float64], order: tuple[int, ...]) -> float:
    # A small floor keeps the logarithm finite for axes at right angles to their goal.
    return float(sum(np.log(abs(cosines[new, old]) + 1e-12) for new, old in enumerate(order)))


def reorient(volume: Volume, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Volume:
    """Return the volume with its axes reordered and then flipped; voxels keep their places.

    Parameters
    ----------
    order, flips
        For each new axis the old axis that it is, and whether it runs against it.
    """
    if order == (0, 1, 2) and not any(flips):
        return volume
    step = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    rest = tuple(range(3, volume.voxels.ndim))
    voxels = np.transpose(np.asarray(volume.voxels), (*order, *rest))[step]
    affine = reoriented_affine(volume.affine, volume.shape, order, flips)
    outside = volume.outside
    if outside is not None:
        outside = np.ascontiguousarray(np.transpose(outside, order)[step])
    return Volume(np.ascontiguousarray(voxels), affine, volume.unit, volume.provenance, outside)


def reoriented_affine(
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    order: Sequence[int],
    flips: Sequence[bool],
) -> NDArray[np.float64]:
    """Return the affine of a grid whose axes are reordered and then flipped.

    Parameters
    ----------
    affine, shape
        Of the grid as it is.
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
    """Return the volume upright: z to superior, y to posterior, x to the patient's left.

    Only whole axes are flipped and exchanged: no voxel value changes, and each voxel stays at
    the same place in space. An oblique volume stays oblique, turned to the nearest such order.
    """
    return reorient(volume, *axis_map(volume.affine))


def reorient_like(volume: Volume, original: Volume) -> Volume:
    """Return a volume made from ``closest_axial(original)`` back to the original's stored axes.

    Parameters
    ----------
    volume
        A volume on the grid of ``closest_axial(original)`` (or already on the original's).
    original
        The volume whose axes are wanted.

    Returns
    -------
    Volume
        The same voxels along the original's axes.

    Raises
    ------
    GeometryError
        If the two do not cover the same grid by flips and transposes alone.
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
            "the volume cannot be reoriented to the axes of the original: the grids differ; "
            "resample it on the original instead"
        )
    return result

"""Plausibility of an alignment: whether two images are alike at all, or one of them is mirrored.

A body resembles its mirror image, and noise has some best position too: a registration finds an
optimum in both cases, which its measures alone do not tell from a valid one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.registration.initialize import optimized_nearby
from tomochrome.registration.levels import Level, make_levels
from tomochrome.registration.starts import information
from tomochrome.runtime import ThreadPool, check, quietly
from tomochrome.volume import Volume

_LEVELS: Final = 2
_GAIN: Final = 1.12
"""Factor by which a mirrored image must fit better. Measured on rigid and affine alignments: scans
of one patient of which one was mirrored 1.12 (head) to 3.5; of two patients at most 1.06."""
_MIN_MIRRORED: Final = 0.45  # nats; a poor fit of both proves nothing
_UNRELATED: Final = 0.08  # nats; abdomen and chest have 0.13, noise less than 0.01

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Plausibility:
    """How well two images fit on a coarse grid, as they are and with one of them mirrored.

    Parameters
    ----------
    similarity, mirrored_similarity
        Mutual information in nats after an affine alignment, times the overlap.
    """

    similarity: float
    mirrored_similarity: float

    @property
    def is_mirrored(self) -> bool:
        """Whether left and right are suspected to be swapped in one of the images."""
        best = self.mirrored_similarity
        return best > _MIN_MIRRORED and best > _GAIN * self.similarity

    @property
    def is_unrelated(self) -> bool:
        """Whether the images have nothing in common, mirrored or not."""
        return max(self.similarity, self.mirrored_similarity) < _UNRELATED

    def as_json(self) -> dict[str, Any]:
        """Return the figures as they are in ``report.json``."""
        return {
            "similarity": round(self.similarity, 4),
            "mirrored_similarity": round(self.mirrored_similarity, 4),
            "mirrored": self.is_mirrored,
            "unrelated": self.is_unrelated,
        }


@quietly()
def plausibility(
    fixed: Volume,
    moving: Volume,
    matrix: Matrix,
    *,
    fixed_mask: Volume | None = None,
    moving_mask: Volume | None = None,
) -> Plausibility:
    """Compare an alignment with the best one nearby in which the moving image is mirrored.

    The moving image is mirrored at the sagittal plane through its center of mass, so that it
    stays in place, and aligned anew on a coarse grid; so is the image as it is.

    Parameters
    ----------
    fixed, moving
        Scalar volumes on any grid.
    matrix
        The alignment: 4x4 from LPS mm of the fixed volume to LPS mm of the moving one.
    fixed_mask, moving_mask
        Volumes on any grid, nonzero where the image is used.
    """
    ours = make_levels(fixed, fixed_mask, "fixed", _LEVELS)
    check()
    theirs = make_levels(moving, moving_mask, "moving", _LEVELS)
    about = float(theirs[0].mass[0])
    other = [mirrored(level, about) for level in theirs]

    def fitted(levels: Sequence[Level], start: Matrix) -> tuple[float, Matrix]:
        found = optimized_nearby(ours, levels, start)
        return information(ours[1], levels[1], found), found

    upright = np.eye(4)  # an alignment may have turned the body to make up for the mirroring
    upright[:3, 3] = other[0].mass - ours[0].mass
    with ThreadPool(3) as pool:
        (own, _), *rest = pool.map(fitted, (theirs, other, other), (matrix, matrix, upright))
    best, there = max(rest, key=lambda fit: fit[0])
    if best > own:  # the other one may just have escaped from a poor local optimum
        back = _mirror(about) @ there @ _mirror(float(ours[0].mass[0]))
        own = max(own, fitted(theirs, back)[0])
    return Plausibility(own, best)


def _mirror(about: float) -> Matrix:
    matrix = np.eye(4)
    matrix[0, 0], matrix[0, 3] = -1.0, 2 * about
    return matrix


def mirrored(level: Level, about: float) -> Level:
    """Return an image mirrored at the sagittal plane at ``about`` (LPS mm along x)."""
    flip = np.eye(4)  # of an axis of the array, so that the grid stays right-handed
    flip[2, 2], flip[2, 3] = -1.0, level.values.shape[2] - 1
    values = np.ascontiguousarray(level.values[:, :, ::-1])
    valid = np.ascontiguousarray(level.valid[:, :, ::-1])
    return Level(values, valid, _mirror(about) @ level.affine @ flip, level.hu)

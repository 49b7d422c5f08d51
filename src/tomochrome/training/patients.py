"""Training patients: a structure map, with the HU of the scan if it is real."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.resample import to_spacing
from tomochrome.phantom import tissue_table
from tomochrome.tissue import N_TISSUES, Tissue
from tomochrome.volume import Volume

UNSURE = 255
"""Value in a structure map of voxels that are not known; they have no weight in a loss."""

FOCUS = tuple(
    int(t)
    for t in Tissue
    if t not in (Tissue.AIR, Tissue.FAT, Tissue.MUSCLE, Tissue.SKIN, Tissue.FOREIGN_BODY)
)
"""Tissues that slices are selected for; the others are in almost every slice."""
_EMPHASIS = dict.fromkeys(
    (int(t) for t in (Tissue.SPLEEN, Tissue.STOMACH, Tissue.PANCREAS, Tissue.KIDNEY)), 2.0
)  # hardest to recognize

_SHOWN_MM2 = 60.0
_BODY_MM2 = 2000.0


def tissues_of_structures() -> NDArray[np.uint8]:
    """Return the tissue of each value in a structure map, uint8 (256,); air if there is none."""
    table = np.zeros(256, np.uint8)
    tissues = tissue_table()
    table[: len(tissues)] = tissues
    return table


def hu_of(scan: Volume) -> NDArray[np.int16]:
    """Return the HU of a scan as they are stored for training, int16 (z, y, x)."""
    return np.clip(np.rint(scan.voxels), -1024, 3071).astype(np.int16)


def coarsened(scan: Volume, finest: tuple[float, float, float]) -> Volume:
    """Return a scan whose spacing (z, y, x) is at least ``finest``, in mm."""
    z, y, x = map(max, scan.spacing, finest)
    return to_spacing(scan, (z, y, x))


@dataclass(frozen=True, eq=False)
class TrainingPatient:
    """One patient, canonical axial (z to superior, y to posterior, x to the patient's left).

    Parameters
    ----------
    name
        Name for logs and error messages.
    structures
        uint8 (z, y, x) of `tomochrome.phantom.Structure`, or `UNSURE`.
    spacing
        Spacing (z, y, x) in mm.
    hu
        int16 (z, y, x) of a real scan, or None if the HU are drawn from `materials`.
    taught
        Whether a model named the structures of the scan; its HU and contrast are kept then.
    """

    name: str
    structures: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    hu: NDArray[np.int16] | None = None
    taught: bool = False

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Number of voxels of each tissue in each slice, (z, tissues)."""
        table = tissues_of_structures()
        rows = [np.bincount(table[p].ravel(), minlength=N_TISSUES) for p in self.structures]
        return np.array(rows).reshape(len(rows), N_TISSUES)

    @cached_property
    def organs(self) -> tuple[tuple[int, NDArray[np.int64]], ...]:
        """Each tissue of `FOCUS` in this patient, with the indices of its slices."""
        area = self.spacing[1] * self.spacing[2]
        slices_of = [(t, np.flatnonzero(self._counts[:, t] * area > _SHOWN_MM2)) for t in FOCUS]
        return tuple((tissue, slices) for tissue, slices in slices_of if len(slices))

    @cached_property
    def body(self) -> NDArray[np.int64]:
        """Indices of the slices that show the body, or of all slices if none does."""
        area = self.spacing[1] * self.spacing[2]
        body = np.flatnonzero(self._counts[:, 1:].sum(axis=1) * area > _BODY_MM2)
        return body if len(body) else np.arange(len(self.structures))

    @cached_property
    def center(self) -> tuple[float, float]:
        """Center (y, x) of the body's bounding box in voxels."""
        mask = (tissues_of_structures()[self.structures] != 0).any(axis=0)
        rows, columns = np.nonzero(mask)
        if not len(rows):
            return mask.shape[0] / 2, mask.shape[1] / 2
        y, x = (float(at.min() + at.max()) / 2 for at in (rows, columns))
        return y, x

    def pick_slice(self, rng: np.random.Generator, focus: float = 0.5) -> int:
        """Draw a slice index: with probability ``focus`` one that shows a random organ."""
        if self.organs and rng.random() < focus:
            share = np.array([_EMPHASIS.get(tissue, 1.0) for tissue, _ in self.organs])
            _, slices = self.organs[rng.choice(len(self.organs), p=share / share.sum())]
            return int(rng.choice(slices))
        return int(rng.choice(self.body))

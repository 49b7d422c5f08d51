"""Patients to train on: a map of structures, and the real HU where there are any."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tomochrome.phantom.materials import tissue_table
from tomochrome.tissue import N_TISSUES, Tissue

FOCUS = tuple(
    int(t)
    for t in Tissue
    if t not in (Tissue.AIR, Tissue.FAT, Tissue.MUSCLE, Tissue.SKIN, Tissue.FOREIGN_BODY)
)
"""Tissues that slices are chosen for: what is everywhere needs no choosing."""
_EMPHASIS = dict.fromkeys(
    (int(t) for t in (Tissue.SPLEEN, Tissue.STOMACH, Tissue.PANCREAS, Tissue.KIDNEY)), 2.0
)  # hardest to recognize, and all in the upper abdomen


@dataclass(frozen=True, eq=False)
class TrainingPatient:
    """One patient, canonical axial (z to superior, y to posterior, x to the patient's left).

    Parameters
    ----------
    name
        What logs and errors call the patient.
    structures
        uint8 (z, y, x) of `tomochrome.phantom.structures.Structure`.
    spacing
        Spacing (z, y, x) in mm.
    hu
        int16 (z, y, x) of a real scan, or None where the HU are drawn from `materials`.
    """

    name: str
    structures: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    hu: NDArray[np.int16] | None = None
    organs: tuple[tuple[int, NDArray[np.int32]], ...] = field(init=False)
    body: NDArray[np.int32] = field(init=False)
    center: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        table = tissue_table()
        counts = np.zeros((len(self.structures), N_TISSUES), np.int64)
        for z, plane in enumerate(self.structures):
            counts[z] = np.bincount(table[plane].ravel(), minlength=N_TISSUES)[:N_TISSUES]
        area = self.spacing[1] * self.spacing[2]
        organs = []
        for tissue in FOCUS:
            where = np.flatnonzero(counts[:, tissue] * area > 60).astype(np.int32)
            if len(where):
                organs.append((tissue, where))
        inside = counts[:, 1:].sum(axis=1)
        body = np.flatnonzero(inside * area > 2000).astype(np.int32)
        if not len(body):
            body = np.arange(len(self.structures), dtype=np.int32)
        mask = (table[self.structures] != 0).any(axis=0)
        ys, xs = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        middle = tuple(
            float(v[0] + v[-1]) / 2 if len(v) else n / 2
            for v, n in zip((ys, xs), self.structures.shape[1:], strict=True)
        )
        object.__setattr__(self, "organs", tuple(organs))
        object.__setattr__(self, "body", body)
        object.__setattr__(self, "center", middle)

    def pick_slice(self, rng: np.random.Generator, focus: float = 0.5) -> int:
        """Draw a slice: with chance ``focus`` one that shows a randomly chosen organ."""
        if self.organs and rng.random() < focus:
            share = np.array([_EMPHASIS.get(tissue, 1.0) for tissue, _ in self.organs])
            _, where = self.organs[rng.choice(len(self.organs), p=share / share.sum())]
            return int(rng.choice(where))
        return int(rng.choice(self.body))

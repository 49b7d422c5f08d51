"""HU tables fitted on the training samples: the lookup table and the tissue likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.phantom import Structure, tissue_table
from tomochrome.tissue import N_TISSUES, Tissue

FIRST_HU, STEP_HU, BINS = -1024.0, 8.0, 512
HU_EDGES = {"first": FIRST_HU, "step": STEP_HU, "bins": BINS}
"""The bins as stored in a bundle's metadata; values outside belong to the first or last bin."""


def count_hu(
    scan: Callable[[], tuple[NDArray[Any], NDArray[np.uint8]]], count: int
) -> NDArray[np.float64]:
    """Return the HU histogram of each tissue over random slices.

    Parameters
    ----------
    scan
        Draws HU and `Structure` labels of a training slice, both (y, x).
    count
        Number of slices.

    Returns
    -------
    ndarray
        float64 (bins, tissues); air is counted only inside the body.
    """
    counts, tissues = np.zeros(BINS * N_TISSUES), tissue_table().astype(np.int64)
    for _ in range(count):
        hu, structures = scan()
        inside = structures > Structure.BLANKET
        row = np.clip((hu[inside] - FIRST_HU) / STEP_HU, 0, BINS - 1).astype(np.int64)
        cell = row * N_TISSUES + tissues[structures[inside]]
        counts += np.bincount(cell, minlength=BINS * N_TISSUES)
    return counts.reshape(BINS, N_TISSUES)


def transfer_table(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return p(tissue | HU bin), float32 (bins, tissues), the optimal lookup table.

    Sparse bins are smoothed over their neighbors.
    """
    smooth = ndimage.gaussian_filter1d(counts, 0.7, axis=0, mode="nearest")
    wide = ndimage.gaussian_filter1d(counts, 12.0, axis=0, mode="nearest")
    few = np.exp(-smooth.sum(axis=1, keepdims=True) / 50.0)
    mixed = smooth + few * wide + 1e-9
    mixed[:, Tissue.AIR] += 1e-6
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True), dtype=np.float32)


CONTRAST: dict[Tissue, tuple[float, float]] = {
    Tissue.VESSEL: (30.0, 750.0),
    Tissue.HEART: (40.0, 750.0),
    Tissue.KIDNEY: (30.0, 350.0),
    Tissue.BLADDER: (0.0, 600.0),
    Tissue.STOMACH: (0.0, 450.0),
    Tissue.BOWEL: (0.0, 450.0),
}
"""Range of HU that each tissue can have with contrast agent; assumed uniform."""


def likelihood_table(
    counts: NDArray[np.float64], power: float = 1.0, floor: float = 0.01, plateau: float = 0.7
) -> NDArray[np.float32]:
    """Return the likelihood of each HU bin for each tissue, float32 (bins, tissues), at most 1.

    Parameters
    ----------
    counts
        From `count_hu`.
    power
        Exponent; below 1 it compensates for the network having used the same HU at a lower
        resolution.
    floor
        Minimum likelihood, so that no HU excludes a tissue.
    plateau
        Minimum likelihood of a tissue of `CONTRAST` within its range, relative to its peak.
    """
    total = counts.sum(axis=0)
    table = np.ones((BINS, N_TISSUES))
    center = FIRST_HU + STEP_HU * (np.arange(BINS) + 0.5)
    for tissue in range(N_TISSUES):
        if total[tissue] < 500:
            continue
        density = ndimage.gaussian_filter1d(counts[:, tissue], 1.5, mode="nearest")
        if Tissue(tissue) in CONTRAST:
            low, high = CONTRAST[Tissue(tissue)]
            ramp = np.clip(np.minimum(center - low, high - center) / 60.0 + 0.5, 0.0, 1.0)
            density = np.maximum(density, plateau * density.max() * ramp)
        table[:, tissue] = density / total[tissue]
        if tissue == Tissue.CORTICAL_BONE:  # low HU of bone are partial volume
            table[center > 700, tissue] = np.maximum(
                table[center > 700, tissue], table[:, tissue].max() * 0.5
            )
        if tissue == Tissue.FOREIGN_BODY:
            table[center > 2000, tissue] = table[:, tissue].max()
    enough = total >= 500
    # one scale for all tissues: densities relative to the geometric mean of their peaks
    typical = np.exp(np.log(table[:, enough].max(axis=0)).mean())
    table[:, ~enough] = typical
    scaled = (table / typical) ** power
    return np.asarray(np.maximum(scaled / scaled.max(), floor / scaled.max()), dtype=np.float32)

"""Tables of HU fitted on what the networks train on: the lookup curve and the likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.phantom.materials import tissue_table
from tomochrome.phantom.structures import Structure
from tomochrome.tissue import N_TISSUES, Tissue

FIRST_HU, STEP_HU, BINS = -1024.0, 8.0, 512
HU_EDGES = {"first": FIRST_HU, "step": STEP_HU, "bins": BINS}
"""The bins as a bundle's metadata names them; values beyond belong to the end bins."""


def count_hu(
    scan: Callable[[], tuple[NDArray[Any], NDArray[np.uint8]]], count: int = 400
) -> NDArray[np.float64]:
    """Count HU of each tissue in slices.

    Parameters
    ----------
    scan
        Draws HU and `Structure` of a slice, both (y, x), as training draws them.
    count
        How many slices.

    Returns
    -------
    ndarray
        float64 (bins, tissues); air counts only inside the body.
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
    """Return p(tissue | HU bin), float32 (bins, tissues): no lookup curve can do better.

    Bins that are hardly ever met take the mean of their neighbourhood.
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
"""HU between which contrast agent may bring a tissue, equally likely."""


def likelihood_table(
    counts: NDArray[np.float64],
    power: float = 1.0,
    floor: float = 0.01,
    plateau: float = 0.7,
) -> NDArray[np.float32]:
    """Return how likely each HU is in each tissue, float32 (bins, tissues), at most 1.

    Parameters
    ----------
    counts
        From `count_hu`.
    power
        The network has seen the HU already, at its own resolution: less than 1 keeps what
        the likelihood adds from counting twice.
    floor
        Least likelihood: no HU forbids a tissue.
    plateau
        Least likelihood, relative to its own peak, of a tissue of `CONTRAST` between its ends.
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
        if tissue == Tissue.CORTICAL_BONE:  # only partial volume makes bone soft
            table[center > 700, tissue] = np.maximum(
                table[center > 700, tissue], table[:, tissue].max() * 0.5
            )
        if tissue == Tissue.FOREIGN_BODY:
            table[center > 2000, tissue] = table[:, tissue].max()
    known = total >= 500
    # the scale between tissues matters: a density, in units of a typical one
    typical = np.exp(np.log(table[:, known].max(axis=0)).mean())
    table[:, ~known] = typical
    scaled = (table / typical) ** power
    return np.asarray(np.maximum(scaled / scaled.max(), floor / scaled.max()), dtype=np.float32)

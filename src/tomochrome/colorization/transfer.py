"""The baseline without a network: each HU value has its one color, wherever it lies.

A bundle of this kind holds ``probability``, float32 (n_bins, N_TISSUES): the share of each
tissue among the voxels of a body whose HU fall into a bin, as counted on the training
patients. It sees the same body mask as the networks, so that a comparison tells what
recognition is worth, not what masking is worth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.colorization.cards import hu_edges
from tomochrome.colorization.scan import Scan
from tomochrome.errors import ModelError
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.tissue import N_TISSUES, Tissue

TABLE = "probability"


def load_table(card: ModelCard) -> NDArray[np.float32]:
    """Return the model's p(tissue | HU bin): float32 (n_bins, N_TISSUES).

    Raises
    ------
    ModelError
        If the weights are damaged, or the table does not fit the metadata.
    """
    arrays = load_arrays(card)
    if TABLE not in arrays:
        raise ModelError(f"the weights of the model '{card.name}' hold no table '{TABLE}'")
    return checked_table(card, arrays[TABLE], TABLE)


def checked_table(card: ModelCard, stored: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """Return a table over HU bins and tissues as float32, once its shape and values are checked.

    Raises
    ------
    ModelError
        If it does not have one row for each HU bin and one column for each tissue, or a value
        is negative or not finite.
    """
    bins = len(hu_edges(card)) - 1
    if stored.shape != (bins, N_TISSUES):
        raise ModelError(
            f"the table '{name}' of the model '{card.name}' has the shape {stored.shape} "
            f"where its metadata promises {(bins, N_TISSUES)}"
        )
    table = stored.astype(np.float32)
    if not np.isfinite(table).all() or (table < 0).any():
        raise ModelError(f"the table '{name}' of the model '{card.name}' holds impossible values")
    return table


def bin_of_hu(edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each whole HU that the kernels' tables cover."""
    from tomochrome.colorization.kernels import HIGHEST_HU, LOWEST_HU

    hu = np.arange(LOWEST_HU, HIGHEST_HU + 1)
    return np.clip(np.searchsorted(edges, hu, side="right") - 1, 0, len(edges) - 2)


def apply_transfer(
    scan: Scan,
    card: ModelCard,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.float32]]:
    """Code a scan by its HU alone.

    Returns
    -------
    code, confidence
        uint16 and uint8, shape of the scan.
    mixtures
        float32 (n_bins + 1, N_TISSUES); row 0 is air outside the body.

    Raises
    ------
    ModelError
        If the weights cannot be used.
    Cancelled
        If the user stopped it.
    """
    from tomochrome.colorization.kernels import transfer_slab

    table = load_table(card)
    total = table.sum(axis=1, keepdims=True)
    table = table / np.maximum(total, 1.0)
    mixtures = np.zeros((len(table) + 1, N_TISSUES), dtype=np.float32)
    mixtures[0, Tissue.AIR] = 1.0
    mixtures[1:] = table
    row = bin_of_hu(hu_edges(card))
    codes = (row + 1).astype(np.uint16)
    certainty = np.rint(table.max(axis=1) * 255).astype(np.uint8)[row]

    code = np.empty(scan.hu.shape, dtype=np.uint16)
    confidence = np.empty(scan.hu.shape, dtype=np.uint8)
    z, y, x = scan.body_taps()
    n = len(scan.hu)
    for first, stop in scan.slabs():
        check(cancel)
        part = z.part(first, stop)
        transfer_slab(
            scan.hu[first:stop], scan.body.field, part.low, part.weight, y.low, y.weight,
            x.low, x.weight, codes, certainty, code[first:stop], confidence[first:stop],
        )  # fmt: skip
        report(progress, stop, n, "coloring")
    return code, confidence, mixtures

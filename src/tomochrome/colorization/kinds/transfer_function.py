"""The baseline without a network: the color depends only on the HU value.

A bundle of this kind contains ``probability``, float32 (n_bins, N_TISSUES): the fraction of each
tissue among the body voxels with HU in a bin, counted in the training patients. The body mask is
the same as for the networks, so that a comparison measures recognition, not masking.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.color.codes import Mixtures, code_type
from tomochrome.colorization.cards import checked_table, hu_edges
from tomochrome.colorization.grid import CoarseField
from tomochrome.colorization.inputs import InputSpec
from tomochrome.colorization.predictor import register_kind
from tomochrome.colorization.scan import Colors, Scan
from tomochrome.colorization.slab_kernels import MAX_HU, MIN_HU, transfer_slab
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
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
        raise ModelError(f"the weights of the model '{card.name}' contain no table '{TABLE}'")
    return checked_table(card, arrays[TABLE], TABLE)


def bin_of_hu(edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each integer HU covered by the kernels' tables."""
    hu = np.arange(MIN_HU, MAX_HU + 1)
    return np.clip(np.searchsorted(edges, hu, side="right") - 1, 0, len(edges) - 2)


@register_kind("transfer-function")
class TransferFunction:
    """The `Predictor` for lookup tables; it runs on the CPU regardless of ``device``."""

    names_tissues: ClassVar[bool] = True
    reads: InputSpec | None = None
    device: str = "cpu"
    warnings: tuple[Notice, ...] = ()

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        table = load_table(card)
        table = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
        outside = np.eye(1, N_TISSUES, Tissue.AIR, dtype=np.float32)
        self.table = Mixtures(np.vstack([outside, table]))
        row = bin_of_hu(hu_edges(card))
        self._codes = (row + 1).astype(code_type(len(self.table)))
        self._certainty = np.rint(table.max(axis=1) * 255).astype(np.uint8)[row]

    def color(self, scan: Scan) -> Colors:
        """Look up the code of each voxel from its HU; see `Predictor.color`."""

        def paint(first: int, stop: int, body: CoarseField, out: Colors) -> None:
            transfer_slab(scan.hu[first:stop], body, self._codes, self._certainty, *out)

        return scan.paint(len(self.table), paint)

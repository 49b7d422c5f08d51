"""Colorization from a reference photograph provided by the user, without training.

A bundle of this kind contains ``colors``, float32 (`N_TISSUES`, 3): the expected color of each
tissue (CIELAB), by which the tissues of a photograph without labels are found. Its metadata contain
``ceiling``, the maximum confidence of colors found in this way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.color.codes import Mixtures, Table
from tomochrome.colorization.cards import DEFAULT_MODEL, find_model
from tomochrome.colorization.predictor import predictor_class, register_kind
from tomochrome.colorization.reference_photograph import Reference, TissueColors
from tomochrome.colorization.scan import Colors, Scan, denoised
from tomochrome.colorization.tables import color_codes, color_table
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report
from tomochrome.runtime.device import kernel_threads
from tomochrome.tissue import N_TISSUES, Tissue

_MAX_SD = 2.5  # a tissue's HU are clipped at this many standard deviations from the mean
_SAMPLED_SLICES = 24  # slices used for the statistics of the CT
_MIN_SHARE = 0.01  # of the body; rarer tissues without a color raise no warning
_NO_COLOR: Final = [Tissue.AIR, Tissue.AIRWAY, Tissue.FOREIGN_BODY]
"""Tissues that are not sought in a photograph without labels."""


@register_kind("exemplar")
class Exemplar:
    """The `Predictor` for reference photographs."""

    names_tissues: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True
    reads: ClassVar[None] = None
    warnings: tuple[Notice, ...] = ()

    def __init__(
        self,
        card: ModelCard,
        *,
        reference: Reference,
        device: str = "auto",
        batch: int | None = None,
    ) -> None:
        self.reference = reference
        try:
            self._expected = load_arrays(card)["colors"].astype(np.float32)
            self._ceiling = float(card.metadata["ceiling"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the bundle of the model '{card.name}' is damaged: {error}") from None
        if self._expected.shape != (N_TISSUES, 3):
            raise ModelError(f"the weights of the model '{card.name}' do not match its tissues")
        model = find_model(DEFAULT_MODEL)
        self._tissues = predictor_class(model)(model, device=device, batch=batch)
        self.device = self._tissues.device

    @property
    def table(self) -> Table:
        """The meaning of the codes."""
        return color_table()

    def color(self, scan: Scan) -> Colors:
        """Compute a code and a confidence for each voxel of a scan; see `Predictor.color`."""
        tissues, table = self._tissues.color(scan), self._tissues.table
        assert isinstance(table, Mixtures)
        self.device, self.warnings = self._tissues.device, self._tissues.warnings
        share = _shares(tissues, table)
        if self.reference.labels is not None:
            colors = TissueColors.of(self.reference)
            text = "the labels of the photograph do not include {}; the color of these tissues "
            text += "remains grey"
        else:
            share[_NO_COLOR] = 0
            colors = TissueColors.estimated(self.reference, self._expected, share)
            colors = replace(colors, trust=colors.trust * np.float32(self._ceiling))
            text = "the photograph does not seem to show {}; these tissues have the most similar "
            text += "colors in it, with a confidence of 0"
        missing = np.flatnonzero((share > _MIN_SHARE) & (colors.trust == 0))
        names = ", ".join(Tissue(int(t)).label for t in missing if t != Tissue.AIR)
        if names:
            self.warnings += (Notice("option-unused", "warning", text.format(names)),)
        return self._by_tissue(scan, tissues, table, colors)

    def _by_tissue(
        self, scan: Scan, tissues: Colors, table: Mixtures, colors: TissueColors
    ) -> Colors:
        """Convert mixtures of tissues to colors of the photograph (Reinhard 2001)."""
        transfer = _Transfer.of(scan, tissues, table, colors)
        plain = None if transfer.slope.any() else color_codes(transfer.base)
        code, confidence = np.zeros(tissues.code.shape, np.uint16), tissues.confidence
        total = len(code)

        def paint(z: int) -> None:
            check()
            inside = tissues.code[z] > 0
            mixture = tissues.code[z][inside]
            if plain is not None:
                code[z][inside] = plain[mixture]
            else:
                code[z][inside] = color_codes(transfer.ab(mixture, denoised(scan.hu[z])[inside]))
            confidence[z][inside] = np.rint(confidence[z][inside] * transfer.trust[mixture])

        with ThreadPool(kernel_threads()) as pool:
            for done, _ in enumerate(pool.map(paint, range(total)), 1):
                report(done, total, "coloring")
        return Colors(code, confidence)


@dataclass(frozen=True, eq=False)
class _Transfer:
    """The color of each mixture of tissues as a linear function of the HU."""

    base: NDArray[np.float32]  #: (codes, 2)
    slope: NDArray[np.float32]  #: (codes, 2), per HU
    mean: NDArray[np.float32]  #: (codes,), HU
    limit: NDArray[np.float32]  #: (codes,), largest deviation from ``mean`` in HU
    trust: NDArray[np.float32]  #: (codes,)

    @classmethod
    def of(cls, scan: Scan, tissues: Colors, table: Mixtures, colors: TissueColors) -> _Transfer:
        """Compute mean and standard deviation of the HU of each tissue in the CT.

        They are not computed if no color depends on the HU.
        """
        tissue = np.minimum(table.tissue, N_TISSUES)  # N_TISSUES: no tissue
        sums = np.zeros((3, N_TISSUES + 1))
        slices = len(scan.hu) if colors.slope.any() else 0
        sample = np.linspace(0, slices - 1, min(slices, _SAMPLED_SLICES))
        for z in np.unique(sample.astype(np.int64)):
            check()
            at = tissue[tissues.code[z]].ravel()
            hu = denoised(scan.hu[z]).ravel().astype(np.float64)
            for row, values in zip(sums, (None, hu, hu * hu), strict=True):
                row += np.bincount(at, weights=values, minlength=N_TISSUES + 1)
        count, mean, square = sums[:, :N_TISSUES]
        mean, square = mean / np.maximum(count, 1), square / np.maximum(count, 1)
        sd = np.sqrt(np.maximum(square - mean * mean, 1.0))
        share = table.weights
        total = np.maximum(share.sum(axis=1), 1e-6)
        return cls(
            share @ colors.mean,
            (share @ (colors.slope / sd[:, None])).astype(np.float32),
            (share @ mean / total).astype(np.float32),
            (_MAX_SD * share @ sd / total).astype(np.float32),
            share @ colors.trust / total,
        )

    def ab(self, code: NDArray[np.integer], hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the color (n, 2) of voxels from their mixture and their HU."""
        deviation = np.clip(hu - self.mean[code], -self.limit[code], self.limit[code])
        return np.asarray(self.base[code] + self.slope[code] * deviation[:, None], np.float32)


def _shares(tissues: Colors, table: Mixtures) -> NDArray[np.float32]:
    """Return the share of each tissue in the body, float32 (`N_TISSUES`,); zeros without a body."""
    n = len(table)
    counts = np.sum([np.bincount(plane.ravel(), minlength=n) for plane in tissues.code], axis=0)[1:]
    return np.asarray(counts @ table.weights[1:] / max(1, counts.sum()), np.float32)

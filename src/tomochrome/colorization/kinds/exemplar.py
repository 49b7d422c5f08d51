"""Colorization from a reference photograph provided by the user, without training.

A bundle of this kind contains the settings of the matching: ``lightness``, float32 (n_bins,), the
typical L* of each HU in a photograph, and ``features``, float32 (3,), the weights of
`exemplar.PixelMatcher`. Its metadata contain ``hu_edges``, ``input`` with one window that covers
them, and ``ceiling``, the maximum confidence: the fraction of correct colors among pixels whose
matches all agreed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.color.codes import Mixtures
from tomochrome.colorization.cards import DEFAULT_MODEL, find_model, hu_edges
from tomochrome.colorization.exemplar import PixelMatcher, Reference, TissueColors, body_of
from tomochrome.colorization.grid_predictor import Crop, GridPredictor, Planes
from tomochrome.colorization.inputs import InputGrid, InputSpec, window_ramps
from tomochrome.colorization.predictor import predictor_class, register_kind
from tomochrome.colorization.scan import Colors, Scan, denoised
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report
from tomochrome.tissue import N_TISSUES, Tissue

_MAX_SD = 2.5  # a tissue's HU are clipped at this many standard deviations from the mean
_SAMPLED_SLICES = 24  # slices used for the statistics of the CT
_MARGIN = 3  # pixels by which confidences extend beyond the body
_MIN_SHARE = 0.01  # of the body; rarer tissues without a color raise no warning


@register_kind("exemplar")
class Exemplar(GridPredictor):
    """The `Predictor` for reference photographs; without labels it runs on the CPU."""

    names_tissues: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = True

    def __init__(
        self,
        card: ModelCard,
        *,
        reference: Reference,
        device: str = "auto",
        batch: int | None = None,
    ) -> None:
        super().__init__(card, device=device, batch=batch)
        self.reference, self._device = reference, device
        try:
            arrays, edges = load_arrays(card), hu_edges(card)
            self._lightness = arrays["lightness"].astype(np.float32)
            self._weights = arrays["features"].astype(np.float32)
            self._ceiling = float(card.metadata["ceiling"])
            self.reads = InputSpec.from_dict(card.metadata["input"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the bundle of the model '{card.name}' is damaged: {error}") from None
        if self._lightness.shape != (len(edges) - 1,) or self._weights.shape != (3,):
            raise ModelError(f"the weights of the model '{card.name}' do not match its metadata")
        self._centers = (edges[1:] + edges[:-1]) / 2
        low, slope = window_ramps(self.reads)
        self._low, self._width = float(low[0]), float(1 / slope[0])
        self._gain, self._offset = 1.0, 0.0

    def color(self, scan: Scan) -> Colors:
        """Compute a code and a confidence for each voxel of a scan; see `Predictor.color`."""
        if self.reference.labels is None:
            return super().color(scan)
        model = find_model(DEFAULT_MODEL)
        tissues = predictor_class(model)(model, device=self._device, batch=None)
        found = tissues.color(scan)
        table = tissues.table
        assert isinstance(table, Mixtures)
        self.device, self.warnings = tissues.device, tissues.warnings
        return self._by_tissue(scan, found, table, TissueColors.of(self.reference))

    def planes(self, grid: InputGrid, crop: Crop) -> Planes:
        """Yield the colors of each slice of the grid; see `GridPredictor.planes`."""
        areas, values = [], []
        for k in _sample_slices(len(grid.hu)):
            check()
            hu = grid.hu[k][crop]
            body = body_of(hu)
            if body.any():
                areas.append(np.count_nonzero(body))
                values.append(self._light(hu[body]))
        area = float(np.median(areas)) if areas else 1.0
        self._match = PixelMatcher.of(self.reference, self._weights, area)
        if values:  # match mean and standard deviation of L* to the photograph's
            L = np.concatenate(values).astype(np.float64)
            self._gain = self._match.sd / max(float(L.std()), 1.0)
            self._offset = self._match.mean - self._gain * float(L.mean())
        yield from super().planes(grid, crop)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a*, b* and confidence of slices; see `GridPredictor.predict`."""
        import numba

        out = []
        for plane in inputs[:, 0]:
            check()
            hu = self._low + plane * self._width
            L = self._gain * self._light(hu) + np.float32(self._offset)
            body = body_of(hu)
            colors = self._match.colors(L, body, numba.get_num_threads())
            out.append(_extended(colors, body))
        return np.stack(out) * np.array([1, 1, self._ceiling], np.float32)

    def _light(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the typical L* of each HU in a photograph."""
        return np.interp(hu, self._centers, self._lightness).astype(np.float32)

    def _by_tissue(
        self, scan: Scan, found: Colors, table: Mixtures, colors: TissueColors
    ) -> Colors:
        """Convert mixtures of tissues to colors of the photograph (Reinhard 2001)."""
        import numba

        from tomochrome.colorization.tables import color_codes

        transfer = _Transfer.of(scan, found, table, colors)
        missing = self._without_color(found, table, colors)
        if missing:
            text = (
                f"the labels of the photograph do not include {', '.join(missing)}; the color of "
                "these tissues remains grey"
            )
            self.warnings += (Notice("option-unused", "warning", text),)
        code, confidence = np.zeros(found.code.shape, np.uint16), found.confidence
        total = len(code)

        def paint(z: int) -> None:
            check()
            inside = found.code[z] > 0
            mixture = found.code[z][inside]
            code[z][inside] = color_codes(transfer.ab(mixture, denoised(scan.hu[z])[inside]))
            confidence[z][inside] = np.rint(confidence[z][inside] * transfer.trust[mixture])

        with ThreadPool(numba.get_num_threads()) as pool:
            for done, _ in enumerate(pool.map(paint, range(total)), 1):
                report(done, total, "coloring")
        return Colors(code, confidence)

    def _without_color(
        self, found: Colors, table: Mixtures, colors: TissueColors
    ) -> tuple[str, ...]:
        """Return the names of tissues in the CT that are missing in the photograph's labels."""
        n = len(table)
        counts = np.sum([np.bincount(plane.ravel(), minlength=n) for plane in found.code], axis=0)
        share = counts[1:] @ table.weights[1:] / max(1, counts[1:].sum())
        missing = (share > _MIN_SHARE) & (colors.trust == 0)
        return tuple(Tissue(int(t)).label for t in np.flatnonzero(missing) if t != Tissue.AIR)


@dataclass(frozen=True, eq=False)
class _Transfer:
    """The color of each mixture of tissues as a linear function of the HU."""

    base: NDArray[np.float32]  #: (codes, 2)
    slope: NDArray[np.float32]  #: (codes, 2), per HU
    mean: NDArray[np.float32]  #: (codes,), HU
    limit: NDArray[np.float32]  #: (codes,), largest deviation from ``mean`` in HU
    trust: NDArray[np.float32]  #: (codes,)

    @classmethod
    def of(cls, scan: Scan, found: Colors, table: Mixtures, colors: TissueColors) -> _Transfer:
        """Compute mean and standard deviation of the HU of each tissue in the CT."""
        tissue = np.minimum(table.tissue, N_TISSUES)  # N_TISSUES: no tissue
        sums = np.zeros((3, N_TISSUES + 1))
        for z in _sample_slices(len(scan.hu)):
            check()
            at = tissue[found.code[z]].ravel()
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


def _sample_slices(count: int) -> NDArray[np.int64]:
    """Return a few evenly spaced indices below ``count``."""
    return np.unique(np.linspace(0, count - 1, min(count, _SAMPLED_SLICES)).astype(np.int64))


def _extended(colors: NDArray[np.float32], body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Extrapolate colors beyond the body, so that its edge is not mixed with grey."""
    from scipy import ndimage

    if not body.any():
        return colors
    distance, nearest = ndimage.distance_transform_edt(~body, return_indices=True)
    extended = colors[tuple(nearest)]
    extended[..., 2] *= distance <= _MARGIN
    return extended

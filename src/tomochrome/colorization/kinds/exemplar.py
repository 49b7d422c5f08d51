"""Colors of a photograph that the user gives: nothing is trained, and nothing works without it.

A bundle of this kind holds the settings of the match: ``lightness``, float32 (n_bins,), how light
each HU is in a photograph (L*), and ``features``, float32 (3,), the weights of `exemplar.Match`.
Its metadata hold ``hu_edges``, ``input`` with one window that covers them, and ``ceiling``, the
share of colors that were right where all matching pixels agreed: no confidence is higher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_arrays
from tomochrome.color.codes import Mixtures
from tomochrome.colorization.cards import DEFAULT_MODEL, find_model, hu_edges
from tomochrome.colorization.exemplar import Match, Reference, TissueColors, body_of
from tomochrome.colorization.grid_predictor import Crop, GridPredictor, Planes
from tomochrome.colorization.inputs import InputGrid, InputSpec, window_ramps
from tomochrome.colorization.predictor import predictor_class, register_kind
from tomochrome.colorization.scan import Colors, Scan
from tomochrome.errors import ModelError
from tomochrome.notices import Notice
from tomochrome.runtime import ThreadPool, check, report
from tomochrome.tissue import N_TISSUES, Tissue

_MOST_SD = 2.5  # standard deviations from its mean at which a tissue's colors end
_LOOKED_AT = 24  # slices from which the statistics of the CT are taken
_BEYOND = 3  # pixels
_LEAST_SHARE = 0.01  # of the body; a tissue without a color that is rarer is not spoken of


@register_kind("exemplar")
class Exemplar(GridPredictor):
    """The `Predictor` of this kind; without labels of the photograph it runs on the CPU."""

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
        self.reference, self._asked = reference, device
        try:
            arrays, edges = load_arrays(card), hu_edges(card)
            self._lightness = arrays["lightness"].astype(np.float32)
            self._weights = arrays["features"].astype(np.float32)
            self._ceiling = float(card.metadata["ceiling"])
            self.reads = InputSpec.from_dict(card.metadata["input"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the bundle of the model '{card.name}' is damaged: {error}") from None
        if self._lightness.shape != (len(edges) - 1,) or self._weights.shape != (3,):
            raise ModelError(f"the settings of the model '{card.name}' do not fit its metadata")
        self._centers = (edges[1:] + edges[:-1]) / 2
        low, slope = window_ramps(self.reads)
        self._low, self._width = float(low[0]), float(1 / slope[0])
        self._gain, self._offset = 1.0, 0.0

    def color(self, scan: Scan) -> Colors:
        """Give each voxel of a scan a code and a confidence; see `Predictor.color`."""
        if self.reference.labels is None:
            return super().color(scan)
        model = find_model(DEFAULT_MODEL)
        tissues = predictor_class(model)(model, device=self._asked, batch=None)
        found = tissues.color(scan)
        table = tissues.table
        assert isinstance(table, Mixtures)
        self.device, self.warnings = tissues.device, tissues.warnings
        return self._by_tissue(scan, found, table, TissueColors.of(self.reference))

    def planes(self, grid: InputGrid, crop: Crop) -> Planes:
        """Yield the colors of each slice of the grid; see `GridPredictor.planes`."""
        areas, values = [], []
        for k in _spread(len(grid.hu)):
            check()
            hu = grid.hu[k][crop]
            body = body_of(hu)
            if body.any():
                areas.append(np.count_nonzero(body))
                values.append(self._light(hu[body]))
        area = float(np.median(areas)) if areas else 1.0
        self._match = Match.of(self.reference, self._weights, area)
        if values:  # luminances of the CT get the mean and spread of the photograph's
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
            out.append(_carried_on(self._match.colors(L, body, numba.get_num_threads()), body))
        return np.stack(out) * np.array([1, 1, self._ceiling], np.float32)

    def _light(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how light each HU is in a photograph, L*."""
        return np.interp(hu, self._centers, self._lightness).astype(np.float32)

    def _by_tissue(
        self, scan: Scan, found: Colors, table: Mixtures, colors: TissueColors
    ) -> Colors:
        """Turn mixtures of tissues into colors of the photograph (Reinhard 2001)."""
        import numba

        from tomochrome.colorization.tables import color_codes

        how = _Transfer.of(scan, found, table, colors)
        missing = self._without_color(found, table, colors)
        if missing:
            text = f"the labels of the photograph have no {', '.join(missing)}: these stay grey"
            self.warnings += (Notice("option-unused", "warning", text),)
        code, sure = np.zeros(found.code.shape, np.uint16), found.confidence
        total = len(code)

        def paint(z: int) -> None:
            check()
            inside = found.code[z] > 0
            mixed = found.code[z][inside]
            code[z][inside] = color_codes(how.ab(mixed, _denoised(scan.hu[z])[inside]))
            sure[z][inside] = np.rint(sure[z][inside] * how.trust[mixed])

        with ThreadPool(numba.get_num_threads()) as pool:
            for done, _ in enumerate(pool.map(paint, range(total)), 1):
                report(done, total, "coloring")
        return Colors(code, sure)

    def _without_color(
        self, found: Colors, table: Mixtures, colors: TissueColors
    ) -> tuple[str, ...]:
        """Return the names of tissues of the CT that the photograph's labels lack."""
        n = len(table)
        counts = np.sum([np.bincount(plane.ravel(), minlength=n) for plane in found.code], axis=0)
        share = counts[1:] @ table.weights[1:] / max(1, counts[1:].sum())
        plain = (share > _LEAST_SHARE) & (colors.trust == 0)
        return tuple(Tissue(int(t)).label for t in np.flatnonzero(plain) if t != Tissue.AIR)


@dataclass(frozen=True, eq=False)
class _Transfer:
    """For each mixture of tissues its color, and how the color changes with the HU around it."""

    base: NDArray[np.float32]  #: (codes, 2)
    slope: NDArray[np.float32]  #: (codes, 2), per HU
    middle: NDArray[np.float32]  #: (codes,), HU
    reach: NDArray[np.float32]  #: (codes,), HU
    trust: NDArray[np.float32]  #: (codes,)

    @classmethod
    def of(cls, scan: Scan, found: Colors, table: Mixtures, colors: TissueColors) -> _Transfer:
        """Measure mean and spread of the HU of each tissue in the CT."""
        tissue = np.minimum(table.tissue, N_TISSUES)  # the last stands for none
        sums = np.zeros((3, N_TISSUES + 1))
        for z in _spread(len(scan.hu)):
            check()
            at = tissue[found.code[z]].ravel()
            hu = _denoised(scan.hu[z]).ravel().astype(np.float64)
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
            (_MOST_SD * share @ sd / total).astype(np.float32),
            share @ colors.trust / total,
        )

    def ab(self, code: NDArray[np.integer], hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the color (n, 2) of voxels by their mixture and their HU."""
        away = np.clip(hu - self.middle[code], -self.reach[code], self.reach[code])
        return np.asarray(self.base[code] + self.slope[code] * away[:, None], np.float32)


def _spread(count: int) -> NDArray[np.int64]:
    """Return a few numbers below a count, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(np.int64))


def _carried_on(colors: NDArray[np.float32], body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return colors that go on beyond the body, so that no rim of it is mixed with grey."""
    from scipy import ndimage

    if not body.any():
        return colors
    away, at = ndimage.distance_transform_edt(~body, return_indices=True)
    found = colors[tuple(at)]
    found[..., 2] *= away <= _BEYOND
    return found


def _denoised(plane: NDArray[np.int16]) -> NDArray[np.float32]:
    from scipy import ndimage

    return np.asarray(ndimage.median_filter(plane.astype(np.float32), 3, mode="nearest"))

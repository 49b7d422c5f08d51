"""All figures of a model's colorings against the truth, with confidence intervals.

Coloring and truth have the same L*, that of the CT: CIEDE2000 then has no lightness term, and L*
only affects the sRGB images for PSNR, SSIM and colorfulness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.palettes import Palette
from tomochrome.color.perception import ciede2000
from tomochrome.errors import GeometryError
from tomochrome.evaluate.calibration import Reliability, reliability
from tomochrome.evaluate.color_scores import flicker
from tomochrome.evaluate.color_truth import ColorTruth
from tomochrome.evaluate.image_quality import colorfulness, opponent_sums, psnr, ssim_map
from tomochrome.runtime import check, report
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES
from tomochrome.windowing import Window, luminance, parse_window

_STEP = 0.01  # bin width of the histogram of differences, the resolution of percentiles
_BINS = 20_000
_MID_GREY = 50.0  # an arbitrary L*: differences at equal L* do not depend on it
# columns of the sums of a slice
_VOXELS, _DIFFERENCE, _CHROMA, _GREY, _SQUARES, _SSIM = range(6)
_COLORFUL = slice(6, 11)
_COLORFUL_TRUTH = slice(11, 16)
_TISSUE_VOXELS = slice(16, 16 + N_TISSUES)
_TISSUE_CHROMA = slice(16 + N_TISSUES, 16 + 2 * N_TISSUES)
_COLUMNS = 16 + 2 * N_TISSUES
_MIN_VOXELS = 50  # tissues with fewer voxels are excluded from the mean over tissues
_MIN_SCANS = 5  # for intervals over scans instead of slices
RESAMPLES = 1000  #: of slices or scans, for confidence intervals
_SEED = 20
_TAILS = (2.5, 97.5)

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class ColorFigures:
    """Figures of a model's colorings inside the body.

    Attributes
    ----------
    model
        Name of the model.
    voxels
        Number of voxels compared.
    ciede2000, ciede2000_median, ciede2000_p95
        CIEDE2000 at equal L*: mean, median and 95th percentile over voxels.
    chroma_error, grey_chroma_error
        Mean distance in (a*, b*) of the coloring, and of a grey image.
    psnr, ssim
        Similarity of the windowed 8-bit sRGB images of coloring and truth at the same L*; PSNR in
        dB, infinite without any difference.
    colorfulness, truth_colorfulness
        Hasler and Suesstrunk's colorfulness of the coloring and the truth.
    flicker
        Mean distance in (a*, b*) between adjacent slices; None for a single slice.
    organ_error, grey_organ_error
        Mean over true tissues of their mean distance in (a*, b*), for the coloring and a grey
        image; None without true tissues.
    calibration
        Calibration of a tissue model; None without true tissues or for other models.
    intervals
        95 % bootstrap intervals of the figures by name, over slices, or over scans if there are at
        least five; none for a single slice.
    tissues
        ``voxels``, ``ciede2000`` and ``chroma_error`` of each true tissue by name.
    """

    model: str
    voxels: int
    ciede2000: float
    ciede2000_median: float
    ciede2000_p95: float
    chroma_error: float
    grey_chroma_error: float
    psnr: float
    ssim: float
    colorfulness: float
    truth_colorfulness: float
    flicker: float | None
    organ_error: float | None
    grey_organ_error: float | None
    calibration: Reliability | None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tissues: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, rounded to three decimals; infinite values become None."""
        data = _plain(asdict(self))
        assert isinstance(data, dict)
        return data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 3) if np.isfinite(value) else None
    return value


def _mean(column: int) -> Callable[[Sums], Sums]:
    return lambda total: np.asarray(total[..., column] / total[..., _VOXELS])


def _organ_error(total: Sums) -> Sums:
    voxels, distance = total[..., _TISSUE_VOXELS], total[..., _TISSUE_CHROMA]
    counted = voxels >= np.minimum(_MIN_VOXELS, voxels.max(axis=-1, keepdims=True))
    errors = np.where(counted, distance / np.maximum(voxels, 1), 0.0)
    return np.asarray(errors.sum(axis=-1) / counted.sum(axis=-1))


_FIGURES: dict[str, Callable[[Sums], Sums]] = {
    "ciede2000": _mean(_DIFFERENCE),
    "chroma_error": _mean(_CHROMA),
    "grey_chroma_error": _mean(_GREY),
    "psnr": lambda total: psnr(_mean(_SQUARES)(total)),
    "ssim": _mean(_SSIM),
    "colorfulness": lambda total: colorfulness(total[..., _COLORFUL]),
    "truth_colorfulness": lambda total: colorfulness(total[..., _COLORFUL_TRUTH]),
}


def color_figures(
    chroma: Chroma,
    hu: NDArray[Any],
    truth: ColorTruth,
    palette_name: str | Palette = "natural",
    window: str | Window = "soft-tissue",
) -> ColorFigures:
    """Compare a coloring with the truth, slice by slice.

    Parameters
    ----------
    chroma
        The coloring.
    hu
        (z, y, x) in HU, on the coloring's grid.
    truth
        The true colors, on the same grid.
    palette_name
        Palette for a tissue model, or its name.
    window
        Window of the images for PSNR, SSIM and colorfulness.

    Returns
    -------
    ColorFigures
        Figures over all voxels whose true color is known.

    Raises
    ------
    GeometryError
        If the grids differ, or no voxel has a known color.
    Cancelled
        If the user cancelled.
    """
    tally = Tally(palette_name, window)
    tally.add(chroma, hu, truth)
    return tally.figures()


class Tally:
    """Accumulates the figures of one model over any number of scans.

    Only sums per slice and histograms over all slices are kept, so that memory stays bounded.

    Parameters
    ----------
    palette_name
        Palette for a tissue model, or its name.
    window
        Window of the images for PSNR, SSIM and colorfulness.
    """

    def __init__(
        self, palette_name: str | Palette = "natural", window: str | Window = "soft-tissue"
    ) -> None:
        self._palette, self._window = palette_name, parse_window(window)
        self._model = ""
        self._scans: list[Sums] = []
        self._differences = np.zeros(_BINS, np.int64)
        self._sure, self._right = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self._tissue_differences = np.zeros(N_TISSUES)
        self._grey = np.zeros(N_TISSUES)
        self._flicker: list[float] = []
        self._tissues = self._named = False

    def add(self, chroma: Chroma, hu: NDArray[Any], truth: ColorTruth) -> None:
        """Add a scan; see `color_figures`."""
        if not chroma.shape == hu.shape == truth.index.shape:
            raise GeometryError(
                f"CT {hu.shape}, coloring {chroma.shape} and truth {truth.index.shape} "
                "are not on the same grid"
            )
        self._model, self._tissues = chroma.model, truth.tissues
        self._named = truth.tissues and chroma.has_tissues
        if truth.tissues:
            chroma = chroma.without_shades()
            self._grey = np.linalg.norm(truth.colors[:N_TISSUES], axis=1)
        table = chroma.ab_of_code(self._palette).astype(np.float64)
        rows = []
        for k in range(len(hu)):
            check()
            report(k, len(hu), "comparing colors")
            rows.append(self._count(k, luminance(hu[k], self._window), table, chroma, truth))
        sums = np.array([row for row in rows if row[_VOXELS] > 0])
        if not len(sums):
            raise GeometryError("the truth contains no tissue or color inside the body")
        self._scans.append(sums)
        if len(hu) > 1:
            self._flicker.append(flicker(chroma, hu, self._palette).chroma)

    def figures(self) -> ColorFigures:
        """Return the figures over all added scans; there must be at least one."""
        slices = np.concatenate(self._scans)
        total = slices.sum(axis=0)
        units = slices
        if len(self._scans) >= _MIN_SCANS:
            units = np.array([scan.sum(axis=0) for scan in self._scans])
        figures = {**_FIGURES, "organ_error": _organ_error} if self._tissues else _FIGURES
        values: dict[str, float | None] = {"organ_error": None, "grey_organ_error": None}
        values |= {name: float(figure(total)) for name, figure in figures.items()}
        if self._tissues:
            grey = total.copy()
            grey[_TISSUE_CHROMA] = total[_TISSUE_VOXELS] * self._grey
            values["grey_organ_error"] = float(_organ_error(grey))
        intervals = {name: bootstrap_interval(units, figure) for name, figure in figures.items()}
        below = np.cumsum(self._differences)
        median, p95 = (
            int(np.searchsorted(below, share * below[-1])) * _STEP for share in (0.5, 0.95)
        )
        tissues = np.flatnonzero(total[_TISSUE_VOXELS]) if self._tissues else ()
        return ColorFigures(
            model=self._model,
            voxels=int(total[_VOXELS]),
            ciede2000_median=median,
            ciede2000_p95=p95,
            flicker=float(np.mean(self._flicker)) if self._flicker else None,
            calibration=reliability(self._sure, self._right) if self._named else None,
            intervals={name: ends for name, ends in intervals.items() if ends is not None},
            tissues={
                TISSUE_NAMES[k]: {
                    "voxels": int(total[_TISSUE_VOXELS][k]),
                    "ciede2000": float(self._tissue_differences[k] / total[_TISSUE_VOXELS][k]),
                    "chroma_error": float(total[_TISSUE_CHROMA][k] / total[_TISSUE_VOXELS][k]),
                }
                for k in tissues
            },
            **values,  # type: ignore[arg-type]
        )

    def _count(
        self,
        k: int,
        light: NDArray[np.float32],
        table: NDArray[np.float64],
        chroma: Chroma,
        truth: ColorTruth,
    ) -> Sums:
        """Return the sums of slice ``k``, whose L* is ``light``."""
        index, code = truth.index[k], chroma.code[k]
        mask = truth.has_color[index]
        row = np.zeros(_COLUMNS)
        if not mask.any():
            return row
        # compute each distinct pair of true and predicted color once
        key = index[mask].astype(np.int64) * len(table) + code[mask]
        pairs, number = np.unique(key, return_counts=True)
        true_ab, ab = truth.colors[pairs // len(table)], table[pairs % len(table)]
        difference = ciede2000(_lab(true_ab), _lab(ab))
        distance = np.linalg.norm(true_ab - ab, axis=1)
        bins = np.minimum((difference / _STEP).astype(int), _BINS - 1)
        np.add.at(self._differences, bins, number)
        row[_VOXELS] = number.sum()
        row[_DIFFERENCE] = number @ difference
        row[_CHROMA] = number @ distance
        row[_GREY] = number @ np.linalg.norm(true_ab, axis=1)
        # both images are grey where no color is known
        image = _rgb(light, np.where(mask[..., None], table[code], 0.0))
        true = _rgb(light, np.where(mask[..., None], truth.colors[index], 0.0))
        error = image[mask].astype(np.float64) - true[mask]
        row[_SQUARES] = (error * error).mean(axis=-1).sum()
        row[_SSIM] = ssim_map(image, true)[mask].sum()
        row[_COLORFUL] = opponent_sums(image[mask])
        row[_COLORFUL_TRUTH] = opponent_sums(true[mask])
        if truth.tissues:
            names = pairs // len(table)
            np.add.at(row[_TISSUE_VOXELS], names, number)
            np.add.at(row[_TISSUE_CHROMA], names, number * distance)
            np.add.at(self._tissue_differences, names, number * difference)
        if self._named:
            sure = chroma.confidence[k][mask]
            right = chroma.tissue_of_code[code[mask]] == index[mask]
            self._sure += np.bincount(sure, minlength=256)
            self._right += np.bincount(sure[right], minlength=256)
        return row


def _lab(ab: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.full((len(ab), 1), _MID_GREY), ab], axis=1)


def _rgb(light: NDArray[np.float32], ab: NDArray[np.float64]) -> NDArray[np.uint8]:
    return lab_to_srgb8(np.concatenate([light[..., None], ab], axis=-1).astype(np.float32))


def bootstrap_interval(
    sums: NDArray[np.float64],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a figure over slices or patients.

    Parameters
    ----------
    sums
        (n, k): the sums that the figure is computed from, one row per slice or patient. The
        figure of a resample is that of its total, so that rows are weighted by their voxels.
    figure
        Function that maps totals (resamples, k) to figures (resamples,).
    resamples, seed
        Number of resamples, and seed of the random number generator.

    Returns
    -------
    tuple of float or None
        Lower and upper end; None for fewer than two slices or patients.

    Notes
    -----
    B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap (1993), chapter 13.
    """
    count = len(sums)
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = figure(drawn @ np.asarray(sums, np.float64))
    draws = draws[~np.isnan(draws)]
    if not draws.size:
        return None
    # figures can be infinite (PSNR without error), so do not interpolate between them
    low, high = np.percentile(draws, _TAILS, method="nearest")
    return float(low), float(high)

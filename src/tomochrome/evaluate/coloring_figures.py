"""All figures of one coloring against the truth, with confidence intervals over slices.

Both are compared at the CT's own L*, which is the same in both: CIEDE2000 then has no term of
lightness, and L* decides only how a chroma looks in the pictures of PSNR, SSIM and colorfulness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.chroma import Chroma
from tomochrome.color.convert import lab_to_srgb8
from tomochrome.color.difference import ciede2000
from tomochrome.color.palette import Palette
from tomochrome.errors import GeometryError
from tomochrome.evaluate.bootstrap import bootstrap_interval
from tomochrome.evaluate.calibration import Reliability, reliability
from tomochrome.evaluate.color import flicker
from tomochrome.evaluate.color_truth import ColorTruth
from tomochrome.evaluate.likeness import colorfulness, opponent_sums, psnr, ssim_map
from tomochrome.runtime import check, report
from tomochrome.tissue import TISSUE_NAMES
from tomochrome.windowing import Window, luminance, parse_window

_STEP = 0.01  # width of a bin of differences, which percentiles are exact to
_BINS = 20_000
_MID_GREY = 50.0  # any L*: differences at equal L* do not depend on it
# columns of the sums of a slice
_VOXELS, _DIFFERENCE, _CHROMA, _GREY, _SQUARES, _SSIM = range(6)
_COLORFUL = slice(6, 11)
_COLORFUL_TRUTH = slice(11, 16)
_COLUMNS = 16

Sums = NDArray[np.float64]


@dataclass(frozen=True)
class ColorFigures:
    """How near the colors are to the truth, in the body only.

    Attributes
    ----------
    model
        What made the colors.
    voxels
        How many were compared.
    ciede2000, ciede2000_median, ciede2000_p95
        CIEDE2000 at equal L*: mean, median and 95th percentile over voxels.
    chroma_error, grey_chroma_error
        Mean distance in (a*, b*), and what it would be without any color.
    psnr, ssim
        Of the 8-bit sRGB picture lit through the window against the truth lit at the same L*;
        PSNR in dB, infinite without any difference.
    colorfulness, truth_colorfulness
        Hasler and Suesstrunk's, of both.
    flicker
        Mean distance in (a*, b*) between neighbouring slices; None of a single slice.
    calibration
        Of a model that names tissues, against true tissues; otherwise None.
    intervals
        95 % bootstrap interval over slices of the figures by name; none of a single slice.
    tissues
        ``voxels``, ``ciede2000`` and ``chroma_error`` of each true tissue by its name.
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
    calibration: Reliability | None
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tissues: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, rounded to three decimals; what is infinite becomes None."""
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
        (z, y, x) in HU, on its grid.
    truth
        The true colors, on its grid.
    palette_name
        Palette of a model that names tissues, or its name.
    window
        Through which both are lit.

    Returns
    -------
    ColorFigures
        Over all voxels whose true color is known.

    Raises
    ------
    GeometryError
        If the grids differ, or no voxel has a known color.
    Cancelled
        If the user stopped the work.
    """
    if not chroma.shape == hu.shape == truth.index.shape:
        raise GeometryError(
            f"CT {hu.shape}, coloring {chroma.shape} and truth {truth.index.shape} "
            "are not on one grid"
        )
    count = _Count(chroma.ab_of_code(palette_name).astype(np.float64), truth, chroma)
    window = parse_window(window)
    for k in range(len(hu)):
        check()
        report(k, len(hu), "comparing colors")
        count.add(k, luminance(hu[k], window))
    sums = np.array([row for row in count.sums if row[_VOXELS] > 0])
    if not len(sums):
        raise GeometryError("the truth names no tissue or color inside the body")
    found = {name: float(figure(sums.sum(axis=0))) for name, figure in _FIGURES.items()}
    intervals = {name: bootstrap_interval(sums, figure) for name, figure in _FIGURES.items()}
    median, p95 = count.percentiles((0.5, 0.95))
    return ColorFigures(
        model=chroma.model,
        voxels=int(sums[:, _VOXELS].sum()),
        ciede2000_median=median,
        ciede2000_p95=p95,
        flicker=flicker(chroma, hu, palette_name).chroma if len(hu) > 1 else None,
        calibration=reliability(count.sure, count.right) if count.named else None,
        intervals={name: ends for name, ends in intervals.items() if ends is not None},
        tissues=count.of_tissues() if truth.tissues else {},
        **found,
    )


class _Count:
    """Sums of each slice, and histograms over all of them, so that memory stays bounded."""

    def __init__(self, table: NDArray[np.float64], truth: ColorTruth, chroma: Chroma) -> None:
        self.table, self.truth, self.chroma = table, truth, chroma
        self.named = truth.tissues and chroma.has_tissues
        self.sums: list[Sums] = []
        self.differences = np.zeros(_BINS, np.int64)
        self.sure, self.right = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self.tissues = np.zeros((3, len(truth.colors)))

    def add(self, k: int, light: NDArray[np.float32]) -> None:
        """Count slice ``k``, whose L* is ``light``."""
        index, code = self.truth.index[k], self.chroma.code[k]
        mask = self.truth.known[index]
        row = np.zeros(_COLUMNS)
        self.sums.append(row)
        if not mask.any():
            return
        # a slice has few pairs of colors, and the difference depends on nothing else
        key = index[mask].astype(np.int64) * len(self.table) + code[mask]
        pairs, number = np.unique(key, return_counts=True)
        true, made = (
            self.truth.colors[pairs // len(self.table)],
            self.table[pairs % len(self.table)],
        )
        difference = ciede2000(_lab(true), _lab(made))
        distance = np.linalg.norm(true - made, axis=1)
        place = np.minimum((difference / _STEP).astype(int), _BINS - 1)
        np.add.at(self.differences, place, number)
        row[_VOXELS] = number.sum()
        row[_DIFFERENCE] = number @ difference
        row[_CHROMA] = number @ distance
        row[_GREY] = number @ np.linalg.norm(true, axis=1)
        self._look_at(row, mask, index, code, light)
        if self.truth.tissues:
            names = pairs // len(self.table)
            for part, values in zip(self.tissues, (1.0, difference, distance), strict=True):
                np.add.at(part, names, number * values)
        if self.named:
            sure = self.chroma.confidence[k][mask]
            right = self.chroma.tissue_of_code[code[mask]] == index[mask]
            self.sure += np.bincount(sure, minlength=256)
            self.right += np.bincount(sure[right], minlength=256)

    def _look_at(
        self,
        row: Sums,
        mask: NDArray[np.bool_],
        index: NDArray[Any],
        code: NDArray[Any],
        light: NDArray[np.float32],
    ) -> None:
        """Add what is measured on pictures, both grey where no color is known."""
        made = _picture(light, np.where(mask[..., None], self.table[code], 0.0))
        true = _picture(light, np.where(mask[..., None], self.truth.colors[index], 0.0))
        apart = made[mask].astype(np.float64) - true[mask]
        row[_SQUARES] = (apart * apart).mean(axis=-1).sum()
        row[_SSIM] = ssim_map(made, true)[mask].sum()
        row[_COLORFUL] = opponent_sums(made[mask])
        row[_COLORFUL_TRUTH] = opponent_sums(true[mask])

    def percentiles(self, shares: tuple[float, ...]) -> list[float]:
        """Return the differences below which these shares of the voxels lie."""
        below = np.cumsum(self.differences)
        found = [int(np.searchsorted(below, share * below[-1])) for share in shares]
        return [place * _STEP for place in found]

    def of_tissues(self) -> dict[str, dict[str, float]]:
        """Return the figures of each true tissue."""
        voxels, difference, distance = self.tissues
        return {
            TISSUE_NAMES[k]: {
                "voxels": int(voxels[k]),
                "ciede2000": float(difference[k] / voxels[k]),
                "chroma_error": float(distance[k] / voxels[k]),
            }
            for k in np.flatnonzero(voxels)
        }


def _lab(ab: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.full((len(ab), 1), _MID_GREY), ab], axis=1)


def _picture(light: NDArray[np.float32], ab: NDArray[np.float64]) -> NDArray[np.uint8]:
    return lab_to_srgb8(np.concatenate([light[..., None], ab], axis=-1).astype(np.float32))

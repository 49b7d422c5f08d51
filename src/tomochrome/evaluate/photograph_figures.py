"""Figures of a colored photograph beside the original one, and of two simple opponents."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.convert import lab_to_srgb8, srgb_to_lab
from tomochrome.color.perception import ciede2000
from tomochrome.errors import InputError
from tomochrome.evaluate.image_quality import colorfulness, opponent_sums, psnr, ssim_map

CURVE_L: Final = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)
"""L* at which `CURVE_AB` gives the mean color of frozen sections; it is constant beyond."""
CURVE_AB: Final = (
    (11.2, 5.3), (17.8, 9.7), (21.0, 13.0), (21.7, 16.8),
    (20.6, 19.3), (16.3, 21.4), (12.4, 24.3), (9.9, 26.7),
)  # fmt: skip
"""Mean (a*, b*) of the tissue within 2.5 of each L*, in the 21 white-balanced sections of the
Visible Human Female that models learn from (National Library of Medicine)."""


@dataclass(frozen=True)
class PhotographFigures:
    """How far a coloring is from the photograph's own colors.

    Attributes
    ----------
    ciede2000, ciede2000_median, ciede2000_p95
        Mean, median and 95th percentile of the color difference.
    psnr
        Peak signal-to-noise ratio of sRGB in dB.
    ssim
        Mean structural similarity of sRGB.
    colorfulness, true_colorfulness
        Of the coloring and of the photograph.
    grey_ciede2000, grey_psnr, grey_ssim, grey_colorfulness
        The same of the grey photograph.
    curve_ciede2000, curve_psnr, curve_ssim, curve_colorfulness
        The same of the curve that gives each lightness its mean color.
    """

    ciede2000: float
    ciede2000_median: float
    ciede2000_p95: float
    psnr: float
    ssim: float
    colorfulness: float
    true_colorfulness: float
    grey_ciede2000: float
    curve_ciede2000: float
    grey_psnr: float
    grey_ssim: float
    grey_colorfulness: float
    curve_psnr: float
    curve_ssim: float
    curve_colorfulness: float

    def rounded(self) -> dict[str, float | None]:
        """Return the figures with four decimals; an infinite PSNR is None."""
        return {
            name: round(value, 4) if np.isfinite(value) else None
            for name, value in asdict(self).items()
        }


def photograph_figures(
    colored: NDArray[np.uint8], photograph: NDArray[np.uint8], mask: NDArray[np.bool_]
) -> PhotographFigures:
    """Compare a coloring with the photograph's own colors.

    Parameters
    ----------
    colored, photograph
        uint8 (y, x, 3), sRGB.
    mask
        bool (y, x): pixels to compare.

    Raises
    ------
    InputError
        If the mask is empty.
    """
    if not mask.any():
        raise InputError("the mask of the photograph is empty: there is nothing to compare")
    true = srgb_to_lab(photograph)
    grey, curve = lab_to_srgb8(true * (1, 0, 0)), by_curve(true[..., 0])
    difference = ciede2000(srgb_to_lab(colored)[mask], true[mask])

    def quality(image: NDArray[np.uint8]) -> tuple[float, float, float]:
        squared = np.square(image[mask].astype(np.float64) - photograph[mask])
        similarity = ssim_map(image, photograph)[mask].mean()
        return float(psnr(squared.mean())), float(similarity), _colorfulness(image[mask])

    return PhotographFigures(
        float(difference.mean()),
        float(np.median(difference)),
        float(np.percentile(difference, 95)),
        *quality(colored),
        _colorfulness(photograph[mask]),
        float(ciede2000(true[mask] * (1, 0, 0), true[mask]).mean()),
        float(ciede2000(srgb_to_lab(curve[mask]), true[mask]).mean()),
        *quality(grey),
        *quality(curve),
    )


def _colorfulness(pixels: NDArray[np.uint8]) -> float:
    return float(colorfulness(opponent_sums(pixels)))


def by_curve(L: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return the color of each L* by `CURVE_AB`, uint8 (..., 3)."""
    ab = [np.interp(L, CURVE_L, [color[c] for color in CURVE_AB]) for c in (0, 1)]
    return lab_to_srgb8(np.stack([L, *ab], axis=-1))

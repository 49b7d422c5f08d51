"""A page that compares colorings with each other, and with the truth where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.color import Lighting
from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import FreeColors, Mixtures
from tomochrome.colorization.case_coloring import add_coloring
from tomochrome.colorization.side_by_side import upright_slice
from tomochrome.evaluate.color_truth import ColorTruth
from tomochrome.io.page import CasePage
from tomochrome.tissue import N_TISSUES
from tomochrome.volume import Volume

_SIDE = 120  # size of a reliability diagram in pixels
_COLUMNS = (
    ("ciede2000", "CIEDE2000", 1),
    ("ciede2000_median", "median", 1),
    ("ciede2000_p95", "95th percentile", 1),
    ("chroma_error", "chroma error", 1),
    ("psnr", "PSNR (dB)", 1),
    ("ssim", "SSIM", 3),
    ("colorfulness", "colorfulness", 1),
    ("flicker", "flicker", 2),
    ("seconds_per_slice", "s/slice", 3),
)


def truth_chroma(truth: ColorTruth, affine: NDArray[np.float64]) -> Chroma:
    """Return the true colors as a coloring with confidence 1; unknown colors are grey.

    Parameters
    ----------
    truth
        The true colors.
    affine
        Of their grid, as in `Volume`.
    """
    certain = np.full(truth.index.shape, 255, np.uint8)
    if truth.tissues:
        has_color = truth.has_color[:N_TISSUES][:, None]
        weights = np.vstack([np.eye(N_TISSUES) * has_color, np.zeros(N_TISSUES)]).astype(np.float32)
        weights[0, 0] = 1.0
        code = np.minimum(truth.index, N_TISSUES).astype(np.uint16)
        return Chroma(code, certain, Mixtures(weights), affine)
    colors = np.vstack([np.zeros((1, 2)), np.where(truth.has_color[:, None], truth.colors, 0.0)])
    code = (truth.index + 1).astype(np.uint32)
    return Chroma(code, certain, FreeColors(colors.astype(np.float32)), affine)


class ColorPage:
    """The page of a scan with colorings by several models, and the truth if it is known.

    Parameters
    ----------
    volume
        CT in HU.
    truth
        Its true colors, or None.
    settings
        As for `CasePage`.
    """

    def __init__(
        self, volume: Volume, truth: ColorTruth | None = None, settings: Lighting | None = None
    ) -> None:
        self.page, self.start = CasePage(volume, settings), None
        if truth is not None:
            self.page.add(truth_chroma(truth, volume.affine), "Truth")
            self.start = _first_slice(volume, truth)

    def add(self, chroma: Chroma) -> None:
        """Add the coloring of a model.

        Parameters
        ----------
        chroma
            On the grid of the scan.
        """
        add_coloring(self.page, chroma)

    def write(self, path: Path, figures: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write the page; it contains no file names and no patient data.

        Parameters
        ----------
        path
            Where; use `tomochrome.runtime.write_whole`.
        figures
            `ColorFigures` of each model as plain data; none without a truth.
        """
        self.page.write(
            path,
            "comparison.html",
            self.start,
            heads=[head for _, head, _ in _COLUMNS],
            lines=[
                (str(each["model"]), [_cell(each, name, digits) for name, _, digits in _COLUMNS])
                for each in figures
            ],
            diagrams=[
                (str(each["model"]), _bars(each["calibration"]))
                for each in figures
                if each.get("calibration")
            ],
            side=_SIDE,
        )


def _first_slice(volume: Volume, truth: ColorTruth) -> int:
    """Return the axial slice, from the feet, in the middle of those with a known color."""
    places = np.argwhere(truth.has_color[truth.index])
    center = np.median(places, axis=0) if len(places) else np.array(volume.shape) // 2
    z, y, x = (int(n) for n in center)
    return upright_slice(volume, (z, y, x))


def _cell(figures: Mapping[str, Any], name: str, digits: int) -> str:
    value = figures.get(name)
    ends = figures.get("intervals", {}).get(name)
    if value is None:
        return "infinite" if name == "psnr" else "-"
    text = f"{value:.{digits}f}"
    if ends is None or None in ends:
        return text
    return f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _bars(calibration: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """Return the left end, width and height of each bar of a reliability diagram."""
    return [
        (_SIDE * each["low"], _SIDE * (each["high"] - each["low"]), _SIDE * each["right"])
        for each in calibration["bins"]
        if each["right"] is not None
    ]

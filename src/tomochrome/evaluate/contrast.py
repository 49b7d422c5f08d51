"""How much more is told apart in color than in grey.

Two measures of a CT with known tissues under one window, both in CIEDE2000:

- the difference of touching tissues at their median HU, in grey and in the palette's colors;
- the number of *levels*: shown colors that are pairwise at least one just noticeable difference
  (`JND`) apart, of every tissue in the range of its HU. In grey they are gray levels.

Color vision deficiencies are simulated, see `tomochrome.color.perception`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.color.convert import fit_chroma
from tomochrome.color.palettes import palette
from tomochrome.color.perception import DEFICIENCIES, as_seen, ciede2000
from tomochrome.color.space import GREY_L
from tomochrome.errors import InputError
from tomochrome.runtime import check
from tomochrome.tissue import N_TISSUES, TISSUE_NAMES, Tissue
from tomochrome.volume import Volume
from tomochrome.windowing.window import Window, luminance

JND: Final = 1.0
"""Just noticeable difference in CIEDE2000."""
NORMAL: Final = "normal"
VISIONS: Final = (NORMAL, *DEFICIENCIES)
_RANGE: Final = (5.0, 95.0)  # percentiles of the HU of a tissue
_CONTACT: Final = 0.01  # share of the smaller surface that makes two tissues touch
_MIN_VOXELS: Final = 200  # voxels of a tissue
_GAS: Final = (Tissue.AIR, Tissue.AIRWAY)


@dataclass(frozen=True)
class Pair:
    """Two touching tissues, and how different they look.

    Attributes
    ----------
    tissues
        Their names.
    grey
        CIEDE2000 of their grey values.
    color
        CIEDE2000 of their colors, for each of `VISIONS`.
    """

    tissues: tuple[str, str]
    grey: float
    color: Mapping[str, float]


@dataclass(frozen=True)
class Contrast:
    """Contrast of a CT in grey and in color.

    Attributes
    ----------
    window
        The window of both.
    pairs
        Touching tissues.
    grey_levels
        Number of levels in grey.
    color_levels
        Number of levels in color, for each of `VISIONS`.
    """

    window: Window
    pairs: Sequence[Pair]
    grey_levels: int
    color_levels: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the data that ``tomochrome evaluate contrast --json`` prints for a scan."""
        return {
            "window": [self.window.center, self.window.width],
            "grey_levels": self.grey_levels,
            "color_levels": dict(self.color_levels),
            "pairs": [
                {"tissues": list(pair.tissues), "grey": round(pair.grey, 2)}
                | {vision: round(value, 2) for vision, value in pair.color.items()}
                for pair in self.pairs
            ],
        }


def measure_contrast(
    ct: Volume, tissues: NDArray[np.uint8], window: Window, colors: str = "natural"
) -> Contrast:
    """Measure the contrast of a CT in grey and in the colors of a palette.

    Parameters
    ----------
    ct
        A CT in HU, (z, y, x).
    tissues
        uint8 of that shape: indices of `Tissue`; others are not used.
    window
        The window of both pictures.
    colors
        Name of a palette.

    Raises
    ------
    InputError
        If the tissues have another shape, or none is large enough.
    OptionError
        If the palette is unknown.
    """
    if tissues.shape != ct.shape:
        raise InputError(
            f"the tissues have the shape {tissues.shape}, but the CT has {ct.shape}; give a "
            "tissue map on the grid of the CT"
        )
    ab = palette(colors).ab
    hu = np.asarray(ct.voxels, np.float32)
    ranges = {
        t: np.percentile(values, (*_RANGE, 50.0))
        for t in range(N_TISSUES)
        if t not in _GAS and (values := hu[tissues == t]).size >= _MIN_VOXELS
    }
    if not ranges:
        raise InputError("no tissue has enough voxels; give a tissue map of this CT")
    shown = {t: _shown(np.arange(low, high + 1), window) for t, (low, high, _) in ranges.items()}
    grey = np.unique(np.concatenate(list(shown.values())))
    in_color = [_colored(L, ab[t]) for t, L in shown.items()]
    middle = {t: _shown(np.array([r[2]]), window) for t, r in ranges.items()}
    return Contrast(
        window,
        [_pair(a, b, middle, ab) for a, b in _touching(tissues, list(ranges))],
        _levels(_grey(grey)),
        {vision: _levels(_seen(np.concatenate(in_color), vision)) for vision in VISIONS},
    )


def _shown(hu: NDArray[np.floating], window: Window) -> NDArray[np.float64]:
    """Return the L* of the 8-bit grey of HU."""
    L = np.unique(luminance(hu, window))
    return np.asarray(GREY_L[np.unique(np.abs(GREY_L[:, None] - L).argmin(axis=0))])


def _grey(L: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([L, np.zeros_like(L), np.zeros_like(L)], axis=-1)


def _colored(L: NDArray[np.float64], ab: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return CIELAB colors of a tissue, as they are displayed: fitted to the gamut."""
    lab = np.concatenate([L[:, None], np.broadcast_to(ab, (len(L), 2))], axis=-1)
    return np.asarray(fit_chroma(lab.astype(np.float32)[None])[0], np.float64)


def _seen(lab: NDArray[np.float64], vision: str) -> NDArray[np.float64]:
    return lab if vision == NORMAL else as_seen(lab, vision)


def _pair(
    first: int, second: int, L: Mapping[int, NDArray[np.float64]], ab: NDArray[np.float32]
) -> Pair:
    a, b = (_colored(L[t], ab[t]) for t in (first, second))
    return Pair(
        (TISSUE_NAMES[first], TISSUE_NAMES[second]),
        float(ciede2000(_grey(L[first]), _grey(L[second]))[0]),
        {v: float(ciede2000(_seen(a, v), _seen(b, v))[0]) for v in VISIONS},
    )


def _touching(tissues: NDArray[np.uint8], among: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs of tissues that share at least `_CONTACT` of the surface of one of them."""
    faces = np.zeros((256, 256), np.int64)
    for axis in range(3):
        ahead = np.moveaxis(tissues, axis, 0)
        first, second = ahead[:-1].ravel(), ahead[1:].ravel()
        differ = first != second
        codes = first[differ].astype(np.int64) * 256 + second[differ]
        faces += np.bincount(codes, minlength=65536).reshape(256, 256)
    faces += faces.T
    surface = faces.sum(axis=1)
    return [
        (a, b)
        for k, a in enumerate(among)
        for b in among[k + 1 :]
        if faces[a, b] >= max(1, _CONTACT * min(surface[a], surface[b]))
    ]


def _levels(lab: NDArray[np.float64]) -> int:
    """Return the number of colors, chosen in order of L*, that are pairwise `JND` apart."""
    kept = np.empty((0, 3))
    for color in lab[np.argsort(lab[:, 0], kind="stable")]:
        check()
        near = kept[kept[:, 0] > color[0] - 4 * JND]
        if not len(near) or ciede2000(near, color).min() >= JND:
            kept = np.concatenate([kept, color[None]])
    return len(kept)

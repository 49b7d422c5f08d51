"""Windows chosen by image content: for color, and for opening a scan.

A voxel at L* 100 or L* 0 cannot show color, so a window for color must not saturate colored tissue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.volume import Volume
from tomochrome.windowing.presets import PRESETS, scanner_windows
from tomochrome.windowing.window import Window, luminance

if TYPE_CHECKING:
    from tomochrome.windowing.content import Sample

MOST_WHITE: Final = 0.01  #: maximum share of white voxels in the body, without bone
MOST_BLACK: Final = 0.10  #: maximum share of black voxels in fat and soft tissue
WHITE_L: Final = 99.8  #: 8-bit grey is 255 from this L*
BLACK_L: Final = 0.2
CANDIDATES: Final = ("mediastinum", "abdomen", "soft-tissue")
"""Presets for the trunk, from narrow to wide; the last one is also used for head and limbs."""

_SAFE_WHITE: Final = 0.7 * MOST_WHITE  # margin for errors of sampling and bone segmentation
_FAT_HU: Final = -150.0  # lower limit of fat and soft tissue, which must not be black
_LEAST_TISSUE: Final = 0.02  # share of the sample; with less tissue it is a crop of the lung
_LUNG_SHARE: Final = 0.15  # of the voxels above -950 HU; more in a chest
_STEP: Final = 50.0  # the upper end of a widened window is rounded up to a multiple of this
_MARGIN: Final = 1.08  # safety factor of the upper end
_PERCENTILES: Final = (1.0, 99.5)  # ends of the window for other units than HU

_FOUND: WeakKeyDictionary[Volume, tuple[Window, bool]] = WeakKeyDictionary()


def auto_window(volume: Volume) -> Window:
    """Return a window that preserves color, chosen by the volume's content.

    For CT, this is the first of the following with acceptable saturation: the first window stored
    in the scan; the preset ``"mediastinum"`` (only if much of it is lung) or ``"abdomen"``;
    ``"soft-tissue"``; a window from -150 HU to a multiple of 50 HU that includes the dense soft
    tissue, named ``"auto"``. Saturation is acceptable if at most `MOST_WHITE` of the body's voxels
    other than bone are white and at most `MOST_BLACK` of fat and soft tissue are black; lung and
    air may be black. A crop of the lung gets ``"lung"``.

    For other units, black and white are the percentiles 1 and 99.5 of the voxels above the
    minimum.

    Parameters
    ----------
    volume
        Scalar volume. About a million of its voxels are sampled; the result is cached.

    Returns
    -------
    Window
        Center and width in the unit of the volume.

    Raises
    ------
    OptionError
        If the volume is RGBA.
    """
    return _analyzed(volume)[0]


def opening_window(volume: Volume) -> Window:
    """Return the initial window of a scan shown in grey.

    This is the first window stored in the scan; without one, ``"brain"`` for the CT of a head, in
    which the brain is visible although fat is black and bone white, and otherwise `auto_window`.

    Parameters
    ----------
    volume
        Scalar volume.

    Returns
    -------
    Window
        As from `auto_window`.

    Raises
    ------
    OptionError
        If the volume is RGBA.
    """
    automatic, head = _analyzed(volume)
    stored = scanner_windows(volume)
    if stored:
        return stored[0]
    return PRESETS["brain"] if head else automatic


def _analyzed(volume: Volume) -> tuple[Window, bool]:
    """Return the automatic window and whether this is a head; cached for each volume."""
    if volume.is_rgba:
        raise OptionError("a color volume has no window; give the CT it was made from")
    known = _FOUND.get(volume)
    if known is None:
        from tomochrome.windowing.content import sample, shows_a_head  # slow import

        grid = sample(volume)
        if volume.unit == "HU":
            head = shows_a_head(grid)
            known = _for_ct(grid, head, scanner_windows(volume)), head
        else:
            known = _by_percentiles(grid.values), False
        _FOUND[volume] = known
    return known


def _for_ct(ct: Sample, head: bool, stored: list[Window]) -> Window:
    from tomochrome.windowing.content import tissue_values

    values = tissue_values(ct, head=head)
    if values.size < _LEAST_TISSUE * ct.values.size:
        return PRESETS["lung" if (ct.values > -950).mean() > _LEAST_TISSUE else "soft-tissue"]
    breathing = ct.values[ct.values > -950]
    chest = (breathing < -500).mean() > _LUNG_SHARE
    presets = [PRESETS[name] for name in CANDIDATES if chest or name != "mediastinum"]
    for window in (*stored[:1], *presets):
        if fits(values, window):
            return window
    white = np.percentile(values, 100 * (1 - _SAFE_WHITE))
    high = _STEP * np.ceil(_MARGIN * white / _STEP)
    return Window((_FAT_HU + high) / 2, high - _FAT_HU, name="auto")


def fits(values: NDArray[np.float32], window: Window) -> bool:
    """Return whether a window preserves the color of fat, soft tissue and blood in these HU."""
    lightness = luminance(values, window)
    colored = lightness[values >= _FAT_HU]
    if colored.size == 0:
        return False
    return bool(
        (lightness >= WHITE_L).mean() <= _SAFE_WHITE and (colored <= BLACK_L).mean() <= MOST_BLACK
    )


def _by_percentiles(values: NDArray[np.float32]) -> Window:
    inside = values[values > values.min()]
    low, high = np.percentile(inside if inside.size else values, _PERCENTILES)
    center, width = float(low + high) / 2, float(high - low)
    # LINEAR is defined for integers: values such as 0..1 need LINEAR_EXACT.
    return Window(center, max(width, 1e-6), "LINEAR_EXACT", "auto")

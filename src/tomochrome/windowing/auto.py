"""The window chosen by content: one that keeps color, and one to open a scan in.

At L* 100 and at L* 0 a voxel has no color left, so a window meant for color must not saturate
what is to be seen in color.
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

MOST_WHITE: Final = 0.01  #: largest share of the body's voxels, bone apart, that may be white
MOST_BLACK: Final = 0.10  #: largest share of fat and soft tissue that may be black
WHITE_L: Final = 99.8  #: from this L* on, 8-bit grey is 255
BLACK_L: Final = 0.2
CANDIDATES: Final = ("mediastinum", "abdomen", "soft-tissue")
"""Presets for the trunk, from narrow to wide; the last one also serves head and limbs."""

_SAFE_WHITE: Final = 0.7 * MOST_WHITE  # the sample and the guess at bone are not exact
_FAT_HU: Final = -150.0  # fat and soft tissue: what must not be black
_LEAST_TISSUE: Final = 0.02  # share of the sample; with less it is a cut-out of lung
_LUNG_SHARE: Final = 0.15  # of the voxels above -950 HU: a chest
_STEP: Final = 50.0  # the white end of a widened window is a multiple of this
_MARGIN: Final = 1.08  # and lies above the guess by this factor
_PERCENTILES: Final = (1.0, 99.5)  # black and white of what is not in HU

_FOUND: WeakKeyDictionary[Volume, tuple[Window, bool]] = WeakKeyDictionary()


def auto_window(volume: Volume) -> Window:
    """Return a window by the volume's content, such that color is kept.

    For CT the first of these that saturates little enough: the scanner's own first window; the
    preset ``"mediastinum"`` (only if much of it is lung) or ``"abdomen"``; ``"soft-tissue"``; a
    window from -150 HU up to the next 50 HU that bound the dense soft tissue, named ``"auto"``.
    Little enough is at most `MOST_WHITE` of the body's voxels white that are not bone, and at
    most `MOST_BLACK` of fat and soft tissue black; lung and air may be black. A cut-out of lung
    gets ``"lung"``.

    For other units: black and white are the percentiles 1 and 99.5 of the voxels above the
    smallest value.

    Parameters
    ----------
    volume
        Scalar volume; about a million of its voxels are sampled, the first time only.

    Returns
    -------
    Window
        Center and width in the unit of the volume.

    Raises
    ------
    OptionError
        If the volume is RGBA.
    """
    return _look(volume)[0]


def opening_window(volume: Volume) -> Window:
    """Return the window in which a scan is shown in grey when it is opened.

    That is the scanner's own first window; without one, ``"brain"`` for the CT of a head, in
    which the brain is visible although fat is black and bone white, and otherwise `auto_window`.

    Parameters
    ----------
    volume
        Scalar volume.

    Returns
    -------
    Window
        Center and width in the unit of the volume.

    Raises
    ------
    OptionError
        If the volume is RGBA.
    """
    automatic, head = _look(volume)
    stored = scanner_windows(volume)
    if stored:
        return stored[0]
    return PRESETS["brain"] if head else automatic


def _look(volume: Volume) -> tuple[Window, bool]:
    """Return the automatic window and whether this is a head; remembered for each volume."""
    if volume.is_rgba:
        raise OptionError("a color volume has no window; give the CT it was made from")
    known = _FOUND.get(volume)
    if known is None:
        from tomochrome.windowing.content import sample, shows_a_head  # takes a while to import

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
    """Whether a window keeps the color of these values in HU: fat, soft tissue and blood."""
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
    # LINEAR is made for whole numbers: values such as 0..1 need the exact ramp.
    return Window(center, max(width, 1e-6), "LINEAR_EXACT", "auto")

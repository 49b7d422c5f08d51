"""The window of a scan that nobody has chosen one for: stored in the scan, or by its content.

This is the one rule for reader, panels, coloring and command line: the window that the user chose
stands; else the first one stored in the scan; else the automatic window (`opening_window`).
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

MAX_WHITE: Final = 0.01  #: maximum share of white voxels in the body, without bone
MAX_BLACK: Final = 0.10  #: maximum share of black voxels in fat and soft tissue
WHITE_L: Final = 99.8  #: 8-bit grey is 255 from this L*
BLACK_L: Final = 0.2
CANDIDATES: Final = ("mediastinum", "abdomen", "soft-tissue")
"""Presets for the trunk, from narrow to wide; the last one is also used for limbs."""
FAT_L: Final = 15.0  #: minimum L* of fat in a window widened for contrast agent
MAX_AGENT_HU: Final = 650.0
"""Denser contrast agent may be white: a window wide enough for it would show the liver dark."""

_SAFE_WHITE: Final = 0.7 * MAX_WHITE  # margin for errors of sampling and bone segmentation
_SOFT_HU: Final = -150.0  # lower limit of fat and soft tissue, which must not be black
_FAT_HU: Final = -100.0  # of fat
_MIN_TISSUE: Final = 0.02  # share of the sample; with less tissue it is a crop of the lung
_LUNG_SHARE: Final = 0.15  # of the voxels above -950 HU; more in a chest
_STEP: Final = 50.0  # both ends of a widened window are multiples of this
_PERCENTILES: Final = (1.0, 99.5)  # ends of the window for other units than HU

_FOUND: WeakKeyDictionary[Volume, Window] = WeakKeyDictionary()


def auto_window(volume: Volume) -> Window:
    """Return a window chosen by the content of a volume alone.

    For CT, this is ``"brain"`` for a head, whatever its skull, teeth or dental metal; ``"lung"``
    for a crop of the lung; otherwise the first of the presets ``"mediastinum"`` (only if much of
    it is lung), ``"abdomen"`` and ``"soft-tissue"`` in which at most `MAX_WHITE` of the body's
    voxels other than bone are white and at most `MAX_BLACK` of fat and soft tissue are black.
    Only contrast agent in large pools, such as the heart in a CT angiography, gets a window wider
    than ``"soft-tissue"``, named ``"auto"``: its upper end is the level of the agent (at most
    `MAX_AGENT_HU`), its lower end shows fat at L* `FAT_L` or more.

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
    if volume.is_rgba:
        raise OptionError("a color volume has no window; give the CT it was made from")
    window = _FOUND.get(volume)
    if window is None:
        from tomochrome.windowing.content import sample  # slow import

        grid = sample(volume)
        window = _for_ct(grid) if volume.unit == "HU" else _by_percentiles(grid.values)
        _FOUND[volume] = window
    return window


def opening_window(volume: Volume) -> Window:
    """Return the window of a scan for which the user has not chosen one.

    This is the first window stored in the scan, and without one `auto_window`. It is the
    window in which a scan is opened, and the default for coloring it.

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
    if volume.is_rgba:
        raise OptionError("a color volume has no window; give the CT it was made from")
    stored = scanner_windows(volume)
    return stored[0] if stored else auto_window(volume)


def opening_choice(volume: Volume) -> str:
    """Return `opening_window` as text for `parse_window`: ``"scanner:1"`` or ``"auto"``."""
    return "scanner:1" if scanner_windows(volume) else "auto"


def _for_ct(ct: Sample) -> Window:
    from tomochrome.windowing.content import agent_level, shows_a_head, tissue_values

    if shows_a_head(ct):
        return PRESETS["brain"]
    values = tissue_values(ct)
    if values.size < _MIN_TISSUE * ct.values.size:
        return PRESETS["lung" if (ct.values > -950).mean() > _MIN_TISSUE else "soft-tissue"]
    breathing = ct.values[ct.values > -950]
    chest = (breathing < -500).mean() > _LUNG_SHARE
    for name in CANDIDATES:
        if (chest or name != "mediastinum") and fits(values, PRESETS[name]):
            return PRESETS[name]
    agent = agent_level(ct)
    usual = PRESETS[CANDIDATES[-1]]
    if agent is None or agent <= usual.center + usual.width / 2:
        return usual
    return widened(agent)


def widened(agent: float) -> Window:
    """Return the window that shows contrast agent of this level in HU, and fat not black."""
    white = _STEP * np.ceil(min(agent, MAX_AGENT_HU) / _STEP)
    share = FAT_L / 100
    black = _STEP * np.floor((_FAT_HU - share * white) / (1 - share) / _STEP)
    return Window((black + white) / 2, white - black, name="auto")


def fits(values: NDArray[np.float32], window: Window) -> bool:
    """Return whether a window preserves the color of fat, soft tissue and blood in these HU."""
    lightness = luminance(values, window)
    colored = lightness[values >= _SOFT_HU]
    if colored.size == 0:
        return False
    return bool(
        (lightness >= WHITE_L).mean() <= _SAFE_WHITE and (colored <= BLACK_L).mean() <= MAX_BLACK
    )


def _by_percentiles(values: NDArray[np.float32]) -> Window:
    inside = values[values > values.min()]
    low, high = np.percentile(inside if inside.size else values, _PERCENTILES)
    center, width = float(low + high) / 2, float(high - low)
    # LINEAR is defined for integers: values such as 0..1 need LINEAR_EXACT.
    return Window(center, max(width, 1e-6), "LINEAR_EXACT", "auto")

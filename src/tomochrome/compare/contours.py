"""Contours of one volume drawn on the other: isolines at HU levels, or edges of labels."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.base import View
from tomochrome.compare.pair import Pair
from tomochrome.compare.region import Region
from tomochrome.errors import InputError, OptionError

#: Skin and bone, which show clearly whether two scans are aligned.
HU_LEVELS: Final = (-300.0, 200.0)
#: sRGB colors of the levels, used cyclically; no tissue has these colors.
LEVEL_COLORS: Final = ((0, 230, 255), (255, 225, 0), (255, 70, 220), (120, 255, 60), (255, 140, 0))
_MAX_LEVELS: Final = 32
_GOLDEN: Final = 0.618034  # hue step as a fraction of the circle, for distinct successive labels


@dataclass(frozen=True)
class ContourSettings:
    """Settings of contours.

    Parameters
    ----------
    levels
        Values of the second volume in its unit. None for -300 and 200 HU, or for another unit
        two thresholds of its histogram (`tomochrome.compare.source`).
    labels
        Whether to draw the edges of labels instead; None to do so for tissue maps only.

    Raises
    ------
    OptionError
        If a level is not finite, or there are none or too many.
    """

    levels: tuple[float, ...] | None = None
    labels: bool | None = None

    def __post_init__(self) -> None:
        if self.levels is None:
            return
        given: Any = self.levels
        levels = tuple(given) if isinstance(given, tuple | list | np.ndarray) else (given,)
        if not 0 < len(levels) <= _MAX_LEVELS:
            raise OptionError(f"contours need 1 to {_MAX_LEVELS} levels, not {len(levels)}")
        for level in levels:
            if not (isinstance(level, int | float | np.number) and math.isfinite(level)):
                raise OptionError(f"the level of a contour must be a number, not {level!r}")
        object.__setattr__(self, "levels", tuple(sorted({float(v) for v in levels})))


class Contours(View[ContourSettings]):
    """The first volume with contours of the second, one voxel wide, in every plane.

    Always RGBA. A voxel is on a contour if it reaches a level (has a label) that an adjacent
    voxel in the plane does not reach (has a lower label); of several levels the highest is drawn.
    The plane consists of the axes that are not indexed by an integer; in a block, all axes are
    considered.

    Parameters
    ----------
    pair
        The two volumes; contours are those of the second.
    settings
        Settings of the contours; None for the defaults.

    Raises
    ------
    InputError
        If the second volume is colored.
    OptionError
        If labels on another grid would be interpolated linearly.
    """

    mode: ClassVar[str] = "contour"
    default_settings = ContourSettings

    def __init__(self, pair: Pair, settings: ContourSettings | None = None) -> None:
        if pair.b.volume.is_rgba:
            raise InputError(
                "a colored volume has no levels for contours; use the CT it was made from"
            )
        super().__init__(pair, settings)

    @property
    def numbers(self) -> bool:
        """Always colored."""
        return False

    def check(self, settings: ContourSettings) -> None:
        """Check that labels are not interpolated linearly.

        Raises
        ------
        OptionError
            If labels are on another grid and would be interpolated linearly.
        """
        source = self.pair.b
        if self._are_labels(settings) and not source.aligned and source.order != "nearest":
            raise OptionError(
                "labels cannot be interpolated linearly; create the pair with order='nearest'"
            )

    def _are_labels(self, settings: ContourSettings) -> bool:
        if settings.labels is None:
            return self.pair.b.volume.unit == "tissue"
        return settings.labels

    @property
    def labels(self) -> bool:
        """Whether the edges of labels are drawn."""
        return self._are_labels(self.settings)

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the contours, ascending."""
        if self.settings.levels is not None:
            return self.settings.levels
        if self.pair.b.volume.unit == "HU":
            return HU_LEVELS
        return self.pair.b.levels

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region."""
        grown, back = region.grown(self.pair.shape)
        rank, missing = self.pair.b.read(grown)  # the labels, or the number of levels reached
        if not self.labels:
            values, rank = rank, np.zeros(rank.shape, np.uint8)
            for level in self.levels:
                rank += values >= level  # false for NaN
        measured = np.ones(rank.shape, np.bool_) if missing is None else ~missing
        edge = np.zeros(rank.shape, np.bool_)
        for axis, single in enumerate(region.single):
            if single:
                continue
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(None, -1), slice(1, None)
            for one, next_ in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
                edge[one] |= (rank[one] > rank[next_]) & measured[one] & measured[next_]
        edge, rank = edge[back], rank[back]
        out = np.array(self.pair.rgba("a", region))
        out[edge] = self._colors(rank[edge])
        return out

    def _colors(self, rank: NDArray[Any]) -> NDArray[np.uint8]:
        if self.labels:
            return _label_colors()[rank.astype(np.int64) % 256]
        table = np.array(
            [(*LEVEL_COLORS[i % len(LEVEL_COLORS)], 255) for i in range(len(self.levels))], np.uint8
        )
        return np.asarray(table[rank.astype(np.int64) - 1], dtype=np.uint8)

    def words(self) -> str:
        """Describe the comparison, for metadata."""
        what = "labels" if self.labels else ", ".join(f"{v:g}" for v in self.levels)
        return f"one volume with contours ({what}) of another"


@lru_cache(maxsize=1)
def _label_colors() -> NDArray[np.uint8]:
    """Return a bright color for each label, modulo 256."""
    rgb = [colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, 0.75, 1.0) for label in range(256)]
    return np.array([(*(round(255 * v) for v in color), 255) for color in rgb], np.uint8)

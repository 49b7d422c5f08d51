"""Comparisons whose every voxel comes from both: blend, red-cyan overlay, signed difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.base import View, share
from tomochrome.compare.kernels import blend_rgba
from tomochrome.compare.pair import Pair
from tomochrome.compare.region import Region
from tomochrome.errors import InputError, OptionError
from tomochrome.volume import Unit

_STEPS: Final = 255  # colors on each side of no difference
_PROBES: Final = 48
#: sRGB of the largest negative and positive difference, and halfway to it: blue and orange,
#: which every kind of color vision tells apart, of equal L* (45 and 78), about a black that means
#: "the same".
_LESS: Final = ((0, 0, 0), (0, 111, 177), (148, 196, 255))
_MORE: Final = ((0, 0, 0), (170, 81, 7), (255, 175, 123))


@dataclass(frozen=True)
class Mixture:
    """How much of the second volume a blend shows.

    Parameters
    ----------
    share
        0 (only the first volume) to 1 (only the second).

    Raises
    ------
    OptionError
        If it is not a number from 0 to 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", share(self.share, "share of a blend"))


class Blend(View[Mixture]):
    """Both volumes at once: weighted means of their numbers, or of their colors by opacity."""

    mode: ClassVar[str] = "blend"
    default_settings = Mixture

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 for numbers: means of whole numbers are not whole."""
        return np.dtype(np.float32 if self.numbers else np.uint8)

    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region."""
        part = self.settings.share
        a, b = self.pair.read("a", region), self.pair.read("b", region)
        if self.numbers:
            if part in (0.0, 1.0):  # 0 times infinity is no number
                return (b if part else a).astype(np.float32)
            mixed = a.astype(np.float32) * np.float32(1 - part)
            mixed += b.astype(np.float32) * np.float32(part)
            return mixed
        out = np.empty(a.shape, np.uint8)
        flat = [np.ascontiguousarray(v).reshape(-1, 4) for v in (a, b)]
        blend_rgba(flat[0], flat[1], part, out.reshape(-1, 4))
        return out


@dataclass(frozen=True)
class Plain:
    """Settings of a comparison that has none."""


class RedCyan(View[Plain]):
    """The first volume's luminance in red, the second's in green and blue; grey where equal.

    Always RGBA. What only the first volume has is red, what only the second has is cyan.
    """

    mode: ClassVar[str] = "red-cyan"
    default_settings = Plain

    @property
    def numbers(self) -> bool:
        """Always colored."""
        return False

    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA of a region."""
        out = np.empty((*region.shape, 4), np.uint8)
        out[..., 0] = self.pair.levels("a", region)
        out[..., 1] = out[..., 2] = self.pair.levels("b", region)
        out[..., 3] = 255
        clear = self.pair.missing("a", region) & self.pair.missing("b", region)
        out[clear] = 0
        return out


@dataclass(frozen=True)
class Spread:
    """How a difference is shown.

    Parameters
    ----------
    reach
        The difference, in the volumes' unit, that has the strongest color. None: 200 HU, or
        for other units the 99th percentile of the differences.
    colored
        RGBA by the diverging map; otherwise the differences as numbers.

    Raises
    ------
    OptionError
        If the reach is not a positive number.
    """

    reach: float | None = None
    colored: bool = True

    def __post_init__(self) -> None:
        if self.reach is None:
            return
        good = isinstance(self.reach, int | float | np.number) and math.isfinite(self.reach)
        if not good or self.reach <= 0:
            raise OptionError(
                f"the range of a difference must be a positive number, not {self.reach!r}"
            )


class Difference(View[Spread]):
    """Second volume minus first, signed: orange where the second has more, blue where less.

    Black means no difference; clear, that one of the two measured nothing there.

    Parameters
    ----------
    pair
        The two volumes, in one unit.
    settings
        How the difference is shown; the defaults if None.

    Raises
    ------
    InputError
        If the two have no unit in common, are colored, or are labels.
    """

    mode: ClassVar[str] = "difference"
    default_settings = Spread

    def __init__(self, pair: Pair, settings: Spread | None = None) -> None:
        a, b = pair.a.volume, pair.b.volume
        if a.is_rgba or b.is_rgba:
            raise InputError("colors have no difference in numbers; give the CT they were made of")
        if "tissue" in (a.unit, b.unit):
            raise InputError("labels have no difference in numbers; show one's contours instead")
        if a.unit != b.unit:
            raise InputError(
                f"a difference needs two volumes of one unit, not {a.unit} and {b.unit}; "
                "compare these by checkerboard or wipe"
            )
        self._usual: float | None = None
        super().__init__(pair, settings)

    @property
    def numbers(self) -> bool:
        """Whether the differences are numbers, not colors."""
        return not self.settings.colored

    @property
    def unit(self) -> Unit:
        """Differences of HU are no HU: -1000 is not air."""
        return "unknown" if self.numbers else "RGBA"

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 for numbers."""
        return np.dtype(np.float32 if self.numbers else np.uint8)

    @property
    def reach(self) -> float:
        """The difference that has the strongest color."""
        if self.settings.reach is not None:
            return float(self.settings.reach)
        if self.pair.volume.unit == "HU":
            return 200.0
        if self._usual is None:
            self._usual = self._percentile()
        return self._usual

    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region: numbers (0 where there are none) or RGBA."""
        settings, missing = self.settings, self.missing(region)
        apart = self._apart(region)
        if not settings.colored:
            apart[missing] = 0
            return apart
        missing = missing | np.isnan(apart)
        apart *= np.float32(_STEPS / self.reach)
        apart[missing] = 0
        np.clip(apart, -_STEPS, _STEPS, out=apart)
        np.rint(apart, out=apart)
        words = _diverging()[apart.astype(np.int16) + _STEPS]
        words[missing] = 0
        return words[..., None].view(np.uint8)

    def words(self) -> str:
        """Say what it shows."""
        return f"difference (second minus first, strongest color at {self.reach:g}) of two volumes"

    def _apart(self, region: Region) -> NDArray[np.float32]:
        a = self.pair.a.read(region).values.astype(np.float32)
        b = self.pair.b.read(region).values.astype(np.float32)
        with np.errstate(invalid="ignore"):  # infinity less infinity is no number
            return np.asarray(b - a, dtype=np.float32)

    def _percentile(self) -> float:
        """Return the 99th percentile of the differences on a coarse grid."""
        z, y, x = (range(0, n, max(1, -(-n // _PROBES))) for n in self.pair.shape)
        region = Region((z, y, x))
        apart = np.abs(self._apart(region)[~self.missing(region)])
        apart = apart[np.isfinite(apart)]
        usual = float(np.percentile(apart, 99)) if apart.size else 0.0
        return usual if usual > 0 else 1.0


@lru_cache(maxsize=1)
def _diverging() -> NDArray[np.uint32]:
    """Return RGBA words of the differences from -255 to 255 steps."""
    steps = np.arange(_STEPS + 1) / _STEPS
    rgba = np.full((2 * _STEPS + 1, 4), 255, np.uint8)
    for ends, place in ((_LESS, slice(_STEPS, None, -1)), (_MORE, slice(_STEPS, None))):
        for channel in range(3):
            values = np.interp(steps, (0, 0.5, 1), [color[channel] for color in ends])
            rgba[place, channel] = np.rint(values)
    return rgba.view(np.uint32)[:, 0]

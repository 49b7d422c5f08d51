"""Comparisons that combine both volumes in each voxel: blend, red-cyan, signed difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.base import View, share
from tomochrome.compare.pair import Pair
from tomochrome.compare.region import Region
from tomochrome.errors import InputError, OptionError
from tomochrome.runtime.kernels import kernel
from tomochrome.volume import Unit

_STEPS: Final = 255  # colors on each side of zero
_SAMPLES: Final = 48  # along each axis, for a percentile
#: sRGB of zero, half, and the largest negative and positive difference: blue and orange, which
#: people with any color vision deficiency can distinguish, of equal L* (45 and 78), and black for
#: zero.
_NEGATIVE: Final = ((0, 0, 0), (0, 111, 177), (148, 196, 255))
_POSITIVE: Final = ((0, 0, 0), (170, 81, 7), (255, 175, 123))


@dataclass(frozen=True)
class BlendSettings:
    """Settings of a blend.

    Parameters
    ----------
    share
        Weight of the second volume, 0 (only the first volume) to 1 (only the second).

    Raises
    ------
    OptionError
        If it is not a number from 0 to 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", share(self.share, "share of a blend"))


class Blend(View[BlendSettings]):
    """Weighted mean of both volumes' values, or of their colors with opacity."""

    mode: ClassVar[str] = "blend"
    default_settings = BlendSettings

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 for values, because means of integers are not integers."""
        return np.dtype(np.float32 if self.numbers else np.uint8)

    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region."""
        part = self.settings.share
        a, b = self.pair.read("a", region), self.pair.read("b", region)
        if self.numbers:
            if part in (0.0, 1.0):  # 0 times infinity is NaN
                return (b if part else a).astype(np.float32)
            mixed = a.astype(np.float32) * np.float32(1 - part)
            mixed += b.astype(np.float32) * np.float32(part)
            return mixed
        out = np.empty(a.shape, np.uint8)
        flat = [np.ascontiguousarray(v).reshape(-1, 4) for v in (a, b)]
        blend_rgba(flat[0], flat[1], part, out.reshape(-1, 4))
        return out


@dataclass(frozen=True)
class NoSettings:
    """Settings of a comparison without settings."""


class RedCyan(View[NoSettings]):
    """The first volume's luminance in red, the second's in green and blue; grey where equal.

    Always RGBA. Structures of only the first volume are red, those of only the second cyan.
    """

    mode: ClassVar[str] = "red-cyan"
    default_settings = NoSettings

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
class DifferenceSettings:
    """Settings of a difference.

    Parameters
    ----------
    reach
        The difference with the strongest color, in the volumes' unit. None for 200 HU, or for
        other units the 99th percentile of the differences.
    colored
        Whether to show RGBA with a diverging color map; otherwise the differences as values.

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
        finite = isinstance(self.reach, int | float | np.number) and math.isfinite(self.reach)
        if not finite or self.reach <= 0:
            raise OptionError(
                f"the range of a difference must be a positive number, not {self.reach!r}"
            )


class Difference(View[DifferenceSettings]):
    """Second volume minus first: orange where the second is larger, blue where it is smaller.

    Black is no difference; voxels that one of the volumes did not measure are transparent.

    Parameters
    ----------
    pair
        The two volumes, with the same unit.
    settings
        Settings of the difference; None for the defaults.

    Raises
    ------
    InputError
        If the units differ, or a volume is colored or a label map.
    """

    mode: ClassVar[str] = "difference"
    default_settings = DifferenceSettings

    def __init__(self, pair: Pair, settings: DifferenceSettings | None = None) -> None:
        a, b = pair.a.volume, pair.b.volume
        if a.is_rgba or b.is_rgba:
            raise InputError("colors cannot be subtracted; use the CT they were made from")
        if "tissue" in (a.unit, b.unit):
            raise InputError("labels cannot be subtracted; show the contours of one instead")
        if a.unit != b.unit:
            raise InputError(
                f"a difference needs two volumes with the same unit, not {a.unit} and {b.unit}; "
                "compare these by checkerboard or wipe"
            )
        self._default_reach: float | None = None
        super().__init__(pair, settings)

    @property
    def numbers(self) -> bool:
        """Whether voxels are differences, not RGBA."""
        return not self.settings.colored

    @property
    def unit(self) -> Unit:
        """Not HU, because a difference of -1000 is not air."""
        return "unknown" if self.numbers else "RGBA"

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 for differences."""
        return np.dtype(np.float32 if self.numbers else np.uint8)

    @property
    def reach(self) -> float:
        """The difference with the strongest color.

        By default for other values than HU, the 99th percentile on a coarse grid.
        """
        if self.settings.reach is not None:
            return float(self.settings.reach)
        if self.pair.volume.unit == "HU":
            return 200.0
        if self._default_reach is None:
            z, y, x = (range(0, n, max(1, -(-n // _SAMPLES))) for n in self.pair.shape)
            region = Region((z, y, x))
            size = np.abs(self._difference(region)[~self.missing(region)])
            size = size[np.isfinite(size)]
            percentile = float(np.percentile(size, 99)) if size.size else 0.0
            self._default_reach = percentile if percentile > 0 else 1.0
        return self._default_reach

    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region: differences (0 where missing) or RGBA."""
        settings, missing = self.settings, self.missing(region)
        difference = self._difference(region)
        if not settings.colored:
            difference[missing] = 0
            return difference
        missing = missing | np.isnan(difference)
        difference *= np.float32(_STEPS / self.reach)
        difference[missing] = 0
        np.clip(difference, -_STEPS, _STEPS, out=difference)
        np.rint(difference, out=difference)
        rgba = _diverging()[difference.astype(np.int16) + _STEPS]
        rgba[missing] = 0
        return rgba[..., None].view(np.uint8)

    def words(self) -> str:
        """Describe the comparison, for metadata."""
        return f"difference (second minus first, strongest color at {self.reach:g}) of two volumes"

    def _difference(self, region: Region) -> NDArray[np.float32]:
        a = self.pair.a.read(region).values.astype(np.float32)
        b = self.pair.b.read(region).values.astype(np.float32)
        with np.errstate(invalid="ignore"):  # infinity minus infinity is NaN
            return np.asarray(b - a, dtype=np.float32)


@lru_cache(maxsize=1)
def _diverging() -> NDArray[np.uint32]:
    """Return RGBA as uint32 for differences from -255 to 255 steps."""
    steps = np.arange(_STEPS + 1) / _STEPS
    rgba = np.full((2 * _STEPS + 1, 4), 255, np.uint8)
    for colors, part in ((_NEGATIVE, slice(_STEPS, None, -1)), (_POSITIVE, slice(_STEPS, None))):
        for channel in range(3):
            values = np.interp(steps, (0, 0.5, 1), [color[channel] for color in colors])
            rgba[part, channel] = np.rint(values)
    return rgba.view(np.uint32)[:, 0]


@kernel
def blend_rgba(a, b, share, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` (n, 4) with a blend of ``a`` and ``b``, weighted by ``share`` and alpha."""
    for n in range(a.shape[0]):
        wa, wb = (1.0 - share) * a[n, 3], share * b[n, 3]
        alpha = wa + wb
        if alpha <= 0.0:
            out[n] = 0
            continue
        for c in range(3):
            out[n, c] = int((wa * a[n, c] + wb * b[n, c]) / alpha + 0.5)
        out[n, 3] = int(alpha + 0.5)

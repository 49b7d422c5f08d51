"""The base class of all comparisons: an array that is computed lazily on indexing."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.pair import Pair
from tomochrome.compare.region import Region, split
from tomochrome.errors import OptionError
from tomochrome.geometry.computed import ComputedArray
from tomochrome.runtime import check, report
from tomochrome.volume import Unit, Volume

S = TypeVar("S")


class View(ComputedArray, Generic[S]):
    """A comparison of a pair on the grid of its first volume, computed on indexing.

    It has shape (z, y, x) with the volumes' values, or (z, y, x, 4) uint8 RGBA, and is the data
    of a napari layer. Assign `settings` to change it; reading and assigning are thread-safe.

    Parameters
    ----------
    pair
        The volumes to compare. Views of the same pair share its cache.
    settings
        Settings of the comparison; None for its defaults.
    """

    mode: ClassVar[str]  #: name of the comparison
    default_settings: ClassVar[type[Any]]  #: class of the settings

    def __init__(self, pair: Pair, settings: S | None = None) -> None:
        self.pair = pair
        self.settings = self.default_settings() if settings is None else settings

    @property
    def settings(self) -> S:
        """Settings of the comparison; assign others to change them."""
        return self._settings

    @settings.setter
    def settings(self, settings: S) -> None:
        self.check(settings)
        self._settings = settings

    def check(self, settings: S) -> None:
        """Raise `OptionError` if the settings are not valid for the pair."""

    @abstractmethod
    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region, (i, j, k) or (i, j, k, 4). They may be read-only."""

    def prepare(self) -> None:
        """Compile kernels and determine the windows in advance.

        Call it in a worker thread, so that a viewer does not wait when it shows the view.
        """
        self.pair.a.prepare()
        self.pair.b.prepare()
        self.compute(Region((range(1), range(1), range(1))))

    def missing(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels (i, j, k) were not measured in one of the volumes."""
        return self.pair.missing("a", region) | self.pair.missing("b", region)

    @property
    def numbers(self) -> bool:
        """Whether voxels are scalar values, not RGBA."""
        return self.pair.numbers

    @property
    def unit(self) -> Unit:
        """Unit of the voxels."""
        return self.pair.volume.unit if self.numbers else "RGBA"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self.pair.dtype if self.numbers else np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (z, y, x), or (z, y, x, 4) for RGBA."""
        return self.pair.shape if self.numbers else (*self.pair.shape, 4)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the indexed voxels; integers, slices and Ellipsis as in NumPy."""
        region, channel = split(key, self.shape)
        voxels = self.compute(region)
        voxels = voxels.reshape(region.shown + voxels.shape[3:])
        return voxels if self.numbers else voxels[..., channel]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, {self.settings})"

    def words(self) -> str:
        """Describe the comparison, for metadata."""
        return f"{self.mode} of two volumes"


def render(view: View[Any]) -> Volume:
    """Compute a complete comparison, slice by slice along the first axis.

    Returns
    -------
    Volume
        On the grid of the first volume, with its values or RGBA. Missing voxels are transparent
        black (RGBA) or ``outside`` (values). The provenance describes the comparison.

    Raises
    ------
    Cancelled
        If the user cancelled.
    """
    depth = view.shape[0]
    voxels = np.empty(view.shape, view.dtype)
    outside = np.zeros(view.pair.shape, np.bool_) if view.numbers else None
    for z in range(depth):
        check()
        voxels[z] = view[z]
        if outside is not None:
            region, _ = split(z, view.shape)
            outside[z] = view.missing(region)[0]
        report(z + 1, depth, "comparing")
    if outside is not None and not outside.any():
        outside = None
    return _described(view, voxels, outside)


def _described(view: View[Any], voxels: NDArray[Any], outside: NDArray[np.bool_] | None) -> Volume:
    first, second = view.pair.a.volume.provenance, view.pair.b.volume.provenance
    words = view.words()
    added = [w for w in (*second.warnings, *view.pair.warnings) if w not in first.warnings]
    extra = {
        **second.extra,
        **first.extra,
        "description": f"{words[0].upper()}{words[1:]}, not for diagnosis",
        "not_for_diagnosis": True,
    }
    windows = [window for window in view.pair.windows if window is not None]
    if view.unit == "RGBA" and windows and view.mode != "difference":  # which uses no window
        extra["window"] = f"{windows[0].center:g}/{windows[0].width:g}"
    provenance = replace(first.add(f"{words}; not for diagnosis", *added), extra=extra)
    affine, restored = view.pair.volume.affine, view.pair.restored
    return Volume(voxels, affine, view.unit, provenance, outside, restored)


def share(value: Any, what: str) -> float:
    """Validate a number from 0 to 1.

    Raises
    ------
    OptionError
        If it is not a number in that range.
    """
    number = float(value) if isinstance(value, int | float | np.number) else math.nan
    if not 0.0 <= number <= 1.0:  # also true for NaN
        raise OptionError(f"the {what} must be a number from 0 to 1, not {value!r}")
    return number

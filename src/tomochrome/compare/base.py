"""What every comparison is to whoever slices it: an array that is computed where it is read."""

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
    """A comparison of a pair, on the grid of its first volume, computed when indexed.

    Shape (z, y, x) in the volumes' own numbers, or (z, y, x, 4) uint8 RGBA: the data of a napari
    layer. Assign `settings` to change it; reading and assigning from different threads is safe.

    Parameters
    ----------
    pair
        What is compared. Views of the same pair share its slices.
    settings
        How; the defaults of the comparison's own settings class if None.
    """

    mode: ClassVar[str]  #: what the comparison is called
    default_settings: ClassVar[type[Any]]  #: makes the settings to begin with

    def __init__(self, pair: Pair, settings: S | None = None) -> None:
        self.pair = pair
        self.settings = self.default_settings() if settings is None else settings

    @property
    def settings(self) -> S:
        """How the pair is compared; assign others to change it."""
        return self._settings

    @settings.setter
    def settings(self, settings: S) -> None:
        self.check(settings)
        self._settings = settings

    def check(self, settings: S) -> None:
        """Raise `OptionError` if the settings do not fit the pair."""

    @abstractmethod
    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region, (i, j, k) or (i, j, k, 4). They may be read-only."""

    def prepare(self) -> None:
        """Do what the first slice would wait for: compile kernels, work out the windows.

        Call it from a worker, and a viewer that shows the view afterwards will not wait.
        """
        self.pair.a.prepare()
        self.pair.b.prepare()
        self.compute(Region((range(1), range(1), range(1))))

    def missing(self, region: Region) -> NDArray[np.bool_]:
        """Whether there is nothing to show at each voxel (i, j, k): unmeasured in either."""
        return self.pair.missing("a", region) | self.pair.missing("b", region)

    @property
    def numbers(self) -> bool:
        """Whether voxels are numbers, not RGBA."""
        return self.pair.numbers

    @property
    def unit(self) -> Unit:
        """What the voxels measure."""
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
        """Return the voxels asked for: integers, slices and Ellipsis as in NumPy."""
        region, channel = split(key, self.shape)
        thin = self.compute(region)
        shown = thin.reshape(region.shown + thin.shape[3:])
        return shown if self.numbers else shown[..., channel]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, {self.settings})"

    def words(self) -> str:
        """Say what it shows, for a file's own metadata."""
        return f"{self.mode} of two volumes"


def render(view: View[Any]) -> Volume:
    """Compute a whole comparison, slice by slice along the first axis.

    Returns
    -------
    Volume
        On the grid of the first volume, in its numbers or RGBA. Voxels with nothing to show are
        transparent black (RGBA), or lie ``outside`` (numbers). Its provenance says what it is.

    Raises
    ------
    Cancelled
        If the task was cancelled.
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
    news = [w for w in (*second.warnings, *view.pair.warnings) if w not in first.warnings]
    extra = {
        **second.extra,
        **first.extra,
        "description": f"{words[0].upper()}{words[1:]}, not for diagnosis",
        "not_for_diagnosis": True,
    }
    windows = [window for window in view.pair.windows if window is not None]
    if view.unit == "RGBA" and windows and view.mode != "difference":  # that one has a range
        extra["window"] = f"{windows[0].center:g}/{windows[0].width:g}"
    provenance = replace(first.add(f"{words}; not for diagnosis", *news), extra=extra)
    return Volume(voxels, view.pair.volume.affine, view.unit, provenance, outside)


def share(value: Any, what: str) -> float:
    """Return a number from 0 to 1.

    Raises
    ------
    OptionError
        If it is none.
    """
    number = float(value) if isinstance(value, int | float | np.number) else math.nan
    if not 0.0 <= number <= 1.0:  # also refuses nan
        raise OptionError(f"the {what} must be a number from 0 to 1, not {value!r}")
    return number

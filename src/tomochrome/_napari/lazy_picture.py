"""RGBA of a whole volume that napari slices: planes at once, all of it for 3D by a worker."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.region import Region, split
from tomochrome.runtime import CancelToken, Progress, check, report


class LazyPicture(ABC):
    """The data of a layer, uint8 (z, y, x, 4), computed where it is looked at.

    A plane takes milliseconds. A block, which napari asks for when it shows a layer in 3D, would
    stop the window for seconds: it is clear until a worker has called `compute_whole`, and
    `wanted` is called to have that done.

    Parameters
    ----------
    shape
        Spatial shape (z, y, x).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape: tuple[int, int, int, int] = (*shape, 4)
        self.wanted: Callable[[], None] = _nothing
        self._whole: NDArray[np.uint8] | None = None

    @abstractmethod
    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA (i, j, k, 4) of a region."""

    @property
    def size(self) -> int:
        """Number of bytes if all were computed."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes if all were computed."""
        return self.size

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return the voxels asked for: integers, slices and Ellipsis as in NumPy."""
        region, channel = split(key, self.shape)
        if any(region.single) or math.prod(region.shape) <= max(self.shape[:3]) ** 2:
            thin = self.compute(region)
        elif self._whole is not None:
            thin = self._whole[region.slices]
        else:
            self.wanted()
            thin = np.zeros((*region.shape, 4), np.uint8)
        return thin.reshape((*region.shown, 4))[..., channel]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it, computed now: what a file is to hold."""
        if copy is False:
            raise ValueError("a lazy picture is computed when read: there is none without a copy")
        whole = self.whole()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def whole(
        self, *, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> NDArray[np.uint8]:
        """Compute all of it, slice by slice, but as a block: without what belongs to a plane."""
        out = np.empty(self.shape, np.uint8)
        depth, height, width = self.shape[:3]
        for z in range(depth):
            check(cancel)
            report(progress, z, depth, "computing the 3D picture")
            out[z] = self.compute(Region((range(z, z + 1), range(height), range(width))))[0]
        return out

    def solid(
        self, *, progress: Progress | None = None, cancel: CancelToken | None = None
    ) -> NDArray[np.uint8]:
        """Compute what 3D is to show: all of it."""
        return self.whole(progress=progress, cancel=cancel)

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return a picture of the same volumes for another layer; nothing large is copied."""
        twin = copy.copy(self)
        twin.wanted = _nothing
        return twin

    def keep_whole(self, whole: NDArray[np.uint8] | None) -> None:
        """Take what 3D is to show, or None to forget it because something has changed."""
        self._whole = whole

    @property
    def has_whole(self) -> bool:
        """Whether there is something for 3D."""
        return self._whole is not None


def _nothing() -> None:
    """Do nothing."""

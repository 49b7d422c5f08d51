"""Layer data that is computed where it is looked at: planes at once, 3D by a worker."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.region import Region, split
from tomochrome.geometry.blocks import Steps
from tomochrome.geometry.computed import ComputedArray
from tomochrome.runtime import check, quietly, report

#: How napari asks for everything when it shows a layer in 3D.
_BLOCK = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Rendering:
    """What 3D shows of a volume.

    Parameters
    ----------
    rgba
        uint8 (k, j, i, 4), computed in blocks of voxels.
    steps
        Voxels from one block to the next along (z, y, x).
    offset
        Index of the voxel, or the place between two, at the center of the first block.
    """

    rgba: NDArray[np.uint8]
    steps: tuple[int, ...]
    offset: tuple[float, ...]


class RenderedByWorker(ABC):
    """What the data of a layer needs for 3D, which a worker computes (see `renderer_3d`).

    A block of the whole volume, which napari asks for in the GUI thread when it shows a layer in
    3D, would stop the window for seconds. It gets what a worker has left here, as coarse as that
    may be; one clear voxel until there is something.
    """

    shape: Any

    def __init__(self) -> None:
        self.wanted: Callable[[], None] = _nothing  #: called when 3D needs another picture
        self._rendering: Rendering | None = None
        self._fresh = False
        self._in_3d = False

    @abstractmethod
    def render(self, steps: Steps) -> Rendering:
        """Compute what 3D is to show; called in a worker."""

    @property
    def in_3d(self) -> bool:
        """Whether napari has asked for 3D, and 2D was not shown since."""
        return self._in_3d

    @property
    def drawn(self) -> Rendering | None:
        """What 3D shows now."""
        return self._rendering

    @property
    def is_rendered(self) -> bool:
        """Whether 3D shows the volume as it is now."""
        return self._rendering is not None and self._fresh

    @property
    def tile(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and translation, in voxels, of what 3D gets."""
        if self._rendering is None:
            return tuple(self.shape[:3]), tuple((n - 1) / 2 for n in self.shape[:3])
        return self._rendering.steps, self._rendering.offset

    def block(self) -> NDArray[np.uint8]:
        """Return RGBA for 3D, and have it computed if it is missing or out of date."""
        self._in_3d = True
        if not self.is_rendered:
            self.wanted()
        return np.zeros((1, 1, 1, 4), np.uint8) if self._rendering is None else self._rendering.rgba

    def keep(self, rendering: Rendering) -> None:
        """Take what 3D is to show."""
        self._rendering, self._fresh = rendering, True

    def outdate(self) -> None:
        """Say that the volume is to be shown otherwise: in 3D it is computed again."""
        self._fresh = False
        if self._in_3d:
            self.wanted()

    def forget(self) -> None:
        """Give back the memory of 3D."""
        self._rendering, self._fresh, self._in_3d = None, False, False


class LazyPicture(RenderedByWorker, ComputedArray):
    """The data of a layer, uint8 (z, y, x, 4), computed where it is looked at.

    Parameters
    ----------
    shape
        Spatial shape (z, y, x).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._shape = (*shape, 4)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (z, y, x, 4)."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Type of the voxels."""
        return np.dtype(np.uint8)

    @abstractmethod
    def compute(self, region: Region) -> NDArray[np.uint8]:
        """Return RGBA (i, j, k, 4) of a region."""

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Return the voxels asked for: integers, slices and Ellipsis as in NumPy.

        Exactly ``[:, :, :]`` is napari's question for 3D, and answered by `block`.
        """
        if is_block(key):
            return self.block()
        region, channel = split(key, self.shape)
        return self.compute(region).reshape((*region.shown, 4))[..., channel]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it, computed now: what a file is to hold."""
        if copy is False:
            raise ValueError("a lazy picture is computed when read: there is none without a copy")
        with quietly():
            whole = self.whole()
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def whole(self, steps: Steps = (1, 1, 1)) -> NDArray[np.uint8]:
        """Compute all of it, or one voxel of each block, without what belongs to a plane."""
        depth, height, width = (
            range(step // 2, n, step) for n, step in zip(self.shape, steps, strict=False)
        )
        out = np.empty((len(depth), len(height), len(width), 4), np.uint8)
        for row, z in enumerate(depth):
            check()
            report(row, len(depth), "computing the 3D picture")
            out[row] = self.compute(Region((range(z, z + 1), height, width)))[0]
        return out

    def render(self, steps: Steps) -> Rendering:
        """Compute what 3D is to show."""
        whole = self.whole(steps)
        return Rendering(whole, steps, tuple(step // 2 for step in steps))

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return a picture of the same volumes for another layer; nothing large is copied."""
        twin = copy.copy(self)
        twin.wanted = _nothing
        twin.forget()
        return twin


def is_block(key: Any) -> bool:
    """Whether an index is the one with which napari asks for 3D."""
    return isinstance(key, tuple) and key == _BLOCK


def _nothing() -> None:
    """Do nothing."""

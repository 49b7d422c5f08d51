"""Layer data computed on access: slices directly, 3D images by a worker."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.region import Region, split
from tomochrome.geometry.block_grids import Steps
from tomochrome.geometry.computed import ComputedArray
from tomochrome.runtime import check, quietly, report

#: The index with which napari reads the data of a layer shown in 3D.
_BLOCK = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Rendering:
    """The 3D image of a volume at a reduced resolution."""

    rgba: NDArray[np.uint8]  #: uint8 (k, j, i, 4), one voxel for each block of the volume
    steps: tuple[float, ...]  #: block size in voxels along (z, y, x)
    offset: tuple[float, ...]  #: index, possibly fractional, of the center of the first block
    note: str = ""  #: why nothing is seen


class RenderedByWorker(ABC):
    """Base class of layer data whose 3D image is computed by a worker (see `renderer_3d`).

    In 3D, napari reads the entire volume in the GUI thread; computing it there would block the
    window for seconds. Instead, napari gets the latest image from a worker, even if it is coarse,
    or one transparent voxel if there is none yet.
    """

    shape: Any

    def __init__(self) -> None:
        self.requested: Callable[[], None] = nothing  #: called when 3D needs a new image
        self.longest = 2048  #: voxels of a 3D image along an axis, at most
        self._rendering: Rendering | None = None
        self._fresh = False
        self._in_3d = False

    @abstractmethod
    def render(self, steps: Steps) -> Rendering:
        """Compute the 3D image; called in a worker."""

    @property
    def in_3d(self) -> bool:
        """Whether napari shows the layer in 3D."""
        return self._in_3d

    @property
    def drawn(self) -> Rendering | None:
        """The current 3D image."""
        return self._rendering

    @property
    def is_rendered(self) -> bool:
        """Whether the 3D image is up to date."""
        return self._rendering is not None and self._fresh

    @property
    def tile(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and translation of the 3D image, in voxels."""
        if self._rendering is None:
            return tuple(self.shape[:3]), tuple((n - 1) / 2 for n in self.shape[:3])
        return self._rendering.steps, self._rendering.offset

    def block(self) -> NDArray[np.uint8]:
        """Return the RGBA image for 3D, and request a new one if it is missing or out of date."""
        self._in_3d = True
        if not self.is_rendered:
            self.requested()
        return np.zeros((1, 1, 1, 4), np.uint8) if self._rendering is None else self._rendering.rgba

    def keep(self, rendering: Rendering) -> None:
        """Set the 3D image."""
        self._rendering, self._fresh = rendering, True

    def outdate(self) -> None:
        """Mark the 3D image as out of date, and request a new one in 3D."""
        self._fresh = False
        if self._in_3d:
            self.requested()

    def forget(self) -> None:
        """Free the memory of the 3D image."""
        self._rendering, self._fresh, self._in_3d = None, False, False


class LazyPicture(RenderedByWorker, ComputedArray):
    """Layer data, uint8 (z, y, x, 4), computed on access.

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
        """Return the indexed voxels: integers, slices and Ellipsis as in NumPy.

        The index ``[:, :, :]``, which napari uses for 3D, returns `block`.
        """
        if is_block(key):
            return self.block()
        region, channel = split(key, self.shape)
        return self.compute(region).reshape((*region.shown, 4))[..., channel]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Compute the entire array, for example to write it to a file."""
        if copy is False:
            raise ValueError("a lazy picture is computed on access and needs a copy")
        with quietly():
            voxels = self.compute_all()
        return voxels if dtype is None else voxels.astype(dtype, copy=False)

    def compute_all(self, steps: Steps = (1, 1, 1)) -> NDArray[np.uint8]:
        """Compute one voxel of each block, all voxels by default."""
        depth, height, width = (
            range(step // 2, n, step) for n, step in zip(self.shape, steps, strict=False)
        )
        out = np.empty((len(depth), len(height), len(width), 4), np.uint8)
        for row, z in enumerate(depth):
            check()
            report(row, len(depth), "computing the 3D image")
            out[row] = self.compute(Region((range(z, z + 1), height, width)))[0]
        return out

    def render(self, steps: Steps) -> Rendering:
        """Compute the 3D image."""
        return Rendering(self.compute_all(steps), steps, tuple(step // 2 for step in steps))

    def __deepcopy__(self, memo: Any) -> LazyPicture:
        """Return an independent object for another layer that shares the volumes."""
        twin = copy.copy(self)
        twin.requested = nothing
        twin.forget()
        return twin


def is_block(key: Any) -> bool:
    """Whether an index is the one that napari uses for 3D."""
    return isinstance(key, tuple) and key == _BLOCK


def nothing() -> None:
    """Do nothing."""

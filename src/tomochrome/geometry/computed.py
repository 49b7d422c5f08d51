"""Arrays that are computed where they are read: layer data without a copy in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ComputedArray(ABC):
    """What NumPy and napari ask of an array, for one that is computed when it is indexed."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape (z, y, x), or (z, y, x, 4) for RGBA."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""

    @abstractmethod
    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the voxels asked for: integers, slices and Ellipsis as in NumPy."""

    @property
    def ndim(self) -> int:
        """Number of axes: 3, or 4 for RGBA."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values if all were computed."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes if all were computed."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array, computed now."""
        if copy is False:
            raise ValueError("this array is computed when read: it cannot be had without a copy")
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def full_index(key: Any, axes: int) -> tuple[Any, ...]:
    """Return one integer or slice for each axis of an array that is indexed by ``key``.

    Raises
    ------
    IndexError
        If there are too many indices, or one that is neither an integer, a slice nor Ellipsis.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    for item in keys:
        if not (item is Ellipsis or isinstance(item, int | np.integer | slice)):
            raise IndexError("an array computed when read takes integers, slices and Ellipsis")
    dots = [i for i, item in enumerate(keys) if item is Ellipsis]
    if len(dots) > 1 or len(keys) - len(dots) > axes:
        raise IndexError(f"too many indices for an array of {axes} axes: {len(keys)}")
    if dots:
        keys[dots[0] : dots[0] + 1] = [slice(None)] * (axes + 1 - len(keys))
    return (*keys, *[slice(None)] * (axes - len(keys)))

"""Arrays computed on access: layer data without a copy in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ComputedArray(ABC):
    """Base class of array-likes for NumPy and napari that are computed when they are indexed."""

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
        """Return the indexed voxels: integers, slices and Ellipsis as in NumPy."""

    @property
    def ndim(self) -> int:
        """Number of axes: 3, or 4 for RGBA."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values of the entire array."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the entire array."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Compute and return the entire array."""
        if copy is False:
            raise ValueError("this array is computed on access and cannot be had without a copy")
        full = self[...]
        return full if dtype is None else full.astype(dtype, copy=False)


def full_index(key: Any, axes: int) -> tuple[Any, ...]:
    """Expand an index to one integer or slice for each axis.

    Raises
    ------
    IndexError
        If there are too many indices, or one is not an integer, a slice or Ellipsis.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    for item in keys:
        if not (item is Ellipsis or isinstance(item, int | np.integer | slice)):
            raise IndexError("this array supports only integers, slices and Ellipsis as indices")
    dots = [i for i, item in enumerate(keys) if item is Ellipsis]
    if len(dots) > 1 or len(keys) - len(dots) > axes:
        raise IndexError(f"too many indices for an array of {axes} axes: {len(keys)}")
    if dots:
        keys[dots[0] : dots[0] + 1] = [slice(None)] * (axes + 1 - len(keys))
    return (*keys, *[slice(None)] * (axes - len(keys)))

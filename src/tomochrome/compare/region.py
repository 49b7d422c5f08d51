"""Regions of a volume: the axes of an index in NumPy's basic indexing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tomochrome.geometry.computed import full_index


@dataclass(frozen=True)
class Region:
    """Voxels on a regular sub-grid of a volume.

    Parameters
    ----------
    axes
        The indices along (z, y, x); a range of length one for an integer index.
    single
        For each axis, whether the index is an integer: the result does not have this axis, which
        is the normal of the displayed plane.
    """

    axes: tuple[range, range, range]
    single: tuple[bool, bool, bool] = (False, False, False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis, 1 for single axes."""
        z, y, x = (len(axis) for axis in self.axes)
        return z, y, x

    @property
    def shown(self) -> tuple[int, ...]:
        """Shape of the result, without the single axes."""
        return tuple(len(r) for r, one in zip(self.axes, self.single, strict=True) if not one)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The same voxels as slices that keep every axis."""
        z, y, x = (as_slice(axis) for axis in self.axes)
        return z, y, x

    @property
    def plane(self) -> int | None:
        """The axis normal to the displayed plane; None if the region is not a plane."""
        return self.single.index(True) if sum(self.single) == 1 else None

    def grown(self, shape: tuple[int, int, int]) -> tuple[Region, tuple[slice, slice, slice]]:
        """Return the contiguous region with a margin of one voxel, and the slices of this region.

        Parameters
        ----------
        shape
            Shape of the volume, to which the result is clipped. Single axes get no margin.

        Returns
        -------
        Region
            All voxels from one before the first to one after the last.
        tuple of slice
            Selects the voxels of this region from an array of the padded one.
        """
        axes, back = [], []
        for axis, one, size in zip(self.axes, self.single, shape, strict=True):
            if one or not len(axis):
                axes.append(axis)
                back.append(slice(None))
                continue
            first = max(0, min(axis[0], axis[-1]) - 1)
            axes.append(range(first, min(size, max(axis[0], axis[-1]) + 2)))
            back.append(as_slice(range(axis.start - first, axis.stop - first, axis.step)))
        return Region((axes[0], axes[1], axes[2]), self.single), (back[0], back[1], back[2])


def as_slice(axis: range) -> slice:
    """Return the slice for the nonnegative indices of a range."""
    if not len(axis):
        return slice(0, 0)
    # None if a descending range ends at 0, because -1 would mean the last index.
    stop = axis[-1] + (1 if axis.step > 0 else -1)
    return slice(axis[0], stop if stop >= 0 else None, axis.step)


def split(key: Any, shape: tuple[int, ...]) -> tuple[Region, Any]:
    """Split an index into the region of voxels and the index of the channel.

    Parameters
    ----------
    key
        Integers, slices and Ellipsis, as in NumPy.
    shape
        (z, y, x) or (z, y, x, 4).

    Raises
    ------
    IndexError
        If there are too many indices, or one is out of range or of an unsupported type.
    """
    keys = full_index(key, len(shape))
    axes, single = [], []
    for item, size in zip(keys[:3], shape[:3], strict=True):
        single.append(not isinstance(item, slice))
        if isinstance(item, slice):
            axes.append(range(*item.indices(size)))
            continue
        index = int(item)
        if not -size <= index < size:
            raise IndexError(f"index {index} is out of range for an axis of {size}")
        axes.append(range(index % size, index % size + 1))
    channel = keys[3] if len(shape) == 4 else Ellipsis
    return Region((axes[0], axes[1], axes[2]), (single[0], single[1], single[2])), channel

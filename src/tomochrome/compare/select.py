"""Comparisons that select one of the volumes for each voxel: checkerboard, wipe and flicker."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.compare.base import View, share
from tomochrome.compare.pair import Which
from tomochrome.compare.region import Region
from tomochrome.errors import OptionError
from tomochrome.volume import MAX_MM, Volume

Direction = Literal["vertical", "horizontal"]
S = TypeVar("S")

#: Rounding tolerance in tiles: a voxel center on an edge belongs to the next tile.
_EPSILON: Final = 1e-9


class Selection(View[S]):
    """A view that shows each voxel of either the first or the second volume, unchanged."""

    @abstractmethod
    def second(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels show the second volume, broadcastable to (i, j, k)."""

    def compute(self, region: Region) -> NDArray[Any]:
        """Return the voxels of a region, read from one or both volumes."""
        second = self.second(region)
        if second.all():
            return self.pair.read("b", region)
        if not second.any():
            return self.pair.read("a", region)
        a, b = self.pair.read("a", region), self.pair.read("b", region)
        if self.numbers:
            return np.where(second, b, a)
        # RGBA as one uint32 per voxel, for speed
        words = np.where(second, _words(b), _words(a))
        return words[..., None].view(np.uint8)

    def missing(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels the displayed volume did not measure."""
        second = self.second(region)
        return np.where(second, self.pair.missing("b", region), self.pair.missing("a", region))


def _words(rgba: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(rgba).view(np.uint32)[..., 0]


@dataclass(frozen=True)
class CheckerboardSettings:
    """Settings of a checkerboard.

    Parameters
    ----------
    tile_mm
        Edge length of a tile in mm, along all three axes of the grid.
    offset_mm
        Shift of the tiles along (z, y, x) in mm.

    Raises
    ------
    OptionError
        If the size is not a positive number, or the offset not three plausible numbers.
    """

    tile_mm: float = 20.0
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not _finite(self.tile_mm) or self.tile_mm <= 0:
            raise OptionError(f"the tile size must be a positive number of mm, not {self.tile_mm}")
        offset = tuple(np.ravel(np.asarray(self.offset_mm, dtype=object)))
        if len(offset) != 3 or not all(_finite(v) for v in offset):
            raise OptionError(
                f"the offset must be three numbers of mm (z, y, x), not {self.offset_mm}"
            )
        if max(abs(float(v)) for v in offset) > MAX_MM:
            raise OptionError(f"the offset {self.offset_mm} is larger than any scanner")
        object.__setattr__(self, "tile_mm", float(self.tile_mm))
        object.__setattr__(self, "offset_mm", tuple(float(v) for v in offset))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def smallest_tile_mm(volume: Volume) -> float:
    """Return the smallest possible tile size in mm: the grid's largest voxel spacing."""
    return max(volume.spacing)


class Checkerboard(Selection[CheckerboardSettings]):
    """Alternating cubic tiles of the two volumes, which are squares in every plane of the grid.

    Distances are measured in mm along the grid's axes from the outer face of its first voxel.
    Tile edges are at ``offset_mm + n * tile_mm``; a voxel belongs to the tile of its center, so
    displayed edges are exact to half a voxel. The tile from 0 to ``tile_mm`` on all axes (in the
    first corner without an offset) shows the first volume.

    Raises
    ------
    OptionError
        If the tiles are smaller than the grid's voxels.
    """

    mode: ClassVar[str] = "checkerboard"
    default_settings = CheckerboardSettings

    def check(self, settings: CheckerboardSettings) -> None:
        """Check that tiles are not smaller than voxels.

        Raises
        ------
        OptionError
            If a tile is smaller than a voxel.
        """
        least = smallest_tile_mm(self.pair.volume)
        if settings.tile_mm < least * (1 - 1e-6):
            raise OptionError(
                f"tiles of {settings.tile_mm:g} mm are smaller than the voxels of the first "
                f"volume; choose {least:.3g} mm or more"
            )

    def second(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels are in a tile of the second volume."""
        settings = self.settings
        odd = [
            _cells(axis, spacing, settings.tile_mm, offset) & 1
            for axis, spacing, offset in zip(
                region.axes, self.pair.volume.spacing, settings.offset_mm, strict=True
            )
        ]
        return (odd[0][:, None, None] ^ odd[1][:, None] ^ odd[2]).astype(np.bool_)

    def words(self) -> str:
        """Describe the comparison, for metadata."""
        return f"checkerboard of two volumes in tiles of {self.settings.tile_mm:g} mm"


def _cells(axis: range, spacing: float, tile: float, offset: float) -> NDArray[np.int64]:
    """Return the tile number of each voxel center along an axis."""
    centers = (np.asarray(axis, dtype=np.float64) + 0.5) * spacing
    return np.floor((centers - offset) / tile + _EPSILON).astype(np.int64)


@dataclass(frozen=True)
class WipeSettings:
    """Settings of a wipe.

    Parameters
    ----------
    direction
        ``"vertical"`` for a vertical edge with the first volume on the left; ``"horizontal"`` for
        a horizontal edge with the first volume above. As in napari, the first of the two axes of
        a plane points down, the second to the right.
    positions
        For the planes normal to axis z, y and x, the visible fraction of the first volume, 0 to
        1, or one number for all planes.
    mirrored
        For axis z, y and x, whether the viewer displays it reversed, with its last voxel on the
        left or at the top. The first volume is always on the left or above.

    Raises
    ------
    OptionError
        If the direction is unknown or a position is not from 0 to 1.
    """

    direction: Direction = "vertical"
    positions: tuple[float, float, float] = (0.5, 0.5, 0.5)
    mirrored: tuple[bool, bool, bool] = (False, False, False)

    def __post_init__(self) -> None:
        if self.direction not in ("vertical", "horizontal"):
            raise OptionError(
                f"unknown direction of a wipe '{self.direction}': choose vertical or horizontal"
            )
        given: Any = self.positions
        positions = tuple(given) if isinstance(given, tuple | list) else (given,) * 3
        if len(positions) != 3:
            raise OptionError("a wipe needs one position, or one for each of the three planes")
        checked = tuple(share(value, "position of a wipe") for value in positions)
        object.__setattr__(self, "positions", checked)

    def moved(self, plane: int, position: float) -> WipeSettings:
        """Return a copy with another position in one plane.

        Parameters
        ----------
        plane
            Axis normal to the plane: 0 for z, 1 for y, 2 for x.
        position
            Visible fraction of the first volume, 0 to 1.

        Returns
        -------
        WipeSettings
            The copy.
        """
        positions = list(self.positions)
        positions[plane] = position
        return replace(self, positions=(positions[0], positions[1], positions[2]))


class Wipe(Selection[WipeSettings]):
    """A movable edge between the two volumes, with a separate position in every plane.

    The plane is that of a single integer index, as when a viewer shows a slice; any other index
    (a block in 3D) is treated like the planes normal to z.
    """

    mode: ClassVar[str] = "wipe"
    default_settings = WipeSettings

    def axis(self, plane: int) -> int:
        """Return the axis along which the edge moves in a plane."""
        across = [axis for axis in range(3) if axis != plane]
        return across[1] if self.settings.direction == "vertical" else across[0]

    def edge(self, plane: int) -> float:
        """Return the position of the edge in a plane as an index along `axis`.

        Integer indices are voxel centers, so the range is -0.5 to size - 0.5.
        """
        axis = self.axis(plane)
        return self._from_start(axis, self.settings.positions[plane]) * self.pair.shape[axis] - 0.5

    def position(self, plane: int, index: float) -> float:
        """Return the setting for an edge that was dragged to an index; the inverse of `edge`.

        Parameters
        ----------
        plane
            Axis normal to the plane.
        index
            Position of the edge as an index along `axis`.

        Returns
        -------
        float
            0 to 1.
        """
        axis = self.axis(plane)
        return self._from_start(axis, min(1.0, max(0.0, (index + 0.5) / self.pair.shape[axis])))

    def _from_start(self, axis: int, share: float) -> float:
        """Convert between visible fraction and position along an axis."""
        return 1.0 - share if self.settings.mirrored[axis] else share

    def second(self, region: Region) -> NDArray[np.bool_]:
        """Return which voxels are beyond the edge."""
        settings = self.settings
        plane = region.plane or 0
        axis = self.axis(plane)
        size = self.pair.shape[axis]
        edge = self._from_start(axis, settings.positions[plane])
        beyond = (np.asarray(region.axes[axis]) + 0.5) / size >= edge
        if settings.mirrored[axis]:
            beyond = ~beyond
        shape = [1, 1, 1]
        shape[axis] = -1
        return beyond.reshape(shape)


@dataclass(frozen=True)
class FlickerSettings:
    """Settings of a flicker.

    Parameters
    ----------
    which
        The displayed volume, ``"a"`` or ``"b"``.

    Raises
    ------
    OptionError
        If it is neither.
    """

    which: Which = "a"

    def __post_init__(self) -> None:
        if self.which not in ("a", "b"):
            raise OptionError(f"a flicker can show 'a' or 'b', not {self.which!r}")

    def other(self) -> FlickerSettings:
        """Return the settings that show the other volume."""
        return FlickerSettings("b" if self.which == "a" else "a")


class Flicker(Selection[FlickerSettings]):
    """One of the two volumes at a time; the viewer alternates between them."""

    mode: ClassVar[str] = "flicker"
    default_settings = FlickerSettings

    def second(self, region: Region) -> NDArray[np.bool_]:
        """Return whether the second volume is displayed."""
        return np.full((1, 1, 1), self.settings.which == "b")

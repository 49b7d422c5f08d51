"""Comparisons whose every voxel comes from one of the two: checkerboard, wipe and flicker."""

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
from tomochrome.volume import MOST_MM, Volume

Direction = Literal["vertical", "horizontal"]
S = TypeVar("S")

#: In tiles: a voxel whose centre lies on an edge, give or take rounding, is the next tile's.
_ON_THE_EDGE: Final = 1e-9


class Selection(View[S]):
    """A view that shows each voxel of either the first or the second volume, unchanged."""

    @abstractmethod
    def second(self, region: Region) -> NDArray[np.bool_]:
        """Whether each voxel shows the second volume; of a shape that broadcasts to (i, j, k)."""

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
        # RGBA as one word a voxel: a quarter of the choices.
        words = np.where(second, _words(b), _words(a))
        return words[..., None].view(np.uint8)

    def missing(self, region: Region) -> NDArray[np.bool_]:
        """Whether the volume that is shown measured nothing there."""
        second = self.second(region)
        return np.where(second, self.pair.missing("b", region), self.pair.missing("a", region))


def _words(rgba: NDArray[np.uint8]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(rgba).view(np.uint32)[..., 0]


@dataclass(frozen=True)
class Tiles:
    """Size and place of a checkerboard's tiles.

    Parameters
    ----------
    tile_mm
        Edge of a tile in mm, along all three axes of the grid.
    offset_mm
        By how much the tiles are moved along (z, y, x), in mm.

    Raises
    ------
    OptionError
        If the size is not a positive number, or the offset not three numbers of any sense.
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
        if max(abs(float(v)) for v in offset) > MOST_MM:
            raise OptionError(f"the offset {self.offset_mm} is larger than any scanner")
        object.__setattr__(self, "tile_mm", float(self.tile_mm))
        object.__setattr__(self, "offset_mm", tuple(float(v) for v in offset))

    def but(self, **changes: Any) -> Tiles:
        """Return a copy with some settings changed."""
        return replace(self, **changes)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


def smallest_tile_mm(volume: Volume) -> float:
    """Return the smallest tile that the grid can show: its largest voxel spacing, in mm."""
    return max(volume.spacing)


class Checkerboard(Selection[Tiles]):
    """Tiles of the two volumes in turn: cubes in space, so squares in every plane of the grid.

    Distances are measured in mm along the grid's own axes, from the outer face of its first
    voxel. Tile edges lie at ``offset_mm + n * tile_mm``; a voxel goes with its centre, so an edge
    on screen lies within half a voxel of its place. The tile that holds the distances 0 to
    ``tile_mm`` on all axes (without an offset, the first corner) shows the first volume.

    Raises
    ------
    OptionError
        If the tiles are smaller than the grid's voxels.
    """

    mode: ClassVar[str] = "checkerboard"
    default_settings = Tiles

    def check(self, settings: Tiles) -> None:
        """Refuse tiles that the grid cannot show.

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
        """Whether each voxel lies in a tile of the second volume."""
        settings = self.settings
        odd = [
            _cells(axis, spacing, settings.tile_mm, offset) & 1
            for axis, spacing, offset in zip(
                region.axes, self.pair.volume.spacing, settings.offset_mm, strict=True
            )
        ]
        return (odd[0][:, None, None] ^ odd[1][:, None] ^ odd[2]).astype(np.bool_)

    def words(self) -> str:
        """Say what it shows."""
        return f"checkerboard of two volumes in tiles of {self.settings.tile_mm:g} mm"


def _cells(axis: range, spacing: float, tile: float, offset: float) -> NDArray[np.int64]:
    """Return the number of the tile that the centre of each voxel of an axis lies in."""
    centres = (np.asarray(axis, dtype=np.float64) + 0.5) * spacing
    return np.floor((centres - offset) / tile + _ON_THE_EDGE).astype(np.int64)


@dataclass(frozen=True)
class Curtain:
    """Where the curtain of a wipe hangs.

    Parameters
    ----------
    direction
        ``"vertical"``: its edge is upright on screen, the first volume to its left;
        ``"horizontal"``: it lies across, the first volume above. On screen as napari shows a
        plane: the earlier of its two axes down, the later one across.
    positions
        For the planes at right angles to axis z, y and x, how much of the first volume is seen:
        0 none, 1 all. One number counts for all.
    mirrored
        For axis z, y and x, whether the viewer shows it backwards: its last voxel left or above.
        The first volume is to the left or above all the same.

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

    def moved(self, plane: int, position: float) -> Curtain:
        """Return a copy whose curtain hangs elsewhere in one plane (0: at right angles to z).

        Parameters
        ----------
        plane
            Axis at right angles to the plane: 0 for z, 1 for y, 2 for x.
        position
            How much of the first volume is seen: 0 none, 1 all.

        Returns
        -------
        Curtain
            The copy.
        """
        positions = list(self.positions)
        positions[plane] = position
        return replace(self, positions=(positions[0], positions[1], positions[2]))


class Wipe(Selection[Curtain]):
    """A curtain between the two volumes, with a place of its own in every plane.

    The plane is the one asked for by one integer among the indices, as when a viewer shows a
    slice; anything else (a block in 3D) is wiped as the planes at right angles to z.
    """

    mode: ClassVar[str] = "wipe"
    default_settings = Curtain

    def axis(self, plane: int) -> int:
        """Return the axis along which the curtain moves in a plane."""
        across = [axis for axis in range(3) if axis != plane]
        return across[1] if self.settings.direction == "vertical" else across[0]

    def edge(self, plane: int) -> float:
        """Return where the curtain's edge lies in a plane, as an index along `axis`.

        Voxels have whole indices at their centres, so this goes from -0.5 to size - 0.5.
        """
        axis = self.axis(plane)
        return self._from_start(axis, self.settings.positions[plane]) * self.pair.shape[axis] - 0.5

    def position(self, plane: int, index: float) -> float:
        """Return the position of a curtain whose edge was dragged to an index; see `edge`.

        Parameters
        ----------
        plane
            Axis at right angles to the plane.
        index
            Where the edge is, as an index along the curtain's axis.

        Returns
        -------
        float
            0 to 1.
        """
        axis = self.axis(plane)
        return self._from_start(axis, min(1.0, max(0.0, (index + 0.5) / self.pair.shape[axis])))

    def _from_start(self, axis: int, share: float) -> float:
        """Turn what is seen of the first volume into a place along its axis, or back."""
        return 1.0 - share if self.settings.mirrored[axis] else share

    def second(self, region: Region) -> NDArray[np.bool_]:
        """Whether each voxel lies beyond the curtain."""
        settings = self.settings
        plane = region.plane or 0
        axis = self.axis(plane)
        size = self.pair.shape[axis]
        place = self._from_start(axis, settings.positions[plane])
        beyond = (np.asarray(region.axes[axis]) + 0.5) / size >= place
        if settings.mirrored[axis]:
            beyond = ~beyond
        shape = [1, 1, 1]
        shape[axis] = -1
        return beyond.reshape(shape)


@dataclass(frozen=True)
class Shown:
    """Which of the two a flicker shows.

    Parameters
    ----------
    which
        ``"a"`` or ``"b"``.

    Raises
    ------
    OptionError
        If it is neither.
    """

    which: Which = "a"

    def __post_init__(self) -> None:
        if self.which not in ("a", "b"):
            raise OptionError(f"a flicker shows 'a' or 'b', not {self.which!r}")

    def other(self) -> Shown:
        """Return the other one's turn."""
        return Shown("b" if self.which == "a" else "a")


class Flicker(Selection[Shown]):
    """One of the two volumes at a time. How fast they take turns is up to who shows it."""

    mode: ClassVar[str] = "flicker"
    default_settings = Shown

    def second(self, region: Region) -> NDArray[np.bool_]:
        """Whether it is the second volume's turn."""
        return np.full((1, 1, 1), self.settings.which == "b")

"""From slices at uneven or tilted positions to a regular upright grid: where it lies.

Directions. Slices that are only unevenly spaced, or that slid sideways, keep their own planes:
the grid's axes are those of the slices, and where a slice lies on the grid its voxels come out as
they went in. Tilted slices (a gantry that leans over the table) are put upright: the grid's z axis
is the direction in which the table travelled, its y and x axes stand at right angles to it, and
an axis that lies close to one of the patient's is that one exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply

MOST_BRIDGED: Final = 2.5
"""Gaps of up to this many usual gaps are bridged: one missing slice, not two."""
MOST_BRIDGED_MM: Final = 10.0
"""So are gaps of up to this: routine scans lie up to a centimetre apart, and some of the head
change from 2.5 to 8 or 10 mm on the way."""
COMMON_GAP: Final = 0.1
"""The grid is as fine as the gaps that at least this part of all gaps do not exceed. One odd gap
of a tenth of a millimetre must not make ten times as many slices."""
MOST_GROWTH: Final = 4.0
"""A grid finer than the usual gap may hold this many times the voxels that were stored."""
MOST_VOXELS: Final = 2**29
"""A grid of more voxels than this (a gigabyte of 16-bit values), and more than twice as many as
were stored, is not made: such slices are not one scan."""
MOST_SLICES: Final = 10_000
"""Nor is one of more slices than this."""
MOST_EXTENT_MM: Final = 2500.0
"""No table travels farther in one scan."""
MOST_SPREAD: Final = 4.0
"""Slices that together cover more than this many times the area of one do not lie above each
other: they are not one scan either."""
SNAP_DEGREES: Final = 1.0
"""A direction this close to a patient axis is meant to be that axis: tables are straight, and
their direction is only known from positions that were rounded."""
_ON_THE_GRID: Final = 1e-4
"""Part of a pixel by which a position may miss the grid and still lie on it (rounding)."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """How the slices of a stack lie in space.

    Parameters
    ----------
    positions
        LPS mm of the first voxel of each slice, (n, 3), in order along ``normal``.
    row, column, normal
        Unit vectors along a row, down a column, and from slice to slice.
    pixel_spacing
        (Down a column, along a row) in mm.
    matrix
        Voxels of a slice along (y, x).
    """

    positions: NDArray[np.float64]
    row: Vector
    column: Vector
    normal: Vector
    pixel_spacing: tuple[float, float]
    matrix: tuple[int, int]

    @property
    def along(self) -> NDArray[np.float64]:
        """Place of each slice along the normal in mm, counted from the first, (n,)."""
        return np.asarray((self.positions - self.positions[0]) @ self.normal)

    @property
    def usual_gap(self) -> float:
        """Median distance of neighbouring slices along the normal, in mm."""
        return float(np.median(np.diff(self.along)))

    @property
    def bridged(self) -> NDArray[np.bool_]:
        """Whether each gap is narrow enough to interpolate across, (n - 1,)."""
        most = max(MOST_BRIDGED * self.usual_gap, MOST_BRIDGED_MM)
        return np.asarray(np.diff(self.along) <= most * (1 + 1e-6))

    def corners(self) -> NDArray[np.float64]:
        """LPS mm of the centres of the corner voxels of all slices, (4 n, 3)."""
        rows, columns = self.matrix
        down = self.column * self.pixel_spacing[0] * (rows - 1)
        across = self.row * self.pixel_spacing[1] * (columns - 1)
        ends = np.array([0 * down, down, across, down + across])
        return (self.positions[:, None] + ends).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Plan:
    """How to resample the slices of a stack onto a regular upright grid.

    Parameters
    ----------
    affine
        4x4 matrix from (z, y, x) index of the regular grid to LPS mm.
    shape
        Voxels of the regular grid along (z, y, x).
    geometry
        Where the stored slices lie.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    geometry: SliceGeometry

    @property
    def spacing(self) -> float:
        """Distance of the grid's slices in mm."""
        return float(np.linalg.norm(self.affine[:3, 0]))


def plan(
    geometry: SliceGeometry, travel: Vector | None = None, *, whole: bool = False
) -> Plan | str:
    """Lay a regular upright grid over slices that are not regular as stored.

    Parameters
    ----------
    geometry
        At least two slices at positions of their own.
    travel
        Unit vector of the table's direction if the slices are tilted against it; else None.
    whole
        Every gap is a whole multiple of the usual one, so that the usual gap fits them all.

    Returns
    -------
    Plan or str
        The plan; or, where the grid would be larger than any scan, why there is none.

    Notes
    -----
    The grid covers the box around all slices. Its pixels have the stored spacing. Its slices lie
    as close as those of the finest tenth of the gaps. Tilted pixels lean along z, where
    neighbours lie ``pixel spacing * sin(tilt)`` apart: upright slices no farther apart than that
    lose none of their detail, as far as `MOST_GROWTH` allows.
    """
    if travel is None:
        axes = np.stack([geometry.normal, geometry.column, geometry.row], axis=1)
    else:
        axes = upright_axes(geometry, travel)
    least, greatest = _box(geometry, axes)
    extent = float(greatest[0] - least[0])
    if extent > MOST_EXTENT_MM:
        return _too_large(geometry, extent)
    fine, usual = _distances(geometry, axes[:, 0], travel, whole)
    (height, width), (down, across) = _plane(least, greatest, geometry)
    if height * width > MOST_SPREAD * geometry.matrix[0] * geometry.matrix[1]:
        aside = float(np.linalg.norm(np.ptp(geometry.positions @ axes[:, 1:], axis=0)))
        return (
            f"the slices are up to {aside:.0f} mm apart sideways, too far to be one scan; "
            "put each part in a folder of its own"
        )
    stored = len(geometry.positions) * geometry.matrix[0] * geometry.matrix[1]
    fine = min(usual, max(fine, extent * height * width / (MOST_GROWTH * stored)))
    steps = max(1, round(extent / fine) if travel is None else math.ceil(extent / fine - 1e-6))
    depth = steps + 1
    if depth > MOST_SLICES or depth * height * width > max(MOST_VOXELS, 2 * stored):
        return _too_large(geometry, extent)
    affine = np.eye(4)
    affine[:3, :3] = axes * (extent / steps, down, across)
    affine[:3, 3] = axes @ least
    return Plan(affine, (depth, height, width), geometry)


def upright_axes(geometry: SliceGeometry, travel: Vector) -> NDArray[np.float64]:
    """Return unit vectors of the upright grid's z, y and x axes as columns, shape (3, 3).

    The z axis is the direction of travel; but where the slices lie square to the patient and it
    is the travel that leans, their own normal (then nothing needs to be turned at all).
    """
    z, snapped = _snap(travel)
    normal, square = _snap(geometry.normal)
    if square and not snapped:
        z, snapped = normal, True
    x = geometry.row - (geometry.row @ z) * z
    x /= np.linalg.norm(x)
    if snapped:
        nearest, close = _snap(x)
        x = nearest if close and abs(nearest @ z) < 0.5 else x
    y = np.cross(z, x)
    return np.stack([z, y / np.linalg.norm(y), x], axis=1)


def _snap(direction: Vector) -> tuple[Vector, bool]:
    """Return the patient axis close to a direction and True, or the direction and False."""
    axis = int(np.argmax(np.abs(direction)))
    if abs(direction[axis]) < math.cos(math.radians(SNAP_DEGREES)):
        return direction, False
    return np.eye(3)[axis] * np.sign(direction[axis]), True


def _box(geometry: SliceGeometry, axes: NDArray[np.float64]) -> tuple[Vector, Vector]:
    """Return the least and greatest coordinates along the axes, on the first slice's pixels."""
    there = geometry.corners() @ axes
    least, greatest = there.min(axis=0), there.max(axis=0)
    anchor = geometry.positions[0] @ axes
    pixel = np.array([1.0, *geometry.pixel_spacing])
    # The grid's pixels lie on the first slice's: slices that are not turned come out unblurred.
    lattice = anchor - np.ceil((anchor - least) / pixel - _ON_THE_GRID) * pixel
    least[1:] = lattice[1:]
    return least, greatest


def _plane(
    least: Vector, greatest: Vector, geometry: SliceGeometry
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return matrix and pixel spacing (y, x) of the grid's slices."""
    down, across = geometry.pixel_spacing
    reach = greatest[1:] - least[1:]
    sizes = np.ceil(reach / (down, across) - _ON_THE_GRID).astype(int) + 1
    return (int(sizes[0]), int(sizes[1])), (down, across)


def _distances(
    geometry: SliceGeometry, z: Vector, travel: Vector | None, whole: bool
) -> tuple[float, float]:
    """Return the finest and the usual distance of slices that the grid should have."""
    gaps, usual = np.diff(geometry.along), geometry.usual_gap
    fine = usual if whole else float(np.quantile(gaps, COMMON_GAP, method="lower"))
    if travel is None:
        return fine, usual
    stretch = 1.0 / max(float(travel @ geometry.normal), 0.1)
    leaning = max(abs(float(geometry.row @ z)), abs(float(geometry.column @ z)))
    fine, usual = fine * stretch, usual * stretch
    return min(fine, min(geometry.pixel_spacing) / max(leaning, 1e-9)), usual


def _too_large(geometry: SliceGeometry, extent: float) -> str:
    gap = float(np.diff(geometry.along).max())
    return (
        f"the slices reach over {extent:.0f} mm with a gap of {gap:.0f} mm, too much to be one "
        "scan; put each part in a folder of its own"
    )


def index_steps(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the grid's voxels lie in the slices' own coordinates.

    Returns
    -------
    start
        Coordinates of voxel (0, 0, 0): mm along the normal from the first slice, and pixels
        down a column and along a row of the first slice.
    steps
        (3, 3): what one step along z, y, x of the grid adds to them.
    """
    geometry = plan.geometry
    frame = np.stack(
        [
            geometry.normal,
            geometry.column / geometry.pixel_spacing[0],
            geometry.row / geometry.pixel_spacing[1],
        ]
    )
    start = frame @ (apply(plan.affine, (0.0, 0.0, 0.0)) - geometry.positions[0])
    return start, (frame @ plan.affine[:3, :3]).T.copy()

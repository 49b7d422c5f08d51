"""The regular orthogonal grid for slices that are unevenly spaced, shifted or tilted.

Slices that are unevenly spaced or shifted sideways keep their planes: the grid has the axes of the
slices, and the voxels of a slice that coincides with a plane of the grid are unchanged. Slices
tilted by the gantry are resampled: the grid's z axis is the direction of table travel, y and x are
perpendicular to it, and an axis close to a patient axis is set to that axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply
from tomochrome.notices import Notice, refused

MAX_BRIDGED: Final = 2.5
"""Gaps of up to this many median gaps are interpolated: one missing slice, but not two."""
MAX_BRIDGED_MM: Final = 10.0
"""Gaps of up to this are also interpolated: slices of routine scans are up to a centimeter apart,
and in some head scans the distance changes from 2.5 to 8 or 10 mm."""
COMMON_GAP: Final = 0.1
"""The grid's slice distance is this quantile of the gaps, so that a single gap of a tenth of a
millimeter does not multiply the number of slices by ten."""
MAX_GROWTH: Final = 4.0
"""Maximum ratio of grid voxels to stored voxels if the grid is finer than the median gap."""
MAX_VOXELS: Final = 2**29
"""Maximum number of grid voxels (a gigabyte of 16-bit values), unless it is at most twice the
number of stored voxels. Slices that would need more are not a single scan."""
MAX_SLICES: Final = 10_000
"""Maximum number of slices of the grid."""
MAX_EXTENT_MM: Final = 2500.0
"""Maximum extent along z; no table travels farther in one scan."""
MAX_SPREAD: Final = 4.0
"""Maximum ratio of the area that all slices cover to that of one slice; above it, the slices do not
overlap enough to be a single scan."""
SNAP_DEGREES: Final = 1.0
"""A direction within this angle of a patient axis is set to that axis: table travel is straight,
and its direction is derived from rounded positions."""
_ON_THE_GRID: Final = 1e-4
"""Tolerance for rounding, as a fraction of a pixel, for a position on the grid."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """Positions and orientation of the slices of a stack.

    Parameters
    ----------
    positions
        LPS mm of the first voxel of each slice, (n, 3), in order along ``normal``.
    row, column, normal
        Unit vectors along a row, along a column, and perpendicular to the slices.
    pixel_spacing
        (y, x) in mm.
    matrix
        Number of pixels of a slice along (y, x).
    """

    positions: NDArray[np.float64]
    row: Vector
    column: Vector
    normal: Vector
    pixel_spacing: tuple[float, float]
    matrix: tuple[int, int]

    @property
    def along(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, relative to the first, in mm: (n,)."""
        return np.asarray((self.positions - self.positions[0]) @ self.normal)

    @property
    def usual_gap(self) -> float:
        """Median distance of adjacent slices along the normal, in mm."""
        return float(np.median(np.diff(self.along)))

    @property
    def bridged(self) -> NDArray[np.bool_]:
        """Whether each gap is small enough to be interpolated: (n - 1,)."""
        most = max(MAX_BRIDGED * self.usual_gap, MAX_BRIDGED_MM)
        return np.asarray(np.diff(self.along) <= most * (1 + 1e-6))

    def corners(self) -> NDArray[np.float64]:
        """Return the centers of the corner voxels of all slices in LPS mm: (4 n, 3)."""
        rows, columns = self.matrix
        down = self.column * self.pixel_spacing[0] * (rows - 1)
        across = self.row * self.pixel_spacing[1] * (columns - 1)
        ends = np.array([0 * down, down, across, down + across])
        return (self.positions[:, None] + ends).reshape(-1, 3)


@dataclass(frozen=True, eq=False)
class Plan:
    """The regular orthogonal grid onto which the slices of a stack are resampled.

    Parameters
    ----------
    affine
        4x4 matrix from (z, y, x) index of the regular grid to LPS mm.
    shape
        Number of voxels of the regular grid along (z, y, x).
    geometry
        Positions and orientation of the stored slices.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    geometry: SliceGeometry

    @property
    def spacing(self) -> float:
        """Slice distance of the grid in mm."""
        return float(np.linalg.norm(self.affine[:3, 0]))


def plan(
    geometry: SliceGeometry, travel: Vector | None = None, *, whole: bool = False
) -> Plan | Notice:
    """Return a regular orthogonal grid for slices that are not regular as stored.

    Parameters
    ----------
    geometry
        At least two slices at different positions.
    travel
        Unit vector of the table's direction if the slices are tilted against it, otherwise None.
    whole
        Whether every gap is a multiple of the median gap, which is then the grid's slice distance.

    Returns
    -------
    Plan or Notice
        The plan; or the refusal if the grid would be larger than any scan.

    Notes
    -----
    The grid covers the bounding box of all slices, with the stored pixel spacing. Its slice
    distance is the `COMMON_GAP` quantile of the gaps. In tilted slices, adjacent pixels differ in z
    by ``pixel spacing * sin(tilt)``; a slice distance of at most that loses no detail, as far as
    `MAX_GROWTH` allows it.
    """
    if travel is None:
        axes = np.stack([geometry.normal, geometry.column, geometry.row], axis=1)
    else:
        axes = upright_axes(geometry, travel)
    least, greatest = _box(geometry, axes)
    extent = float(greatest[0] - least[0])
    if extent > MAX_EXTENT_MM:
        return _too_large(geometry, extent)
    fine, usual = _distances(geometry, axes[:, 0], travel, whole)
    (height, width), (down, across) = _plane(least, greatest, geometry)
    if height * width > MAX_SPREAD * geometry.matrix[0] * geometry.matrix[1]:
        aside = float(np.linalg.norm(np.ptp(geometry.positions @ axes[:, 1:], axis=0)))
        return refused(
            f"the slices are up to {aside:.0f} mm apart sideways, too far for a single scan; "
            "move each part to its own folder"
        )
    stored = len(geometry.positions) * geometry.matrix[0] * geometry.matrix[1]
    fine = min(usual, max(fine, extent * height * width / (MAX_GROWTH * stored)))
    steps = max(1, round(extent / fine) if travel is None else math.ceil(extent / fine - 1e-6))
    depth = steps + 1
    if depth > MAX_SLICES or depth * height * width > max(MAX_VOXELS, 2 * stored):
        return _too_large(geometry, extent)
    affine = np.eye(4)
    affine[:3, :3] = axes * (extent / steps, down, across)
    affine[:3, 3] = axes @ least
    return Plan(affine, (depth, height, width), geometry)


def upright_axes(geometry: SliceGeometry, travel: Vector) -> NDArray[np.float64]:
    """Return unit vectors of the orthogonal grid's z, y and x axes as columns, shape (3, 3).

    The z axis is the direction of travel. If instead the slices are perpendicular to a patient axis
    and the travel is oblique, it is the slices' normal, so that no rotation is needed.
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
    """Return the nearest patient axis and True if it is close, else the direction and False."""
    axis = int(np.argmax(np.abs(direction)))
    if abs(direction[axis]) < math.cos(math.radians(SNAP_DEGREES)):
        return direction, False
    return np.eye(3)[axis] * np.sign(direction[axis]), True


def _box(geometry: SliceGeometry, axes: NDArray[np.float64]) -> tuple[Vector, Vector]:
    """Return the bounding box of the slices along the axes, aligned with the first's pixels."""
    corners = geometry.corners() @ axes
    least, greatest = corners.min(axis=0), corners.max(axis=0)
    anchor = geometry.positions[0] @ axes
    pixel = np.array([1.0, *geometry.pixel_spacing])
    # The grid is aligned with the pixels of the first slice: without rotation, nothing is blurred.
    lattice = anchor - np.ceil((anchor - least) / pixel - _ON_THE_GRID) * pixel
    least[1:] = lattice[1:]
    return least, greatest


def _plane(
    least: Vector, greatest: Vector, geometry: SliceGeometry
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return the number of pixels and the pixel spacing (y, x) of the grid's slices."""
    down, across = geometry.pixel_spacing
    reach = greatest[1:] - least[1:]
    sizes = np.ceil(reach / (down, across) - _ON_THE_GRID).astype(int) + 1
    return (int(sizes[0]), int(sizes[1])), (down, across)


def _distances(
    geometry: SliceGeometry, z: Vector, travel: Vector | None, whole: bool
) -> tuple[float, float]:
    """Return the grid's slice distance before the limits on its size, and the median distance."""
    gaps, usual = np.diff(geometry.along), geometry.usual_gap
    fine = usual if whole else float(np.quantile(gaps, COMMON_GAP, method="lower"))
    if travel is None:
        return fine, usual
    stretch = 1.0 / max(float(travel @ geometry.normal), 0.1)
    slope = max(abs(float(geometry.row @ z)), abs(float(geometry.column @ z)))
    fine, usual = fine * stretch, usual * stretch
    return min(fine, min(geometry.pixel_spacing) / max(slope, 1e-9)), usual


def _too_large(geometry: SliceGeometry, extent: float) -> Notice:
    gap = float(np.diff(geometry.along).max())
    return refused(
        f"the slices extend over {extent:.0f} mm with a gap of {gap:.0f} mm, too much for a single "
        "scan; move each part to its own folder"
    )


def index_steps(plan: Plan) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the map from the grid's indices to coordinates in the stack.

    Coordinates in the stack are mm along the normal from the first slice, and (y, x) pixels of the
    first slice.

    Returns
    -------
    start
        Coordinates of voxel (0, 0, 0).
    steps
        (3, 3): the change of the coordinates for one step along z, y and x of the grid.
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

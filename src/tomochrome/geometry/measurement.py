"""Distances, angles, areas and statistics of regions of a volume, in mm and HU.

Points are voxel indices (z, y, x), which the volume's affine places in the patient. Every figure is
therefore right for anisotropic and oblique scans, whatever the orientation of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError, OptionError
from tomochrome.geometry.affine import apply
from tomochrome.volume import Volume

Shape = Literal["line", "path", "rectangle", "ellipse", "polygon"]
MIN_POINTS: Final[Mapping[str, int]] = dict(zip(get_args(Shape), (2, 2, 4, 4, 3), strict=True))
"""Smallest number of points of each shape."""
_IN_COLOR: Final = "a volume in color has no values to measure; measure the CT below it"
_IN_PLANE: Final = 1e-3  # of a voxel
_FINE_PX: Final = 256  # of an outline that crosses itself
_MAX_OVERLAP: Final = 0.02  # of its area, as where the ends of a free-hand outline cross
_ELLIPSE_POINTS: Final = 360  # the area is 0.005 % smaller than that of the ellipse


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured, and where.

    Parameters
    ----------
    shape
        ``"line"``, ``"path"``, ``"rectangle"``, ``"ellipse"`` or ``"polygon"``. Rectangle and
        ellipse are given by the four corners of their frame.
    points
        float64 (n, 3), LPS mm.
    values
        ``length_mm``; or ``angle_deg``; or ``area_mm2`` with those of `region_statistics`.
    unit
        The unit of the region's values, such as ``"HU"``; otherwise empty.
    """

    shape: Shape
    points: NDArray[np.float64]
    values: Mapping[str, float]
    unit: str = ""


def distance_mm(affine: ArrayLike, points: ArrayLike) -> float:
    """Return the length in mm of the line through points.

    Parameters
    ----------
    affine
        4x4, from voxel index (z, y, x) to mm.
    points
        Voxel indices (n, 3), at least two.

    Returns
    -------
    float
        The sum of the distances of adjacent points.

    Raises
    ------
    InputError
        If there are fewer points, or one is not finite.
    """
    steps = np.diff(_in_mm(affine, points, 2, "a distance"), axis=0)
    return float(np.linalg.norm(steps, axis=1).sum())


def angle_deg(affine: ArrayLike, points: ArrayLike) -> float:
    """Return the angle in degrees, 0 to 180, at the second of three points.

    Parameters
    ----------
    affine
        4x4, from voxel index (z, y, x) to mm.
    points
        Voxel indices (3, 3).

    Returns
    -------
    float
        The angle in the patient, not on the voxel grid.

    Raises
    ------
    InputError
        If there are not three finite points, or two adjacent ones are the same.
    """
    placed = _in_mm(affine, points, 3, "an angle")
    first, second = placed[0] - placed[1], placed[2] - placed[1]
    if len(placed) != 3 or not first.any() or not second.any():
        raise InputError("an angle needs three points, the second apart from the others")
    across = np.linalg.norm(np.cross(first, second))
    return float(np.degrees(np.arctan2(across, first @ second)))


def area_mm2(affine: ArrayLike, points: ArrayLike) -> float:
    """Return the area in mm² of a plane polygon that does not cross itself.

    Parameters
    ----------
    affine
        4x4, from voxel index (z, y, x) to mm.
    points
        Voxel indices (n, 3) of the vertices, at least three.

    Returns
    -------
    float
        The area; half the norm of the sum of cross products (Newell's formula).

    Raises
    ------
    InputError
        If there are fewer vertices, or one is not finite.
    """
    placed = _in_mm(affine, points, 3, "an area")
    placed = placed - placed[0]
    return float(np.linalg.norm(np.cross(placed, np.roll(placed, -1, axis=0)).sum(axis=0)) / 2)


def ellipse_vertices(corners: ArrayLike) -> NDArray[np.float64]:
    """Return the vertices (n, 3) of a polygon for the ellipse in a frame of four corners (4, 3)."""
    frame = np.asarray(corners, dtype=np.float64)
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
    half, other = (frame[1] - frame[0]) / 2, (frame[3] - frame[0]) / 2
    return np.asarray(frame.mean(axis=0) + np.cos(turn) * half + np.sin(turn) * other)


def region_statistics(volume: Volume, points: ArrayLike) -> dict[str, float]:
    """Return the statistics of the voxels in a polygon that lies in one slice.

    A voxel belongs to the region if its center is inside. Voxels outside the scan
    (`Volume.outside`) do not count.

    Parameters
    ----------
    volume
        A scalar volume.
    points
        Voxel indices (n, 3) of the vertices, the same along one of the axes.

    Returns
    -------
    dict
        ``count``, ``mean``, ``sd`` (of the population), ``min``, ``max`` in the volume's unit, and
        ``restored``, the number of voxels whose values were restored, not measured.

    Raises
    ------
    InputError
        If the volume is in color, the polygon is not in a slice of it, contains no voxel center, or
        crosses its own outline.
    """
    vertices = _checked(points, 3, "a region")
    flat = np.flatnonzero(np.ptp(vertices, axis=0) <= _IN_PLANE)
    if len(flat) != 1:
        raise InputError("a region needs an area in one slice of the scan; draw it in one slice")
    axis = int(flat[0])
    number = int(np.rint(vertices[0, axis]))
    if not 0 <= number < volume.shape[axis]:
        raise InputError("the region is outside the scan; draw it inside")
    from skimage.draw import polygon  # for start time

    rows, columns = np.delete(vertices, axis, axis=1).T
    if _is_crossed(rows, columns):
        raise InputError("the outline of the region crosses itself; draw one that does not")
    where = list(polygon(rows, columns, np.delete(volume.shape, axis)))
    where.insert(axis, np.full(len(where[0]), number))
    return _statistics(volume, tuple(where))


def _is_crossed(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> bool:
    """Return whether an outline crosses itself so that its signed area is not that inside."""
    start = rows + 1j * columns
    side = np.roll(start, -1) - start

    def apart(first: NDArray[np.complex128]) -> NDArray[np.bool_]:
        """Return whether the ends of each side are on both sides of the line of each other."""
        from_each = (np.conj(side)[:, None] * (first - start[:, None])).imag
        to_each = (np.conj(side)[:, None] * (first + side - start[:, None])).imag
        return np.asarray(from_each * to_each < 0)

    crossed = apart(start)
    if not (crossed & crossed.T).any():
        return False
    from skimage.draw import polygon  # for start time

    scale = _FINE_PX / max(np.ptp(rows), np.ptp(columns))
    inside = len(polygon((rows - rows.min()) * scale, (columns - columns.min()) * scale)[0])
    signed = abs(float((np.conj(start - start[0]) * side).imag.sum())) / 2 * scale**2
    return bool(abs(inside - signed) > _MAX_OVERLAP * inside)


def mask_statistics(volume: Volume, mask: ArrayLike) -> dict[str, float]:
    """Return the statistics of the voxels in a mask.

    Parameters
    ----------
    volume
        A scalar volume.
    mask
        Array (z, y, x) on the grid of the volume, nonzero inside.

    Returns
    -------
    dict
        As `region_statistics`, and ``volume_ml``, the volume of the counted voxels.

    Raises
    ------
    InputError
        If the volume is in color, or the mask is on another grid or contains no voxel.
    """
    inside = np.asarray(mask) != 0
    if inside.shape != volume.shape:
        raise InputError(
            f"the mask's shape {inside.shape} is not that of the volume, {volume.shape}"
        )
    values = _statistics(volume, np.nonzero(inside))
    return {**values, "volume_ml": values["count"] * _voxel_ml(volume)}


class LabelStatistics:
    """Statistics of each label of a label map, counted slice by slice.

    A slice can be counted again after it has changed, so that a map can be measured while it is
    painted.

    Parameters
    ----------
    volume
        A scalar volume.

    Raises
    ------
    InputError
        If the volume is in color.
    """

    def __init__(self, volume: Volume) -> None:
        if volume.is_rgba:
            raise InputError(_IN_COLOR)
        self._volume = volume
        self._slices: dict[int, dict[int, NDArray[np.float64]]] = {}

    def count(self, z: int, labels: NDArray[np.integer]) -> None:
        """Count the labels of a slice in place of what was counted there before.

        Parameters
        ----------
        z
            Index of the slice along the first axis of the volume.
        labels
            Integers (y, x); 0 is no label.
        """
        volume = self._volume
        hu = np.asarray(volume.voxels[z], dtype=np.float64)
        inside = (labels != 0) & np.isfinite(hu)
        if volume.outside is not None:
            inside &= ~volume.outside[z]
        restored = np.zeros(hu.shape, bool) if volume.restored is None else volume.restored[z]
        counted = {}
        for label in np.unique(labels[inside]):
            where = inside & (labels == label)
            own = hu[where]
            sums = len(own), own.sum(), np.square(own).sum(), np.count_nonzero(restored[where])
            counted[int(label)] = np.array(sums, np.float64)
        self._slices[z] = counted

    def values(self) -> dict[int, dict[str, float]]:
        """Return for each label in ascending order its statistics.

        Returns
        -------
        dict
            ``count``, ``mean``, ``sd`` (of the population), ``restored`` (voxels that were
            restored, not measured), and ``volume_ml``.
        """
        sums: dict[int, NDArray[np.float64]] = {}
        for labels in self._slices.values():
            for label, own in labels.items():
                sums[label] = sums.get(label, 0.0) + own
        voxel_ml = _voxel_ml(self._volume)
        result = {}
        for label, (count, total, squares, restored) in sorted(sums.items()):
            mean = total / count
            result[label] = {
                "count": float(count),
                "mean": float(mean),
                "sd": float(np.sqrt(max(0.0, squares / count - mean**2))),
                "restored": float(restored),
                "volume_ml": float(count * voxel_ml),
            }
        return result


def describe_label(values: Mapping[str, float], unit: str = "HU") -> str:
    """Return the statistics of a label as a line, such as "12.3 mL, mean 45 HU, sd 12".

    Parameters
    ----------
    values
        As `LabelStatistics` or `mask_statistics` return them.
    unit
        Unit of the volume's values.

    Returns
    -------
    str
        One line.
    """
    hu = " HU" if unit == "HU" else ""
    ml = values["volume_ml"]
    text = f"{ml:.{2 if ml < 1 else 1}f} mL, mean {values['mean']:.0f}{hu}, sd {values['sd']:.0f}"
    return f"{text}, {values['restored']:.0f} voxels restored" if values["restored"] else text


def _voxel_ml(volume: Volume) -> float:
    return abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000


def measure(volume: Volume, shape: Shape, points: ArrayLike) -> Measurement:
    """Measure a shape that was drawn on a volume.

    A line, or a path of any number of points but three, gives its length; a path of three points
    the angle at the second; a rectangle, an ellipse or a polygon its area and the statistics of its
    voxels.

    Parameters
    ----------
    volume
        A scalar volume.
    shape
        The kind of shape.
    points
        Voxel indices (n, 3); four corners for a rectangle or an ellipse.

    Returns
    -------
    Measurement
        The points in LPS mm with the values.

    Raises
    ------
    OptionError
        If the shape is unknown.
    InputError
        As `distance_mm`, `angle_deg` and `region_statistics`.
    """
    if shape not in MIN_POINTS:
        raise OptionError(f"unknown shape '{shape}': choose one of {', '.join(MIN_POINTS)}")
    given = _checked(points, MIN_POINTS[shape], f"a {shape}")
    placed, unit = apply(volume.affine, given), ""
    if shape == "path" and len(given) == 3:
        values = {"angle_deg": angle_deg(volume.affine, given)}
    elif shape in ("line", "path"):
        values = {"length_mm": distance_mm(volume.affine, given)}
    else:
        outline = ellipse_vertices(given) if shape == "ellipse" else given
        values = {"area_mm2": area_mm2(volume.affine, outline)}
        values |= region_statistics(volume, outline)
        unit = volume.unit
    return Measurement(shape, placed, values, unit)


def describe_measurement(measurement: Measurement) -> str:
    """Return a measurement as a short text, such as "42.3 mm" or "31.0°"."""
    values = measurement.values
    if "length_mm" in values:
        return f"{values['length_mm']:.1f} mm"
    if "angle_deg" in values:
        return f"{values['angle_deg']:.1f}°"
    unit = " HU" if measurement.unit == "HU" else ""
    text = (
        f"{values['area_mm2']:.0f} mm²\nmean {values['mean']:.0f}{unit}, sd {values['sd']:.0f}\n"
        f"{values['min']:.0f} to {values['max']:.0f}{unit}"
    )
    return f"{text}\n{values['restored']:.0f} voxels restored" if values["restored"] else text


def _statistics(volume: Volume, where: tuple[NDArray[np.intp], ...]) -> dict[str, float]:
    """Return the statistics of the voxels with these indices."""
    if volume.is_rgba:
        raise InputError(_IN_COLOR)
    if volume.outside is not None:
        measured = ~volume.outside[where]
        where = tuple(axis[measured] for axis in where)
    if not len(where[0]):
        raise InputError("the region contains no voxel center; draw a larger one in the scan")
    values = np.asarray(volume.voxels[where], dtype=np.float64)
    restored = 0 if volume.restored is None else np.count_nonzero(volume.restored[where])
    return {
        "count": float(values.size),
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "restored": float(restored),
    }


def _checked(points: ArrayLike, least: int, what: str) -> NDArray[np.float64]:
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1:] != (3,) or len(given) < least:
        raise InputError(f"{what} needs at least {least} points with three coordinates each")
    if not np.isfinite(given).all():
        raise InputError(f"{what} needs points with finite coordinates")
    return given


def _in_mm(affine: ArrayLike, points: ArrayLike, least: int, what: str) -> NDArray[np.float64]:
    return np.asarray(apply(affine, _checked(points, least, what)))

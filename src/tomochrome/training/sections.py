"""Photographs of frozen sections one by one: reading, splitting, and registration to a CT.

Unlike the complete series in `tomochrome.training.section_pairs`, these may be any few sections of
a body. Each is registered to the CT of that body as a plane in the volume (height, pitch, roll and
the rigid motion in the plane) by mutual information (Viola and Wells, IJCV 24, 1997).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from tomochrome.color.convert import srgb_to_lab
from tomochrome.errors import InputError
from tomochrome.evaluate.similarity import information
from tomochrome.io.section_photograph import clean_section
from tomochrome.runtime import check, report
from tomochrome.training.labelled import body_mask
from tomochrome.training.section_pairs import Part, SectionPair
from tomochrome.training.visible_human import (
    NumberedFile,
    find_sections,
    read_section,
    section_pixel_mm,
)
from tomochrome.volume import Volume
from tomochrome.windowing.grey import GREY_KNOTS, HU_KNOTS

Array = NDArray[np.float64]
NEIGHBORS_MM: Final = 10.0
"""Sections closer than this are alike: they are always in the same part of a split."""
_REGION_ENDS: Final = (1250.0, 1520.0, 1800.0, 2000.0)  # head, thorax, abdomen, pelvis; then legs
_LEFT_OUT: Final[tuple[Part, ...]] = ("test", "validate")
_MARGIN: Final = 12  # pixels around the tissue
_GRID_MM: Final = 1.5  # of the pixels compared with the CT
_HEIGHT_STEP_MM: Final = 3.0
_TURNS: Final = 3
_SHARED_STEPS: Final = np.array(
    [3.0, 3.0, 2.0]
)  # first steps of height (mm), pitch, roll (degrees)
_MOVE_STEPS: Final = np.array([2.0, 3.0, 3.0])  # of rotation (degrees) and shift (mm) in the plane
_BINS: Final = 32
_MIN_TISSUE: Final = 0.01  # share of the photograph


@dataclass(frozen=True, eq=False)
class Section:
    """A white-balanced section on the radiological side: patient right on the left.

    Attributes
    ----------
    rgb
        uint8 (y, x, 3), sRGB, cropped to the body; rows run to posterior.
    tissue
        bool (y, x): the body without gel in cavities.
    pixel_mm
        Pixel size in mm.
    depth_mm
        The section's number: distance from the head in mm, plus a constant.
    """

    rgb: NDArray[np.uint8]
    tissue: NDArray[np.bool_]
    pixel_mm: float
    depth_mm: float


@dataclass(frozen=True, eq=False)
class Placement:
    """Position of a section in a CT.

    Attributes
    ----------
    origin
        Voxel (z, y, x) of the section's pixel (0, 0), in mm along the axes of the volume.
    axes
        (3, 2): change of that position per mm along rows and columns of the section.
    outline_mm
        Mean distance in mm between the outlines of the body in section and CT.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    outline_mm: float


def read_clean_section(file: NumberedFile) -> Section | None:
    """Read a section, white-balanced, without gel, frame and label; None if it has no tissue.

    Raises
    ------
    InputError
        If it cannot be read, or is not a section of the Visible Human.
    """
    photograph = read_section(file.path)
    rgb, tissue = clean_section(photograph)
    if tissue.mean() < _MIN_TISSUE:
        return None
    rows, columns = (np.flatnonzero(tissue.any(axis=axis)) for axis in (1, 0))
    box = tuple(
        slice(max(0, int(used[0]) - _MARGIN), int(used[-1]) + 1 + _MARGIN)
        for used in (rows, columns)
    )
    rgb, tissue = rgb[box][::-1], tissue[box][::-1]  # in the photograph, anterior is below
    return Section(
        np.ascontiguousarray(rgb), np.ascontiguousarray(tissue),
        section_pixel_mm(photograph), file.depth_mm,
    )  # fmt: skip


def read_clean_sections(folder: Path) -> list[Section]:
    """Read the sections of a folder with tissue in them, from the head downwards.

    Raises
    ------
    InputError
        If there are none, or one cannot be read.
    """
    files = find_sections(folder)
    sections = []
    for done, file in enumerate(files):
        check()
        report(done, len(files), "reading the color sections")
        if (section := read_clean_section(file)) is not None:
            sections.append(section)
    if not sections:
        raise InputError(f"'{folder}' has no color sections (such as avf1588a.png)")
    return sections


def split_sections(sections: Sequence[Section]) -> list[Part]:
    """Assign sections to parts: of each three of a body region, one at most is left out.

    Only a section without neighbors within `NEIGHBORS_MM` can be left out (``test``); a second
    one of three is for validation.

    Parameters
    ----------
    sections
        Sections sorted by depth.
    """
    depths = np.array([section.depth_mm for section in sections])
    regions = np.searchsorted(_REGION_ENDS, depths)
    parts: list[Part] = ["learn"] * len(sections)
    for region in np.unique(regions):
        members = np.flatnonzero(regions == region)
        for three in np.split(members, range(3, len(members), 3)):
            alone = [k for k in three if (np.abs(depths - depths[k]) < NEIGHBORS_MM).sum() == 1]
            if len(three) == 3:
                for k, part in zip(alone, _LEFT_OUT, strict=False):
                    parts[int(k)] = part
    return parts


def place_sections(sections: Sequence[Section], scan: Volume) -> list[Placement]:
    """Find the planes of sections in the CT of the same body.

    The planes are parallel and as far apart as the sections' numbers say: height, pitch and roll
    are common to all, and each section has its own rigid motion in its plane, because the
    photographs were taken one by one. Both are optimized in turn (Powell's method).

    Parameters
    ----------
    sections
        Sections within the scan.
    scan
        CT in HU in axial orientation.

    Raises
    ------
    InputError
        If the scan is too short for the sections or has no body where they are.
    """
    spacing = np.array(scan.spacing)
    hu = np.asarray(scan.voxels)
    body = body_mask(hu.astype(np.int16))
    grey = np.interp(hu, HU_KNOTS, GREY_KNOTS).astype(np.float32)
    search = [_PlaneSearch(section, grey, spacing) for section in sections]
    depths = np.array([section.depth_mm for section in sections])
    slices = np.flatnonzero(body.any(axis=(1, 2)))
    height = _first_height(search, depths, body, spacing)
    if height is None:
        raise InputError("the sections do not lie within the CT that they are registered to")
    shared = np.array([height, 0.0, 0.0])
    middle = np.argwhere(body[slices[len(slices) // 2]]).mean(axis=0) * spacing[1:]
    moves = [np.array([0.0, *_center(body, spacing, height - depth)]) for depth in depths]

    def parameters(k: int, shared: Array, move: Array) -> Array:
        z, pitch, roll = shared
        rise = np.tan(np.radians([pitch, roll])) @ (move[1:] - middle)
        return np.array([z - depths[k] + rise, pitch, roll, *move])

    def cost_of_all(shared: Array) -> float:
        check()
        return sum(s.cost(parameters(k, shared, moves[k])) for k, s in enumerate(search))

    for turn in range(_TURNS):
        for k, one in enumerate(search):
            check()
            report(turn * len(search) + k, _TURNS * len(search), "registering the sections")

            def cost(move: Array, k: int = k, one: _PlaneSearch = one, at: Array = shared) -> float:
                return one.cost(parameters(k, at, move))

            moves[k] = _minimum(cost, moves[k], _MOVE_STEPS / (turn + 1))
        shared = _minimum(cost_of_all, shared, _SHARED_STEPS / (turn + 1))
    places = []
    for k, one in enumerate(search):
        best = parameters(k, shared, moves[k])
        places.append(Placement(*one.plane(best), one.outline_mm(best, body)))
    return places


def _first_height(
    search: Sequence[_PlaneSearch], depths: Array, body: NDArray[np.bool_], spacing: Array
) -> float | None:
    """Return the height of number 0 at which level planes match best, or None for none."""
    lowest, best = 0.0, None
    top = (len(body) - 1) * spacing[0]
    for height in np.arange(depths.max(), depths.min() + top, _HEIGHT_STEP_MM):
        check()
        total = 0.0
        for one, depth in zip(search, depths, strict=True):
            center = _center(body, spacing, height - depth)
            if not np.isfinite(center).all():
                break
            total += one.cost(np.array([height - depth, 0.0, 0.0, 0.0, *center]))
        else:
            if total < lowest:
                lowest, best = total, float(height)
    return best


def _center(body: NDArray[np.bool_], spacing: Array, z: float) -> Array:
    """Return the center (y, x) in mm of the body at a height, NaN without a body."""
    pixels = np.argwhere(body[int(np.clip(round(z / spacing[0]), 0, len(body) - 1))])
    return pixels.mean(axis=0) * spacing[1:] if len(pixels) else np.full(2, np.nan)


def _minimum(cost: Callable[[Array], float], start: Array, steps: Array) -> Array:
    """Return the minimum of a function near a start."""
    result = optimize.minimize(
        lambda change: cost(start + change * steps), np.zeros(len(start)), method="Powell",
        options={"maxiter": 4, "xtol": 2e-2, "ftol": 1e-4},
    )  # fmt: skip
    return np.asarray(start + result.x * steps)


def section_pair(section: Section, scan: Volume, place: Placement) -> SectionPair:
    """Return a section with the CT in its plane and on its pixels.

    Parameters
    ----------
    section, scan
        The section and the CT it was registered to.
    place
        From `place_sections`.
    """
    pixels = section.pixel_mm * np.indices(section.tissue.shape).reshape(2, -1)
    at = (place.origin[:, None] + place.axes @ pixels) / np.array(scan.spacing)[:, None]
    voxels = np.asarray(scan.voxels, np.float32)
    hu = ndimage.map_coordinates(voxels, at, order=1, cval=-1024.0)
    hu = np.rint(hu).astype(np.int16).reshape(1, *section.tissue.shape)
    spacing = (section.pixel_mm, section.pixel_mm, section.pixel_mm)
    return SectionPair(hu, section.rgb[None], section.tissue[None], spacing)


class _PlaneSearch:
    """Compares a section with planes of a CT.

    A plane has six parameters: height of its center in mm, pitch, roll and in-plane rotation in
    degrees, and the center's y and x in mm.
    """

    def __init__(
        self, section: Section, grey: NDArray[np.float32], spacing: NDArray[np.float64]
    ) -> None:
        self.grey, self.spacing = grey, spacing
        self.center = np.argwhere(section.tissue).mean(axis=0) * section.pixel_mm
        low = [-c for c in self.center]
        high = np.array(section.tissue.shape) * section.pixel_mm - self.center
        y, x = (np.arange(a, b, _GRID_MM) for a, b in zip(low, high, strict=True))
        self.shape = len(y), len(x)
        self.mm = np.stack(np.meshgrid(y, x, indexing="ij")).reshape(2, -1)
        at = (self.mm + self.center[:, None]) / section.pixel_mm
        L = np.where(section.tissue, srgb_to_lab(section.rgb)[..., 0], 0.0)
        blurred = ndimage.gaussian_filter(L, _GRID_MM / section.pixel_mm / 2)
        self.light = ndimage.map_coordinates(blurred, at, order=1)
        filled = ndimage.binary_fill_holes(section.tissue).astype(np.float32)
        self.body = ndimage.map_coordinates(filled, at, order=1).reshape(self.shape) > 0.5

    def plane(
        self, parameters: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return origin and axes as for `Placement`."""
        z, pitch, roll, angle, y, x = parameters
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        in_plane = np.array([[cos, -sin], [sin, cos]])
        rise = np.tan(np.radians([pitch, roll])) @ in_plane
        axes = np.vstack([rise, in_plane])
        return np.array([z, y, x]) - axes @ self.center, axes

    def _voxels(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        origin, axes = self.plane(parameters)
        at = origin[:, None] + axes @ (self.mm + self.center[:, None])
        return np.asarray(at / self.spacing[:, None])

    def cost(self, parameters: NDArray[np.float64]) -> float:
        """Return the negative mutual information of section and CT."""
        values = ndimage.map_coordinates(self.grey, self._voxels(parameters), order=1)
        joint, _, _ = np.histogram2d(values, self.light, bins=_BINS)
        return -information(ndimage.gaussian_filter(joint, 0.7))

    def outline_mm(self, parameters: NDArray[np.float64], body: NDArray[np.bool_]) -> float:
        """Return the mean distance between the outlines of section and CT in mm."""
        at = self._voxels(parameters)
        inside = ndimage.map_coordinates(body.astype(np.float32), at, order=1) > 0.5
        inside = ndimage.binary_fill_holes(ndimage.binary_opening(inside.reshape(self.shape)))
        edges = [mask ^ ndimage.binary_erosion(mask) for mask in (self.body, inside)]
        if not all(edge.any() for edge in edges):
            return float("inf")
        away = [ndimage.distance_transform_edt(~edge) for edge in edges]
        both = (away[1][edges[0]].mean() + away[0][edges[1]].mean()) / 2
        return float(_GRID_MM * both)

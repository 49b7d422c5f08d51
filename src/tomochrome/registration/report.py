"""What is measured of a registration, before and after.

A similarity is measured only where both images are, so that a chest registered to an abdomen can
reach a high one although most of each body is absent from the other image: the coverage is measured
too, how much of the body in one image is also shown by the other one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tomochrome.colorization.body import coarse_body
from tomochrome.evaluate import measure_registration
from tomochrome.geometry.affine import apply
from tomochrome.geometry.morphology import grown, largest_part
from tomochrome.geometry.orient import closest_axial
from tomochrome.geometry.resample import to_spacing
from tomochrome.registration.change import region_changes
from tomochrome.registration.checked_input import CheckedScan
from tomochrome.runtime import check, quietly, report
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

_SAMPLES: Final = 24  # points along each axis for estimating the overlap
_BODY_MM: Final = 3.0  # voxel size for finding the body
_TOLERANCE_MM: Final = 10.0  # skin may differ by this distance in two scans of one patient
_POINTS: Final = 60_000  # of a body that are mapped
_BIN_MM: Final = 6.0
_FULL: Final = 0.5  # of the largest number of common points in any slice


def measure(
    fixed: CheckedScan,
    moving: CheckedScan,
    forward: Transform,
    inverse: Transform,
    moved: Volume,
) -> tuple[dict[str, Any], Volume]:
    """Return the measured part of the report, and the map of Jacobian determinants."""
    report(0, 5, "measuring")
    jacobian = jacobian_map(forward, fixed.volume)
    measured = measure_registration(
        fixed.volume,
        moving.volume,
        forward,
        inverse,
        fixed_labels=None if moving.labels is None else fixed.labels,
        moving_labels=moving.labels,
        fixed_points=fixed.points,
        moving_points=moving.points,
        fixed_mask=fixed.mask,
        moved=moved,
        jacobian=jacobian,
    )
    if fixed.labels is not None:
        measured["change"] = region_changes(fixed.volume, moved, jacobian, fixed.labels)
    extents = extent_of(fixed), extent_of(moving)
    unmoved = Transform.identity()
    for part, there, back in (("before", unmoved, unmoved), ("after", forward, inverse)):
        measured[part]["overlap"] = round(overlap_share(fixed.volume, moving.volume, there), 4)
        measured[part]["coverage"] = measure_coverage(*extents, there, back).as_json()
        # without labels and landmarks
        for key, value in (("dice", {}), ("dice_mean", None), ("tre_mm", {})):
            measured[part].setdefault(key, value)
    # missing if no point of the fixed grid remains within the domain of both transforms
    measured.setdefault("inverse_consistency_mm", {"mean": None, "max": None, "p99": None})
    return measured, jacobian


def overlap_share(fixed: Volume, moving: Volume, transform: Transform) -> float:
    """Estimate the fraction of the fixed field of view covered by the moving one, 0 to 1."""
    index = apply(np.linalg.inv(moving.affine), transform.points(sampled_points(fixed)))
    inside = ((index >= -0.5) & (index < np.array(moving.shape) - 0.5)).all(axis=1)
    return float(inside.mean())


def sampled_points(volume: Volume) -> NDArray[np.float64]:
    """Return a regular grid of points in a field of view: (n, 3) LPS mm."""
    at = [np.unique(np.linspace(0, n - 1, _SAMPLES).round()) for n in volume.shape]
    index = np.stack(np.meshgrid(*at, indexing="ij"), axis=-1).reshape(-1, 3)
    return apply(volume.affine, index)


@dataclass(frozen=True, eq=False)
class Extent:
    """What an image shows: its field of view, and the body in it.

    Parameters
    ----------
    volume
        The image; voxels marked ``outside`` are not part of the field of view.
    points
        Points of the body, (n, 3) LPS mm.
    body
        Mask of the body with a margin, on a grid of its own; None if the values are not HU, where
        a body cannot be told from the background reliably.
    """

    volume: Volume
    points: NDArray[np.float64]
    body: Volume | None

    def shows(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for each point (n, 3) in LPS mm whether it was measured, and is in the body."""
        inside = _is_set(self.volume, self.volume.outside, points, invert=True)
        if self.body is not None:
            inside &= _is_set(self.body, np.asarray(self.body.voxels) != 0, points)
        return inside


@dataclass(frozen=True)
class Coverage:
    """The part of the body that two images have in common.

    Parameters
    ----------
    fixed_body, moving_body
        Share of the body in the fixed image that the moving image shows, and of the body in the
        moving image that the fixed image shows, 0 to 1.
    region
        First and last slice of the fixed grid along (z, y, x) with much of the common part, and a
        slice near their middle, for each axis; None if nothing is in common.
    """

    fixed_body: float
    moving_body: float
    region: tuple[tuple[int, int, int], ...] | None

    def as_json(self) -> dict[str, Any]:
        """Return the coverage as it is in ``report.json``."""
        region = self.region
        return {
            "fixed_body": round(self.fixed_body, 4),
            "moving_body": round(self.moving_body, 4),
            "common_slices": None if region is None else [list(axis[:2]) for axis in region],
            "common_center": None if region is None else [axis[2] for axis in region],
        }


@quietly()
def extent_of(scan: CheckedScan) -> Extent:
    """Return the field of view of a scan and the body in it."""
    volume = scan.unpadded
    mask = find_body_mask(volume)
    points = apply(mask.affine, np.argwhere(np.asarray(mask.voxels)).astype(np.float64))
    points = points[_is_set(volume, volume.outside, points, invert=True)]
    if len(points) > _POINTS:
        points = np.random.default_rng(0).permutation(points)[:_POINTS]
    if volume.unit != "HU":
        return Extent(volume, points, None)
    near = np.asarray(mask.voxels) != 0
    for _ in range(max(1, round(_TOLERANCE_MM / max(mask.spacing)))):
        near = grown(near)
    return Extent(volume, points, replace(mask, voxels=near.astype(np.uint8)))


def measure_coverage(
    fixed: Extent, moving: Extent, forward: Transform, inverse: Transform
) -> Coverage:
    """Measure what two images have in common.

    Parameters
    ----------
    fixed, moving
        What the two images show. Their bodies are compared if both are in HU, otherwise the body
        of each with the field of view of the other.
    forward, inverse
        Transforms from points of the fixed to points of the moving image, and back, in LPS mm.
    """
    if fixed.body is None or moving.body is None:
        fixed, moving = replace(fixed, body=None), replace(moving, body=None)
    check()
    seen = moving.shows(forward.points(fixed.points))
    check()
    back = fixed.shows(inverse.points(moving.points))
    shares = [float(x.mean()) if len(x) else 0.0 for x in (seen, back)]
    return Coverage(shares[0], shares[1], _region(fixed.volume, fixed.points[seen]))


def _is_set(
    grid: Volume, marks: NDArray[np.bool_] | None, points: NDArray[np.float64], invert: bool = False
) -> NDArray[np.bool_]:
    """Return for each point whether it is in a grid and marked (or not, if ``invert``)."""
    index = np.rint(apply(np.linalg.inv(grid.affine), points)).astype(np.int64)
    inside = np.asarray(((index >= 0) & (index < np.array(grid.shape))).all(axis=1))
    if marks is not None:
        z, y, x = index[inside].T
        inside[inside] = marks[z, y, x] != invert
    return inside


def _region(fixed: Volume, points: NDArray[np.float64]) -> tuple[tuple[int, int, int], ...] | None:
    """Return first, last and middle slice along each axis of the fixed grid; None if empty."""
    if not len(points):
        return None
    axes = []
    index = apply(np.linalg.inv(fixed.affine), points)
    for axis, (count, step) in enumerate(zip(fixed.shape, fixed.spacing, strict=True)):
        bins = max(1, min(count, round(count * step / _BIN_MM)))
        number, edges = np.histogram(index[:, axis], bins, (-0.5, count - 0.5))
        full = np.flatnonzero(number >= _FULL * number.max())
        middles = (edges[full] + edges[full + 1]) / 2
        # of two legs, one: the middle between them is empty
        middle = middles[np.abs(middles - (middles[0] + middles[-1]) / 2).argmin()]
        first, last = np.ceil(edges[full[0]]), np.floor(edges[full[-1] + 1])
        ends = np.clip([first, last, np.rint(middle)], 0, count - 1).astype(int)
        axes.append((int(ends[0]), int(ends[1]), int(ends[2])))
    return tuple(axes)


def find_body_mask(volume: Volume) -> Volume:
    """Return a mask of the patient (1 inside) on a grid of about 3 mm in the volume's space.

    For HU, couch and clothes are excluded; for other values, the mask is the largest component
    brighter than a tenth of the range, with holes filled.
    """
    sizes = tuple(max(_BODY_MM, s) for s in volume.spacing)
    coarse = to_spacing(replace(volume, outside=None), (sizes[0], sizes[1], sizes[2]))
    if volume.unit == "HU":
        coarse = closest_axial(coarse)
        body = coarse_body(np.asarray(coarse.voxels, np.float32), coarse.spacing)
    else:
        values = np.asarray(coarse.voxels, np.float32)
        low, high = np.percentile(values, (1.0, 99.5))
        body = ndimage.binary_fill_holes(largest_part(values > low + 0.1 * (high - low)))
    if not body.any():
        body = np.ones(coarse.shape, dtype=bool)
    return Volume(body.astype(np.uint8), coarse.affine, "unknown")

"""All measures of a registration, before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, OptionError
from tomochrome.evaluate.labels import overlap
from tomochrome.evaluate.masks import on_grid
from tomochrome.evaluate.similarity import similarity_measures
from tomochrome.evaluate.transform_measures import (
    inverse_consistency,
    jacobian_measures,
    landmark_errors,
)
from tomochrome.geometry.affine import corners, require_same_grid, same_grid
from tomochrome.geometry.resample import resample
from tomochrome.runtime import check, quietly, report
from tomochrome.transform import Transform, jacobian_map
from tomochrome.volume import Volume

_STAGE = "measuring"


def measure_registration(
    fixed: Volume,
    moving: Volume,
    forward: Transform | None,
    inverse: Transform | None = None,
    *,
    fixed_labels: Volume | None = None,
    moving_labels: Volume | None = None,
    fixed_points: ArrayLike | None = None,
    moving_points: ArrayLike | None = None,
    fixed_mask: Volume | NDArray[Any] | None = None,
    moved: Volume | None = None,
    jacobian: Volume | None = None,
) -> dict[str, Any]:
    """Evaluate a registration: similarity, overlap, landmarks, folding and inverse consistency.

    Parameters
    ----------
    fixed, moving
        Scalar volumes on any grids.
    forward, inverse
        Transforms of points from the fixed to the moving image, and back. Without ``forward`` only
        ``moved`` is evaluated; without ``inverse`` there is no inverse consistency.
    fixed_labels, moving_labels
        Label maps of the volumes, on any grids; compared on the fixed grid (nearest neighbor).
    fixed_points, moving_points
        Corresponding landmarks (n, 3) in LPS mm.
    fixed_mask
        Mask for similarity, folding and inverse consistency: a volume on any grid, or an array on
        the fixed grid; 0 is excluded.
    moved, jacobian
        The moved image and the `jacobian_map` on the fixed grid, if already computed.

    Returns
    -------
    dict
        ``before`` and ``after``, each with the results of `similarity_measures` and `overlap`, and
        ``tre_mm`` of `landmark_errors`; ``jacobian`` of `jacobian_measures`;
        ``inverse_consistency_mm`` of `inverse_consistency`. Entries without data are absent.
        ``before`` uses the identity transform.

    Raises
    ------
    OptionError
        If labels or points are given for one image only, or both ``forward`` and ``moved`` are
        missing.
    GeometryError
        If labels do not overlap with their volume.
    InputError
        If points do not match, a label map is invalid, or a volume is in color.
    """
    _check(fixed, moving, forward, moved, (fixed_labels, moving_labels))
    if (fixed_points is None) != (moving_points is None):
        raise OptionError("landmarks are needed for both images, the fixed and the moving one")
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    if fixed_points is not None and moving_points is not None:
        before["tre_mm"] = landmark_errors(fixed_points, moving_points)
        if forward is not None:
            after["tre_mm"] = landmark_errors(fixed_points, moving_points, forward)
    mask = on_grid(fixed_mask, fixed)
    report(0, 5, _STAGE)
    unmoved = _resampled(moving, fixed, Transform.identity(), None)
    before = {**similarity_measures(fixed, unmoved, mask), **before}
    del unmoved
    report(1, 5, _STAGE)
    after = {**similarity_measures(fixed, _resampled(moving, fixed, forward, moved), mask), **after}
    report(2, 5, _STAGE)
    if fixed_labels is not None and moving_labels is not None:
        truth = _labels_on(fixed_labels, fixed)
        for measures, transform in ((before, Transform.identity()), (after, forward)):
            if transform is not None:
                with quietly():
                    labels = transform.apply(_plain(moving_labels), fixed, order="nearest", fill=0)
                measures.update(overlap(truth, labels))
    report(3, 5, _STAGE)
    figures: dict[str, Any] = {"before": before, "after": after}
    if forward is not None:
        jacobian = jacobian_map(forward, fixed) if jacobian is None else jacobian
        figures["jacobian"] = jacobian_measures(jacobian, mask)
        report(4, 5, _STAGE)
        if inverse is not None:
            consistency = inverse_consistency(forward, inverse, fixed, mask)
            if consistency:
                figures["inverse_consistency_mm"] = consistency
    report(5, 5, _STAGE)
    return figures


def _check(
    fixed: Volume,
    moving: Volume,
    forward: Transform | None,
    moved: Volume | None,
    labels: tuple[Volume | None, Volume | None],
) -> None:
    """Reject invalid arguments before any long work."""
    if forward is None and moved is None:
        raise OptionError("evaluating a registration needs its transform or the moved image")
    if moved is not None:
        require_same_grid(fixed, moved, "the fixed and the moved volume")
    if (labels[0] is None) != (labels[1] is None):
        raise OptionError("labels are needed for both images, the fixed and the moving one")
    for map_, volume, role in zip(labels, (fixed, moving), ("fixed", "moving"), strict=True):
        if map_ is not None and not _intersect(map_, volume):
            raise GeometryError(
                f"the {role} labels do not overlap with the {role} volume; check that they belong "
                "together"
            )


def _intersect(a: Volume, b: Volume) -> bool:
    """Return whether the axis-aligned bounding boxes of two volumes intersect."""
    ends = [corners(v.shape, v.affine) for v in (a, b)]
    least = np.max([e.min(axis=0) for e in ends], axis=0)
    most = np.min([e.max(axis=0) for e in ends], axis=0)
    return bool((least <= most + 1e-3).all())


@quietly()
def _resampled(
    moving: Volume, fixed: Volume, transform: Transform | None, moved: Volume | None
) -> Volume:
    """Return the moving volume on the fixed grid, with ``outside`` beyond its field of view."""
    if moved is not None and (moved.outside is not None or moved.unit == "HU" or transform is None):
        return moved
    assert transform is not None
    if moved is None and moving.outside is None and moving.unit != "HU":
        # resampling propagates ``outside`` only if it is set
        moving = replace(moving, outside=np.zeros(moving.shape, dtype=bool))
    if moved is None:
        return transform.apply(moving, fixed, order="linear")
    check()
    ones = Volume(np.broadcast_to(np.uint8(1), moving.shape), moving.affine, "unknown")
    covered = transform.apply(ones, fixed, order="nearest", fill=0)
    return replace(moved, outside=np.asarray(covered.voxels) == 0)


def _plain(labels: Volume) -> Volume:
    """Return labels without the unit that the reader assumed, except for tissues."""
    return replace(labels, unit="tissue" if labels.unit == "tissue" else "unknown", outside=None)


def _labels_on(labels: Volume, fixed: Volume) -> Volume:
    """Return the fixed labels on the fixed grid; raise GeometryError if none remains."""
    if same_grid(labels, fixed):
        return _plain(replace(labels, affine=fixed.affine))
    resampled = resample(_plain(labels), fixed, order="nearest", fill=0)
    if not np.asarray(resampled.voxels).any():
        raise GeometryError(
            "no fixed label is inside the fixed volume; check that the two belong together"
        )
    return resampled

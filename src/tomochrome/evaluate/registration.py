"""All measures of a registration in one go, before and after: whether to trust it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, OptionError
from tomochrome.evaluate.consistency import inverse_consistency
from tomochrome.evaluate.jacobian import jacobian_measures
from tomochrome.evaluate.labels import overlap
from tomochrome.evaluate.landmarks import landmark_errors
from tomochrome.evaluate.masks import on_grid
from tomochrome.evaluate.similarity import similarity_measures
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
    """Measure a registration: likeness, overlap and landmarks before and after, folds, way back.

    Parameters
    ----------
    fixed, moving
        Scalar volumes on any grids.
    forward, inverse
        From points of the fixed image to the moving image, and back. Without ``forward`` only
        ``moved`` is measured; without ``inverse`` no inverse consistency.
    fixed_labels, moving_labels
        Label maps beside the volumes, on any grids; compared on the fixed volume's (nearest).
    fixed_points, moving_points
        Landmarks (n, 3) in LPS mm, row by row.
    fixed_mask
        Where similarity, folds and inverse consistency are measured: a volume on any grid, or an
        array on the fixed one; not 0 where it counts.
    moved, jacobian
        The moved image and the `jacobian_map` on the fixed grid, if they are there already.

    Returns
    -------
    dict
        ``before`` and ``after``, each with what `similarity_measures` and `overlap` return and
        ``tre_mm`` of `landmark_errors`; ``jacobian`` of `jacobian_measures`;
        ``inverse_consistency_mm`` of `inverse_consistency`. What there is no data for is absent.
        *Before* is: as the two lie in space, with no transform.

    Raises
    ------
    OptionError
        If labels or points are given of one image only, or ``after`` cannot be known.
    GeometryError
        If labels lie elsewhere than their volume.
    InputError
        If points do not match, labels are none, or a volume is in color.
    """
    _check(fixed, moving, forward, moved, (fixed_labels, moving_labels))
    if (fixed_points is None) != (moving_points is None):
        raise OptionError("landmarks are needed of both images, the fixed and the moving one")
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    if fixed_points is not None and moving_points is not None:
        before["tre_mm"] = landmark_errors(fixed_points, moving_points)
        if forward is not None:
            after["tre_mm"] = landmark_errors(fixed_points, moving_points, forward)
    mask = on_grid(fixed_mask, fixed)
    report(0, 5, _STAGE)
    start = _brought(moving, fixed, Transform.identity(), None)
    before = {**similarity_measures(fixed, start, mask), **before}
    del start
    report(1, 5, _STAGE)
    end = _brought(moving, fixed, forward, moved)
    after = {**similarity_measures(fixed, end, mask), **after}
    del end
    report(2, 5, _STAGE)
    if fixed_labels is not None and moving_labels is not None:
        truth = _labels_on(fixed_labels, fixed)
        for there, transform in ((before, Transform.identity()), (after, forward)):
            if transform is not None:
                with quietly():
                    taken = transform.apply(_plain(moving_labels), fixed, order="nearest", fill=0)
                there.update(overlap(truth, taken))
    report(3, 5, _STAGE)
    found: dict[str, Any] = {"before": before, "after": after}
    if forward is not None:
        jacobian = jacobian_map(forward, fixed) if jacobian is None else jacobian
        found["jacobian"] = jacobian_measures(jacobian, mask)
        report(4, 5, _STAGE)
        if inverse is not None:
            way = inverse_consistency(forward, inverse, fixed, mask)
            if way:
                found["inverse_consistency_mm"] = way
    report(5, 5, _STAGE)
    return found


def _check(
    fixed: Volume,
    moving: Volume,
    forward: Transform | None,
    moved: Volume | None,
    labels: tuple[Volume | None, Volume | None],
) -> None:
    """Refuse what cannot be measured, before any long work."""
    if forward is None and moved is None:
        raise OptionError("a registration is measured by its transform or by the moved image")
    if moved is not None:
        require_same_grid(fixed, moved, "the fixed and the moved volume")
    if (labels[0] is None) != (labels[1] is None):
        raise OptionError("labels are needed of both images, the fixed and the moving one")
    for map_, volume, role in zip(labels, (fixed, moving), ("fixed", "moving"), strict=True):
        if map_ is not None and not _touch(map_, volume):
            raise GeometryError(
                f"the {role} labels are in another place than the {role} volume: their grids do "
                "not overlap; check that they belong together"
            )


def _touch(a: Volume, b: Volume) -> bool:
    """Whether the boxes about two volumes, along the axes of space, have a point in common."""
    ends = [corners(v.shape, v.affine) for v in (a, b)]
    least = np.max([e.min(axis=0) for e in ends], axis=0)
    most = np.min([e.max(axis=0) for e in ends], axis=0)
    return bool((least <= most + 1e-3).all())


@quietly()
def _brought(
    moving: Volume, fixed: Volume, transform: Transform | None, moved: Volume | None
) -> Volume:
    """Return the moving volume on the fixed grid, ``outside`` where it does not reach."""
    if moved is not None and (moved.outside is not None or moved.unit == "HU" or transform is None):
        return moved
    assert transform is not None
    if moved is None and moving.outside is None and moving.unit != "HU":
        # only volumes that may have holes keep account of where they reach
        moving = replace(moving, outside=np.zeros(moving.shape, dtype=bool))
    if moved is None:
        return transform.apply(moving, fixed, order="linear")
    check()
    ones = Volume(np.broadcast_to(np.uint8(1), moving.shape), moving.affine, "unknown")
    reached = transform.apply(ones, fixed, order="nearest", fill=0)
    return replace(moved, outside=np.asarray(reached.voxels) == 0)


def _plain(labels: Volume) -> Volume:
    """Labels as numbers, whatever unit the file's reader took them for."""
    return replace(labels, unit="tissue" if labels.unit == "tissue" else "unknown", outside=None)


def _labels_on(labels: Volume, fixed: Volume) -> Volume:
    """Return the fixed labels on the fixed grid.

    Raises
    ------
    GeometryError
        If none of them lies there.
    """
    if same_grid(labels, fixed):
        return _plain(replace(labels, affine=fixed.affine))
    taken = resample(_plain(labels), fixed, order="nearest", fill=0)
    if not np.asarray(taken.voxels).any():
        raise GeometryError(
            "no fixed label lies within the fixed volume; check that the two belong together"
        )
    return taken

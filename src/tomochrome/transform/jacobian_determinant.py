"""The Jacobian determinant of a transform: local volume change and folding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.geometry.affine import apply, same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.morphology import grown
from tomochrome.geometry.sampling import grid_slabs
from tomochrome.runtime import check
from tomochrome.transform.composite import Step, Transform, Warp, follow
from tomochrome.volume import Provenance, Volume

_SLAB: Final = 1_000_000  # voxels processed at a time


def jacobian_map(transform: Transform, like: Volume) -> Volume:
    """Return the Jacobian determinant of a transform, including its affine part, per voxel.

    Parameters
    ----------
    transform
        Any transform.
    like
        Reference volume for the grid; its voxels are not used.

    Returns
    -------
    Volume
        float32: 1 where volume is preserved, below 1 where tissue is smaller in the moving image
        than in the fixed image, 0 or less where the map folds or mirrors. Voxels next to regions
        that a field does not cover are ``outside`` and have the determinant of the affine part.

    Notes
    -----
    Central differences miss narrow folds. Each voxel is therefore evaluated with all eight
    combinations of forward and backward differences, which are the corners of the surrounding
    cells: the value is their mean (exactly the determinant of the central differences) if all are
    positive, else their minimum. Liu et al., "On finite difference Jacobian computation in
    deformable image registration", IJCV 132 (2024). If the grid of a field differs from ``like``,
    it is evaluated on its own grid too, and its folds are written to the voxels of ``like`` that
    contain them.
    """
    out = np.empty(like.shape, np.float32)
    provenance = Provenance(kind="memory", history=("Jacobian determinant of a transform",))
    if transform.is_affine:
        out[...] = np.linalg.det(transform.affine[:3, :3])
        return Volume(out, like.affine, "unknown", provenance)
    first, *rest = transform.steps
    if (
        isinstance(first, Warp)
        and first.forward is not None
        and all(isinstance(step, np.ndarray) for step in rest)
        and same_grid(first.forward.like, like, tolerance_mm=1e-4)
    ):
        factor = float(np.linalg.det(transform.affine[:3, :3]))
        _fill(first.forward, factor, out)
        return Volume(out, like.affine, "unknown", provenance)
    covered = _sample(transform.steps, like, out)
    for place, step in enumerate(transform.steps):
        if isinstance(step, Warp) and step.forward is not None:
            before = Transform(transform.steps[:place])
            _lay_folds(step.forward, before, like.affine, out)
    beyond = None
    if not covered.all():  # the discontinuity at the edge of a field is not a fold
        beyond = grown(~covered)
        out[beyond] = np.linalg.det(transform.affine[:3, :3])
    return Volume(out, like.affine, "unknown", provenance, beyond)


def _fill(field: DisplacementField, factor: float, out: NDArray[np.float32]) -> None:
    """Write the determinants on the grid of a field, times ``factor``, in slabs."""
    from tomochrome.transform import jacobian_kernels as kernels

    basis = np.ascontiguousarray(field.affine[:3, :3])
    depth, height, width = field.shape
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        check()
        kernels.determinants(field.vectors, basis, first, factor, out[first : first + few])


def _sample(steps: Sequence[Step], like: Volume, out: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Write the determinants of a chain on any grid; return where its fields are defined."""
    from tomochrome.transform import jacobian_kernels as kernels

    basis = np.ascontiguousarray(like.affine[:3, :3])
    depth, height, width = like.shape
    covered = np.ones(like.shape, np.bool_)
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        start, stop = max(0, first - 1), min(depth, first + few + 1)  # with both neighbours
        affine = np.array(like.affine)
        affine[:3, 3] += affine[:3, 0] * start
        vectors = np.empty((stop - start, height, width, 3), np.float32)
        for rows, points in grid_slabs(vectors.shape[:3], affine):
            seen = covered[start + rows.start : start + rows.stop].reshape(-1)
            end = follow(steps, points.copy(), seen)
            np.subtract(end, points, out=vectors[rows].reshape(-1, 3), casting="same_kind")
        kernels.determinants(vectors, basis, first - start, 1.0, out[first : first + few])
    return covered


def _lay_folds(
    field: DisplacementField,
    before: Transform,
    affine: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the determinants of folded voxels of a field to the voxels that contain them."""
    own = np.empty(field.shape, np.float32)
    _fill(field, 1.0, own)
    folded = np.argwhere(own <= 0)
    if len(folded) == 0:
        return
    points = before.inverse().points(apply(field.affine, folded))
    index = np.rint(apply(np.linalg.inv(affine), points)).astype(np.int64)
    there = ((index >= 0) & (index < out.shape)).all(axis=1)
    np.minimum.at(out, tuple(index[there].T), own[tuple(folded[there].T)])

"""How a transform swells and shrinks space, and where it folds: the Jacobian determinant."""

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
from tomochrome.transform.steps import Step, Warp, follow
from tomochrome.transform.transform import Transform
from tomochrome.volume import Provenance, Volume

_SLAB: Final = 1_000_000  # voxels looked at at a time


def jacobian_map(transform: Transform, like: Volume) -> Volume:
    """Return the Jacobian determinant of a transform, affine part and all, at each voxel.

    Parameters
    ----------
    transform
        Any transform.
    like
        The grid; its voxels are not looked at.

    Returns
    -------
    Volume
        float32, 1 where volumes are kept, below 1 where the moving image's tissue is smaller than
        the fixed one's, 0 or less where the map folds or mirrors. Voxels next to where a field of
        the transform is not known lie ``outside``, and have the determinant of the affine part.

    Notes
    -----
    Central differences see a fold only where it is wide. Here each voxel is judged by all eight
    combinations of forward and backward differences, which are the corners of the cells about it:
    the value is their mean (exactly the determinant of the central differences) where all of them
    are positive, else the least of them, which is not. Liu et al., "On finite difference Jacobian
    computation in deformable image registration", IJCV 132 (2024). Where a field has other
    voxels than ``like``, perhaps finer ones, its own are judged too, and those that fold are laid
    into the voxel of ``like`` that they are in.
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
    known = _sample(transform.steps, like, out)
    for place, step in enumerate(transform.steps):
        if isinstance(step, Warp) and step.forward is not None:
            before = Transform(transform.steps[:place])
            _lay_folds(step.forward, before, like.affine, out)
    unknown = None
    if not known.all():  # where a field ends the map has a step, which is not a fold
        unknown = grown(~known)
        out[unknown] = np.linalg.det(transform.affine[:3, :3])
    return Volume(out, like.affine, "unknown", provenance, unknown)


def _fill(field: DisplacementField, factor: float, out: NDArray[np.float32]) -> None:
    """Write the determinants on a field's own grid, times ``factor``, a few slices at a time."""
    from tomochrome.transform import jacobian_kernels as kernels

    basis = np.ascontiguousarray(field.affine[:3, :3])
    depth, height, width = field.shape
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        check()
        kernels.determinants(field.vectors, basis, first, factor, out[first : first + few])


def _sample(steps: Sequence[Step], like: Volume, out: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Write the determinants of any chain on any grid; return where its fields are known."""
    from tomochrome.transform import jacobian_kernels as kernels

    basis = np.ascontiguousarray(like.affine[:3, :3])
    depth, height, width = like.shape
    known = np.ones(like.shape, np.bool_)
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        start, stop = max(0, first - 1), min(depth, first + few + 1)  # with both neighbours
        affine = np.array(like.affine)
        affine[:3, 3] += affine[:3, 0] * start
        vectors = np.empty((stop - start, height, width, 3), np.float32)
        for rows, points in grid_slabs(vectors.shape[:3], affine):
            seen = known[start + rows.start : start + rows.stop].reshape(-1)
            end = follow(steps, points.copy(), seen)
            np.subtract(end, points, out=vectors[rows].reshape(-1, 3), casting="same_kind")
        kernels.determinants(vectors, basis, first - start, 1.0, out[first : first + few])
    return known


def _lay_folds(
    field: DisplacementField,
    before: Transform,
    affine: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the determinants of folded voxels of a field into the voxels that they lie in."""
    own = np.empty(field.shape, np.float32)
    _fill(field, 1.0, own)
    folded = np.argwhere(own <= 0)
    if len(folded) == 0:
        return
    points = before.inverse().points(apply(field.affine, folded))
    index = np.rint(apply(np.linalg.inv(affine), points)).astype(np.int64)
    there = ((index >= 0) & (index < out.shape)).all(axis=1)
    np.minimum.at(out, tuple(index[there].T), own[tuple(folded[there].T)])

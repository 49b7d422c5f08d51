"""How a transform swells and shrinks space, and where it folds: the Jacobian determinant."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.evaluate.masks import Mask, on_grid
from tomochrome.geometry.affine import apply, corners, same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.morphology import grown
from tomochrome.registration.transform import Transform, Warp
from tomochrome.runtime import CancelToken, check, watched
from tomochrome.volume import Provenance, Volume

_SLAB: Final = 1_000_000  # voxels looked at at a time


@watched
def jacobian_map(
    transform: Transform, like: Volume, *, cancel: CancelToken | None = None
) -> Volume:
    """Return the Jacobian determinant of a transform, affine part and all, at each voxel.

    Parameters
    ----------
    transform
        Any transform.
    like
        The grid; its voxels are not looked at.
    cancel
        Looked at several times a second.

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
        and all(isinstance(step, np.ndarray) for step in rest)
        and same_grid(first.forward.like, like, tolerance_mm=1e-4)
    ):
        factor = float(np.linalg.det(transform.affine[:3, :3]))
        _fill(first.forward, factor, out, cancel)
        return Volume(out, like.affine, "unknown", provenance)
    _sample(transform, like, out, cancel)
    for place, step in enumerate(transform.steps):
        if isinstance(step, Warp):
            before = Transform(transform.steps[:place])
            _lay_folds(step.forward, before, like.affine, out, cancel)
    unknown = _unknown(transform, like, cancel)
    if unknown is not None:  # where a field ends the map has a step, which is no fold
        out[unknown] = np.linalg.det(transform.affine[:3, :3])
    return Volume(out, like.affine, "unknown", provenance, unknown)


@watched
def jacobian_measures(
    jacobian: Volume, mask: Mask = None, *, cancel: CancelToken | None = None
) -> dict[str, float]:
    """Say how rough a transform is, from its `jacobian_map`.

    Parameters
    ----------
    jacobian
        Determinants; voxels ``outside`` do not count.
    mask
        Where to look: a volume on any grid, or an array (z, y, x); not 0 where it counts.
    cancel
        Looked at several times a second.

    Returns
    -------
    dict
        ``folded_percent``: share of voxels whose determinant is 0 or less.
        ``sd_log``: standard deviation of the natural logarithm of the others.

    Raises
    ------
    InputError
        If no voxel is left to look at.
    """
    from tomochrome.evaluate import kernels

    wanted = on_grid(mask, jacobian)
    values = np.asarray(jacobian.voxels)
    if jacobian.outside is not None:
        wanted = ~jacobian.outside if wanted is None else wanted & ~jacobian.outside
    found = np.empty((len(values), 4))
    few = max(1, _SLAB // (values.shape[1] * values.shape[2]))
    for first in range(0, len(values), few):
        check(cancel)
        rows = slice(first, first + few)
        # without a mask nothing of it is looked at
        here = np.empty((0, 0, 0), np.bool_) if wanted is None else wanted[rows]
        kernels.log_moments(values[rows], here, wanted is None, found[rows])
    count, above, mean, squares = found.T
    if not count.any():
        raise InputError(
            "the transform is not defined anywhere in the volume: nothing can be measured"
        )
    spread = 0.0
    if above.any():
        middle = np.average(mean, weights=above)
        spread = float(np.sqrt((squares + above * (mean - middle) ** 2).sum() / above.sum()))
    folded = float(count.sum() - above.sum())
    return {"folded_percent": 100.0 * folded / float(count.sum()), "sd_log": spread}


def _fill(
    field: DisplacementField,
    factor: float,
    out: NDArray[np.float32],
    cancel: CancelToken | None,
) -> None:
    """Write the determinants on a field's own grid, times ``factor``, a few slices at a time."""
    from tomochrome.evaluate import kernels

    basis = np.ascontiguousarray(field.affine[:3, :3])
    depth, height, width = field.shape
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        check(cancel)
        kernels.determinants(field.vectors, basis, first, factor, out[first : first + few])


def _sample(
    transform: Transform, like: Volume, out: NDArray[np.float32], cancel: CancelToken | None
) -> None:
    """Write the determinants of any transform on any grid, a few slices at a time."""
    from tomochrome.evaluate import kernels

    basis = np.ascontiguousarray(like.affine[:3, :3])
    depth, height, width = like.shape
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        start, stop = max(0, first - 1), min(depth, first + few + 1)  # with both neighbours
        affine = np.array(like.affine)
        affine[:3, 3] += affine[:3, 0] * start
        part = Volume(
            np.broadcast_to(np.uint8(0), (stop - start, height, width)), affine, "unknown"
        )
        vectors = transform.displacement(part, cancel=cancel).vectors
        kernels.determinants(vectors, basis, first - start, 1.0, out[first : first + few])


def _lay_folds(
    field: DisplacementField,
    before: Transform,
    affine: NDArray[np.float64],
    out: NDArray[np.float32],
    cancel: CancelToken | None,
) -> None:
    """Write the determinants of folded voxels of a field into the voxels that they lie in."""
    own = np.empty(field.shape, np.float32)
    _fill(field, 1.0, own, cancel)
    folded = np.argwhere(own <= 0)
    if len(folded) == 0:
        return
    points = before.inverse().points(apply(field.affine, folded))
    index = np.rint(apply(np.linalg.inv(affine), points)).astype(np.int64)
    there = ((index >= 0) & (index < out.shape)).all(axis=1)
    np.minimum.at(out, tuple(index[there].T), own[tuple(folded[there].T)])


def _unknown(
    transform: Transform, like: Volume, cancel: CancelToken | None
) -> NDArray[np.bool_] | None:
    """Return the voxels with a neighbour for which a field of the chain is not known, or None."""
    fields = transform.fields
    first = transform.steps[0]
    start = first if isinstance(first, np.ndarray) else np.eye(4)
    simple = len(fields) == 1 and all(isinstance(s, Warp | np.ndarray) for s in transform.steps)
    if simple and fields[0].covers(apply(start, corners(like.shape, like.affine))).all():
        return None
    known = np.empty(like.shape, dtype=bool)
    few = max(1, _SLAB // (like.shape[1] * like.shape[2]))
    for z in range(0, like.shape[0], few):
        check(cancel)
        rows = slice(z, min(z + few, like.shape[0]))
        if simple:
            known[rows] = _within(fields[0], start @ like.affine, rows, like.shape)
        else:
            index = np.indices(known[rows].shape).reshape(3, -1).T + np.array((z, 0, 0))
            known[rows] = transform.covers(apply(like.affine, index)).reshape(known[rows].shape)
    if known.all():
        return None
    return grown(~known)


def _within(
    field: DisplacementField, affine: NDArray[np.float64], rows: slice, shape: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """As `DisplacementField.covers` for slices of a grid, in a tenth of its time: sums of edges."""
    inside = np.ones((rows.stop - rows.start, *shape[1:]), dtype=bool)
    matrix = np.linalg.inv(field.affine) @ affine
    z, y, x = np.arange(rows.start, rows.stop), np.arange(shape[1]), np.arange(shape[2])
    for row, size in zip(matrix[:3], field.shape, strict=True):
        place = (row[0] * z)[:, None, None] + (row[1] * y)[:, None] + (row[2] * x + row[3])
        inside &= (place >= -0.5) & (place < size - 0.5)
    return inside

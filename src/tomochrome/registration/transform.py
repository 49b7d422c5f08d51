"""The Transform: where each point of the fixed image lies in the moving one, and back.

A transform is a chain of steps, each an affine map or a dense displacement field, all in LPS
mm. Registration gives two of them: the field on the fixed grid, then the affine map,
``p -> A(p + u(p))``. As ITK has it for resampling, it takes points of the fixed image to the moving
image; ``SimpleITK.Resample(moving, fixed, forward)`` is the moved image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply, same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import Order
from tomochrome.runtime import CancelToken, Progress, check, report
from tomochrome.volume import Volume

_SLAB: Final = 400_000
"""Voxels moved at a time: bounds memory, and the time until a cancel is noticed."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A displacement field as a step of a transform, with its inverse if that is known.

    Parameters
    ----------
    forward
        The field that is followed.
    inverse
        The field that leads back. None: it is found by iteration where it is needed.
    """

    forward: DisplacementField
    inverse: DisplacementField | None = None


@dataclass(frozen=True, eq=False)
class _Undo:
    """A field followed backwards, point by point."""

    forward: DisplacementField


Step = NDArray[np.float64] | Warp | _Undo
"""One step: a 4x4 matrix of LPS mm, or a dense field."""


@dataclass(frozen=True, eq=False)
class Transform:
    """A map of points in LPS mm, from the fixed image to the moving image.

    Parameters
    ----------
    steps
        4x4 matrices and `Warp`, in the order in which a point meets them. Neighbouring matrices
        are multiplied into one, identities left out.

    Raises
    ------
    GeometryError
        If a matrix is not 4x4, finite and invertible with a last row of 0 0 0 1.
    """

    steps: tuple[Step, ...] = field(default=())

    def __post_init__(self) -> None:
        merged: list[Step] = []
        for step in self.steps:
            if isinstance(step, (Warp, _Undo)):
                merged.append(step)
                continue
            matrix, before = _checked(step), merged[-1] if merged else None
            if isinstance(before, np.ndarray):
                merged[-1] = matrix @ before
            else:
                merged.append(matrix)
        kept = [s for s in merged if not (isinstance(s, np.ndarray) and _is_identity(s))]
        object.__setattr__(self, "steps", tuple(kept))

    @classmethod
    def identity(cls) -> Transform:
        """Return the transform that leaves every point where it is."""
        return cls()

    @classmethod
    def from_affine(cls, matrix: ArrayLike) -> Transform:
        """Return the affine map of a 4x4 matrix from fixed to moving LPS mm."""
        return cls((np.asarray(matrix, dtype=np.float64),))

    @classmethod
    def from_fields(
        cls,
        forward: DisplacementField,
        inverse: DisplacementField | None = None,
        affine: ArrayLike | None = None,
    ) -> Transform:
        """Return ``p -> affine(p + forward(p))``, the shape of a registration's answer.

        Parameters
        ----------
        forward, inverse
            Displacements in LPS mm and those that lead back, before the affine map.
        affine
            4x4 matrix; None is the identity.
        """
        matrix = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
        return cls((Warp(forward, inverse), matrix))

    @property
    def affine(self) -> NDArray[np.float64]:
        """The affine steps multiplied in order, 4x4; all there is where no step is a field."""
        matrix = np.eye(4)
        for step in self.steps:
            if isinstance(step, np.ndarray):
                matrix = step @ matrix
        return matrix

    @property
    def is_affine(self) -> bool:
        """Whether no step is a displacement field."""
        return all(isinstance(step, np.ndarray) for step in self.steps)

    @property
    def fields(self) -> tuple[DisplacementField, ...]:
        """The displacement fields among the steps, in order."""
        return tuple(s.forward for s in self.steps if not isinstance(s, np.ndarray))

    def points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move points of the fixed image to the moving image.

        Parameters
        ----------
        points
            (n, 3) or (3,), LPS mm.

        Returns
        -------
        ndarray
            float64 of the same shape.

        Raises
        ------
        InputError
            If the points have not three finite coordinates each.
        """
        given = np.array(points, dtype=np.float64)
        if given.ndim not in (1, 2) or given.shape[-1] != 3 or not np.isfinite(given).all():
            raise InputError(
                "points need three finite coordinates each (LPS mm), not an array of shape "
                f"{given.shape}" + ("" if np.isfinite(given).all() else " with values missing")
            )
        return _follow(self.steps, given.reshape(-1, 3)).reshape(given.shape)

    def covers(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return for each point (n, 3) whether every field of the chain is known where it comes."""
        at = np.array(points, dtype=np.float64).reshape(-1, 3)
        known = np.ones(len(at), dtype=bool)
        for step in self.steps:
            if not isinstance(step, np.ndarray):
                known &= step.forward.covers(at)
            at = _follow((step,), at)
        return known

    def inverse(self) -> Transform:
        """Return the transform from the moving image to the fixed one.

        Fields whose inverse is not known are followed back by iteration, to 1e-3 mm where they do
        not fold.
        """
        back: list[Step] = []
        for step in reversed(self.steps):
            if isinstance(step, Warp):
                back.append(
                    _Undo(step.forward)
                    if step.inverse is None
                    else Warp(step.inverse, step.forward)
                )
            elif isinstance(step, _Undo):
                back.append(Warp(step.forward))
            else:
                back.append(np.asarray(np.linalg.inv(step)))
        return Transform(tuple(back))

    def then(self, other: Transform) -> Transform:
        """Return ``p -> other(self(p))``, exactly: the steps are chained."""
        return Transform((*self.steps, *other.steps))

    def displacement(
        self,
        like: Volume | DisplacementField,
        *,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> DisplacementField:
        """Return the whole transform, affine part and all, as one field on a grid.

        Parameters
        ----------
        like
            The grid; of a volume the voxels are not looked at.
        progress, cancel
            Told how far it is, and looked at, several times a second.
        """
        vectors = np.empty((*like.shape, 3), dtype=np.float32)
        for rows, start, end in _slabs(self.steps, like, progress, cancel, "sampling the field"):
            vectors[rows] = (end - start).reshape(vectors[rows].shape)
        return DisplacementField(vectors, like.affine)

    def dense(self) -> Transform:
        """Return the same with every field as stored vectors, as files need it."""
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, _Undo):
                back = Transform((step,)).displacement(step.forward)
                step = Warp(back, step.forward)
            steps.append(step)
        return Transform(tuple(steps))

    def apply(
        self,
        volume: Volume,
        like: Volume | None = None,
        *,
        order: Order | None = None,
        fill: float | None = None,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
    ) -> Volume:
        """Bring a volume of the moving image's space onto a grid of the fixed image's space.

        Parameters
        ----------
        volume
            Scalar, labels or RGBA, on any grid. RGBA is interpolated with each color weighted by
            its opacity.
        like
            The grid of the result; None is the volume's own.
        order
            ``"linear"``, or ``"nearest"`` for labels. None: nearest for booleans and tissue maps,
            else linear. Integers are rounded to nearest.
        fill
            Value where ``volume`` does not reach; None means air (-1024) for HU, else 0.
        progress, cancel
            Told how far it is, and looked at, several times a second.

        Returns
        -------
        Volume
            With the voxel type, unit and provenance of ``volume``. Voxels that it did not
            measure, or (in HU) does not reach, lie ``outside``; such are never blended in.

        Raises
        ------
        OptionError
            If the order is not known.
        Cancelled
            If ``cancel`` was set.
        """
        from tomochrome.registration import sampling

        like = volume if like is None else like
        if order is None:
            labels = volume.unit == "tissue" or np.dtype(volume.voxels.dtype).kind == "b"
            order = "nearest" if labels else "linear"
        if order not in ("linear", "nearest"):
            raise OptionError(f"unknown resampling order '{order}': choose linear or nearest")
        if not self.steps and same_grid(volume, like, tolerance_mm=1e-6):
            return replace(volume, affine=like.affine)
        if fill is None:
            fill = -1024.0 if volume.unit == "HU" else 0.0
        sampler = sampling.Sampler(volume, order, fill)
        taken = sampler.start(like.shape)
        for rows, _, end in _slabs(self.steps, like, progress, cancel, "applying the transform"):
            sampler.take(end, rows, taken)
        return sampler.finish(taken, like)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        like: Volume | None = None,
        force: bool = False,
    ) -> None:
        """Write the transform; the ending chooses the format.

        ``.h5`` (and for affine ones ``.tfm``, ``.txt``, ``.mat``): an ITK transform for SimpleITK,
        ANTs and 3D Slicer. ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``: one displacement field in
        LPS mm with everything in it, on the grid of ``like`` or of the transform's first field.

        Raises
        ------
        OutputError
            If the ending is not known, or the file exists (without ``force``) or cannot be
            written.
        OptionError
            If an affine transform is to become a field and there is no grid.
        """
        from tomochrome.io import transforms

        target = transforms.check_format(path, affine=self.is_affine)
        if target == "field":
            grid = like if like is not None else next(iter(self.fields), None)
            if grid is None:
                raise OptionError(
                    "an affine transform has no grid of its own to become a displacement field on; "
                    "name a reference volume, or save it as .h5"
                )
            transforms.write_field(self.displacement(grid), path, force=force)
        else:
            parts = [s.forward if isinstance(s, Warp) else s for s in self.dense().steps]
            transforms.write_parts(
                [p for p in parts if not isinstance(p, _Undo)], path, force=force
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Transform:
        """Read a transform of ours or of another tool; see `tomochrome.io.transforms`.

        Raises
        ------
        InputError
            If the file is missing, damaged or no transform of three dimensions.
        """
        from tomochrome.io import transforms

        parts = transforms.read_parts(path)
        return cls(tuple(Warp(p) if isinstance(p, DisplacementField) else p for p in parts))


def _checked(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return a 4x4 matrix as read-only float64, or say what is wrong with it."""
    given = np.array(matrix, dtype=np.float64)
    if given.shape != (4, 4) or not np.isfinite(given).all():
        raise GeometryError("an affine transform needs a finite 4x4 matrix")
    if not np.array_equal(given[3], (0.0, 0.0, 0.0, 1.0)):
        raise GeometryError("the last row of an affine transform must be 0 0 0 1")
    if abs(np.linalg.det(given[:3, :3])) < 1e-9:
        raise GeometryError("the affine transform is singular: it flattens space")
    given.setflags(write=False)
    return given


def _is_identity(matrix: NDArray[np.float64]) -> bool:
    return bool(np.array_equal(matrix, np.eye(4)))


def _to_index(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.linalg.inv(affine)[:3])


def _follow(steps: Sequence[Step], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take points (n, 3) through the steps; the array given may be overwritten."""
    from tomochrome.registration import transform_kernels as kernels

    for step in steps:
        if isinstance(step, np.ndarray):
            points = apply(step, points)
            continue
        points = np.ascontiguousarray(points)
        to_index = _to_index(step.forward.affine)
        if isinstance(step, Warp):
            kernels.displace(points, step.forward.vectors, to_index)
        else:
            kernels.undo(points, step.forward.vectors, to_index, 1e-3, 100)
    return points


def _slabs(
    steps: Sequence[Step],
    like: Volume | DisplacementField,
    progress: Progress | None,
    cancel: CancelToken | None,
    stage: str,
) -> Any:
    """Give a grid's slices a few at a time: which, their points, and where the points go."""
    from tomochrome.registration import transform_kernels as kernels

    depth, height, width = like.shape
    few = max(1, _SLAB // (height * width))
    for first in range(0, depth, few):
        check(cancel)
        report(progress, first, depth, stage)
        count = min(few, depth - first)
        start = np.empty((count * height * width, 3))
        kernels.grid_points(np.asarray(like.affine), first, count, height, width, start)
        yield slice(first, first + count), start, _follow(steps, start.copy())
    report(progress, depth, depth, stage)

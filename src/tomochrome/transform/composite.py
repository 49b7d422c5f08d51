"""The Transform: a mapping of points from the fixed to the moving image, and its inverse.

A transform is a sequence of steps in LPS mm, each an affine map or a dense displacement field.
Registration returns two: the field on the fixed grid and then the affine map, ``p -> A(p + u(p))``.
As in ITK, a transform for resampling maps points of the fixed image to the moving image;
``SimpleITK.Resample(moving, fixed, forward)`` is the moved image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import GeometryError, InputError, OptionError
from tomochrome.geometry.affine import apply, same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import Route, check_order, resample_along
from tomochrome.geometry.sampling import Order, grid_slabs
from tomochrome.runtime import check, check_writable, quietly
from tomochrome.volume import Volume, require_volume

_TOLERANCE_MM: Final = 1e-3
_MAX_ROUNDS: Final = 100
_MIN_FOR_KERNELS: Final = 10_000  # below this many points NumPy is faster than the kernels
_ASTRAY_MM: Final = 0.1
"""An inverse with a larger residual is considered not to exist."""


@dataclass(frozen=True, eq=False)
class Warp:
    """A displacement field as a step of a transform, with its inverse if available.

    Parameters
    ----------
    forward
        The field to apply. If None, ``inverse`` is inverted by fixed-point iteration.
    inverse
        The inverse field. If None, it is computed by iteration when needed.
    """

    forward: DisplacementField | None
    inverse: DisplacementField | None = None

    @property
    def field(self) -> DisplacementField:
        """The available field, ``forward`` if both are."""
        available = self.forward or self.inverse
        assert available is not None
        return available


Step = NDArray[np.float64] | Warp
"""One step: a 4x4 matrix in LPS mm, or a dense field."""


@dataclass(frozen=True, eq=False)
class Transform:
    """A mapping of points in LPS mm from the fixed image to the moving image.

    Parameters
    ----------
    steps
        4x4 matrices and `Warp` objects in the order of application. Consecutive matrices are
        multiplied, and identities are removed.

    Raises
    ------
    GeometryError
        If a matrix is not 4x4, finite and invertible with a last row of 0 0 0 1.
    """

    steps: tuple[Step, ...] = field(default=())

    def __post_init__(self) -> None:
        merged: list[Step] = []
        for step in self.steps:
            if isinstance(step, Warp):
                merged.append(step)
                continue
            matrix, before = checked(step), merged[-1] if merged else None
            if isinstance(before, np.ndarray):
                merged[-1] = matrix @ before
            else:
                merged.append(matrix)
        kept = [s for s in merged if not (isinstance(s, np.ndarray) and is_identity(s))]
        object.__setattr__(self, "steps", tuple(kept))

    @classmethod
    def identity(cls) -> Transform:
        """Return the identity transform."""
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
        """Return ``p -> affine(p + forward(p))``, the form of a registration result.

        Parameters
        ----------
        forward, inverse
            Displacements in LPS mm and their inverse, both before the affine map.
        affine
            4x4 matrix; None is the identity.
        """
        matrix = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
        return cls((Warp(forward, inverse), matrix))

    @property
    def affine(self) -> NDArray[np.float64]:
        """The product of the affine steps, 4x4, ignoring displacement fields."""
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
        return tuple(s.field for s in self.steps if isinstance(s, Warp))

    def points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points of the fixed image to the moving image.

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
            If the points do not have three finite coordinates each.
        """
        given = _checked_points(points)
        return follow(self.steps, given.reshape(-1, 3)).reshape(given.shape)

    def covers(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return for each point (n, 3) whether it is inside every displacement field.

        Raises `InputError` as `points`.
        """
        at = _checked_points(points).reshape(-1, 3)
        covered = np.ones(len(at), dtype=bool)
        follow(self.steps, at, covered)
        return covered

    def inverse(self) -> Transform:
        """Return the transform from the moving image to the fixed one.

        Fields without a stored inverse are inverted by fixed-point iteration, to 1e-3 mm where
        they do not fold.
        """
        back: list[Step] = []
        for step in reversed(self.steps):
            if isinstance(step, Warp):
                back.append(Warp(step.inverse, step.forward))
            else:
                back.append(np.asarray(np.linalg.inv(step)))
        return Transform(tuple(back))

    def then(self, other: Transform) -> Transform:
        """Return the composition ``p -> other(self(p))``, without approximation."""
        return Transform((*self.steps, *other.steps))

    def displacement(self, like: Volume | DisplacementField) -> DisplacementField:
        """Return the entire transform, including affine steps, as one displacement field.

        Parameters
        ----------
        like
            The grid of the field; the voxels of a volume are not used.
        """
        vectors = np.empty((*like.shape, 3), dtype=np.float32)
        affine = np.asarray(like.affine)
        for rows, points in grid_slabs(like.shape, affine, "sampling the field"):
            end = follow(self.steps, points.copy())
            np.subtract(end, points, out=vectors[rows].reshape(-1, 3), casting="same_kind")
        return DisplacementField(vectors, like.affine)

    def dense(self) -> Transform:
        """Return an equivalent transform whose fields are all explicit, for writing to files."""
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, Warp) and step.forward is None:
                with quietly():
                    back = Transform((step,)).displacement(step.field)
                step = Warp(back, step.inverse)
            steps.append(step)
        return Transform(tuple(steps))

    def apply(
        self,
        volume: Volume,
        like: Volume | None = None,
        *,
        order: Order | None = None,
        fill: float | None = None,
    ) -> Volume:
        """Resample a volume in the space of the moving image onto a grid of the fixed image.

        Parameters
        ----------
        volume
            Scalar, labels or RGBA, on any grid. RGBA is interpolated with each color weighted by
            its opacity.
        like
            The grid of the result; None for the grid of ``volume``.
        order
            ``"linear"``, or ``"nearest"`` for labels. None: nearest for booleans and tissue maps,
            else linear. Integers are rounded to nearest.
        fill
            Value outside ``volume``; None means air (-1024) for HU, else 0.

        Returns
        -------
        Volume
            With the voxel type, unit and provenance of ``volume``. Voxels that were not measured,
            or (for HU) are beyond the grid of ``volume``, are marked as ``outside`` and never
            blended with others.

        Raises
        ------
        InputError
            If an argument is not a `Volume`.
        OptionError
            If the order is unknown.
        Cancelled
            If the task was cancelled.
        """
        like = volume if like is None else like
        require_volume(volume, "what is to be moved")
        require_volume(like, "the grid of the result")
        if order is None:
            labels = volume.unit == "tissue" or np.dtype(volume.voxels.dtype).kind == "b"
            order = "nearest" if labels else "linear"
        check_order(order)
        if not self.steps and same_grid(volume, like, tolerance_mm=1e-6):
            return replace(volume, affine=like.affine)
        steps, first, last = self.steps, None, None  # the sampler applies matrices at both ends
        if steps and isinstance(steps[0], np.ndarray):
            first, steps = steps[0], steps[1:]
        if steps and isinstance(steps[-1], np.ndarray):
            last, steps = steps[-1], steps[:-1]
        through = partial(follow, steps) if steps else None
        route = Route(first, through, last, "transformed", "applying the transform")
        return resample_along(route, volume, like, order=order, fill=fill)

    def save(
        self, path: str | os.PathLike[str], *, like: Volume | None = None, force: bool = False
    ) -> None:
        """Write the transform to a file; the extension determines the format.

        ``.h5`` (and for affine transforms ``.tfm``, ``.txt``, ``.mat``): an ITK transform for
        SimpleITK, ANTs and 3D Slicer. ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``: the entire
        transform as one displacement field in LPS mm, on the grid of ``like`` or of the first
        field. Cancellation is checked while fields are sampled and for each slice of a NIfTI file;
        a cancelled call writes no file.

        Parameters
        ----------
        path
            Path of the file.
        like
            Volume that defines the grid of a displacement field.
        force
            Whether an existing file may be replaced.

        Raises
        ------
        OutputError
            If the extension is unknown, or the file exists (without ``force``) or cannot be
            written.
        OptionError
            If an affine transform is written as a field without a grid.
        """
        from tomochrome.io import transforms

        target = transforms.check_format(path, affine=self.is_affine)
        if target == "field":
            grid = like if like is not None else next(iter(self.fields), None)
            if grid is None:
                raise OptionError(
                    "an affine transform has no grid for a displacement field; give a reference "
                    "volume, or save it as .h5"
                )
            check_writable(path, force=force)  # before the work
            transforms.write_field(self.displacement(grid), path, force=force)
        else:
            steps = self.dense().steps
            check()
            parts = [s.field if isinstance(s, Warp) else s for s in steps]
            transforms.write_parts(parts, path, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Transform:
        """Read a transform of Tomochrome or another tool; see `tomochrome.io.transforms`.

        Raises
        ------
        InputError
            If the file is missing, damaged or not a three-dimensional transform.
        """
        from tomochrome.io.transforms import InverseField, read_parts

        steps: list[Step] = []
        for part in read_parts(path):
            if isinstance(part, InverseField):
                steps.append(Warp(None, part.field))
            else:
                steps.append(Warp(part) if isinstance(part, DisplacementField) else part)
        return cls(tuple(steps))


def checked(matrix: ArrayLike) -> NDArray[np.float64]:
    """Return a valid 4x4 matrix as read-only float64; raise `GeometryError` otherwise."""
    given = np.array(matrix, dtype=np.float64)
    if given.shape != (4, 4) or not np.isfinite(given).all():
        raise GeometryError("an affine transform needs a finite 4x4 matrix")
    if not np.array_equal(given[3], (0.0, 0.0, 0.0, 1.0)):
        raise GeometryError("the last row of an affine transform must be 0 0 0 1")
    if abs(np.linalg.det(given[:3, :3])) < 1e-9:
        raise GeometryError("the affine transform is singular")
    given.setflags(write=False)
    return given


def is_identity(matrix: NDArray[np.float64]) -> bool:
    """Whether a 4x4 matrix is exactly the identity."""
    return bool(np.array_equal(matrix, np.eye(4)))


def follow(
    steps: Sequence[Step], points: NDArray[np.float64], covered: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Apply steps to points.

    Parameters
    ----------
    steps
        In order of application.
    points
        (n, 3), LPS mm; may be overwritten.
    covered
        bool (n,): set to False where a field does not cover the point. An inverse field covers a
        point if its inverse there is on the grid of the field and maps back to the point.

    Returns
    -------
    ndarray
        (n, 3), LPS mm.
    """
    from tomochrome.geometry import sampling_kernels as kernels

    count = len(points)
    for step in steps:
        if isinstance(step, np.ndarray) and count < _MIN_FOR_KERNELS:
            points = apply(step, points)
            continue
        points = np.ascontiguousarray(points)
        if isinstance(step, np.ndarray):
            kernels.map_points(count, points, step)
            continue
        field = kernels.Field(
            step.field.vectors, np.ascontiguousarray(np.linalg.inv(step.field.affine)[:3])
        )
        backwards = step.forward is None
        before = points.copy() if backwards and covered is not None else points
        if backwards:
            kernels.displace_back(count, points, field, _TOLERANCE_MM, _MAX_ROUNDS)
        if covered is not None:
            kernels.clear_beyond(count, points, field.to_index, step.field.shape, covered)
        if not backwards:
            kernels.displace(count, points, field)
        elif covered is not None:
            again = points.copy()
            kernels.displace(count, again, field)
            covered &= np.linalg.norm(again - before, axis=1) <= _ASTRAY_MM
    return points


def _checked_points(points: ArrayLike) -> NDArray[np.float64]:
    """Return points (n, 3) or (3,) as a new array; raise `InputError` if they are none."""
    try:
        given = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"points need three coordinates each (LPS mm): {error}") from error
    if given.ndim not in (1, 2) or given.shape[-1] != 3 or not np.isfinite(given).all():
        raise InputError(
            "points need three finite coordinates each (LPS mm), not an array of shape "
            f"{given.shape}" + ("" if np.isfinite(given).all() else " with values missing")
        )
    return given

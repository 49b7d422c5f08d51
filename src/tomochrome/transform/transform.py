"""The Transform: a mapping of points from the fixed to the moving image, and its inverse.

A transform is a sequence of steps in LPS mm, each an affine map or a dense displacement field.
Registration returns two: the field on the fixed grid and then the affine map, ``p -> A(p + u(p))``.
As in ITK, a transform for resampling maps points of the fixed image to the moving image;
``SimpleITK.Resample(moving, fixed, forward)`` is the moved image.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomochrome.errors import InputError, OptionError
from tomochrome.geometry.affine import same_grid
from tomochrome.geometry.displacement import DisplacementField
from tomochrome.geometry.resample import Route, check_order, resample_along
from tomochrome.geometry.sampling import Order, grid_slabs
from tomochrome.runtime import check, check_writable, quietly
from tomochrome.transform.steps import Step, Warp, checked, follow, is_identity
from tomochrome.volume import Volume, require_volume


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
        try:
            given = np.array(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"points need three coordinates each (LPS mm): {error}") from error
        if given.ndim not in (1, 2) or given.shape[-1] != 3 or not np.isfinite(given).all():
            raise InputError(
                "points need three finite coordinates each (LPS mm), not an array of shape "
                f"{given.shape}" + ("" if np.isfinite(given).all() else " with values missing")
            )
        return follow(self.steps, given.reshape(-1, 3)).reshape(given.shape)

    def covers(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Return for each point (n, 3) whether it is inside every displacement field."""
        at = np.array(points, dtype=np.float64).reshape(-1, 3)
        known = np.ones(len(at), dtype=bool)
        follow(self.steps, at, known)
        return known

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
        return resample_along(self._route(), volume, like, order=order, fill=fill)

    def _route(self) -> Route:
        """Return the route for resampling; the sampler applies matrices at both ends."""
        steps, first, last = self.steps, None, None
        if steps and isinstance(steps[0], np.ndarray):
            first, steps = steps[0], steps[1:]
        if steps and isinstance(steps[-1], np.ndarray):
            last, steps = steps[-1], steps[:-1]
        through = partial(follow, steps) if steps else None
        return Route(first, through, last, "transformed", "applying the transform")

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

"""Synthetic deformations: random diffeomorphisms, deformed volumes, and errors of estimates.

One of the three ways to validate a registration (visually, with landmarks, with a synthetic
field): deform, add noise, register, and compare in millimeters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.registration.velocity import (
    Shape,
    exponential,
    reduce_inverse_error,
    resize,
    resize_field,
    warp,
    warp_nearest,
)
from tomochrome.runtime import check
from tomochrome.volume import Volume


@dataclass(frozen=True, eq=False)
class KnownDeformation:
    """A diffeomorphism of a grid and its inverse, in voxels, each (1, 3, z, y, x).

    Parameters
    ----------
    forward
        Displacement from points of the undeformed volume to the deformed one: the ground truth
        for registering the deformed (moving) volume to the undeformed (fixed) one.
    inverse
        Displacement in the opposite direction.
    """

    forward: torch.Tensor
    inverse: torch.Tensor

    def apply(self, voxels: NDArray[Any], *, labels: bool = False) -> NDArray[Any]:
        """Deform voxels (z, y, x) as float32, or labels with their values and type."""
        if labels:
            integers = torch.from_numpy(np.ascontiguousarray(voxels).astype(np.int64))[None, None]
            return warp_nearest(integers, self.inverse)[0, 0].numpy().astype(voxels.dtype)
        image = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None, None]
        return warp(image, self.inverse)[0, 0].numpy()


def random_diffeomorphism(
    shape: Shape,
    spacing: tuple[float, float, float],
    *,
    mean_mm: float = 9.0,
    smooth_mm: float = 70.0,
    seed: int = 0,
    body: NDArray[np.bool_] | None = None,
) -> KnownDeformation:
    """Generate a random smooth diffeomorphism; it can fold if ``mean_mm`` is too large.

    Parameters
    ----------
    shape, spacing
        Shape and spacing (mm) of the grid, (z, y, x).
    mean_mm
        Mean length of the displacement within ``body`` in mm.
    smooth_mm
        Distance between the control points of the random velocity in mm.
    seed
        Random seed.
    body
        Mask for ``mean_mm``, bool (z, y, x); None for the entire grid.
    """
    rng = np.random.default_rng(seed)
    extent = np.array(shape) * spacing
    nodes = tuple(max(3, round(float(e) / smooth_mm) + 1) for e in extent)
    half: Shape = tuple(max(4, -(-n // 2)) for n in shape)  # type: ignore[assignment]
    noise = torch.from_numpy(rng.standard_normal((1, 3, *nodes), dtype=np.float32))
    # approximately cubic interpolation: linear between nodes, then box filters
    velocity = _box_smoothed(
        resize(noise, half), [n // (2 * k) for n, k in zip(half, nodes, strict=True)]
    )
    scale = torch.tensor(spacing, dtype=torch.float32).view(1, 3, 1, 1, 1)
    mm = torch.tensor([s * n / h for s, n, h in zip(spacing, shape, half, strict=True)])
    velocity = velocity / mm.view(1, 3, 1, 1, 1)
    inside = (
        torch.ones(1, 1, *shape) if body is None else torch.from_numpy(body)[None, None].float()
    )
    for _ in range(4):  # exp(v) and v differ in length
        check()
        both = exponential(torch.cat([velocity, -velocity]), 7)
        forward = resize_field(both[:1], shape)
        length = (forward * scale).square().sum(1, keepdim=True).sqrt()
        mean = float((length * inside).sum() / inside.sum())
        if abs(mean - mean_mm) < 0.02 * mean_mm:
            break
        velocity = velocity * (mean_mm / max(mean, 1e-6))
    check()
    forward, inverse = reduce_inverse_error(forward, resize_field(both[1:], shape), 4)
    return KnownDeformation(forward, inverse)


def _box_smoothed(field: torch.Tensor, radii: list[int]) -> torch.Tensor:
    for _ in range(2):
        for axis, radius in enumerate(radii):
            if radius < 1:
                continue
            size, pad = [1, 1, 1], [0] * 6
            size[axis] = 2 * radius + 1
            pad[2 * (2 - axis)] = pad[2 * (2 - axis) + 1] = radius
            padded = torch.nn.functional.pad(field, pad, mode="replicate")
            field = torch.nn.functional.avg_pool3d(padded, size, stride=1)
    return field


def deform(
    volume: Volume,
    deformation: KnownDeformation,
    *,
    noise: float = 0.0,
    change: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Volume:
    """Deform a volume, with noise and a change of contrast: the moving volume of a test pair.

    Parameters
    ----------
    volume
        Scalar volume on the deformation's grid.
    deformation
        The deformation.
    noise
        Standard deviation of added noise, in the volume's unit.
    change
        Added to the voxels before the deformation, (z, y, x), for example contrast agent.
    seed
        Random seed of the noise.
    """
    voxels = np.asarray(volume.voxels, dtype=np.float32)
    moved = deformation.apply(voxels if change is None else voxels + change)
    if noise > 0:
        rng = np.random.default_rng(seed)
        moved = moved + np.float32(noise) * rng.standard_normal(moved.shape, dtype=np.float32)
    return volume.with_voxels(moved, step="deformed by a known random field")


def errors_mm(
    found: torch.Tensor, truth: torch.Tensor, spacing: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the distance between two displacements at each voxel in mm, (z, y, x)."""
    scale = torch.tensor(spacing, dtype=torch.float32).view(1, 3, 1, 1, 1)
    return ((found - truth) * scale).square().sum(1).sqrt()[0].numpy()

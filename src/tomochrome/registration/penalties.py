"""Penalties on deformations: roughness, imbalance of the two velocities, folds.

Fields are (n, 3, z, y, x), components (z, y, x) in voxels of their own grid; every penalty is a
scalar tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def roughness(velocity: torch.Tensor) -> torch.Tensor:
    """Return the mean squared forward difference of a velocity over the three axes."""
    dz = (velocity[:, :, 1:] - velocity[:, :, :-1]).square().mean()
    dy = (velocity[:, :, :, 1:] - velocity[:, :, :, :-1]).square().mean()
    dx = (velocity[..., 1:] - velocity[..., :-1]).square().mean()
    return (dz + dy + dx) / 3


def imbalance(velocities: torch.Tensor) -> torch.Tensor:
    """Return the imbalance of a pair's velocities, which keeps the half-way space centered.

    ``velocities`` is (2, 3, z, y, x); the result is 0 where ``v_fixed = -v_moving``. Mok and Chung
    use the difference of mean squares; the mean square of the sum also prevents a common drift.
    """
    return (velocities[0] + velocities[1]).square().mean()


_CORNERS = tuple(np.ndindex(2, 2, 2))
"""Corners of a cell between eight voxels: 0 or 1 along z, y and x."""


def jacobian_determinant(
    displacement: torch.Tensor, corner: tuple[int, ...] = (0, 0, 0)
) -> torch.Tensor:
    """Return the determinant of ``p -> p + u(p)`` in each cell, (n, z - 1, y - 1, x - 1).

    It is computed at one ``corner`` of the cell from the three edges that meet there; the first
    corner corresponds to forward differences.
    """
    low, high = slice(None, -1), slice(1, None)
    i, j, k = (high if far else low for far in corner)
    z = displacement[:, :, high, j, k] - displacement[:, :, low, j, k]
    y = displacement[:, :, i, high, k] - displacement[:, :, i, low, k]
    x = displacement[:, :, i, j, high] - displacement[:, :, i, j, low]
    az, ay, ax = 1 + z[:, 0], z[:, 1], z[:, 2]
    bz, by, bx = y[:, 0], 1 + y[:, 1], y[:, 2]
    cz, cy, cx = x[:, 0], x[:, 1], 1 + x[:, 2]
    return az * (by * cx - bx * cy) - ay * (bz * cx - bx * cz) + ax * (bz * cy - by * cz)


def least_determinant(displacement: torch.Tensor) -> torch.Tensor:
    """Return the minimum determinant of each cell, (n, z - 1, y - 1, x - 1), without gradient."""
    with torch.no_grad():
        least = jacobian_determinant(displacement)
        for corner in _CORNERS[1:]:
            least = torch.minimum(least, jacobian_determinant(displacement, corner))
        return least


def folded_cells(displacement: torch.Tensor, least: float = 0.0) -> torch.Tensor:
    """Mark the cells of (1, 3, z, y, x) with `least_determinant` below ``least``, uint8."""
    if displacement.device.type == "cpu" and displacement.dtype == torch.float32:
        from tomochrome.registration import fold_kernels

        z, y, x = displacement.shape[2:]
        marks = np.empty((1, z - 1, y - 1, x - 1), np.uint8)
        field = displacement.detach().contiguous().numpy()
        fold_kernels.mark_folded(field, np.float32(least), marks)
        return torch.from_numpy(marks)
    return (least_determinant(displacement) < least).to(torch.uint8)


class _Shortfall(torch.autograd.Function):
    """`small_jacobian` by the compiled kernel, which computes value and gradient together."""

    @staticmethod
    def forward(ctx: Any, displacement: torch.Tensor, least: float) -> torch.Tensor:
        from tomochrome.registration import fold_kernels

        field = displacement.detach().contiguous()
        gradient = torch.zeros_like(field)
        value = fold_kernels.shortfall(field.numpy(), np.float32(least), gradient.numpy())
        ctx.save_for_backward(gradient)
        return displacement.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None


def small_jacobian(displacement: torch.Tensor, least: float = 0.3) -> torch.Tensor:
    """Return the mean squared shortfall of determinants below ``least``, to prevent folds.

    The mean is over all corners of all cells, see `jacobian_determinant`.
    """
    if displacement.device.type == "cpu" and displacement.dtype == torch.float32:
        done: torch.Tensor = _Shortfall.apply(displacement, least)  # type: ignore[no-untyped-call]
        return done
    return (least - _all_determinants(displacement)).clamp(min=0.0).square().mean()


def _all_determinants(displacement: torch.Tensor) -> torch.Tensor:
    """Return `jacobian_determinant` at all corners, (8, n, z - 1, y - 1, x - 1).

    A few large operations are faster than many small ones on a GPU, because of launch overhead.
    """
    low, high = slice(None, -1), slice(1, None)
    edges = []
    for axis in range(3):
        edge = displacement.diff(dim=2 + axis)
        one = torch.zeros(3, device=edge.device, dtype=edge.dtype)
        one[axis] = 1
        edge = edge + one.view(1, 3, 1, 1, 1)
        parts = []
        for corner in _CORNERS:
            at = [high if far else low for far in corner]
            at[axis] = slice(None)
            parts.append(edge[(slice(None), slice(None), *at)])
        edges.append(torch.stack(parts))
    along_z, along_y, along_x = edges
    return (along_z * torch.linalg.cross(along_y, along_x, dim=2)).sum(dim=2)

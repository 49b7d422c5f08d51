"""Penalties on deformations: roughness, imbalance of the two velocities, folds.

Fields are (n, 3, z, y, x), components (z, y, x) in voxels of their own grid; every penalty is a
scalar tensor. Folds are found in cells, the boxes between eight adjacent voxels. A trilinear field
is regular in a cell only if its Jacobian determinant is positive at all eight corners; forward
differences test only one. On the CPU compiled kernels compute folds; other devices use torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks

F32 = NDArray[np.float32]


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
        z, y, x = displacement.shape[2:]
        marks = np.empty((1, z - 1, y - 1, x - 1), np.uint8)
        field = displacement.detach().contiguous().numpy()
        mark_folded(field, np.float32(least), marks)
        return torch.from_numpy(marks)
    return (least_determinant(displacement) < least).to(torch.uint8)


class _Shortfall(torch.autograd.Function):
    """`small_jacobian` by the compiled kernel, which computes value and gradient together."""

    @staticmethod
    def forward(ctx: Any, displacement: torch.Tensor, least: float) -> torch.Tensor:
        field = displacement.detach().contiguous()
        gradient = torch.zeros_like(field)
        value = shortfall(field.numpy(), np.float32(least), gradient.numpy())
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


@njit(inline="always")
def _edges(field, n, z, y, x, i, j, k):  # type: ignore[no-untyped-def]
    """Return the differences along z, y and x at corner (i, j, k) of a cell, plus identity."""
    one = np.float32(1.0)
    a0 = one + field[n, 0, z + 1, y + j, x + k] - field[n, 0, z, y + j, x + k]
    a1 = field[n, 1, z + 1, y + j, x + k] - field[n, 1, z, y + j, x + k]
    a2 = field[n, 2, z + 1, y + j, x + k] - field[n, 2, z, y + j, x + k]
    b0 = field[n, 0, z + i, y + 1, x + k] - field[n, 0, z + i, y, x + k]
    b1 = one + field[n, 1, z + i, y + 1, x + k] - field[n, 1, z + i, y, x + k]
    b2 = field[n, 2, z + i, y + 1, x + k] - field[n, 2, z + i, y, x + k]
    c0 = field[n, 0, z + i, y + j, x + 1] - field[n, 0, z + i, y + j, x]
    c1 = field[n, 1, z + i, y + j, x + 1] - field[n, 1, z + i, y + j, x]
    c2 = one + field[n, 2, z + i, y + j, x + 1] - field[n, 2, z + i, y + j, x]
    return a0, a1, a2, b0, b1, b2, c0, c1, c2


@njit(inline="always")
def _edge_bound(field, n, z, y, x):  # type: ignore[no-untyped-def]
    """Return the largest sum of absolute differences along any edge of a cell.

    If this is ``s < 1``, no determinant in the cell is below ``(1 - s) ** 3``: every eigenvalue
    of the Jacobian is within ``s`` of 1 (Gershgorin).
    """
    most = np.float32(0.0)
    for i in range(2):
        for j in range(2):
            a, b, c = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for k in range(3):
                a += abs(field[n, k, z + 1, y + i, x + j] - field[n, k, z, y + i, x + j])
                b += abs(field[n, k, z + i, y + 1, x + j] - field[n, k, z + i, y, x + j])
                c += abs(field[n, k, z + i, y + j, x + 1] - field[n, k, z + i, y + j, x])
            most = max(most, a, b, c)
    return most


@in_chunks(jobs=lambda field, least, out: out.shape[0] * out.shape[1], least=1, fastmath=True)
def mark_folded(first, last, field, least, out):  # type: ignore[no-untyped-def]
    """Mark cells with a determinant below ``least`` (0 to 1) at any corner: 1, else 0.

    ``field`` is (n, 3, z, y, x), ``out`` (n, z - 1, y - 1, x - 1).
    """
    _, depth, height, width = out.shape
    regular = np.float32(1.0) - np.float32(least) ** np.float32(1.0 / 3.0)
    for job in range(first, last):
        n, z = job // depth, job % depth
        for y in range(height):
            for x in range(width):
                out[n, z, y, x] = 0
                if _edge_bound(field, n, z, y, x) < regular:
                    continue
                for corner in range(8):
                    i, j, k = corner >> 2, (corner >> 1) & 1, corner & 1
                    a0, a1, a2, b0, b1, b2, c0, c1, c2 = _edges(field, n, z, y, x, i, j, k)
                    det = (
                        a0 * (b1 * c2 - b2 * c1)
                        - a1 * (b0 * c2 - b2 * c0)
                        + a2 * (b0 * c1 - b1 * c0)
                    )
                    if det < least:
                        out[n, z, y, x] = 1


def shortfall(field: F32, least: np.float32, gradient: F32) -> float:
    """Return the mean squared shortfall of determinants below ``least``, and fill its gradient.

    ``field`` and ``gradient``, initialized to 0, are (n, 3, z, y, x). Even layers of cells are
    processed first, then odd ones, so that no two threads write to the same voxel.
    """
    count, depth, height, width = len(field), *(size - 1 for size in field.shape[2:])
    total = np.zeros(count * depth)
    scale = np.float32(1.0 / (8.0 * count * depth * height * width))
    for parity in range(2):
        layers = count * ((depth + 1 - parity) // 2)
        _shortfall_of_layers(layers, field, least, scale, parity, gradient, total)
    return float(total.sum() * scale)


@in_chunks(least=1, fastmath=True)
def _shortfall_of_layers(  # type: ignore[no-untyped-def]
    first, last, field, least, scale, parity, gradient, total
):
    """Add the contribution of every other layer to ``gradient``, and its sum to ``total``."""
    depth, height, width = field.shape[2] - 1, field.shape[3] - 1, field.shape[4] - 1
    layers = (depth + 1 - parity) // 2
    regular = np.float32(1.0) - np.float32(least) ** np.float32(1.0 / 3.0)
    for job in range(first, last):
        n, z = job // layers, 2 * (job % layers) + parity
        summed = np.float64(0.0)
        for y in range(height):
            for x in range(width):
                if _edge_bound(field, n, z, y, x) < regular:
                    continue
                for corner in range(8):
                    i, j, k = corner >> 2, (corner >> 1) & 1, corner & 1
                    a0, a1, a2, b0, b1, b2, c0, c1, c2 = _edges(field, n, z, y, x, i, j, k)
                    p0, p1, p2 = b1 * c2 - b2 * c1, b2 * c0 - b0 * c2, b0 * c1 - b1 * c0
                    short = least - (a0 * p0 + a1 * p1 + a2 * p2)
                    if short <= 0:
                        continue
                    summed += short * short
                    f = np.float32(-2.0) * short * scale
                    s = gradient[n]
                    q0, q1, q2 = c1 * a2 - c2 * a1, c2 * a0 - c0 * a2, c0 * a1 - c1 * a0
                    r0, r1, r2 = a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0
                    s[0, z + 1, y + j, x + k] += f * p0
                    s[1, z + 1, y + j, x + k] += f * p1
                    s[2, z + 1, y + j, x + k] += f * p2
                    s[0, z, y + j, x + k] -= f * p0
                    s[1, z, y + j, x + k] -= f * p1
                    s[2, z, y + j, x + k] -= f * p2
                    s[0, z + i, y + 1, x + k] += f * q0
                    s[1, z + i, y + 1, x + k] += f * q1
                    s[2, z + i, y + 1, x + k] += f * q2
                    s[0, z + i, y, x + k] -= f * q0
                    s[1, z + i, y, x + k] -= f * q1
                    s[2, z + i, y, x + k] -= f * q2
                    s[0, z + i, y + j, x + 1] += f * r0
                    s[1, z + i, y + j, x + 1] += f * r1
                    s[2, z + i, y + j, x + 1] += f * r2
                    s[0, z + i, y + j, x] -= f * r0
                    s[1, z + i, y + j, x] -= f * r1
                    s[2, z + i, y + j, x] -= f * r2
        total[n * depth + z] = summed

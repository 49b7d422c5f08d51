"""What a deformation must pay for: roughness, imbalance of the halves, folds.

Fields are (n, 3, z, y, x), components (z, y, x) in voxels of their own grid; every penalty is a
scalar tensor.
"""

from __future__ import annotations

import torch


def roughness(velocity: torch.Tensor) -> torch.Tensor:
    """Mean squared forward difference of a velocity, over the three axes."""
    dz = (velocity[:, :, 1:] - velocity[:, :, :-1]).square().mean()
    dy = (velocity[:, :, :, 1:] - velocity[:, :, :, :-1]).square().mean()
    dx = (velocity[..., 1:] - velocity[..., :-1]).square().mean()
    return (dz + dy + dx) / 3


def imbalance(velocities: torch.Tensor) -> torch.Tensor:
    """How far the halves differ in magnitude: keeps the half-way point half-way (Mok and Chung).

    ``velocities`` is (2, 3, z, y, x); 0 where ``v_fixed = -v_moving``. Published as the difference
    of mean squares; as the mean square of the sum it also forbids that both drift together.
    """
    return (velocities[0] + velocities[1]).square().mean()


def jacobian_determinant(displacement: torch.Tensor) -> torch.Tensor:
    """Determinant of ``p -> p + u(p)`` by forward differences, (n, z - 1, y - 1, x - 1)."""
    core = displacement[:, :, :-1, :-1, :-1]
    z = displacement[:, :, 1:, :-1, :-1] - core
    y = displacement[:, :, :-1, 1:, :-1] - core
    x = displacement[:, :, :-1, :-1, 1:] - core
    az, ay, ax = 1 + z[:, 0], z[:, 1], z[:, 2]
    bz, by, bx = y[:, 0], 1 + y[:, 1], y[:, 2]
    cz, cy, cx = x[:, 0], x[:, 1], 1 + x[:, 2]
    return az * (by * cx - bx * cy) - ay * (bz * cx - bx * cz) + ax * (bz * cy - by * cz)


def small_jacobian(displacement: torch.Tensor, least: float = 0.3) -> torch.Tensor:
    """Mean of how far the determinant falls below ``least``: acts before anything folds."""
    return (least - jacobian_determinant(displacement)).clamp(min=0.0).square().mean()


def log_jacobian(displacement: torch.Tensor, least: float = 0.05) -> torch.Tensor:
    """Mean squared logarithm of the determinant: swelling and shrinking cost the same."""
    return jacobian_determinant(displacement).clamp(min=least).log().square().mean()

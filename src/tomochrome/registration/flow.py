"""One stationary velocity for both directions, which the refinement optimizes.

With ``v_moving = v`` and ``v_fixed = -v`` the half-way space is balanced by construction, the
forward map is ``exp(v) o exp(v)`` and the inverse map ``exp(-v) o exp(-v)``: this needs two
integrations, where two independent velocities need four (see `velocity`), and the half-way maps
are the second-to-last step. On the CPU compiled kernels compute values and gradients; other
devices use torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tomochrome.registration.velocity import Shape, compose, resize_field, warp


def antisymmetric(velocities: torch.Tensor) -> torch.Tensor:
    """Return the antisymmetric part ``v`` (1, 3, z, y, x) of a pair's velocities.

    The symmetric part only moves the half-way space; it changes the forward map by no more than
    the commutator.
    """
    return (velocities[1:] - velocities[:1]) / 2


def both_velocities(velocity: torch.Tensor) -> torch.Tensor:
    """Return the velocities (2, 3, z, y, x) of fixed and moving image for ``v``."""
    return torch.cat([-velocity, velocity])


class _Flow(torch.autograd.Function):
    """Scaling and squaring of ``v`` and ``-v``, with components last."""

    @staticmethod
    def forward(
        ctx: Any, velocity: torch.Tensor, squarings: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        from tomochrome.registration import flow_kernels

        ctx.squarings = squarings
        ctx.set_materialize_grads(False)
        first = velocity.detach().permute(0, 2, 3, 4, 1) / 2**squarings
        steps = [torch.cat([first, -first]).contiguous().numpy()]
        for _ in range(squarings + 1):
            steps.append(np.empty_like(steps[-1]))
            flow_kernels.square(steps[-2], steps[-1])
        ctx.steps = steps[:-1]
        return torch.from_numpy(steps[-1]), torch.from_numpy(steps[-2])

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor | None) -> tuple[torch.Tensor | None, None]:
        from tomochrome.registration import flow_kernels

        full, half = upstream
        gradient = np.zeros_like(ctx.steps[0])
        if full is not None:
            flow_kernels.square_adjoint(ctx.steps[-1], full.contiguous().numpy(), gradient)
        if half is not None:
            gradient += half.numpy()
        for step in ctx.steps[-2::-1]:
            before = np.zeros_like(step)
            flow_kernels.square_adjoint(step, gradient, before)
            gradient = before
        d_first = torch.from_numpy(gradient[:1] - gradient[1:]) / 2**ctx.squarings
        return d_first.permute(0, 4, 1, 2, 3), None


def flow(velocity: torch.Tensor, squarings: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate a velocity in both directions.

    Parameters
    ----------
    velocity
        (1, 3, z, y, x), at least two voxels along each axis.
    squarings
        The half-way maps are integrated in ``2 ** squarings`` steps.

    Returns
    -------
    full, half
        Each (2, z, y, x, 3), with components (z, y, x) last: forward and inverse displacement;
        displacements from half-way points to moving and to fixed points.
    """
    if velocity.device.type == "cpu" and velocity.dtype == torch.float32:
        done: tuple[torch.Tensor, torch.Tensor] = _Flow.apply(velocity, squarings)  # type: ignore[no-untyped-call]
        return done
    half = torch.cat([velocity, -velocity]) / 2**squarings
    for _ in range(squarings):
        half = compose(half, half)
    full = compose(half, half)
    return full.permute(0, 2, 3, 4, 1), half.permute(0, 2, 3, 4, 1)


class _Through(torch.autograd.Function):
    """Warping by a coarser displacement, differentiable with respect to the displacement."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        from tomochrome.registration import flow_kernels

        arrays = images.detach()[:, 0].contiguous().numpy(), field.detach().contiguous().numpy()
        sizes = zip(arrays[0].shape[1:], arrays[1].shape[1:4], strict=True)
        scale = np.array([(fine - 1) / (coarse - 1) for fine, coarse in sizes], np.float32)
        out = np.empty_like(arrays[0])
        flow_kernels.sample_through(*arrays, scale, out)
        ctx.arrays = *arrays, scale
        return torch.from_numpy(out)[:, None]

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[None, torch.Tensor]:
        from tomochrome.registration import flow_kernels

        image, field, scale = ctx.arrays
        gradient = np.zeros_like(field)
        up = upstream[0][:, 0].contiguous().numpy()
        flow_kernels.gradient_through(image, field, scale, up, gradient)
        return None, torch.from_numpy(gradient)


def sample_through(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Warp images by a displacement on a coarser grid with the same corners.

    Parameters
    ----------
    images
        (n, 1, z, y, x), not differentiated.
    field
        (n, Z, Y, X, 3) as returned by `flow`, in voxels of its own grid.

    Returns
    -------
    Tensor
        (n, 1, z, y, x).
    """
    if images.device.type == "cpu" and images.dtype == field.dtype == torch.float32:
        done: torch.Tensor = _Through.apply(images, field)  # type: ignore[no-untyped-call]
        return done
    z, y, x = images.shape[2:]
    shape: Shape = (z, y, x)
    return warp(images, resize_field(field.permute(0, 4, 1, 2, 3), shape))

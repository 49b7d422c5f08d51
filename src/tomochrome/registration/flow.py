"""One stationary velocity for both directions: what the refinement of a pair works on.

With ``v_moving = v`` and ``v_fixed = -v`` the half-way point lies half-way by construction, the
forward map is ``exp(v) o exp(v)`` and the inverse ``exp(-v) o exp(-v)``: two fields are integrated
where two free velocities need four (see `velocity`), and the half-way maps are the last but one
step of the integration. On the CPU compiled loops find values and derivatives; elsewhere torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tomochrome.registration.velocity import Shape, compose, resize_field, warp


def antisymmetric(velocities: torch.Tensor) -> torch.Tensor:
    """Return the velocity ``v`` (1, 3, z, y, x) whose flow is nearest to that of a pair's two.

    What both have in common moves the half-way point only; it changes the forward map by no more
    than their commutator.
    """
    return (velocities[1:] - velocities[:1]) / 2


def both_velocities(velocity: torch.Tensor) -> torch.Tensor:
    """Return the velocities (2, 3, z, y, x) of fixed and moving image that ``v`` stands for."""
    return torch.cat([-velocity, velocity])


class _Flow(torch.autograd.Function):
    """Scaling and squaring of ``v`` and ``-v``, components last."""

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

        whole, half = upstream
        slope = np.zeros_like(ctx.steps[0])
        if whole is not None:
            flow_kernels.square_adjoint(ctx.steps[-1], whole.contiguous().numpy(), slope)
        if half is not None:
            slope += half.numpy()
        for step in ctx.steps[-2::-1]:
            before = np.zeros_like(step)
            flow_kernels.square_adjoint(step, slope, before)
            slope = before
        of_first = torch.from_numpy(slope[:1] - slope[1:]) / 2**ctx.squarings
        return of_first.permute(0, 4, 1, 2, 3), None


def flow(velocity: torch.Tensor, squarings: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate a velocity both ways.

    Parameters
    ----------
    velocity
        (1, 3, z, y, x), two voxels or more along each axis.
    squarings
        The half-way maps take ``2 ** squarings`` steps.

    Returns
    -------
    whole, half
        Each (2, z, y, x, 3), components (z, y, x) last: forward and inverse displacement; from
        half-way points to moving and to fixed points.
    """
    if velocity.device.type == "cpu" and velocity.dtype == torch.float32:
        done: tuple[torch.Tensor, torch.Tensor] = _Flow.apply(velocity, squarings)  # type: ignore[no-untyped-call]
        return done
    half = torch.cat([velocity, -velocity]) / 2**squarings
    for _ in range(squarings):
        half = compose(half, half)
    whole = compose(half, half)
    return whole.permute(0, 2, 3, 4, 1), half.permute(0, 2, 3, 4, 1)


class _Through(torch.autograd.Function):
    """Sampling through a coarser displacement, derivative with respect to it only."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        from tomochrome.registration import flow_kernels

        known = images.detach()[:, 0].contiguous().numpy(), field.detach().contiguous().numpy()
        sizes = zip(known[0].shape[1:], known[1].shape[1:4], strict=True)
        scale = np.array([(fine - 1) / (coarse - 1) for fine, coarse in sizes], np.float32)
        out = np.empty_like(known[0])
        flow_kernels.sample_through(*known, scale, out)
        ctx.known = *known, scale
        return torch.from_numpy(out)[:, None]

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[None, torch.Tensor]:
        from tomochrome.registration import flow_kernels

        image, field, scale = ctx.known
        slope = np.zeros_like(field)
        up = upstream[0][:, 0].contiguous().numpy()
        flow_kernels.slope_through(image, field, scale, up, slope)
        return None, torch.from_numpy(slope)


def sample_through(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Sample images where a displacement on a coarser grid with the same corners points to.

    Parameters
    ----------
    images
        (n, 1, z, y, x); no derivative is taken with respect to them.
    field
        (n, Z, Y, X, 3) as of `flow`, in voxels of its own grid.

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

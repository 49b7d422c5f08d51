"""Stationary velocity fields: warping, composition, exponentials, and both directions of a pair.

Conventions in `tomochrome.registration`: a field is a tensor (n, 3, z, y, x) whose components
are (z, y, x) in voxels of its own grid. Warping pulls back: the image warped by ``u`` has at
``p`` the value of the original at ``p + u(p)``. Coarse and fine grids of a volume share their
corner voxels (``align_corners=True``), so a resized field stays within the data, and its
components are scaled by ``(fine - 1) / (coarse - 1)``.

A pair has two velocities: ``exp(v_fixed)`` and ``exp(v_moving)`` map points of the half-way
space to the fixed and to the moving image. The forward map, from fixed to moving points, is
``exp(v_moving) o exp(-v_fixed)``; the inverse map is ``exp(v_fixed) o exp(-v_moving)``. Both are
computed from the same two fields, so that exchanging the images exchanges the maps (Mok and
Chung, "Fast Symmetric Diffeomorphic Image Registration with Convolutional Neural Networks",
CVPR 2020).

The refinement optimizes one velocity for both directions (`flow`). With ``v_moving = v`` and
``v_fixed = -v`` the half-way space is balanced by construction, the forward map is
``exp(v) o exp(v)`` and the inverse map ``exp(-v) o exp(-v)``: this needs two integrations, where
two independent velocities need four, and the half-way maps are the second-to-last step.

On the CPU compiled kernels compute values and gradients (`warp_kernels`); other devices use torch.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.registration import warp_kernels as kernels
from tomochrome.registration.similarity_losses import box_sums
from tomochrome.runtime import check

Shape = tuple[int, int, int]


class _Warp(torch.autograd.Function):
    """Trilinear interpolation by compiled kernels, differentiable in both arguments."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(image, displacement)
        out = image.new_empty((image.shape[0], image.shape[1], *displacement.shape[2:]))
        kernels.sample(_array(image), _array(displacement), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        image, displacement = ctx.saved_tensors
        up, d_image, d_displacement = _array(upstream[0]), None, None
        if ctx.needs_input_grad[0]:
            d_image = torch.zeros_like(image, memory_format=torch.contiguous_format)
            kernels.sample_adjoint(_array(displacement), up, d_image.numpy())
        if ctx.needs_input_grad[1]:
            d_displacement = torch.empty_like(displacement, memory_format=torch.contiguous_format)
            kernels.sample_gradient(_array(image), _array(displacement), up, d_displacement.numpy())
        return d_image, d_displacement


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().contiguous().numpy()


def warp(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Warp an image by a displacement with trilinear interpolation; differentiable in both.

    Parameters
    ----------
    image
        (n, c, Z, Y, X).
    displacement
        (n, 3, z, y, x) in voxels of ``image``, added to each voxel's index. Positions outside
        the image get the value of the nearest voxel.

    Returns
    -------
    Tensor
        (n, c, z, y, x).
    """
    if image.device.type == "cpu" and image.dtype == torch.float32:
        done: torch.Tensor = _Warp.apply(image, displacement.to(image.dtype))  # type: ignore[no-untyped-call]
        return done
    size = torch.tensor(image.shape[2:], device=image.device).to(displacement).view(1, 3, 1, 1, 1)
    # from voxels (z, y, x) to `grid_sample`'s -1 to 1, x first
    scaled = 2 * positions(displacement) / (size - 1).clamp(min=1) - 1
    return torch.nn.functional.grid_sample(
        image,
        scaled.flip(1).permute(0, 2, 3, 4, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )


def warp_nearest(image: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Warp with nearest-neighbor interpolation, for labels of any dtype; see `warp`."""
    points = positions(displacement).round().long()
    limits = torch.tensor(image.shape[2:], device=image.device).view(1, 3, 1, 1, 1) - 1
    z, y, x = torch.minimum(points.clamp(min=0), limits).unbind(1)
    return torch.stack([image[n][:, z[n], y[n], x[n]] for n in range(len(image))])


def positions(displacement: torch.Tensor) -> torch.Tensor:
    """Return each voxel's index plus its displacement, (n, 3, z, y, x)."""
    axes = [torch.arange(n, device=displacement.device) for n in displacement.shape[2:]]
    return displacement + torch.stack(torch.meshgrid(*axes, indexing="ij")).to(displacement)


def compose(outer: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
    """Return the displacement of ``outer o inner``: ``inner`` is applied first."""
    return inner + warp(outer, inner)


def exponential(velocity: torch.Tensor, squarings: int = 7) -> torch.Tensor:
    """Integrate a stationary velocity over unit time by scaling and squaring.

    Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006.

    Parameters
    ----------
    velocity
        (n, 3, z, y, x).
    squarings
        Unit time is divided into ``2 ** squarings`` steps.
    """
    displacement = velocity / 2**squarings
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement


def resize(values: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Resample (n, c, z, y, x) trilinearly to a grid with the same corner voxels."""
    return _resampled(values, shape, smoothing=False)


def resize_field(field: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Resize a field as `resize` does, and scale its components to voxels of the new grid."""
    scale = [(new - 1) / max(old - 1, 1) for new, old in zip(shape, field.shape[2:], strict=True)]
    factor = torch.tensor(scale, device=field.device).to(field).view(1, 3, 1, 1, 1)
    return resize(field, shape) * factor


def smaller(shape: Shape, factor: int) -> Shape:
    """Return the shape downsampled by ``factor``, but not below 8 voxels per axis."""
    z, y, x = (max(min(n, 8), -(-n // factor)) for n in shape)
    return z, y, x


def shrink(values: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Downsample as `resize` does, with Gaussian smoothing against aliasing."""
    return _resampled(values, shape, smoothing=True)


def _resampled(values: torch.Tensor, shape: Shape, *, smoothing: bool) -> torch.Tensor:
    """Multiply by one small matrix per axis, which is fast on CPU and GPU, also backwards."""
    for axis, size in enumerate(shape, 2):
        if values.shape[axis] == size:
            continue
        check()
        matrix = _weights(values.shape[axis], size, smoothing, values.device, values.dtype)
        if axis == 4:
            values = values @ matrix.T
            continue
        sizes = list(values.shape)
        before = math.prod(sizes[:axis])
        stacked = values.reshape(before, sizes[axis], -1)
        sizes[axis] = size
        values = torch.bmm(matrix.expand(before, -1, -1), stacked).view(sizes)
    return values.contiguous()


@lru_cache(maxsize=64)
def _weights(
    old: int, new: int, smoothing: bool, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the matrix (new, old) between grids with common ends: Gaussian or linear weights.

    It is cached, because each transfer would stall a GPU.
    """
    at = np.linspace(0.0, old - 1.0, new) if new > 1 else np.array([(old - 1) / 2])
    distance = np.abs(at[:, None] - np.arange(old)[None, :])
    if smoothing:
        step = (old - 1) / max(new - 1, 1)
        sigma = max(0.45 * step, 0.3)
        weights = np.exp(-0.5 * (distance / sigma) ** 2)
    else:
        weights = np.maximum(0.0, 1.0 - distance)
    return torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).to(device, dtype)


class PairFields(NamedTuple):
    """Displacements of a pair in voxels, each (1, 3, z, y, x)."""

    forward: torch.Tensor  #: from fixed points to moving points
    inverse: torch.Tensor  #: from moving points to fixed points
    to_fixed: torch.Tensor  #: from half-way points to fixed points
    to_moving: torch.Tensor  #: from half-way points to moving points


def pair_fields(velocities: torch.Tensor, squarings: int = 7) -> PairFields:
    """Integrate both velocities of a pair and compose both directions from the halves.

    Parameters
    ----------
    velocities
        (2, 3, z, y, x) of the fixed and the moving image.
    squarings
        As for `exponential`.

    Raises
    ------
    OptionError
        If there are not two velocity fields.
    """
    check_pair(velocities)
    halves = exponential(torch.cat([velocities, -velocities]), squarings)
    # exp(v_moving) o exp(-v_fixed), exp(v_fixed) o exp(-v_moving)
    both = compose(halves[:2].flip(0), halves[2:])
    return PairFields(both[:1], both[1:], halves[:1], halves[1:2])


def check_pair(velocities: torch.Tensor) -> None:
    """Raise `OptionError` if the shape is not that of a pair of velocities."""
    if velocities.ndim != 5 or velocities.shape[:2] != (2, 3):
        raise OptionError(
            f"velocities of a pair must have shape (2, 3, z, y, x), not {tuple(velocities.shape)}"
        )


def to_mm(displacement: torch.Tensor, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a displacement from voxels to LPS mm.

    Parameters
    ----------
    displacement
        (1, 3, z, y, x) in voxels (z, y, x).
    affine
        4x4 of the grid, from (z, y, x) index to LPS mm.

    Returns
    -------
    ndarray
        float64 (z, y, x, 3): dx, dy, dz in LPS mm.
    """
    voxels = displacement[0].detach().permute(1, 2, 3, 0).double().cpu().numpy()
    return np.asarray(voxels @ np.asarray(affine)[:3, :3].T)


def integrate(
    velocities: torch.Tensor, shape: Shape, *, shrink_by: int = 2, squarings: int = 6
) -> PairFields:
    """Integrate a pair's velocities at reduced resolution, and compose them at full resolution.

    The half-way maps are smooth enough for the coarse grid; composing them there would increase
    the inverse consistency error by interpolation.

    Parameters
    ----------
    velocities
        (2, 3, z, y, x), on any grid with the corners of the full one.
    shape
        The full grid, (z, y, x).
    shrink_by
        Downsampling factor of the grid for the integration.
    squarings
        As for `exponential`.

    Returns
    -------
    PairFields
        In voxels of the full grid.
    """
    check_pair(velocities)
    z, y, x = (max(2, -(-n // shrink_by)) for n in shape)
    small = resize_field(velocities, (z, y, x))
    balanced = torch.equal(small[0], -small[1])  # the half-way maps are inverse to each other
    integrated = exponential(small if balanced else torch.cat([small, -small]), squarings)
    check()
    halves = resize_field(integrated, shape)
    check()
    inverses = halves[:2].flip(0) if balanced else halves[2:]
    both = compose(halves[:2].flip(0), inverses)
    return PairFields(both[:1], both[1:], halves[:1], halves[1:2])


def reduce_inverse_error(
    forward: torch.Tensor, inverse: torch.Tensor, rounds: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reduce the inverse consistency error by subtracting half of it from each direction.

    With linear interpolation the two directions are inverse only up to a fraction of a voxel
    where the deformation is strong. The correction is symmetric in both, and smoothed so that it
    does not cause folds.
    """
    for _ in range(rounds):
        forward_error = smooth(compose(inverse, forward))
        check()
        inverse_error = smooth(compose(forward, inverse))
        check()
        forward, inverse = forward - forward_error / 2, inverse - inverse_error / 2
    return forward, inverse


class _Smooth(torch.autograd.Function):
    """Mean over the 3 x 3 x 3 neighborhood of each voxel, restricted to the grid."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return _box_mean(values, adjoint=False)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> torch.Tensor:
        return _box_mean(upstream[0], adjoint=True)


def _box_mean(values: torch.Tensor, *, adjoint: bool) -> torch.Tensor:
    count = torch.ones((), device=values.device, dtype=values.dtype)
    for axis, size in enumerate(values.shape[2:]):
        along = torch.full((size,), 3.0, device=values.device, dtype=values.dtype)
        along[0] -= 1
        along[-1] -= 1
        count = count * along.view([-1 if k == axis else 1 for k in range(3)])
    flat = (values / count if adjoint else values).flatten(0, 1)
    done = box_sums(flat, 1).view(values.shape)
    return done if adjoint else done / count


def smooth(values: torch.Tensor, passes: int = 2) -> torch.Tensor:
    """Apply a 3 x 3 x 3 mean filter repeatedly; differentiable."""
    for _ in range(passes):
        values = _Smooth.apply(values)  # type: ignore[no-untyped-call]
    return values


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
        ctx.squarings = squarings
        ctx.set_materialize_grads(False)
        first = velocity.detach().permute(0, 2, 3, 4, 1) / 2**squarings
        steps = [torch.cat([first, -first]).contiguous().numpy()]
        for _ in range(squarings + 1):
            steps.append(np.empty_like(steps[-1]))
            kernels.square(steps[-2], steps[-1])
        ctx.steps = steps[:-1]
        return torch.from_numpy(steps[-1]), torch.from_numpy(steps[-2])

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor | None) -> tuple[torch.Tensor | None, None]:
        full, half = upstream
        gradient = np.zeros_like(ctx.steps[0])
        if full is not None:
            kernels.square_adjoint(ctx.steps[-1], full.contiguous().numpy(), gradient)
        if half is not None:
            gradient += half.numpy()
        for step in ctx.steps[-2::-1]:
            before = np.zeros_like(step)
            kernels.square_adjoint(step, gradient, before)
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
        arrays = images.detach()[:, 0].contiguous().numpy(), field.detach().contiguous().numpy()
        sizes = zip(arrays[0].shape[1:], arrays[1].shape[1:4], strict=True)
        scale = np.array([(fine - 1) / (coarse - 1) for fine, coarse in sizes], np.float32)
        out = np.empty_like(arrays[0])
        kernels.sample_through(*arrays, scale, out)
        ctx.arrays = *arrays, scale
        return torch.from_numpy(out)[:, None]

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[None, torch.Tensor]:
        image, field, scale = ctx.arrays
        gradient = np.zeros_like(field)
        up = upstream[0][:, 0].contiguous().numpy()
        kernels.gradient_through(image, field, scale, up, gradient)
        return None, torch.from_numpy(gradient)


def sample_through(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Warp images by a displacement on a coarser grid with the same corners.

    Parameters
    ----------
    images
        (n, channels, z, y, x), not differentiated.
    field
        (n, Z, Y, X, 3) as returned by `flow`, in voxels of its own grid.

    Returns
    -------
    Tensor
        (n, channels, z, y, x).
    """
    if images.device.type == "cpu" and images.dtype == field.dtype == torch.float32:
        parts = [_Through.apply(image, field) for image in images.split(1, dim=1)]  # type: ignore[no-untyped-call]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
    z, y, x = images.shape[2:]
    shape: Shape = (z, y, x)
    return warp(images, resize_field(field.permute(0, 4, 1, 2, 3), shape))


class _Squares(torch.autograd.Function):
    """Squared difference of warped features, differentiable with respect to the displacement."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, displacement: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        sums = np.empty(rows.shape[:2])
        gradient = torch.empty_like(displacement, memory_format=torch.contiguous_format)
        arrays = (_array(values) for values in (rows, displacement, weight))
        kernels.squares(*arrays, sums, gradient.numpy())
        ctx.save_for_backward(gradient)
        return displacement.new_tensor(sums.sum(axis=1))

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, gradient * upstream[0].view(-1, 1, 1, 1, 1), None


def squares_through(
    rows: torch.Tensor, field: torch.Tensor, masks: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean squared difference of each scan's features and the other's, warped.

    Parameters
    ----------
    rows
        Features of a fixed and a moving scan on one grid, float32 (2, z, y, x, channels) on the
        CPU, not differentiated.
    field
        (2, Z, Y, X, 3) as returned by `flow`, in voxels of its own grid.
    masks
        (2, 1, z, y, x) of the two scans; None for all voxels.

    Returns
    -------
    Tensor
        (2,): the means of the sum over the channels, in fixed and in moving space.
    """
    z, y, x = rows.shape[1:4]
    dense = resize_field(field.movedim(-1, 1), (z, y, x))
    weight = rows.new_ones(rows.shape[:4])
    if masks is not None:
        weight = (masks * sample_through(masks.flip(0), field.detach()))[:, 0]
    sums: torch.Tensor = _Squares.apply(rows, dense, weight)  # type: ignore[no-untyped-call]
    return sums / weight.sum(dim=(1, 2, 3)).clamp(min=1e-6)

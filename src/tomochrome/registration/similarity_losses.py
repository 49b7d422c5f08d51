"""Similarity measures: local correlation, mutual information, MIND-SSC, mean squares.

Every loss is a scalar tensor, lower for more similar images, and differentiable in both images,
which are (1, 1, z, y, x) on one grid; ``weight`` of the same shape contains voxel weights (masks,
field of view) and is not differentiated. On the CPU compiled kernels compute the local correlation
(`_Correlation`); other devices and data types use torch (`_LocalCorrelation`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from tomochrome.errors import OptionError
from tomochrome.geometry import box_kernels
from tomochrome.runtime.kernels import in_chunks

_EPSILON = 1e-7  # added to the product of variances; variations below 15 HU or 2 % are flat
Loss = Callable[..., torch.Tensor]
F32 = NDArray[np.float32]
# Vectorization of `max`, but neither reassociation nor contraction: whether a loop runs vectorized
# can depend on the addresses of its arrays (LLVM's checks for overlap), and results must not.
_FLAGS = {"nnan", "ninf", "nsz"}


def box_sums(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Sum (c, z, y, x) over cubes of side ``2 * radius + 1`` around each voxel, zero-padded."""
    if values.device.type == "cpu":
        out = torch.empty_like(values, memory_format=torch.contiguous_format)
        box_kernels.box_sums(values.detach().contiguous().numpy(), radius, out.numpy())
        return out
    return cumulative_box_sums(values, radius)


def cumulative_box_sums(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Compute `box_sums` on any device by differences of cumulative sums along each axis."""
    for axis in (1, 2, 3):
        size = values.shape[axis]
        sums = torch.cumsum(values, axis)
        high = (torch.arange(size, device=values.device) + radius).clamp(max=size - 1)
        low = torch.arange(size, device=values.device) - radius - 1
        below = sums.index_select(axis, low.clamp(min=0))
        shape = [1, 1, 1, 1]
        shape[axis] = size
        values = sums.index_select(axis, high) - below * (low >= 0).view(shape)
    return values


class _Correlation(torch.autograd.Function):
    """`local_correlation` by compiled kernels, which compute value and gradient together."""

    @staticmethod
    def forward(
        ctx: Any, a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None, radius: int
    ) -> torch.Tensor:
        p, q = (t.detach()[0, 0].contiguous().numpy() for t in (a, b))
        w = p if weight is None else weight.detach()[0, 0].contiguous().numpy()
        total = float(p.size) if weight is None else max(float(weight.sum()), 1e-6)
        both = bool(ctx.needs_input_grad[0])
        parts = np.empty((5 if both else 3, *p.shape), np.float32)
        images = Images(p, q, w, weight is not None, radius)
        value = correlate(images, np.float32(total), np.float32(_EPSILON), parts)
        ctx.arrays = images, parts
        return a.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, parts = ctx.arrays
        both = len(parts) == 5
        d_q = np.empty_like(images.q)
        d_p = np.empty_like(images.p) if both else d_q
        correlate_gradient(images, parts, np.float32(upstream[0].item()), d_p, d_q)
        gradients = [torch.from_numpy(s)[None, None] for s in (d_p, d_q)]
        return gradients[0] if both else None, gradients[1], None, None


class _LocalCorrelation(torch.autograd.Function):
    """Weighted mean of the squared local correlation on any device, with an explicit gradient."""

    @staticmethod
    def forward(
        ctx: Any, a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None, radius: int
    ) -> torch.Tensor:
        p, q = a[0], b[0]
        if weight is None:
            w = torch.ones_like(p)
            sums = box_sums(torch.cat([p, q, p * p, q * q, p * q, w]), radius)
            total = torch.tensor(float(w.numel()), device=p.device, dtype=p.dtype)
        else:
            w = weight[0]
            wp, wq = w * p, w * q
            sums = box_sums(torch.cat([wp, wq, wp * p, wq * q, wp * q, w]), radius)
            total = w.sum().clamp(min=1e-6)
        count = sums[5:].clamp(min=1e-3)
        mean_p, mean_q = sums[0:1] / count, sums[1:2] / count
        var_p = (sums[2:3] / count - mean_p * mean_p).clamp(min=0.0)
        var_q = (sums[3:4] / count - mean_q * mean_q).clamp(min=0.0)
        cross = sums[4:5] / count - mean_p * mean_q
        ratio = cross / (var_p * var_q + _EPSILON)
        local = cross * ratio
        share = w / total / count
        ctx.radius = radius
        ctx.save_for_backward(p, q, w, mean_p, mean_q, var_p, var_q, ratio, share)
        return (w * local).sum() / total

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        p, q, w, mean_p, mean_q, var_p, var_q, ratio, share = ctx.saved_tensors
        d_cross = 2 * ratio * share
        square = -ratio * ratio * share
        d_p, d_q = 2 * square * var_q, 2 * square * var_p
        parts = [
            d_cross, d_p, d_cross * mean_q + d_p * mean_p,
            d_q, d_cross * mean_p + d_q * mean_q,
        ]  # fmt: skip
        s = box_sums(torch.cat(parts), ctx.radius)
        grad_p = w * (q * s[0:1] + p * s[1:2] - s[2:3]) * upstream[0]
        grad_q = w * (p * s[0:1] + q * s[3:4] - s[4:5]) * upstream[0]
        return grad_p[None], grad_q[None], None, None


def local_correlation(
    a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None, *, radius: int = 3
) -> torch.Tensor:
    """Return the mean squared correlation in cubes of side ``2 * radius + 1``, 0 to 1 (best).

    Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical
    Image Analysis 12 (2008). With running sums, the cost does not depend on the radius.
    """
    compiled = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    function = _Correlation if compiled else _LocalCorrelation
    done: torch.Tensor = function.apply(a, b, weight, radius)  # type: ignore[no-untyped-call]
    return done


def lncc(
    a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None, *, radius: int = 3
) -> torch.Tensor:
    """Return the loss 1 - `local_correlation`."""
    return 1.0 - local_correlation(a, b, weight, radius=radius)


def mean_squares(
    a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the weighted mean of squared differences as a loss; of channels the sum."""
    return _mean((a - b).square().sum(dim=1, keepdim=True), weight)


def mutual_information(
    a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None, *, bins: int = 24
) -> torch.Tensor:
    """Return the negative mutual information, in nats, of a soft joint histogram as a loss.

    Each value is distributed over the two nearest bins (linear Parzen window); the bins cover the
    current range of values of each image.
    """
    rows, row_share = _soft_bins(a, bins)
    columns, column_share = _soft_bins(b, bins)
    w = torch.ones_like(a) if weight is None else weight
    joint = a.new_zeros(bins * bins)
    flat = w.flatten() / w.sum().clamp(min=1e-6)
    for i, p in ((rows, 1 - row_share), (rows + 1, row_share)):
        for j, q in ((columns, 1 - column_share), (columns + 1, column_share)):
            joint = joint.index_add(0, i * bins + j, flat * p * q)
    joint = joint.view(bins, bins)
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return -(joint * ((joint + 1e-9).log() - (independent + 1e-9).log())).sum()


def _soft_bins(values: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index of the lower bin (flat) and the share of the upper one."""
    flat = values.flatten()
    low, high = flat.detach().amin(), flat.detach().amax()
    at = (flat - low) / (high - low).clamp(min=1e-6) * (bins - 1.001)
    index = at.detach().floor().clamp(0, bins - 2)
    return index.long(), at - index


_NEIGHBORS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))


def mind_descriptor(image: torch.Tensor, *, step: int = 2, radius: int = 1) -> torch.Tensor:
    """Return the 12 channels of MIND-SSC, (1, 12, z, y, x), each 0 to 1.

    Heinrich et al., "Towards Realtime Multimodal Fusion for Image-Guided Interventions Using
    Self-similarities", MICCAI 2013: patch distances between those pairs of the six neighbors of
    a voxel that are sqrt(2) steps apart, divided by their mean, through exp(-x).
    """
    pad = torch.nn.functional.pad(image, (step,) * 6, mode="replicate")
    z, y, x = image.shape[2:]
    shifted = [
        pad[:, :, step * (1 + i) :, step * (1 + j) :, step * (1 + k) :][:, :, :z, :y, :x]
        for i, j, k in _NEIGHBORS
    ]
    # 12 pairs, without opposite neighbors
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if i // 2 != j // 2]
    squares = torch.cat([(shifted[i] - shifted[j]).square() for i, j in pairs], dim=1)
    size = 2 * radius + 1
    padded = torch.nn.functional.pad(squares, (radius,) * 6, mode="replicate")
    distance = torch.nn.functional.avg_pool3d(padded, size, stride=1)
    distance = distance - distance.amin(dim=1, keepdim=True)
    spread = distance.mean(dim=1, keepdim=True)
    middle = spread.detach().mean()
    spread = spread.clamp(min=float(middle) * 1e-3 + 1e-12, max=float(middle) * 1e3 + 1e-12)
    return torch.exp(-distance / spread)


def mind(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return the weighted mean squared difference of `mind_descriptor` as a loss."""
    difference = (mind_descriptor(a) - mind_descriptor(b)).square().mean(dim=1, keepdim=True)
    return _mean(difference, weight)


def _mean(values: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    if weight is None:
        return values.mean()
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)


def similarity(name: str) -> tuple[Loss, float]:
    """Return the loss with a name, and the factor that scales it like LNCC.

    Raises
    ------
    OptionError
        If the name is unknown.
    """
    losses: dict[str, tuple[Loss, float]] = {
        "lncc": (lncc, 1.0),
        "features": (lncc, 1.0),
        "mi": (mutual_information, 0.7),
        "mind": (mind, 12.0),
        "mse": (mean_squares, 15.0),
    }
    if name not in losses:
        raise OptionError(f"unknown similarity '{name}': choose one of {', '.join(losses)}")
    return losses[name]


# Compiled kernels of the local correlation: value and gradient, in two passes each. Sums over cubes
# are computed along y together with the products, then along z and x together with the result.
# Entire rows are processed at once for vectorization.


class Images(NamedTuple):
    """The input of the local correlation."""

    p: Any  #: float32 (z, y, x)
    q: Any  #: float32 (z, y, x)
    weight: Any  #: float32 (z, y, x); used only if ``weighted``
    weighted: bool
    radius: int  #: of the cubes, in voxels


@njit(inline="always")
def _products(p, q, weight, z, y, sign, sums):  # type: ignore[no-untyped-def]
    """Add one row of the products (times ``sign``) to the sums (5, or 6 if weighted; x)."""
    for x in range(p.shape[2]):
        a, b = p[z, y, x], q[z, y, x]
        if len(sums) == 6:
            c = sign * weight[z, y, x]
            sums[5, x] += c
        else:
            c = sign
        ca, cb = c * a, c * b
        sums[0, x] += ca
        sums[1, x] += cb
        sums[2, x] += ca * a
        sums[3, x] += cb * b
        sums[4, x] += ca * b


@njit(inline="always")
def _slide(values, k, z, y, sign, sums):  # type: ignore[no-untyped-def]
    """Add row (k, z, y) of the values (times ``sign``) to the sums (k, x)."""
    for x in range(values.shape[3]):
        sums[k, x] += sign * values[k, z, y, x]


@njit(inline="always")
def _across(sums, k, radius, padded, out):  # type: ignore[no-untyped-def]
    """Sum row k of the zero-padded sums along x into row k of ``out``."""
    width = sums.shape[1]
    for x in range(width):
        padded[x + radius] = sums[k, x]
    for x in range(width):
        out[k, x] = padded[x]
    for shift in range(1, 2 * radius + 1):
        for x in range(width):
            out[k, x] += padded[x + shift]


@njit(inline="always")
def _sum_cubes(tall, z, y, radius, sums, padded, cubes):  # type: ignore[no-untyped-def]
    """Move ``sums`` (c, x), the sums along y and z, to slice z, and sum them along x to ``cubes``.

    Must be called for z = 0, 1, ... in order, at first with ``sums`` of zeros.
    """
    channels, depth, _, _ = tall.shape
    one = np.float32(1.0)
    for k in range(channels):
        if z == 0:
            for below in range(min(radius, depth)):
                _slide(tall, k, below, y, one, sums)
        if z + radius < depth:
            _slide(tall, k, z + radius, y, one, sums)
        if z - radius - 1 >= 0:
            _slide(tall, k, z - radius - 1, y, -one, sums)
        _across(sums, k, radius, padded, cubes)


@njit(inline="always")
def _within(index, size, radius):  # type: ignore[no-untyped-def]
    """Return the number of voxels along a cube's side that are on the grid."""
    return np.float32(min(index + radius, size - 1) - max(index - radius, 0) + 1)


def correlate(images: Images, total: np.float32, epsilon: np.float32, parts: F32) -> float:
    """Return the weighted sum of the squared local correlation divided by ``total``.

    ``parts`` is filled with derivatives for `correlate_gradient`: (3, z, y, x) with respect to
    the cross moment, variance and mean of ``q``, or (5, ...) with variance and mean of ``p``.
    """
    depth, height, width = images.p.shape
    tall = np.empty((6 if images.weighted else 5, depth, height, width), np.float32)
    _sum_products(depth, images, tall)
    row_sums = np.zeros(height)
    _moments(height, images, tall, total, epsilon, parts, row_sums)
    return float(row_sums.sum() / np.float64(total))


def correlate_gradient(
    images: Images, parts: F32, upstream: np.float32, d_p: F32, d_q: F32
) -> None:
    """Write the gradient of `correlate` times ``upstream`` to ``d_q``, for 5 parts also ``d_p``."""
    tall = np.empty_like(parts)
    _sum_parts(parts.shape[1], images.radius, parts, tall)
    _gradients(parts.shape[2], images, tall, upstream, d_p, d_q)


@in_chunks(least=1, fastmath=_FLAGS)
def _sum_products(first, last, images, tall):  # type: ignore[no-untyped-def]
    """Sum the products along y into ``tall`` (5 or 6, z, y, x), slice by slice."""
    channels, _, height, width = tall.shape
    p, q, w, radius = images.p, images.q, images.weight, images.radius
    for z in range(first, last):
        sums = np.zeros((channels, width), np.float32)
        for y in range(min(radius, height)):
            _products(p, q, w, z, y, np.float32(1.0), sums)
        for y in range(height):
            if y + radius < height:
                _products(p, q, w, z, y + radius, np.float32(1.0), sums)
            if y - radius - 1 >= 0:
                _products(p, q, w, z, y - radius - 1, np.float32(-1.0), sums)
            for k in range(channels):
                for x in range(width):
                    tall[k, z, y, x] = sums[k, x]


@in_chunks(least=1, fastmath=_FLAGS)
def _moments(  # type: ignore[no-untyped-def]
    first, last, images, tall, total, epsilon, parts, row_sums
):
    """Compute the local correlation from the sums along y; its ``row_sums`` are (y,)."""
    channels, depth, height, width = tall.shape
    w, weighted, radius, both = images.weight, images.weighted, images.radius, len(parts) == 5
    one, two, none = np.float32(1.0), np.float32(2.0), np.float32(0.0)
    for y in range(first, last):
        sums = np.zeros((channels, width), np.float32)
        cubes = np.empty((channels, width), np.float32)
        padded = np.zeros(width + 2 * radius, np.float32)
        values = np.zeros(width, np.float32)
        for z in range(depth):
            _sum_cubes(tall, z, y, radius, sums, padded, cubes)
            beside = _within(z, depth, radius) * _within(y, height, radius)
            for x in range(width):
                if weighted:
                    count, weight = max(cubes[5, x], np.float32(1e-3)), w[z, y, x]
                else:
                    count, weight = beside * _within(x, width, radius), one
                share = one / count
                mean_p, mean_q = cubes[0, x] * share, cubes[1, x] * share
                var_p = max(cubes[2, x] * share - mean_p * mean_p, none)
                var_q = max(cubes[3, x] * share - mean_q * mean_q, none)
                cross = cubes[4, x] * share - mean_p * mean_q
                ratio = cross / (var_p * var_q + epsilon)
                values[x] += weight * cross * ratio
                share *= weight / total
                d_cross, square = two * ratio * share, -two * ratio * ratio * share
                d_q = square * var_p
                parts[0, z, y, x] = d_cross
                parts[1, z, y, x] = d_q
                parts[2, z, y, x] = d_cross * mean_p + d_q * mean_q
                if both:
                    d_p = square * var_q
                    parts[3, z, y, x] = d_p
                    parts[4, z, y, x] = d_cross * mean_q + d_p * mean_p
        row_sum = np.float64(0.0)
        for x in range(width):
            row_sum += values[x]
        row_sums[y] = row_sum


@in_chunks(least=1, fastmath=_FLAGS)
def _sum_parts(first, last, radius, parts, tall):  # type: ignore[no-untyped-def]
    """Sum the parts along y into ``tall`` of the same shape, slice by slice."""
    channels, _, height, width = parts.shape
    one = np.float32(1.0)
    for z in range(first, last):
        sums = np.zeros((channels, width), np.float32)
        for k in range(channels):
            for y in range(min(radius, height)):
                _slide(parts, k, z, y, one, sums)
            for y in range(height):
                if y + radius < height:
                    _slide(parts, k, z, y + radius, one, sums)
                if y - radius - 1 >= 0:
                    _slide(parts, k, z, y - radius - 1, -one, sums)
                for x in range(width):
                    tall[k, z, y, x] = sums[k, x]


@in_chunks(least=1, fastmath=_FLAGS)
def _gradients(first, last, images, tall, upstream, d_p, d_q):  # type: ignore[no-untyped-def]
    """Compute the gradients from the sums along y, row by row."""
    p, q, w, weighted, radius = images
    channels, depth, _, width = tall.shape
    for y in range(first, last):
        sums = np.zeros((channels, width), np.float32)
        cubes = np.empty((channels, width), np.float32)
        padded = np.zeros(width + 2 * radius, np.float32)
        for z in range(depth):
            _sum_cubes(tall, z, y, radius, sums, padded, cubes)
            for x in range(width):
                scale = upstream * w[z, y, x] if weighted else upstream
                a, b = p[z, y, x], q[z, y, x]
                d_q[z, y, x] = scale * (a * cubes[0, x] + b * cubes[1, x] - cubes[2, x])
                if channels == 5:
                    d_p[z, y, x] = scale * (b * cubes[0, x] + a * cubes[3, x] - cubes[4, x])

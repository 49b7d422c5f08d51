"""Similarity measures: local correlation, mutual information, MIND-SSC, mean squares.

Every loss is a scalar tensor, lower for more similar images, and differentiable in both images,
which are (1, 1, z, y, x) on one grid; ``weight`` of the same shape contains voxel weights (masks,
field of view) and is not differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tomochrome.errors import OptionError

_EPSILON = 1e-7  # added to the product of variances; variations below 15 HU or 2 % are flat
Loss = Callable[..., torch.Tensor]


def box_sums(values: torch.Tensor, radius: int) -> torch.Tensor:
    """Sum (c, z, y, x) over cubes of side ``2 * radius + 1`` around each voxel, zero-padded."""
    if values.device.type == "cpu":
        from tomochrome.geometry import box_kernels

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
        from tomochrome.registration import correlation_kernels as kernels

        p, q = (t.detach()[0, 0].contiguous().numpy() for t in (a, b))
        w = p if weight is None else weight.detach()[0, 0].contiguous().numpy()
        total = float(p.size) if weight is None else max(float(weight.sum()), 1e-6)
        both = bool(ctx.needs_input_grad[0])
        parts = np.empty((5 if both else 3, *p.shape), np.float32)
        images = kernels.Images(p, q, w, weight is not None, radius)
        value = kernels.correlate(images, np.float32(total), np.float32(_EPSILON), parts)
        ctx.arrays = images, parts
        return a.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from tomochrome.registration import correlation_kernels as kernels

        images, parts = ctx.arrays
        both = len(parts) == 5
        d_q = np.empty_like(images.q)
        d_p = np.empty_like(images.p) if both else d_q
        kernels.correlate_gradient(images, parts, np.float32(upstream[0].item()), d_p, d_q)
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
    """Return the weighted mean of squared differences as a loss."""
    return _mean((a - b).square(), weight)


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
    known: dict[str, tuple[Loss, float]] = {
        "lncc": (lncc, 1.0),
        "mi": (mutual_information, 0.7),
        "mind": (mind, 12.0),
        "mse": (mean_squares, 15.0),
    }
    if name not in known:
        raise OptionError(f"unknown similarity '{name}': choose one of {', '.join(known)}")
    return known[name]

"""Compiled kernels of the local correlation: value and gradient, in two passes each.

Sums over cubes are computed along y together with the products, then along z and x together with
the result. Entire rows are processed at once for vectorization.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks

F32 = NDArray[np.float32]
# Vectorization of `max`, but neither reassociation nor contraction: whether a loop runs vectorized
# can depend on the addresses of its arrays (LLVM's checks for overlap), and results must not.
_FLAGS = {"nnan", "ninf", "nsz"}


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
    found = np.zeros(height)
    _moments(height, images, tall, total, epsilon, parts, found)
    return float(found.sum() / np.float64(total))


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
    first, last, images, tall, total, epsilon, parts, found
):
    """Compute the local correlation from the sums along y, and each row's sum in ``found`` (y,)."""
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
        found[y] = row_sum


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

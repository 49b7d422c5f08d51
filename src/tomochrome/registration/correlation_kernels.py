"""Compiled loops of the local correlation: value and derivative in two passes over memory each.

Sums over cubes are taken along y while the products are formed, then along z and x while the
result is; each row is worked on as a whole, so that the processor's vector instructions serve.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from tomochrome.runtime.kernels import one_at_a_time


class Images(NamedTuple):
    """Two images whose local correlation is taken."""

    p: Any  #: float32 (z, y, x)
    q: Any  #: float32 (z, y, x)
    weight: Any  #: float32 (z, y, x); looked at only if they are ``weighted``
    weighted: bool
    radius: int  #: of the cubes, in voxels


@njit(inline="always")
def _products(images, z, y, sign, sums):  # type: ignore[no-untyped-def]
    """Add one row of the products (times ``sign``) to the sums (5 or 6, x)."""
    for x in range(images.p.shape[2]):
        a, b = images.p[z, y, x], images.q[z, y, x]
        if images.weighted:
            c = sign * images.weight[z, y, x]
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
    """Sums along x of row k of the sums, zeros beyond its ends, into row k of ``out``."""
    width = sums.shape[1]
    for x in range(width):
        padded[x + radius] = sums[k, x]
    for x in range(width):
        out[k, x] = padded[x]
    for shift in range(1, 2 * radius + 1):
        for x in range(width):
            out[k, x] += padded[x + shift]


@njit(inline="always")
def _within(index, size, radius):  # type: ignore[no-untyped-def]
    """How many voxels of a cube's side lie on the grid."""
    return np.float32(min(index + radius, size - 1) - max(index - radius, 0) + 1)


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def correlate(images, total, epsilon, parts):  # type: ignore[no-untyped-def]
    """Weighted sum of the squared local correlation over ``total``, and what its slope needs.

    ``parts`` is (3, z, y, x), or (5, ...) where the slope is wanted for both images: of the cross
    moment, of the variance of ``q``, of the mean of ``q``, and of variance and mean of ``p``.
    """
    depth, height, width = images.p.shape
    w, weighted, radius, both = images.weight, images.weighted, images.radius, len(parts) == 5
    channels = 6 if weighted else 5
    tall = np.empty((channels, depth, height, width), np.float32)
    for z in prange(depth):
        sums = np.zeros((channels, width), np.float32)
        for y in range(min(radius, height)):
            _products(images, z, y, np.float32(1.0), sums)
        for y in range(height):
            if y + radius < height:
                _products(images, z, y + radius, np.float32(1.0), sums)
            if y - radius - 1 >= 0:
                _products(images, z, y - radius - 1, np.float32(-1.0), sums)
            for k in range(channels):
                for x in range(width):
                    tall[k, z, y, x] = sums[k, x]
    found = np.zeros(height)
    one, two, none = np.float32(1.0), np.float32(2.0), np.float32(0.0)
    for y in prange(height):
        sums = np.zeros((channels, width), np.float32)
        cubes = np.empty((channels, width), np.float32)
        padded = np.zeros(width + 2 * radius, np.float32)
        here = np.float64(0.0)
        for k in range(channels):
            for z in range(min(radius, depth)):
                _slide(tall, k, z, y, one, sums)
        for z in range(depth):
            for k in range(channels):
                if z + radius < depth:
                    _slide(tall, k, z + radius, y, one, sums)
                if z - radius - 1 >= 0:
                    _slide(tall, k, z - radius - 1, y, -one, sums)
                _across(sums, k, radius, padded, cubes)
            beside = _within(z, depth, radius) * _within(y, height, radius)
            value = none
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
                value += weight * cross * ratio
                share *= weight / total
                of_cross, square = two * ratio * share, -two * ratio * ratio * share
                of_q = square * var_p
                parts[0, z, y, x] = of_cross
                parts[1, z, y, x] = of_q
                parts[2, z, y, x] = of_cross * mean_p + of_q * mean_q
                if both:
                    of_p = square * var_q
                    parts[3, z, y, x] = of_p
                    parts[4, z, y, x] = of_cross * mean_q + of_p * mean_p
            here += np.float64(value)
        found[y] = here
    return found.sum() / np.float64(total)


@one_at_a_time
@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def correlate_slope(images, parts, upstream, of_p, of_q):  # type: ignore[no-untyped-def]
    """Derivatives of `correlate`, times ``upstream``, into ``of_q`` and, with 5 parts, ``of_p``."""
    p, q, w, radius = images.p, images.q, images.weight, images.radius
    channels, depth, height, width = parts.shape
    tall = np.empty((channels, depth, height, width), np.float32)
    one = np.float32(1.0)
    for z in prange(depth):
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
    for y in prange(height):
        sums = np.zeros((channels, width), np.float32)
        cubes = np.empty((channels, width), np.float32)
        padded = np.zeros(width + 2 * radius, np.float32)
        for k in range(channels):
            for z in range(min(radius, depth)):
                _slide(tall, k, z, y, one, sums)
        for z in range(depth):
            for k in range(channels):
                if z + radius < depth:
                    _slide(tall, k, z + radius, y, one, sums)
                if z - radius - 1 >= 0:
                    _slide(tall, k, z - radius - 1, y, -one, sums)
                _across(sums, k, radius, padded, cubes)
            for x in range(width):
                scale = upstream * w[z, y, x] if images.weighted else upstream
                a, b = p[z, y, x], q[z, y, x]
                of_q[z, y, x] = scale * (a * cubes[0, x] + b * cubes[1, x] - cubes[2, x])
                if channels == 5:
                    of_p[z, y, x] = scale * (b * cubes[0, x] + a * cubes[3, x] - cubes[4, x])

"""Compiled loops of the local correlation: value and derivative in two passes over memory each.

Sums over cubes are taken along y while the products are formed, then along z and x while the
result is; each row is worked on as a whole, so that the processor's vector instructions serve.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tomochrome.runtime.kernels import in_chunks

F32 = NDArray[np.float32]


class Images(NamedTuple):
    """Two images whose local correlation is taken."""

    p: Any  #: float32 (z, y, x)
    q: Any  #: float32 (z, y, x)
    weight: Any  #: float32 (z, y, x); looked at only if they are ``weighted``
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


def correlate(images: Images, total: np.float32, epsilon: np.float32, parts: F32) -> float:
    """Weighted sum of the squared local correlation over ``total``, and what its slope needs.

    ``parts`` is (3, z, y, x), or (5, ...) where the slope is wanted for both images: of the cross
    moment, of the variance of ``q``, of the mean of ``q``, and of variance and mean of ``p``.
    """
    depth, height, width = images.p.shape
    tall = np.empty((6 if images.weighted else 5, depth, height, width), np.float32)
    _sum_products(depth, images, tall)
    found = np.zeros(height)
    _moments(height, images, tall, total, epsilon, parts, found)
    return float(found.sum() / np.float64(total))


def correlate_slope(images: Images, parts: F32, upstream: np.float32, of_p: F32, of_q: F32) -> None:
    """Derivatives of `correlate`, times ``upstream``, into ``of_q`` and, with 5 parts, ``of_p``."""
    tall = np.empty_like(parts)
    _sum_parts(parts.shape[1], images.radius, parts, tall)
    _slopes(parts.shape[2], images, tall, upstream, of_p, of_q)


@in_chunks(least=1, fastmath=True)
def _sum_products(first, last, images, tall):  # type: ignore[no-untyped-def]
    """Sums along y of the products, into ``tall`` (5 or 6, z, y, x), slice by slice."""
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


@in_chunks(least=1, fastmath=True)
def _moments(  # type: ignore[no-untyped-def]
    first, last, images, tall, total, epsilon, parts, found
):
    """Local correlation from the sums along y, row by row, each row's sum into ``found`` (y,)."""
    channels, depth, height, width = tall.shape
    w, weighted, radius, both = images.weight, images.weighted, images.radius, len(parts) == 5
    one, two, none = np.float32(1.0), np.float32(2.0), np.float32(0.0)
    for y in range(first, last):
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


@in_chunks(least=1, fastmath=True)
def _sum_parts(first, last, radius, parts, tall):  # type: ignore[no-untyped-def]
    """Sums along y of the parts, into ``tall`` of their shape, slice by slice."""
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


@in_chunks(least=1, fastmath=True)
def _slopes(first, last, images, tall, upstream, of_p, of_q):  # type: ignore[no-untyped-def]
    """Derivatives from the sums along y, row by row."""
    p, q, w, weighted, radius = images
    channels, depth, _, width = tall.shape
    one = np.float32(1.0)
    for y in range(first, last):
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
                scale = upstream * w[z, y, x] if weighted else upstream
                a, b = p[z, y, x], q[z, y, x]
                of_q[z, y, x] = scale * (a * cubes[0, x] + b * cubes[1, x] - cubes[2, x])
                if channels == 5:
                    of_p[z, y, x] = scale * (b * cubes[0, x] + a * cubes[3, x] - cubes[4, x])

"""Compiled painting kernels of the phantom: implicit shapes evaluated on a warped grid.

Every kernel releases the GIL and changes only its range of z slices, so that `canvas` can
distribute ranges over threads and the result does not depend on their number.

Coordinates: a grid of *nodes* holds, every few voxels, the patient-frame position (x, y, z) in mm
of that voxel; positions between nodes are interpolated linearly. It represents scale, pose and the
patient's smooth deformation.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctphantom.compiling import kernel

Array = NDArray[Any]

ELLIPSOID, CAPSULE, HALFSPACE, CYLINDER, BOX = 0, 1, 2, 3, 4
UNION, SUBTRACT, INTERSECT = 0, 1, 2
ROW = 20  #: floats of one primitive: kind, op, blend, center 3, rotation 9, radii 3, extra 2
FAR = np.float32(1e3)  #: distance outside all primitives
DEPTH_SCALE = 50.0  #: depths are stored as int16 in 1/50 mm


class Grid(NamedTuple):
    """Map from voxels to the patient frame."""

    nodes: Array  #: float32 (z, y, x, 3): patient-frame position (x, y, z) in mm
    steps: Array  #: voxels between two nodes along (z, y, x)


class Stamp(NamedTuple):
    """A shape's distance field (mm) over a box of the canvas."""

    field: Array  #: float32 (z, y, x)
    owner: Array  #: uint16: the primitive nearest to each voxel
    corner: Array  #: first voxel (z, y, x) of the box
    primitives: int  #: number of primitives


class Layers(NamedTuple):
    """Layers of a stamp, from the surface inwards."""

    limits: Array  #: descending distances; layer i extends from limits[i] to limits[i + 1]
    labels: Array
    gas_level: Array  #: y in mm above (anterior to) which the last layer is gas, by owner
    gas_label: int


class Brush(NamedTuple):
    """Structures that a stamp may overwrite, competition, and roughness of its surface."""

    only: Array  #: bool (256,): structures that may be painted over
    compete: bool  #: whether overlaps belong to the shape in which they are deeper
    bias: float  #: mm added to the depth in competition
    noise: Array  #: periodic cube
    amplitude: float  #: mm
    scale: float  #: mm per voxel of the cube
    shift: Array  #: offset in the cube


@kernel(fastmath=True, inline="always")
def row_positions(grid: Grid, iz: int, iy: int, x0: int, x1: int, out: Array) -> None:
    """Write the positions of voxels ``x0..x1`` of row (iz, iy) to ``out`` (n, 3)."""
    nodes, steps = grid
    kz, ky = iz // steps[0], iy // steps[1]
    wz = np.float32(iz - kz * steps[0]) / np.float32(steps[0])
    wy = np.float32(iy - ky * steps[1]) / np.float32(steps[1])
    c00, c01 = (1 - wz) * (1 - wy), (1 - wz) * wy
    c10, c11 = wz * (1 - wy), wz * wy
    step = steps[2]
    for kx in range(x0 // step, (x1 - 1) // step + 1):
        lo, hi = max(x0, kx * step), min(x1, (kx + 1) * step)
        for c in range(3):
            a = (
                c00 * nodes[kz, ky, kx, c]
                + c01 * nodes[kz, ky + 1, kx, c]
                + c10 * nodes[kz + 1, ky, kx, c]
                + c11 * nodes[kz + 1, ky + 1, kx, c]
            )
            b = (
                c00 * nodes[kz, ky, kx + 1, c]
                + c01 * nodes[kz, ky + 1, kx + 1, c]
                + c10 * nodes[kz + 1, ky, kx + 1, c]
                + c11 * nodes[kz + 1, ky + 1, kx + 1, c]
            )
            slope = (b - a) / np.float32(step)
            for ix in range(lo, hi):
                out[ix - x0, c] = a + slope * np.float32(ix - kx * step)


@kernel(fastmath=True)
def positions(grid: Grid, points: Array, out: Array) -> None:
    """Compute patient-frame positions of fractional voxel indices ``points`` (n, 3: z, y, x)."""
    nodes, steps = grid
    for i in range(points.shape[0]):
        f = np.empty(3)
        k = np.empty(3, np.int64)
        for a in range(3):
            g = points[i, a] / steps[a]
            k[a] = min(max(int(np.floor(g)), 0), nodes.shape[a] - 2)
            f[a] = g - k[a]
        for c in range(3):
            total = 0.0
            for dz in range(2):
                for dy in range(2):
                    for dx in range(2):
                        w = (
                            (f[0] if dz else 1 - f[0])
                            * (f[1] if dy else 1 - f[1])
                            * (f[2] if dx else 1 - f[2])
                        )
                        total += w * nodes[k[0] + dz, k[1] + dy, k[2] + dx, c]
            out[i, c] = total


@kernel(fastmath=True, inline="always")
def _ellipsoid(row: Array, px: float, py: float, pz: float) -> float:
    """Return the distance in mm to an ellipsoid (first order, exact on the surface)."""
    dx, dy, dz = px - row[3], py - row[4], pz - row[5]
    u = (row[6] * dx + row[7] * dy + row[8] * dz) / row[15]
    v = (row[9] * dx + row[10] * dy + row[11] * dz) / row[16]
    w = (row[12] * dx + row[13] * dy + row[14] * dz) / row[17]
    k0 = math.sqrt(u * u + v * v + w * w)
    a, b, c = u / row[15], v / row[16], w / row[17]
    k1 = math.sqrt(a * a + b * b + c * c)
    if k1 < 1e-6:
        return -min(row[15], row[16], row[17])
    return k0 * (k0 - 1.0) / k1


@kernel(fastmath=True, inline="always")
def _capsule(row: Array, px: float, py: float, pz: float) -> float:
    """Return the distance to a segment minus a radius that changes linearly along it."""
    bx, by, bz = row[6] - row[3], row[7] - row[4], row[8] - row[5]
    dx, dy, dz = px - row[3], py - row[4], pz - row[5]
    length = bx * bx + by * by + bz * bz + 1e-9
    t = min(max((dx * bx + dy * by + dz * bz) / length, 0.0), 1.0)
    dx -= t * bx
    dy -= t * by
    dz -= t * bz
    return math.sqrt(dx * dx + dy * dy + dz * dz) - (row[15] + t * (row[16] - row[15]))


@kernel(fastmath=True, inline="always")
def _cylinder(row: Array, px: float, py: float, pz: float) -> float:
    """Return the distance to a cylinder along local w; its section has the power row[18]."""
    dx, dy, dz = px - row[3], py - row[4], pz - row[5]
    u = abs(row[6] * dx + row[7] * dy + row[8] * dz) / row[15]
    v = abs(row[9] * dx + row[10] * dy + row[11] * dz) / row[16]
    w = abs(row[12] * dx + row[13] * dy + row[14] * dz)
    n = row[18]
    s = math.sqrt(u * u + v * v) if n == 2.0 else (u**n + v**n) ** (1.0 / n)
    side = (s - 1.0) * min(row[15], row[16])
    return max(side, w - row[17])


@kernel(fastmath=True, inline="always")
def _box(row: Array, px: float, py: float, pz: float) -> float:
    """Return the distance to a box with edges rounded by row[18]."""
    dx, dy, dz = px - row[3], py - row[4], pz - row[5]
    e = row[18]
    u = abs(row[6] * dx + row[7] * dy + row[8] * dz) - row[15] + e
    v = abs(row[9] * dx + row[10] * dy + row[11] * dz) - row[16] + e
    w = abs(row[12] * dx + row[13] * dy + row[14] * dz) - row[17] + e
    a, b, c = max(u, 0.0), max(v, 0.0), max(w, 0.0)
    return math.sqrt(a * a + b * b + c * c) + min(max(u, max(v, w)), 0.0) - e


@kernel(fastmath=True)
def evaluate(  # noqa: C901 - one compiled pass over the voxels
    stamp: Stamp, grid: Grid, rows: Array, boxes: Array, z0: int, z1: int
) -> None:
    """Combine primitives into a stamp's distance field in its slices ``z0..z1``."""
    field, owner, corner, _ = stamp
    ny, nx = field.shape[1], field.shape[2]
    plane = np.empty((ny, nx, 3), np.float32)
    first, last = np.empty(ny, np.int64), np.empty(ny, np.int64)
    for z in range(z0, z1):
        for y in range(ny):
            first[y], last[y] = nx, 0
        for i in range(rows.shape[0]):
            if boxes[i, 0] <= z < boxes[i, 1] and rows[i, 1] == UNION:
                for y in range(boxes[i, 2], boxes[i, 3]):
                    first[y] = min(first[y], boxes[i, 4])
                    last[y] = max(last[y], boxes[i, 5])
        for y in range(ny):
            for x in range(nx):
                field[z, y, x] = FAR
                owner[z, y, x] = 0
            if last[y] > first[y]:  # positions only inside the primitives' boxes
                x0, x1 = corner[2] + first[y], corner[2] + last[y]
                part = plane[y, first[y] : last[y]]
                row_positions(grid, z + corner[0], y + corner[1], x0, x1, part)
        for i in range(rows.shape[0]):
            if not boxes[i, 0] <= z < boxes[i, 1]:
                continue
            row = rows[i]
            kind, op, blend = int(row[0]), int(row[1]), row[2]
            for y in range(boxes[i, 2], boxes[i, 3]):
                for x in range(max(boxes[i, 4], first[y]), min(boxes[i, 5], last[y])):
                    px, py, pz = plane[y, x, 0], plane[y, x, 1], plane[y, x, 2]
                    if kind == CAPSULE:
                        d = _capsule(row, px, py, pz)
                    elif kind == ELLIPSOID:
                        d = _ellipsoid(row, px, py, pz)
                    elif kind == CYLINDER:
                        d = _cylinder(row, px, py, pz)
                    elif kind == BOX:
                        d = _box(row, px, py, pz)
                    else:
                        d = row[6] * (px - row[3]) + row[7] * (py - row[4]) + row[8] * (pz - row[5])
                    old = field[z, y, x]
                    if op == UNION:
                        if d < old:
                            owner[z, y, x] = i
                        new = min(old, d)
                        if blend > 0.0:
                            h = max(blend - abs(old - d), 0.0) / blend
                            new -= h * h * blend * 0.25
                    else:
                        if op == SUBTRACT:
                            d = -d
                        new = max(old, d)
                        if blend > 0.0 and old < 500.0:
                            h = max(blend - abs(old - d), 0.0) / blend
                            new += h * h * blend * 0.25
                    field[z, y, x] = new


@kernel(fastmath=True, inline="always")
def noise_at(noise: Array, x: float, y: float, z: float) -> float:
    """Interpolate the periodic noise cube, whose side is a power of two."""
    n = noise.shape[0] - 1  # bit mask
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    ix, iy, iz = int(fx) & n, int(fy) & n, int(fz) & n
    wx, wy, wz = x - fx, y - fy, z - fz
    jx, jy, jz = (ix + 1) & n, (iy + 1) & n, (iz + 1) & n
    a = noise[iz, iy, ix] * (1 - wx) + noise[iz, iy, jx] * wx
    b = noise[iz, jy, ix] * (1 - wx) + noise[iz, jy, jx] * wx
    c = noise[jz, iy, ix] * (1 - wx) + noise[jz, iy, jx] * wx
    d = noise[jz, jy, ix] * (1 - wx) + noise[jz, jy, jx] * wx
    return (a * (1 - wy) + b * wy) * (1 - wz) + (c * (1 - wy) + d * wy) * wz


@kernel(fastmath=True)
def apply(  # noqa: C901 - one compiled pass over the voxels
    labels: Array, depth: Array, stamp: Stamp, grid: Grid, layers: Layers, brush: Brush,
    z0: int, z1: int,
) -> None:  # fmt: skip
    """Write a stamp into the label map, layer by layer from the surface inwards.

    Gas is anterior, as the patient is supine.
    """
    field, owner, corner, _ = stamp
    limits, layer_labels, gas_level, gas_label = layers
    only, compete, bias, noise, amplitude, scale, shift = brush
    ny, nx = field.shape[1], field.shape[2]
    n = limits.shape[0]
    line = np.empty((nx, 3), np.float32)
    reach = limits[0] + 3.0 * amplitude
    for z in range(z0, z1):
        for y in range(ny):
            have = False
            for x in range(nx):
                d = field[z, y, x]
                if d >= reach:
                    continue
                gz, gy, gx = z + corner[0], y + corner[1], x + corner[2]
                old = labels[gz, gy, gx]
                if not only[old]:
                    continue
                if not have:
                    row_positions(grid, gz, gy, corner[2], corner[2] + nx, line)
                    have = True
                if amplitude > 0.0:
                    d += amplitude * noise_at(
                        noise,
                        line[x, 0] / scale + shift[0],
                        line[x, 1] / scale + shift[1],
                        line[x, 2] / scale + shift[2],
                    )
                if d >= limits[0]:
                    continue
                if compete:
                    q = int(max(min((d - bias) * DEPTH_SCALE, 32000.0), -32000.0))
                    if q >= depth[gz, gy, gx]:
                        continue
                    depth[gz, gy, gx] = q
                i = 0
                while i + 1 < n and d < limits[i + 1]:
                    i += 1
                label = layer_labels[i]
                if i == n - 1 and line[x, 1] < gas_level[owner[z, y, x]]:
                    label = gas_label
                labels[gz, gy, gx] = label


@kernel
def close_walls(
    labels: Array, out: Array, own: Array, wall: int, reach: Array, z0: int, z1: int
) -> None:
    """Turn content with other structures within ``reach`` voxels into wall."""
    nz, ny, nx = labels.shape
    for z in range(z0, z1):
        for y in range(ny):
            for x in range(nx):
                label = labels[z, y, x]
                if own[label] != 2:
                    continue
                exposed = False
                for k in range(1, reach[2] + 1):
                    left, right = labels[z, y, max(x - k, 0)], labels[z, y, min(x + k, nx - 1)]
                    exposed |= not (own[left] and own[right])
                for k in range(1, reach[1] + 1):
                    front, back = labels[z, max(y - k, 0), x], labels[z, min(y + k, ny - 1), x]
                    exposed |= not (own[front] and own[back])
                for k in range(1, reach[0] + 1):
                    below, above = labels[max(z - k, 0), y, x], labels[min(z + k, nz - 1), y, x]
                    exposed |= not (own[below] and own[above])
                if exposed:
                    out[z, y, x] = wall

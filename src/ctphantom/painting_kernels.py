"""Compiled painting kernels of the phantom, one pass over the voxels each.

They paint implicit shapes, the walls of the body, and the head with its skull and brain. All are in
one file because they share the positions and the noise: Numba recompiles a function only when its
own file changes. Every kernel releases the GIL and changes only its range of z slices, so that
`canvas` can distribute ranges over threads and the result does not depend on their number.

Coordinates: a grid of *nodes* holds, every few voxels, the patient-frame position (x, y, z) in mm
of that voxel; positions between nodes are interpolated linearly. It represents scale, pose and the
patient's smooth deformation. Head frame: mm, LPS axes, origin midway between the ear canals; nose
near y = -105, vertex near z = 118, chin near (0, -85, -92). `head_frame` maps it to the patient
frame.
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


class Walls(NamedTuple):
    """A patient's envelope as polar tables, mm."""

    table_z: Array  #: z of the rows
    center: Array  #: y of the pole of each row
    radii: Array  #: (4, nz, n_theta): skin, outer muscle, cavity, thickness of fat planes
    floor: Array  #: (ny, nx) height of the diaphragm over (x, y)
    floor_grid: Array  #: x0, y0 and step of the floor
    skin: float  #: thickness of the skin
    diaphragm: float  #: thickness of the diaphragm


class Cranium(NamedTuple):
    """Shape of one patient's skull and brain; lengths in mm."""

    half_width: float = 69.0  #: inside of the skull
    front: float = 82.0
    back: float = 83.5
    top: float = 71.0
    bottom: float = 64.0
    middle_y: float = 0.0
    middle_z: float = 40.0
    temples: float = 0.16  #: relative narrowing of the forehead
    thickness: float = 6.3
    scalp: float = 5.0
    skin: float = 1.9
    face_fat: float = 5.0
    neck_fat: float = 6.0
    gap: float = 2.0  #: cerebrospinal fluid over the brain
    sulcus: float = 0.6  #: half width of a sulcus
    sulcus_depth: float = 11.0
    gyrus: float = 2.9  #: mm per voxel of the noise cube
    fissure: float = 1.0
    cortex: float = 3.0
    temporalis: float = 11.0
    thinnest: float = 2.2  #: minimum thickness of the skull, at least a voxel
    lowest_z: float = -95.0  #: lowest z that is painted


class Pose(NamedTuple):
    """Pose of the head on the neck."""

    turn: Array  #: rotation (3, 3) from patient axes to head axes
    pivot: Array  #: patient-frame position of the atlas, mm
    scale: Array  #: size of this head along x, y, z
    atlas: Array  #: head-frame position of the atlas, mm


class Roughness(NamedTuple):
    """Noise cube for rough surfaces, and the patient's offsets in it."""

    noise: Array
    shift: Array


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


@kernel(fastmath=True)
def paint_body(  # noqa: C901, PLR0915 - one compiled pass over the voxels
    labels: Array, grid: Grid, walls: Walls, names: Array, noise: Array, z0: int, z1: int
) -> None:
    """Paint skin, fat, body wall, chest and abdominal cavity from polar tables.

    ``names`` are the labels of air, skin, fat, muscle, fat plane, lung, abdominal fat, diaphragm.
    """
    table_z, center, radii, floor, floor_grid, skin, diaphragm = walls
    nz, nt = radii.shape[1], radii.shape[2]
    nx = labels.shape[2]
    line = np.empty((nx, 3), np.float32)
    turn = nt / (2.0 * math.pi)
    t_step = table_z[1] - table_z[0]
    r = np.empty(4)
    widest = np.zeros(nz)
    for k in range(nz):
        for j in range(nt):
            widest[k] = max(widest[k], radii[0, k, j])
    for z in range(z0, z1):
        for y in range(labels.shape[1]):
            row_positions(grid, z, y, 0, nx, line)
            for x in range(nx):
                px, py, pz = line[x, 0], line[x, 1], line[x, 2]
                g = (pz - table_z[0]) / t_step
                if g < 0.0 or g >= nz - 1:
                    labels[z, y, x] = names[0]
                    continue
                k = int(g)
                w = g - k
                cy = center[k] * (1 - w) + center[k + 1] * w
                radius = math.sqrt(px * px + (py - cy) ** 2)
                if radius > max(widest[k], widest[k + 1]):
                    labels[z, y, x] = names[0]
                    continue
                angle = math.atan2(py - cy, px) * turn
                if angle < 0:
                    angle += nt
                j = int(angle)
                v = angle - j
                j = j % nt
                j1 = (j + 1) % nt
                for c in range(4):
                    lo = radii[c, k, j] * (1 - v) + radii[c, k, j1] * v
                    hi = radii[c, k + 1, j] * (1 - v) + radii[c, k + 1, j1] * v
                    r[c] = lo * (1 - w) + hi * w
                if radius > r[0]:
                    label = names[0]
                elif radius > r[0] - skin:
                    label = names[1]
                elif radius > r[1]:
                    label = names[2]
                    septum = noise_at(noise, px / 7.0, py / 7.0, pz / 16.0)
                    if abs(septum) < 0.01:
                        label = names[4]
                elif radius > r[2]:
                    label = names[3]
                    if r[3] > 0.0:
                        f = (radius - r[2]) / (r[1] - r[2])
                        thick = r[3] / (r[1] - r[2])
                        f += 0.06 * noise_at(noise, px / 9.0, py / 9.0, pz / 9.0)
                        if abs(f - 0.34) < thick or abs(f - 0.67) < thick:
                            label = names[4]
                else:
                    fx = (px - floor_grid[0]) / floor_grid[2]
                    fy = (py - floor_grid[1]) / floor_grid[2]
                    fx = min(max(fx, 0.0), floor.shape[1] - 1.001)
                    fy = min(max(fy, 0.0), floor.shape[0] - 1.001)
                    ix, iy = int(fx), int(fy)
                    wx, wy = fx - ix, fy - iy
                    dome = (floor[iy, ix] * (1 - wx) + floor[iy, ix + 1] * wx) * (1 - wy) + (
                        floor[iy + 1, ix] * (1 - wx) + floor[iy + 1, ix + 1] * wx
                    ) * wy
                    if pz > dome:
                        label = names[5]
                    elif pz > dome - diaphragm:
                        label = names[7]
                    else:
                        label = names[6]
                labels[z, y, x] = label


# The head: what is called for every voxel takes numbers; arrays as arguments take a third longer.


@kernel(fastmath=True, inline="always")
def _smooth_min(a: float, b: float, k: float) -> float:
    h = max(k - abs(a - b), 0.0) / k
    return min(a, b) - h * h * k * 0.25


@kernel(fastmath=True, inline="always")
def _step(x: float) -> float:
    """Return a smooth step from 0 at x <= 0 to 1 at x >= 1."""
    t = min(max(x, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@kernel(fastmath=True, inline="always")
def _table(values: Array, row: int, step: float, z: float) -> float:
    """Interpolate a row of a table with a value every ``step`` mm from z = -95."""
    g = min(max((z + 95.0) / step, 0.0), values.shape[1] - 1.001)
    i = int(g)
    return values[row, i] + (g - i) * (values[row, i + 1] - values[row, i])


@kernel(fastmath=True)
def _petrous_y(ax: float) -> float:
    """Return y of the petrous ridge between middle and posterior fossa at ax = abs(x)."""
    return -12.0 + 0.52 * ax


@kernel(fastmath=True)
def _floor(ax: float, y: float) -> float:
    """Return the height of the floor of the cranial cavity."""
    anterior = 46.0 - 10.0 * (1.0 - _step((ax - 5.0) / 16.0)) - 0.010 * (ax - 32.0) ** 2
    anterior -= 0.006 * (y + 58.0) ** 2
    lateral = _step((ax - 11.0) / 9.0)
    pit = 2.0 + 0.03 * (ax - 38.0) ** 2 + 0.018 * (y + 18.0) ** 2
    middle = 27.0 * (1.0 - lateral) + lateral * min(pit, 22.0)
    posterior = -24.0 + 0.010 * ax * ax
    ridge_y = _petrous_y(ax)
    ridge = _step((ax - 8.0) / 8.0) * _step((68.0 - ax) / 10.0)
    wing = _step((y + 36.0 - 0.10 * ax + 12.0 * _step((ax - 30.0) / 25.0)) / 7.0)
    behind = _step((y - ridge_y + 3.0) / (9.0 if ax > 12.0 else 15.0))
    floor = anterior * (1.0 - wing) + wing * (middle * (1.0 - behind) + posterior * behind)
    return floor + 14.0 * ridge * math.exp(-(((y - ridge_y) / 6.0) ** 2))


@kernel(fastmath=True)
def tent_height(ax: float, y: float) -> float:
    """Return the height of the tentorium."""
    ridge = 43.0 - 0.55 * max(y - 24.0, 0.0)
    return 13.0 + (ridge - 13.0) * math.exp(-((ax / 27.0) ** 2))


@kernel(fastmath=True)
def _brain(
    x: float, y: float, z: float, depth: float, k: float, c: Cranium, rough: Roughness, names: Array
) -> int:
    """Return the structure at a depth in mm below the surface of the brain."""
    noise, shift = rough
    ax = abs(x)
    wobble = noise_at(noise, x / 9 + shift[0], y / 9 + shift[1], z / 9 + shift[2])
    tent = tent_height(ax, y)
    if y > _petrous_y(ax) + 2.0 and z < tent + 1.0:
        notch = (x / 17.0) ** 2 + ((y - 6.0) / 24.0) ** 2
        if z > tent - 0.9 and notch > 1.0:
            return names[2]
        if notch > 1.0 and z > tent - 2.0:
            return names[1]
        lobe = ((ax - 25.0) / 31.0) ** 2 + ((y - 42.0) / 33.0) ** 2 + ((z - 3.0) / 28.0) ** 2
        worm = (x / 13.0) ** 2 + ((y - 40.0) / 28.0) ** 2 + ((z - 10.0) / 27.0) ** 2
        if depth > 0.0 and min(lobe, worm) < 1.0 and y > 12.0:
            cleft = ax < 2.0 and y > 60.0
            return names[1] if cleft else names[5]
        return names[1]
    if depth < 0.0:
        return names[1]
    # between the hemispheres: fluid and falx, down to the corpus callosum
    across = abs(x + 1.3 * wobble)
    core = ((y - 0.0) / 46.0) ** 2 + ((z - 36.0) / 27.0) ** 2
    midline = 1e3
    if core > 1.0:
        midline = across - c.fissure
        if midline < 0.0:
            falx = core > 1.55 + 0.25 * wobble and z > 30.0
            return names[2] if falx and across < max(0.7, 0.8 * c.fissure) else names[1]
    # sulci: zero sets of a noise that is constant along rays from the center
    px, py, pz = x / k / c.gyrus, (y - c.middle_y) / k / c.gyrus, (z - c.middle_z) / k / c.gyrus
    g = noise_at(noise, px + shift[3], py + shift[4], pz + shift[5])
    wall = abs(g) * c.gyrus * 1.15 * k
    width = max(0.0, c.sulcus * (1.25 + 0.9 * wobble))
    deep = max(3.0, c.sulcus_depth * (1.0 + 0.55 * wobble))
    sulcus = wall - width if depth < deep else math.hypot(max(wall - width, 0.0), depth - deep)
    if depth < deep and wall < width:
        return names[1]
    # Sylvian fissure and insula
    sylvian = 1e3
    if -44.0 < y < 30.0:
        height = 27.0 + 0.38 * (y + 8.0) + 2.0 * wobble
        open_to = 37.0
        lid = abs(z - height) - (1.1 + c.sulcus)
        out = open_to - ax
        sylvian = lid if out < 0.0 else math.hypot(max(lid, 0.0), out)
        island = abs(ax - 38.5 - 1.2 * wobble) - 0.6 - 0.6 * c.sulcus
        if abs(z - height - 2.0) < 12.0 and -34.0 < y < 20.0:
            sylvian = min(sylvian, island)
        if sylvian < 0.0:
            return names[1]
    nearest = min(min(depth, sulcus), min(midline, sylvian))
    return names[3] if nearest < c.cortex else names[4]


@kernel(fastmath=True, inline="always")
def _vault(x: float, y: float, z: float, c: Cranium) -> tuple[float, float]:
    """Return the distance in mm outside the vault's inner table, and the position relative to it.

    The inner table is a superellipsoid that differs in front, behind, above and below; the relative
    position is 0 at its center and 1 on it.
    """
    vy, vz = y - c.middle_y, z - c.middle_z
    length = c.front if vy < 0 else c.back
    height = c.top if vz > 0 else c.bottom
    narrow = 1.0 - c.temples * _step((-vy - 5.0) / 70.0) - 0.05 * _step((vy - 35) / 45)
    a = abs(x) / (c.half_width * narrow)
    b, e = abs(vy) / length, abs(vz) / height
    k = (a**2.25 + b**2.25 + e**2.25) ** (1.0 / 2.25)
    radius = math.sqrt(x * x + vy * vy + vz * vz)
    return (radius * (1.0 - 1.0 / max(k, 1e-3)) if k > 1e-3 else -60.0), k


@kernel(fastmath=True, inline="always")
def _temple(ax: float, y: float, z: float) -> float:
    """Return 1 in the middle of the temple, where bone is thinnest and muscle thickest, to 0."""
    return (
        math.exp(-(((y + 20.0) / 28.0) ** 2))
        * math.exp(-(((z - 24.0) / 31.0) ** 2))
        * _step((ax - 38.0) / 14.0)
    )


@kernel(fastmath=True, inline="always")
def _thickness(x: float, y: float, z: float, temple: float, rough: float, c: Cranium) -> float:
    """Return the thickness of the vault in mm, with the occipital protuberance."""
    thick = c.thickness * (1.0 - 0.45 * temple) + 0.8 * rough
    thick = max(thick + 1.5 * _step((z - 75.0) / 30.0), c.thinnest)
    return thick + 5.0 * math.exp(-((x / 14) ** 2 + ((y - 80) / 14) ** 2 + ((z - 4) / 9) ** 2))


@kernel(fastmath=True, inline="always")
def _face(ax: float, y: float, z: float, wide: float, front: float) -> float:
    """Return the distance in mm outside the face, which ends at the chin and at z = 62."""
    deep = -15.0 - front if y < -15.0 else 45.0
    q = ((ax / wide) ** 2.5 + (abs(y + 15.0) / deep) ** 2.5) ** 0.4
    section = (q - 1.0) * min(wide, deep)
    chin = -(z + 91.0 - 0.33 * max(y + 86.0, -8.0))
    visage = max(section, max(chin, z - 62.0))
    edge = max(-abs(section - chin) + 9.0, 0.0)
    if section > -9 and chin > -9:
        visage += edge * edge / 36.0
    return visage


@kernel(fastmath=True, inline="always")
def _neck(x: float, y: float, z: float, wide: float, front: float, back: float) -> float:
    """Return the distance in mm outside the neck, which does not turn with the head."""
    mid = 0.5 * (front + back)
    q = ((abs(x) / wide) ** 2.2 + (abs(y - mid) / (back - mid)) ** 2.2) ** 0.4545
    return max((q - 1.0) * wide, z - 5.0)


@kernel(fastmath=True, inline="always")
def _base_thickness(ax: float, y: float, z: float, rough: float, c: Cranium) -> float:
    """Return the thickness of the base of the skull in mm, with the petrous bones."""
    slab = max(3.2 + 0.8 * rough, c.thinnest)
    if 8.0 < ax < 66.0 and z < 40.0:
        slab += 9.0 * math.exp(-(((y - _petrous_y(ax)) / 8.0) ** 2))
    return slab


@kernel(fastmath=True)
def _soft_tissue(
    x: float, y: float, z: float, depth: float, temporalis: bool, rough: float, c: Cranium,
    grain: Roughness, names: Array,
) -> int:  # fmt: skip
    """Return the structure between skin and skull at a depth in mm below the skin's surface."""
    noise, shift = grain
    high = _step((z - 10.0) / 25.0)
    fat = high * (c.scalp - c.skin) + (1 - high) * (c.face_fat if y < 10.0 else c.neck_fat)
    fat *= 1.0 + 0.35 * rough
    if depth < c.skin:
        return names[6]
    if temporalis:
        return names[8]
    if depth < c.skin + fat:
        return names[7]
    if z > 12.0 and y > -62.0:
        return names[11] if abs(x) < 38.0 and y > -52.0 else names[9]
    fine = noise_at(noise, x / 4.0 + shift[1], y / 4.0 + shift[2], z / 9.0 + shift[3])
    return names[9] if fine > 0.55 + 0.05 * max(0.0, depth - 18.0) else names[8]


@kernel(fastmath=True)
def paint_head(
    labels: Array, grid: Grid, pose: Pose, c: Cranium, face: Array, neck: Array, grain: Roughness,
    names: Array, z0: int, z1: int,
) -> None:  # fmt: skip
    """Paint skin, fat, soft tissue, skull and brain in slices ``z0..z1``.

    ``face`` (2, n): half width and front every 5 mm from z = -95; ``neck`` (3, n): half width,
    front and back every 10 mm from z = -95. ``names`` are the labels of air, fluid, dura, grey and
    white matter, cerebellum, skin, fat, muscle, fat plane, cortical bone, diploe, couch, foam,
    blanket; the last three remain where they are outside the head.
    """
    turn, pivot, scale, atlas = pose
    noise, shift = grain
    nx = labels.shape[2]
    line = np.empty((nx, 3), np.float32)
    for iz in range(z0, z1):
        for iy in range(labels.shape[1]):
            row_positions(grid, iz, iy, 0, nx, line)
            for ix in range(nx):
                dx, dy, dz = (
                    (line[ix, 0] - pivot[0]) / scale[0],
                    (line[ix, 1] - pivot[1]) / scale[1],
                    (line[ix, 2] - pivot[2]) / scale[2],
                )
                height = dz + atlas[2]
                if height < c.lowest_z or abs(dx) > 104.0 or abs(dy) > 145.0 or height > 150.0:
                    continue
                x = dx * turn[0, 0] + dy * turn[0, 1] + dz * turn[0, 2] + atlas[0]
                y = dx * turn[1, 0] + dy * turn[1, 1] + dz * turn[1, 2] + atlas[1]
                z = dx * turn[2, 0] + dy * turn[2, 1] + dz * turn[2, 2] + atlas[2]
                ax, old = abs(x), labels[iz, iy, ix]
                vault, k = _vault(x, y, z, c)
                rough = noise_at(noise, x / 17 + shift[6], y / 17 + shift[7], z / 17 + shift[8])
                temple = _temple(ax, y, z)
                thick = _thickness(x, y, z, temple, rough, c)
                muscle = c.temporalis * temple
                # scalp, face and neck blended
                skin = vault - thick - c.scalp - 0.8 * muscle
                if z < 62.0:
                    wide, front = _table(face, 0, 5.0, z), _table(face, 1, 5.0, z)
                    skin = _smooth_min(skin, _face(ax, y, z, wide, front), 14.0)
                wide, front = _table(neck, 0, 10.0, height), _table(neck, 1, 10.0, height)
                back = _table(neck, 2, 10.0, height)
                collar = _neck(dx, dy + atlas[1], height, wide, front, back)
                skin = _smooth_min(skin, collar, 16.0)
                if skin > 0.0:
                    if old != names[12] and old != names[13] and old != names[14]:
                        labels[iz, iy, ix] = names[0]
                    continue
                low = (_floor(ax, y) + 1.4 * rough - z) * 0.85
                inside = max(vault, low)
                if vault >= thick or low >= _base_thickness(ax, y, z, rough, c):
                    temporalis = thick < vault < thick + muscle and muscle > 1.2
                    label = _soft_tissue(x, y, z, -skin, temporalis, rough, c, grain, names)
                elif inside < 0.0:
                    label = _brain(x, y, z, -inside - c.gap, max(k, 0.25), c, grain, names)
                else:
                    solid = vault <= low or vault < 1.7 or thick - vault < 1.9 or thick < 4.4
                    label = names[10] if solid else names[11]
                labels[iz, iy, ix] = label

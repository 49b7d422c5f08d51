"""Compiled kernel that paints a patient's envelope from polar tables."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ctphantom.compiling import kernel
from ctphantom.painting_kernels import Array, Grid, noise_at, row_positions


class Walls(NamedTuple):
    """A patient's envelope as polar tables, mm."""

    table_z: Array  #: z of the rows
    center: Array  #: y of the pole of each row
    radii: Array  #: (4, nz, n_theta): skin, outer muscle, cavity, thickness of fat planes
    floor: Array  #: (ny, nx) height of the diaphragm over (x, y)
    floor_grid: Array  #: x0, y0 and step of the floor
    skin: float  #: thickness of the skin
    diaphragm: float  #: thickness of the diaphragm


@kernel(fastmath=True)
def paint_body(
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

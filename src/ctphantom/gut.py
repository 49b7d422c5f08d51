# ruff: noqa: N817 - S is Structure; lists are added to arrays, not joined to them
"""Stomach, duodenum, small bowel and colon with their contents."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctphantom.abdomen import FREE, SOFT, shift_z
from ctphantom.anatomy import Anatomy, Frame
from ctphantom.canvas import Canvas
from ctphantom.parts import rows, tubes
from ctphantom.shapes import Shape, spline
from ctphantom.structures import Structure as S

Points = NDArray[np.float64]
NO_GAS = -1e9


def stomach_line(anatomy: Anatomy, frame: Frame) -> Points:
    """Return the center line and radius (n, 4) of the stomach, scaled to its volume."""
    rng = anatomy.rng(50)
    s = shift_z(anatomy)
    horn = anatomy.stomach_horn
    low = np.interp(horn, [0, 1], [70, 128]) + 0.5 * s + rng.normal(0, 8)
    dome = frame.diaphragm(58, 8)
    full = np.clip((anatomy.stomach_ml - 150) / 600, -0.2, 1.0)
    line = np.array(
        [(48 + 8 * full, 14, dome - 26 - 10 * full, 27), (56 + 8 * full, 4, dome - 46, 31),
         (64 + 6 * full, -28, 178 + s, 29), (62, -62 - 8 * full, 148 + 0.8 * s, 26),
         (46, -84 - 6 * full, 0.5 * (low + 140), 23), (22, -90 - 6 * full, low, 20),
         (-8, -84, low + 8 + 18 * (1 - horn), 17), (-30, -68, 122 + 0.6 * s, 10)], float,
    )  # fmt: skip
    line[1:-1, :3] += rng.normal(0, 5, (len(line) - 2, 3))
    forward = np.array([0, 0.3, 0.8, 1, 1, 0.8, 0.4, 0]) * rng.uniform(-24, 4)
    line[:, 1] += forward
    fine = spline(line, 30)
    if anatomy.stomach_fill == "collapsed":
        fine[:, 3] = np.interp(np.arange(30), [0, 8, 20, 29], [15, 12, 10, 8])
    pieces = np.linalg.norm(np.diff(fine[:, :3], axis=0), axis=1)
    middle = 0.5 * (fine[1:, 3] + fine[:-1, 3])
    volume = (np.pi * middle**2 * pieces).sum() / 1000 + 2 * fine[0, 3] ** 3 / 1000
    wall = 1.0 if anatomy.stomach_fill == "collapsed" else 0.35
    goal = anatomy.stomach_ml + wall * 90
    fine[:, 3] = np.clip(fine[:, 3] * np.sqrt(goal / volume), 7, 58)
    # the fundus touches the diaphragm, and a wide one extends to anterior
    high = np.exp(-np.arange(30) / 5.0)
    fine[:, 2] += high * (dome - 4 - fine[0, 2] - fine[0, 3])
    fine[:, 1] -= 0.55 * np.clip(fine[:, 3] - 24, 0, 40) * np.exp(-np.arange(30) / 12.0)
    return fine


def paint_stomach(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the stomach with its wall, folds, content and gas."""
    line = stomach_line(anatomy, frame)
    rng = anatomy.rng(51)
    top = (line[:, 1] - line[:, 3]).min()
    bottom = (line[:, 1] + line[:, 3]).max()
    level = top + anatomy.stomach_gas * (bottom - top)
    if anatomy.stomach_fill == "collapsed":
        level = top + 0.4 * anatomy.stomach_gas * (bottom - top)
    shape = Shape().tube(line[:, :3], line[:, 3], smooth=False, blend=3)
    esophagus = np.array([17, -2, 222.0])
    fundus = line[3, :3]
    canvas.paint(
        Shape().tube([esophagus, 0.5 * (esophagus + fundus) + [-4, -4, 0], fundus], [8, 9, 10]),
        S.STOMACH_WALL,
        only=SOFT,
    )
    empty = anatomy.stomach_fill == "collapsed"
    layers = [(0.0, S.STOMACH_WALL), (-anatomy.stomach_wall, S.STOMACH_CONTENT)]
    canvas.paint(
        shape,
        layers,
        only=SOFT,
        compete=True,
        bias=2.0 if empty else 4.0,
        noise=2.2 if empty else 1.2,
        scale=6 if empty else 12,
        gas=S.STOMACH_GAS,
        gas_level=level,
    )
    folds = Shape()
    for _ in range(6 if empty or anatomy.stomach_ml < 350 else 2):
        turn = rng.uniform(0, 2 * np.pi)
        a = line[6:22]
        side = np.column_stack([np.cos(turn) * a[:, 3], np.sin(turn) * a[:, 3], 0 * a[:, 3]]) * 0.8
        folds.tube(a[::3, :3] + side[::3], 2.4)
    canvas.paint(folds, S.STOMACH_WALL, only=[S.STOMACH_CONTENT, S.STOMACH_GAS])


def _runs(rng: np.random.Generator, n: int, weights: dict[str, float]) -> list[str]:
    """Draw a state for each of n segments, in runs of 5 to 25 equal states."""
    names = list(weights)
    share = np.array(list(weights.values()))
    states: list[str] = []
    while len(states) < n:
        name = names[int(rng.choice(len(names), p=share / share.sum()))]
        states += [name] * int(rng.integers(5, 26))
    return states[:n]


def gas_levels(line: Points, states: list[str], share: dict[str, float]) -> list[float]:
    """Return the gas-fluid level (y in mm) of each segment, equal in each run; -1e9 is no gas."""
    levels = [NO_GAS] * len(states)
    start = 0
    for i in range(1, len(states) + 1):
        if i == len(states) or states[i] != states[start]:
            piece = line[start:i]
            part = share[states[start]]
            if part > 0:
                top = float((piece[:, 1] - piece[:, 3]).min())
                low = float((piece[:, 1] + piece[:, 3]).max())
                levels[start:i] = [top + part * (low - top)] * (i - start)
            start = i
    return levels


def paint_duodenum(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the duodenum around the head of the pancreas."""
    rng = anatomy.rng(52)
    s = 0.6 * shift_z(anatomy)
    points = rows()["duodenum"][0].points.copy()
    points[:3, 2] += s
    points[1:] += rng.normal(0, 3, (len(points) - 1, 3))
    radius = rng.uniform(9, 14, len(points))
    level = points[:, 1].mean() - rng.uniform(4, 30)
    shape = Shape().tube(points, radius)
    canvas.paint(
        shape,
        [(0, S.SMALL_BOWEL_WALL), (-2.4, S.SMALL_BOWEL_CONTENT)],
        only=FREE,
        compete=True,
        noise=1.2,
        scale=5,
        gas=S.BOWEL_GAS,
        gas_level=level,
    )


def colon_line(anatomy: Anatomy, frame: Frame) -> Points:
    """Return the center line and radius (n, 4) of the colon with haustra, cecum to rectum."""
    rng = anatomy.rng(53)
    s = shift_z(anatomy)
    sag = rng.uniform(-10, 70)
    caliber = 0.75 + 0.55 * anatomy.colon_fill
    side = 1 + 0.05 * anatomy.visceral
    flexure = min(150 + s + rng.normal(10, 16), frame.diaphragm(100, -10) - 22)
    loop = rng.uniform(-10, 40)
    line = np.array(
        [
            (-78, -58, -22, 24),
            (-90, -48, 5, 29),
            (-100, -34, 45, 26),
            (-98, -30, 85 + 0.4 * s, 24),
            (-88, -58, 98 + 0.5 * s, 23),
            (-52, -88, 88 - 0.4 * sag, 22),
            (0, -94, 84 - sag, 21),
            (50, -90, 96 - 0.5 * sag, 21),
            (88, -64, 128 + 0.7 * s, 20),
            (106, -16, flexure, 18),
            (114, 6, flexure - 30, 16),
            (112, 10, 80, 15),
            (106, 0, 35, 14),
            (92, -28, 0, 14),
            (62, -44, -30, 15),
            (20, -50 - 0.5 * loop, -38 + loop, 16),
            (-18, -28, -38 + 0.5 * loop, 15),
            (-6, 8, -36, 14),
            (8, 22, -32, 14),
        ],
        float,
    )
    line[:, 0] *= side
    line[:9, 1] -= rng.uniform(0, 14)
    line[1:-2, :3] += rng.normal(0, 6, (len(line) - 3, 3))
    line[:, 3] *= caliber * rng.uniform(0.85, 1.15, len(line))
    length = np.linalg.norm(np.diff(line[:, :3], axis=0), axis=1).sum()
    fine = spline(line, int(length / 4.5))
    at = np.arange(len(fine)) * 4.5
    phase = 2 * np.pi * at / (27 + 5 * np.sin(at / 90)) + rng.uniform(0, 6)
    fine[:, 3] *= 1 + np.interp(at, [0, 0.6 * length, length], [0.16, 0.14, 0.05]) * np.cos(phase)
    wiggle = np.column_stack([np.sin(at / 19), np.cos(at / 23), np.sin(at / 27 + 1)]) * 3
    fine[:, :3] += wiggle
    return fine


def paint_colon(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the colon with stool and gas."""
    rng = anatomy.rng(54)
    line = colon_line(anatomy, frame)
    n = len(line)
    g = anatomy.colon_gas
    states = _runs(
        rng, n, {"stool": 0.5, "mixed": 0.15 + 0.5 * g, "gas": 0.05 + 0.8 * g * g, "empty": 0.2}
    )
    spasm = np.array([0.62 if state == "empty" else 1.0 for state in states])
    weights = np.ones(9) / 9
    line[:, 3] *= np.convolve(np.pad(spasm, 4, mode="edge"), weights, mode="valid")
    line[:, 3] = np.clip(line[:, 3], 6.5, 44)
    share = {"stool": -1.0, "mixed": 0.5, "gas": 1.1, "empty": -1.0}
    level = gas_levels(line, states, share)
    shape = Shape().tube(line[:, :3], line[:, 3], smooth=False)
    canvas.paint(
        shape,
        [(0, S.COLON_WALL), (-2.3, S.COLON_CONTENT)],
        only=SOFT,
        compete=True,
        bias=3,
        noise=1.3,
        scale=6,
        gas=S.BOWEL_GAS,
        gas_level=level[: n - 1],
    )


def _folds(
    rng: np.random.Generator, y0: float, pitch: float, wide: float
) -> list[tuple[float, float, float, float]]:
    """Return points (x, y, z, radius) of serpentine loops at one depth, in rows or columns."""
    points = []
    upright = rng.random() < 0.45
    deep = y0 > -45
    tracks = (
        np.arange(-84, 84, pitch) if upright else np.arange(106 + rng.uniform(-8, 8), -84, -pitch)
    )
    for i, track in enumerate(tracks):
        if upright:
            top = np.interp(abs(track), [0, 50, 85], [104, 96, 70]) - (10 if deep else 0)
            low = np.interp(abs(track), [0, 50, 85], [-80, -60, -10])
            run = [(track, z) for z in np.linspace(top, low, 8)]
        else:
            reach = np.interp(track, [-80, -40, 30, 100], [42, 66, 88, 78]) * (0.75 if deep else 1)
            left = 22 if track > 40 else 0  # the jejunum is on the left, the ileum low on the right
            run = [(x + left, track + 0.1 * x) for x in np.linspace(-reach, reach, 6)]
        for x, z in run[:: -1 if i % 2 else 1]:
            dx, dy, dz = rng.normal(0, (7, 9, 9))
            points.append((x + dx, y0 + dy, z + dz, wide * rng.uniform(9, 15)))
    return points


def small_bowel_lines(anatomy: Anatomy, frame: Frame) -> list[Points]:
    """Return center lines and radii (n, 4) of the loops of jejunum and ileum."""
    rng = anatomy.rng(55)
    wide = 0.8 + 0.45 * anatomy.bowel_fill
    lines = []
    pitch = 16.0 + 7 * wide + 7 * anatomy.visceral
    for y0 in (-86.0, -67.0, -50.0, -33.0):
        points = _folds(rng, y0, pitch, wide)
        line = np.array(points)
        length = np.linalg.norm(np.diff(line[:, :3], axis=0), axis=1).sum()
        fine = spline(line, int(length / 6))
        fine[:, 3] = np.clip(fine[:, 3], 7, 19)
        lines.append(fine)
    # jejunum under the stomach, in the left upper quadrant
    count = int(rng.integers(9, 20))
    spots = np.column_stack(
        [
            rng.uniform(18, 92, count),
            rng.uniform(-72, -14, count),
            rng.uniform(92, 150, count),
            wide * rng.uniform(8, 13, count),
        ]
    )
    order = [0]
    while len(order) < count:  # append the nearest remaining point
        gap = np.linalg.norm(spots[:, :3] - spots[order[-1], :3], axis=1)
        gap[order] = np.inf
        order.append(int(np.argmin(gap)))
    walk = spots[order]
    length = np.linalg.norm(np.diff(walk[:, :3], axis=0), axis=1).sum()
    lines.append(spline(walk, int(length / 6)))
    lines[-1][:, 3] = np.clip(lines[-1][:, 3], 7, 17)
    return lines


def paint_small_bowel(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the loops of jejunum and ileum: collapsed, or filled with fluid or gas."""
    rng = anatomy.rng(56)
    f, g = anatomy.bowel_fill, anatomy.bowel_gas
    for line in small_bowel_lines(anatomy, frame):
        n = len(line)
        states = _runs(
            rng,
            n,
            {
                "fluid": 0.25 + f,
                "collapsed": 1.0 - 0.6 * f,
                "gas": 0.6 * g,
                "gap": 0.12 + 0.3 * anatomy.visceral,
            },
        )
        for i, state in enumerate(states):
            if state == "collapsed":
                line[i, 3] = min(line[i, 3], 8.0)
        keep = np.array([state != "gap" for state in states])
        share = {"fluid": NO_GAS, "collapsed": NO_GAS, "gas": 0.55, "gap": NO_GAS}
        shape, level = Shape(), []
        levels = gas_levels(line, states, share)
        for i in range(n - 1):
            if not (keep[i] and keep[i + 1]):
                continue
            shape.tube(line[i : i + 2, :3], line[i : i + 2, 3], smooth=False)
            level.append(levels[i])
        canvas.paint(
            shape,
            [(0, S.SMALL_BOWEL_WALL), (-rng.uniform(2.0, 3.2), S.SMALL_BOWEL_CONTENT)],
            only=[*FREE, S.SMALL_BOWEL_WALL, S.SMALL_BOWEL_CONTENT, S.BOWEL_GAS],
            compete=True,
            bias=-2,
            noise=1.6,
            scale=6,
            gas=S.BOWEL_GAS,
            gas_level=level,
        )


def finish_walls(canvas: Canvas, anatomy: Anatomy) -> None:
    """Close the walls of hollow organs where neighbors cut into them."""
    canvas.close_walls(
        [S.STOMACH_CONTENT, S.STOMACH_GAS], S.STOMACH_WALL, 0.7 * anatomy.stomach_wall
    )
    canvas.close_walls([S.COLON_CONTENT, S.BOWEL_GAS], S.COLON_WALL, 1.6)
    canvas.close_walls([S.SMALL_BOWEL_CONTENT], S.SMALL_BOWEL_WALL, 1.6)


def paint_ascites(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint free fluid in the paracolic gutters and the pelvis."""
    if anatomy.ascites <= 0:
        return
    pool = Shape()
    for side in (-1, 1):
        pool.join(tubes("gutter", side, 6 + 26 * anatomy.ascites))
    pool.ellipsoid((0, 10, -60), (60, 40, 40))
    canvas.paint(pool, S.ASCITES, only=FREE, noise=3.0)

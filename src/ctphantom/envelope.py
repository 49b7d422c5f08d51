# ruff: noqa: N817 - S is Structure; lists are added to arrays, not joined to them
"""The envelope: skin, fat, body wall, chest cavity, diaphragm, abdominal cavity, arms, couch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from ctphantom.anatomy import Anatomy, Frame, shared_noise
from ctphantom.canvas import Canvas
from ctphantom.painting_kernels import Walls, paint_body
from ctphantom.parts import tubes
from ctphantom.shapes import Shape
from ctphantom.structures import Structure as S

#: outer surface of the muscles: z, half width, front, back (y in mm)
MUSCLE_CONTOUR = np.array(
    [(-260, 150, -70, 75), (-170, 160, -78, 80), (-120, 165, -84, 88), (-80, 161, -86, 94),
     (-30, 150, -92, 96), (0, 141, -98, 94), (40, 136, -104, 92), (80, 138, -108, 96),
     (120, 144, -113, 98), (160, 149, -119, 101), (200, 152, -123, 104), (250, 153, -121, 107),
     (300, 153, -113, 110), (350, 154, -98, 112), (385, 150, -82, 108), (410, 128, -66, 98),
     (430, 100, -54, 86), (450, 72, -46, 74), (480, 60, -50, 58), (520, 58, -52, 52),
     (600, 58, -52, 50)],
    dtype=float,
)  # fmt: skip
#: inner surface: the chest and abdominal cavity
CAVITY_CONTOUR = np.array(
    [(-260, 4, -20, 10), (-150, 30, -52, 36), (-132, 48, -70, 52), (-100, 60, -80, 66),
     (-60, 78, -84, 66), (-30, 94, -86, 50), (0, 113, -89, 38), (40, 122, -95, 42),
     (80, 126, -99, 48), (120, 132, -104, 58), (160, 138, -110, 76), (200, 141, -113, 86),
     (250, 138, -109, 93), (300, 132, -98, 97), (350, 118, -78, 94), (385, 100, -54, 86),
     (410, 78, -34, 74), (430, 52, -12, 58), (444, 22, 2, 38), (449, 4, 10, 24), (600, 1, 10, 14)],
    dtype=float,
)  # fmt: skip
SKIN_MM = 1.9


def _profile(table: NDArray[np.float64], z: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    return [np.asarray(PchipInterpolator(table[:, 0], table[:, c])(z)) for c in (1, 2, 3)]


def _contour(
    theta: NDArray[np.float64],
    center: NDArray[np.float64],
    sides: list[NDArray[np.float64]],
    power: float,
    behind: float,
) -> NDArray[np.float64]:
    """Return radii (n_z, n_theta) of superellipses that differ in front and behind."""
    half, front, back = (s[:, None] for s in sides)
    pole = center[:, None]
    c, s = np.abs(np.cos(theta))[None], np.sin(theta)[None]
    depth = np.where(s < 0, np.maximum(pole - front, 1.0), np.maximum(back - pole, 1.0))
    n = np.where(s < 0, power, behind)
    radius: NDArray[np.float64] = ((c / half) ** n + (np.abs(s) / depth) ** n) ** (-1.0 / n)
    return radius


def _bump(angle: NDArray[np.float64], at: float, width: float) -> NDArray[np.float64]:
    """Return a Gaussian over angles in degrees."""
    away = (angle - at + 180.0) % 360.0 - 180.0
    return np.asarray(np.exp(-((away / width) ** 2)))


def make_frame(anatomy: Anatomy) -> Frame:
    """Return the polar tables of skin, muscle, cavity and diaphragm of one patient."""
    rng = anatomy.rng(2)
    z = np.arange(-260.0, 601.0, 5.0)
    theta = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    angle = np.degrees(theta)[None]
    m, c = _profile(MUSCLE_CONTOUR, z), _profile(CAVITY_CONTOUR, z)
    female = anatomy.sex == "female"
    belly = np.exp(-(((z - 70) / 95) ** 2))  # where visceral fat expands the wall
    grow = belly * (anatomy.visceral - 0.35)
    hips = np.exp(-(((z + 90) / 70) ** 2))
    chest = np.exp(-(((z - 290) / 110) ** 2))
    breath = 0.04 * chest * (anatomy.breathing - 0.5)
    for table in (m, c):
        table[0] = table[0] * (1 + 0.09 * grow + breath + (0.05 * hips if female else 0))
        table[1] = table[1] * (1 + 0.34 * grow + 1.5 * breath)
    m[0] = m[0] + (anatomy.muscle - 1) * 18
    m[1] = m[1] - (anatomy.muscle - 1) * 8
    m[2] = m[2] + (anatomy.muscle - 1) * 14
    waist = np.exp(-(((z - 75) / 50) ** 2))
    if female:
        m[0], c[0] = m[0] * (1 - 0.03 * waist), c[0] * (1 - 0.03 * waist)
    center = 0.5 * (c[1] + c[2])
    center = np.where(z < -100, np.interp(z, [-260, -100], [0, center[z >= -100][0]]), center)
    center = np.where(z > 440, center[np.searchsorted(z, 440)], center)
    center = ndimage.gaussian_filter1d(center, 3)
    muscle = _contour(theta, center, m, 2.35, 2.6)
    cavity = _contour(theta, center, c, 2.3, 2.9)
    lumbar = np.exp(-(((z - 70) / 80) ** 2))[:, None]
    groove = _bump(angle, 90, 9.0)
    muscle = muscle * (
        1
        - 0.07 * groove * (0.4 + 0.6 * lumbar)
        + 0.03 * _bump(angle, 65, 14) * lumbar
        + 0.03 * _bump(angle, 115, 14) * lumbar
    )
    # the wall is at least 7 mm thick
    cavity = np.minimum(cavity, muscle - 7.0)
    cavity = np.where(cavity < 3.0, 3.0, cavity)
    skin = _skin(anatomy, rng, z, theta, muscle)
    floor, grid = _diaphragm(anatomy, z, theta, center, cavity)
    return Frame(z, theta, center, skin, muscle, cavity, floor, grid)


def _skin(
    anatomy: Anatomy,
    rng: np.random.Generator,
    z: NDArray[np.float64],
    theta: NDArray[np.float64],
    muscle: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the radii (n_z, n_theta) of the skin: fat of varying thickness over the muscles."""
    angle = np.degrees(theta)[None]
    fat = anatomy.subcutaneous
    level = np.interp(z, [-200, -100, -20, 60, 150, 250, 330, 400, 440, 600],
                      [1.15, 1.2, 1.15, 1.0, 0.75, 0.5, 0.5, 0.55, 0.4, 0.35])  # fmt: skip
    around = (
        0.75
        + 0.35 * _bump(angle, 270, 55)
        + 0.35 * _bump(angle, 60, 35)
        + 0.35 * _bump(angle, 120, 35)
    )
    seat = np.exp(-(((z + 90) / 60) ** 2))[:, None] * (_bump(angle, 60, 30) + _bump(angle, 120, 30))
    ripple = ndimage.gaussian_filter(rng.standard_normal(muscle.shape), (7, 9), mode="wrap")
    ripple = 1 + 0.18 * ripple / ripple.std()
    thick = (
        2.5 + fat * level[:, None] * around * np.clip(ripple, 0.5, 1.5) + seat * (4 + 0.25 * fat)
    )
    navel = _bump(angle, 270, 4.0) * np.exp(-(((z - 48) / 7) ** 2))[:, None]
    thick = thick * (1 - 0.75 * navel)
    skin = muscle + thick + SKIN_MM
    cleft = _bump(angle, 90, 5.0) * np.exp(-(((z + 120) / 55) ** 2))[:, None]
    skin = skin * (1 - 0.16 * cleft)
    # the supine patient's fat is flattened at the back and buttocks
    sine = np.sin(theta)[None]
    flat = (0.5 * (skin * sine).max(axis=1) + 0.5 * (muscle * sine).max(axis=1) + 1.5)[:, None]
    flat = ndimage.gaussian_filter1d(flat, 3, axis=0)
    depth = skin * sine
    over = np.maximum(depth - (flat - 6), 0)
    pressed = np.where(depth > flat - 6, flat - 6 + 6 * (1 - np.exp(-over / 6)), depth)
    skin = np.where(sine > 0.05, np.minimum(skin, pressed / np.maximum(sine, 0.05)), skin)
    return np.maximum(skin, muscle + SKIN_MM + 1.0)


def _diaphragm(
    anatomy: Anatomy,
    z: NDArray[np.float64],
    theta: NDArray[np.float64],
    center: NDArray[np.float64],
    cavity: NDArray[np.float64],
) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Return the height of the diaphragm on a 4 mm grid (y, x), and x0, y0 and step of the grid."""
    rng = anatomy.rng(3)
    step = 4.0
    xs, ys = np.arange(-180, 181, step), np.arange(-160, 161, step)
    x, y = np.meshgrid(xs, ys)
    drop = 26 * (0.5 - anatomy.breathing)  # lower in inspiration
    row = np.searchsorted(z, 200.0)
    pole, ring = center[row], cavity[row]
    angle = np.arctan2(y - pole, x)
    edge = np.interp(np.mod(angle, 2 * np.pi), theta, ring, period=2 * np.pi)
    rho = np.hypot(x, y - pole) / edge
    turned = np.degrees(angle)
    front = np.exp(-(((turned + 90) / 45) ** 2))
    attach = 128 + 66 * front + 0.5 * drop + 12 * (0.5 - anatomy.breathing)
    right = 246 + drop + rng.normal(0, 6)
    packed = (0.8 * anatomy.stomach_ml / 600 + 0.6 * anatomy.spleen_ml / 400
              + 0.4 * anatomy.left_lobe + 0.5 * anatomy.visceral)  # fmt: skip
    left = (
        198
        + 34 * min(packed, 1.0)
        + drop
        + rng.normal(0, 8)
        + (6 if anatomy.stomach_fill == "gas" else 0)
    )
    share = 1 / (1 + np.exp(-(x - 8) / 14))
    top = right * (1 - share) + left * share
    top -= 13 * np.exp(-(((x - 12) / 30) ** 2)) * np.exp(-(((y + 45) / 45) ** 2))
    top -= 34 * np.exp(-((x / 26) ** 2)) * np.clip((y + 10) / 50, 0, 1)  # crura at the spine
    steep = rng.uniform(4.5, 10.0)  # steepness at the rim of the dome
    fall = np.clip(1 - np.clip(rho, 0, 1.02) ** steep, 0, 1) ** rng.uniform(0.42, 0.65)
    height = attach + (top - attach) * fall
    height = np.where(rho >= 1, attach, height)
    return ndimage.gaussian_filter(height, 1.2), (float(xs[0]), float(ys[0]), step)


def paint_envelope(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Fill the canvas with air, skin, fat, wall muscle, lung and abdominal fat."""
    planes = np.zeros_like(frame.skin)
    angle = np.degrees(frame.theta)[None]
    side = _bump(angle, 0, 38) + _bump(angle, 180, 38)
    heights = np.exp(-(((frame.z - 60) / 75) ** 4))[:, None]
    planes = np.where(side * heights > 0.3, 0.75 + 0.5 * anatomy.visceral, 0.0)
    chest = (np.exp(-(((frame.z - 285) / 125) ** 4))[:, None]) * (side + _bump(angle, 270, 60))
    planes = np.where(chest > 0.4, 0.8, planes)
    hips = np.exp(-(((frame.z + 90) / 70) ** 4))[:, None] * np.ones_like(planes)
    planes = np.where(hips > 0.5, 0.9 + 0.6 * anatomy.visceral, planes)
    radii = np.stack([frame.skin, frame.muscle, frame.cavity, planes]).astype(np.float32)
    names = np.array(
        [S.OUTSIDE_AIR, S.SKIN, S.SUBCUTANEOUS_FAT, S.MUSCLE, S.INTERMUSCULAR_FAT, S.LUNG,
         S.VISCERAL_FAT, S.DIAPHRAGM], np.uint8,
    )  # fmt: skip
    skin = max(SKIN_MM, 0.75 * float(canvas.spacing[1:].max()))
    walls = Walls(
        frame.z, frame.center, radii, frame.floor, np.array(frame.floor_grid),
        skin, max(2.2, 0.6 * float(canvas.spacing.max())),
    )  # fmt: skip
    canvas.run(
        paint_body, 0, canvas.shape[0], canvas.labels, canvas.grid, walls, names, shared_noise()
    )  # fmt: skip


def dress(canvas: Canvas, shape: Shape, fat: float, *, muscle: bool = True) -> None:
    """Paint a limb or breast with its core, fat and skin, merged with the body."""
    skin = fat + max(SKIN_MM, 0.75 * float(canvas.spacing[1:].max()))
    core = S.MUSCLE if muscle else S.SUBCUTANEOUS_FAT
    stamp = canvas.stamp(shape, skin + 1.0)
    if stamp is None:
        return
    layers = [(skin, S.SKIN), (fat, S.SUBCUTANEOUS_FAT), (0.0, core)]
    canvas.press(stamp, layers, only=[S.OUTSIDE_AIR])
    canvas.press(stamp, [(fat, S.SUBCUTANEOUS_FAT)], only=[S.SKIN])
    if muscle:
        canvas.press(stamp, [(0.0, S.MUSCLE)], only=[S.SKIN, S.SUBCUTANEOUS_FAT])


def paint_limbs(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint shoulders and arms (raised or at the sides), breasts and thighs."""
    fat = 2.0 + 0.45 * anatomy.subcutaneous
    bulk = 0.5 + 0.5 * anatomy.muscle
    for side in (-1, 1):
        shoulder = Shape().ellipsoid((118 * side, 30, 392), (56, 44, 46))
        arm = "raised arm" if anatomy.arms_up else "hanging arm"
        shoulder.join(tubes(arm, side, bulk))
        dress(canvas, shoulder, fat)
        dress(canvas, tubes("thigh", side, bulk), 1.2 * fat)
        if anatomy.sex == "female":
            rng = anatomy.rng(4)
            size = float(np.clip(30 + 0.5 * anatomy.subcutaneous + rng.normal(0, 4), 28, 58))
            base = frame.wall(-90 + 38 * side, 300.0, 0.0, "muscle")[0]
            center = (base[0], base[1] - 0.10 * size, 300)
            breast = Shape().ellipsoid(center, (1.35 * size, 0.85 * size, 1.25 * size))
            dress(canvas, breast, 0.0, muscle=False)
            gland = Shape().ellipsoid(
                (center[0], center[1] - 0.3 * size, 297), (0.8 * size, 0.42 * size, 0.75 * size)
            )
            canvas.paint(gland, S.BREAST_GLAND, only=[S.SUBCUTANEOUS_FAT], noise=7.0, scale=6.0)


def paint_couch(canvas: Canvas) -> None:
    """Paint the table just below the lowest point of the back: a curved shell around foam.

    It is not deformed with the patient.
    """
    z, y, x = canvas.shape
    occupied = (canvas.labels != S.OUTSIDE_AIR).any(axis=0)
    rows = np.flatnonzero(occupied[:, x // 3 : 2 * x // 3].any(1))
    last = int(rows[-1]) if len(rows) else y - 1
    top = float(canvas.origin[1] + canvas.spacing[1] * (last + 1))
    ys = canvas.origin[1] + canvas.spacing[1] * np.arange(y)[:, None]
    xs = canvas.origin[0] + canvas.spacing[2] * np.arange(x)[None, :]
    sag = top - 2 - 0.00055 * xs**2
    below = ys - sag
    thick = max(1.6, 0.6 * float(canvas.spacing[1]))
    inside = (np.abs(xs) < 215) & (below > 0) & (below < 42 - 0.0004 * xs**2)
    under = 42 - 0.0004 * xs**2 - below
    shell = inside & ((below < thick) | (under < thick) | (np.abs(xs) > 215 - thick))
    plane = np.where(shell, int(S.COUCH), np.where(inside, int(S.COUCH_FOAM), 0)).astype(np.uint8)
    for k in range(z):
        air = canvas.labels[k] == S.OUTSIDE_AIR
        np.copyto(canvas.labels[k], plane, where=air)

# ruff: noqa: N817 - S is Structure; lists are added to arrays, not joined to them
"""Chest: mediastinum, heart, great vessels, airways, lung vessels, effusion."""

from __future__ import annotations

import numpy as np

from ctphantom.anatomy import Anatomy, Frame
from ctphantom.canvas import Canvas
from ctphantom.parts import tubes
from ctphantom.shapes import Shape, axes
from ctphantom.structures import Structure as S

CHEST = [S.LUNG, S.PERICARDIAL_FAT, S.DIAPHRAGM]


def prevertebral(anatomy: Anatomy, z: float, gap: float) -> float:
    """Return y at ``gap`` mm in front of the vertebral bodies at height z."""
    depth = float(np.interp(z, [17, 152, 286, 426], [17, 16, 14.5, 10]))
    return float(anatomy.spine_y(z)) - depth - gap


def aorta_points(anatomy: Anatomy) -> np.ndarray:
    """Return the center line (n, 4: x, y, z, radius) of the aorta from root to bifurcation."""
    age = 1 + 0.25 * anatomy.calcium
    base = np.array(
        [(4, -40, 296, 15), (-10, -50, 322, 16), (-15, -48, 350, 15.5), (-8, -40, 371, 14.5),
         (11, -31, 380, 13.5), (26, -9, 376, 13), (29, 14, 350, 12.5), (25, 0, 310, 12.3),
         (20, 0, 270, 12), (15, 0, 230, 11.5), (10, 0, 190, 11), (8, 0, 150, 10), (8, 0, 110, 9.3),
         (7, 0, 75, 8.8), (4, 0, 50, 8.5)], float,
    )  # fmt: skip
    for row in base[7:]:
        row[1] = prevertebral(anatomy, row[2], row[3] - 2.5)
        if row[2] > 240:
            row[1] += 6
    base[:, 3] *= age
    return base


def paint_mediastinum(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the mediastinal fat."""
    h = anatomy.heart
    fat = 5 + 9 * anatomy.visceral
    column = tubes("mediastinum")
    column.ellipsoid((16, -46, 270), np.array([66, 48, 44]) * h + fat, blend=8)
    column.box((4, -78, 320), (5 + 0.5 * fat, 40, 62), rounding=6, blend=14)
    canvas.paint(column, S.PERICARDIAL_FAT, only=[S.LUNG], noise=1.5, scale=10)


def paint_heart(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the heart's chambers and walls, the roots of the great vessels, coronary arteries."""
    h = anatomy.heart
    rng = anatomy.rng(10)
    center = np.array([18, -46, 274.0])
    low = 10 * (anatomy.breathing - 0.5)
    center[2] -= low

    def at(x: float, y: float, z: float) -> np.ndarray:
        return center + h * np.array([x, y, z])

    apex = np.array([0.74, -0.58, -0.34 + rng.normal(0, 0.06)])
    turn = axes((0, 0, 1), apex)
    wall = 9.5 * rng.uniform(0.85, 1.2)
    lv = np.array([23, 24, 42]) * h * rng.uniform(0.92, 1.05)
    space = [S.LUNG, S.PERICARDIAL_FAT, S.DIAPHRAGM, S.VISCERAL_FAT]
    left = Shape().ellipsoid(at(22, -2, -6), lv + wall, turn)
    right = Shape().ellipsoid(
        at(6, -26, -10), np.array([47, 20, 34]) * h, axes((1, -0.35, -0.2), (0.2, 0.3, 1))
    )
    right.tube([at(8, -30, 10), at(2, -24, 34)], [19 * h, 14 * h], smooth=False, blend=8)
    ra = Shape().ellipsoid(at(-44, -6, 2), np.array([24, 31, 34]) * h)
    la = Shape().ellipsoid(at(-6, 32, 22), np.array([37, 19, 25]) * h)
    canvas.paint(right, [(0, S.MYOCARDIUM), (-3.2, S.RIGHT_HEART_BLOOD)], only=space, noise=0.8)
    canvas.paint(
        ra, [(0, S.MYOCARDIUM), (-2.0, S.RIGHT_HEART_BLOOD)], only=[*space, S.MYOCARDIUM], noise=0.8
    )
    canvas.paint(la, [(0, S.MYOCARDIUM), (-2.0, S.LEFT_HEART_BLOOD)], only=space)
    canvas.paint(left, [(0, S.MYOCARDIUM), (-wall, S.LEFT_HEART_BLOOD)],
                 only=[*space, S.RIGHT_HEART_BLOOD, S.MYOCARDIUM], noise=0.8, scale=5)  # fmt: skip
    papillary = Shape().tube([at(20, 8, -14), at(34, 0, -16)], 4, smooth=False)
    papillary.tube([at(30, -18, 2), at(40, -18, -6)], 4, smooth=False)
    canvas.paint(papillary, S.MYOCARDIUM, only=[S.LEFT_HEART_BLOOD])
    mitral = Shape().tube([at(-2, 22, 12), at(10, 8, 4)], [12 * h, 13 * h], smooth=False)
    canvas.paint(mitral, S.LEFT_HEART_BLOOD, only=[S.MYOCARDIUM])
    tricuspid = Shape().tube([at(-36, -10, 0), at(-14, -22, -4)], [13 * h, 13 * h], smooth=False)
    canvas.paint(tricuspid, S.RIGHT_HEART_BLOOD, only=[S.MYOCARDIUM, S.PERICARDIAL_FAT])
    outflow = Shape().tube([at(8, -4, 6), (4, -40, 298)], [10, 12], smooth=False)
    canvas.paint(outflow, S.LEFT_HEART_BLOOD, only=[S.MYOCARDIUM, S.RIGHT_HEART_BLOOD])
    trunk = Shape().tube(
        [at(4, -24, 30), (22, -66, 322), (22, -44, 338), (10, -22, 342)], [13, 14, 14, 12]
    )
    trunk.join(tubes("pulmonary arteries"))
    canvas.paint(trunk, S.PULMONARY_ARTERY, only=[*space, S.MYOCARDIUM])
    veins = Shape()
    for side, reach in ((-1, -64), (1, 52)):
        for z in (310, 292):
            veins.tube(
                [at(-6 + 22 * side, 34, 20), (reach, 4 + 8 * (z < 300), z)], [8, 6], smooth=False
            )
    canvas.paint(veins, S.PULMONARY_VEIN, only=[*space, S.MYOCARDIUM])
    coronary = Shape().tube([(8, -52, 300), at(26, -32, 18), at(34, -40, -10)], 1.6)
    coronary.tube([(-4, -54, 298), at(-24, -30, 6), at(-22, -26, -24)], 1.6)
    canvas.paint(coronary, S.ARTERY, only=[S.PERICARDIAL_FAT, S.MYOCARDIUM])
    canvas.paint(tubes("upper cava"), S.SUPERIOR_VENA_CAVA, only=CHEST)
    azygos = Shape().tube(
        [(-4, prevertebral(anatomy, z, 2.5), z) for z in (200, 240, 290, 330)]
        + [(-16, 10, 350), (-28, -20, 356)],
        3.2,
    )
    canvas.paint(azygos, S.VEIN, only=[*CHEST, S.MUSCLE])
    cava = Shape().tube([(-24, -10, 215), (-27, -20, 240), at(-40, 0, -14)], [12, 12.5, 13])
    canvas.paint(cava, S.VENA_CAVA, only=[*CHEST, S.VISCERAL_FAT])


def paint_great_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint aorta, arch branches, neck veins and esophagus."""
    points = aorta_points(anatomy)
    chest = points[points[:, 2] > 160]
    soft = [*CHEST, S.MUSCLE, S.VISCERAL_FAT, S.LEFT_HEART_BLOOD, S.MYOCARDIUM, S.PULMONARY_ARTERY]
    canvas.paint(Shape().tube(chest[:, :3], chest[:, 3]), S.AORTA, only=soft)
    around = [*CHEST, S.MUSCLE, S.INTERMUSCULAR_FAT]
    canvas.paint(tubes("arch branches"), S.ARTERY, only=around)
    veins = tubes("neck veins", -1).join(tubes("neck veins"))
    canvas.paint(veins, S.VEIN, only=around)
    path = [(3, z) for z in (500, 460, 420, 385, 350, 310)] + [(8, 270), (14, 240), (17, 222)]
    y = [prevertebral(anatomy, z, 7 if z > 300 else 10 + (300 - z) * 0.18) for _, z in path]
    esophagus = Shape().tube([(x, b, z) for (x, z), b in zip(path, y, strict=True)], 7.5)
    canvas.paint(esophagus, [(0, S.ESOPHAGUS)], only=[*CHEST, S.MUSCLE, S.VISCERAL_FAT])
    if anatomy.rng(11).random() < 0.5:
        z = anatomy.rng(12).uniform(300, 400)
        bubble = Shape().ellipsoid((3, prevertebral(anatomy, z, 8), z), (4, 3, 22))
        canvas.paint(bubble, S.BOWEL_GAS, only=[S.ESOPHAGUS])


def paint_airways(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint trachea, bronchi and thyroid."""
    wide = 1.0 if anatomy.sex == "male" else 0.88

    def front(z: float) -> float:
        return prevertebral(anatomy, z, 24)

    tree = Shape().tube([(0, front(525) + 8, 525), (0, front(480), 480), (-1, front(430) + 1, 430),
                         (-3, front(390) + 2, 390), (0, front(362), 362)], 9.5 * wide)  # fmt: skip
    carina = (0, front(364), 364)
    tree.tube(
        [carina, (-18, 2, 346), (-34, 4, 332), (-40, 6, 308)], np.array([8, 7.5, 6.5, 5]) * wide
    )
    tree.tube([carina, (24, 6, 346), (42, 12, 330), (48, 22, 308)], np.array([7.5, 7, 6, 5]) * wide)
    tree.join(tubes("lobar bronchi", size=wide))
    canvas.paint(tree, [(1.6, S.AIRWAY_WALL), (0, S.AIRWAY_GAS)],
                 only=[*CHEST, S.MUSCLE, S.INTERMUSCULAR_FAT, S.PULMONARY_ARTERY, S.PULMONARY_VEIN,
                       S.LUNG_VESSEL, S.AORTA])  # fmt: skip
    thyroid = Shape()
    for side in (-1, 1):
        thyroid.ellipsoid((17 * side, front(455) + 4, 455), (9, 11, 24))
    thyroid.tube([(-14, front(450) - 9, 450), (14, front(450) - 9, 450)], 5, smooth=False)
    canvas.paint(
        thyroid, S.THYROID, only=[*CHEST, S.MUSCLE, S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT]
    )


def paint_lung_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint a random tree of vessels from each hilum to the pleura."""
    rng = anatomy.rng(13)
    path: list[tuple[float, ...]] = []

    def grow(
        start: np.ndarray, toward: np.ndarray, length: float, radius: float, level: int
    ) -> None:
        end = start + toward * length
        middle = start + toward * length * 0.5 + rng.normal(0, 0.06 * length, 3)
        path.append((*start, radius, *middle, 0.9 * radius))
        path.append((*middle, 0.9 * radius, *end, 0.78 * radius))
        if level == 0 or radius < 0.6:
            return
        for _ in range(3 if level > 2 else 2):
            bend = toward + rng.normal(0, 0.55, 3)
            bend /= np.linalg.norm(bend)
            grow(
                end,
                bend,
                length * rng.uniform(0.62, 0.85),
                radius * rng.uniform(0.6, 0.76),
                level - 1,
            )

    for side in (-1, 1):
        for direction in (
            (0.5, -0.3, 0.9),
            (0.8, -0.6, 0.2),
            (0.9, 0.3, 0.1),
            (0.5, 0.5, -0.6),
            (0.75, 0.1, -0.7),
            (0.4, 0.6, 0.6),
            (0.6, -0.55, -0.55),
        ):
            toward = np.array([side * direction[0], direction[1], direction[2]])
            toward = toward / np.linalg.norm(toward) + rng.normal(0, 0.1, 3)
            hilum = np.array([44.0 * side, 4, 322]) + rng.normal(0, 5, 3)
            grow(hilum, toward / np.linalg.norm(toward), rng.uniform(34, 46), 5.2, 5)
    pieces = np.array(path)
    tree = Shape().segments(pieces[:, :4], pieces[:, 4:])
    canvas.paint(tree, S.LUNG_VESSEL, only=[S.LUNG])


def paint_effusion(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint pleural fluid in the dependent (posterior) pleural space."""
    for side, depth in zip((-1, 1), anatomy.effusion, strict=True):
        if depth <= 3:
            continue
        pool = Shape().box((95 * side, 30, 230), (94, 130, 200))
        pool.cut((0, 88 - depth, 230), (0, -1, 0.25))
        canvas.paint(pool, S.EFFUSION_FLUID, only=[S.LUNG, S.LUNG_VESSEL], noise=1.5)

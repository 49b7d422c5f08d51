# ruff: noqa: N817 - S is Structure; lists are added to arrays, not joined to them
"""Skeleton of the trunk: spine with cord, ribs, sternum, shoulder girdle."""

from __future__ import annotations

import numpy as np

from ctphantom.anatomy import VERTEBRA_Z, Anatomy, Frame
from ctphantom.canvas import Canvas
from ctphantom.parts import tubes
from ctphantom.shapes import Shape, axes, rotation
from ctphantom.structures import Structure as S

RIB_DROP = np.array([40, 60, 75, 92, 106, 118, 130, 132, 124, 110, 72, 42], float)
RIB_END = np.array([150, 146, 142, 139, 136, 132, 127, 121, 112, 100, 68, 48], float)
BONE = 1.5  #: cortical thickness in mm


def bone(canvas: Canvas, cortex: float = BONE) -> list[tuple[float, S]]:
    """Return the layers of a bone with red marrow; the cortex is at least 0.45 voxels thick."""
    return [
        (0.0, S.CORTICAL_BONE),
        (-max(cortex, 0.45 * float(canvas.spacing[1:].max())), S.TRABECULAR_BONE),
    ]


def body_size(name: str) -> tuple[float, float, float]:
    """Return half width, half depth and half height of a vertebral body in mm."""
    z = VERTEBRA_Z[name]
    width = float(
        np.interp(z, [17, 152, 183, 286, 391, 443, 522], [25, 22.5, 21, 16.5, 15, 13, 10])
    )
    depth = float(
        np.interp(z, [17, 152, 183, 286, 426, 443, 522], [17, 16, 15.5, 14.5, 10, 9, 7.5])
    )
    height = float(np.interp(z, [17, 152, 183, 286, 426, 443, 522], [13.5, 12.8, 12, 9.6, 7, 6, 6]))
    return width, depth, height


def paint_spine(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint vertebrae with arches and processes, discs, spinal canal, cord and roots."""
    spine = anatomy.spine_y
    bodies, arches, discs = Shape(), Shape(), Shape()
    for name, z in VERTEBRA_Z.items():
        rx, ry, rz = body_size(name)
        y = float(spine(z))
        slope = float(spine(z + 8) - spine(z - 8)) / 16.0
        turn = axes((1, 0, 0), (0, slope, 1))
        up, back = turn[2], np.array([0, 1, -slope]) / np.hypot(1, slope)
        c = np.array([0, y, z])
        bodies.cylinder(c, (rx, ry, rz), turn, power=2.4)
        canal = c + back * (ry + 8)
        lumbar = name.startswith("L")
        for side in (-1, 1):
            x = np.array([side, 0, 0])
            arches.box(c + back * (ry + 5) + x * (0.62 * rx) + up * 3, (4.5, 9, 0.62 * rz), turn,
                       rounding=3)  # fmt: skip
            arches.tube([canal + x * (0.7 * rx) + back * 3, canal + back * 12 - up * 3],
                        [5.5, 4.0], smooth=False)  # fmt: skip
            reach = np.interp(z, [17, 86, 183, 211, 309, 426, 470], [38, 46, 26, 32, 33, 36, 24])
            arches.tube(
                [
                    canal + x * (0.75 * rx) + back * 2,
                    canal + x * reach + back * (4 if lumbar else 13) + up * 2,
                ],
                [5.5, 3.8],
                smooth=False,
            )
            arches.ellipsoid(canal + x * (0.75 * rx) + back * 7 - up * rz * 0.9, (6, 7, 9), turn)
        drop = 6 if lumbar else np.interp(z, [180, 300, 440, 520], [8, 22, 10, 4])
        length = 30 if lumbar else np.interp(z, [180, 300, 440, 520], [28, 32, 30, 14])
        arches.box(
            canal + back * (8 + length / 2) - up * drop,
            (2.9, length / 2, 9 if lumbar else 5),
            turn,
            rounding=2.5,
        )
        below = c - up * (rz + (5.0 if lumbar else 3.0))
        discs.cylinder(below, (0.97 * rx, 0.97 * ry, 8.0), turn, power=2.4)
    canvas.paint(arches, bone(canvas))
    canvas.paint(discs, S.INTERVERTEBRAL_DISC)
    canvas.paint(bodies, bone(canvas, 1.2), noise=0.4, scale=4)
    _canal(canvas, anatomy)


def _canal(canvas: Canvas, anatomy: Anatomy) -> None:
    z = np.linspace(-70, 540, 42)
    y = anatomy.spine_y(z)
    depth = np.interp(z, [-125, -12, 17, 152, 286, 443, 522], [9, 18, 17, 16, 14.5, 9, 7.5])
    center = y + depth + np.interp(z, [-70, 0, 440, 540], [6, 9, 8.5, 9])
    points = np.column_stack([np.zeros_like(z), center, z])
    canal = Shape().tube(points, np.interp(z, [-70, -20, 20, 400, 540], [4, 9, 9.5, 8.5, 10]))
    canvas.paint(canal, [(0, S.INTERMUSCULAR_FAT), (-1.6, S.CSF)])
    cord = points[z > 150]
    canvas.paint(
        Shape().tube(
            cord, np.interp(cord[:, 2], [150, 185, 400, 450, 540], [1.5, 4.5, 4.2, 5.2, 5.5])
        ),
        S.SPINAL_CORD,
    )
    roots = Shape()
    for dx, dy in ((-3, 2), (3, 2), (0, 4), (-5, 0), (5, 0)):
        low = points[(z < 160) & (z > -40)] + [dx, dy, 0]
        roots.tube(low, 0.9, step=20)
    canvas.paint(roots, S.SPINAL_CORD, only=[S.CSF])


def rib_points(anatomy: Anatomy, frame: Frame, number: int, side: int) -> np.ndarray:
    """Return the center line (n, 3) of rib ``number`` (1..12) on a side (+1 left, -1 right)."""
    i = number - 1
    z0 = VERTEBRA_Z[f"T{number}"]
    rx, ry, _ = body_size(f"T{number}")
    y0 = float(anatomy.spine_y(z0))
    lift = 0.88 + 0.12 * (1 - anatomy.breathing)
    drop = RIB_DROP[i] * lift
    start = np.array(
        [[side * (rx + 1), y0 + 0.6 * ry, z0 + 9], [side * (rx + 16), y0 + ry + 13, z0 + 8]]
    )
    turns = np.linspace(28 if number > 1 else 50, RIB_END[i], 14)
    theta = 90 - side * turns
    t = (turns - turns[0]) / (turns[-1] - turns[0])
    z = z0 + 4 - drop * (0.25 * t + 0.75 * t**1.15)
    inset = 5.0 if number > 1 else 3.0
    wall = np.array([frame.wall(a, h, inset)[0] for a, h in zip(theta, z, strict=True)])
    return np.vstack([start, wall])


def paint_ribs(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the ribs, their cartilages, and the sternum."""
    ribs, cartilage = Shape(), Shape()
    ends: dict[tuple[int, int], np.ndarray] = {}
    sternum_z = np.linspace(388, 268, 7)
    for side in (-1, 1):
        for number in range(1, 13):
            points = rib_points(anatomy, frame, number, side)
            radii = np.full(len(points), 4.5 if 1 < number < 11 else 3.8)
            radii[:2] = 4.0
            ribs.tube(points, radii, step=7)
            ends[side, number] = points[-1]
        for number in range(1, 11):
            end = ends[side, number]
            if number <= 7:
                z = sternum_z[number - 1]
                goal = frame.wall(-90 + side * 9, z, 6)[0]
            else:
                goal = 0.5 * (ends[side, number - 1] + frame.wall(-90 + side * 22, 215, 5)[0])
            middle = 0.5 * (end + goal)
            if number >= 5:
                middle[2] = end[2] - 4 + 0.2 * (goal[2] - end[2])
            middle = frame.wall(
                np.degrees(
                    np.arctan2(middle[1] - np.interp(middle[2], frame.z, frame.center), middle[0])
                ),
                middle[2],
                6,
            )[0]
            cartilage.tube([end, middle, goal], [4.6, 5.2, 4.8], step=7)
    canvas.paint(cartilage, S.CARTILAGE, spare=[S.OUTSIDE_AIR])
    canvas.paint(ribs, bone(canvas, 1.1))
    _sternum(canvas, frame)


def _sternum(canvas: Canvas, frame: Frame) -> None:
    shape = Shape()
    for z, half, thick in ((392, 28, 7), (380, 25, 7), (368, 20, 6), (352, 17, 5.5), (334, 17, 5.5),
                           (316, 18, 5.5), (298, 19, 5.5), (282, 17, 5)):  # fmt: skip
        c = frame.wall(-90, z, 7)[0]
        slope = frame.wall(-90, z + 6, 7)[0] - frame.wall(-90, z - 6, 7)[0]
        shape.box(c, (half, thick, 10.5), axes((1, 0, 0), slope), rounding=3.5)
    canvas.paint(shape, bone(canvas, 1.2))
    tip = frame.wall(-90, 258, 7)[0]
    canvas.paint(Shape().ellipsoid(tip, (7, 3.5, 18)), S.CARTILAGE)


def paint_girdle(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint clavicles, scapulae, humeri and, if the arms are down, forearms."""
    for side in (-1, 1):
        start = frame.wall(-90 + side * 14, 396, 9)[0]
        clavicle = Shape().tube(
            [start, (62 * side, start[1] - 2, 412), (105 * side, 12, 424), (138 * side, 24, 420)],
            [8, 6, 6, 7],
        )
        canvas.paint(clavicle, bone(canvas, 1.6))
        scapula = Shape()
        rng = anatomy.rng(5)
        out = 13.0
        for low in np.linspace(0, 1, 9):
            z = 398 - 105 * low
            inner = frame.wall(90 - side * 34, z, out)[0]
            outer = frame.wall(90 - side * (74 - 30 * low), z, out + 4 + rng.uniform(0, 1))[0]
            scapula.tube([inner, outer], [2.6, 3.6], smooth=False, blend=3)
        glenoid = np.array([128 * side, 42, 396])
        scapula.tube([frame.wall(90 - side * 70, 392, out + 4)[0], glenoid], [6, 9], smooth=False)
        spine = frame.wall(90 - side * 40, 392, out + 6)[0]
        scapula.tube([spine, (125 * side, 70, 414), (150 * side, 40, 424)], [4, 6, 7])
        canvas.paint(scapula, bone(canvas, 1.3))
        humerus = Shape().ellipsoid((152 * side, 36, 398), (23, 23, 24))
        canvas.paint(humerus, bone(canvas, 1.2))
        shaft = tubes("raised humerus" if anatomy.arms_up else "hanging humerus", side)
        layers = [(0, S.CORTICAL_BONE), (-4.0, S.FATTY_MARROW)]
        canvas.paint(shaft, layers, spare=[S.TRABECULAR_BONE])
        if not anatomy.arms_up:
            forearm = tubes("forearm", side)
            canvas.paint(forearm, [(0, S.CORTICAL_BONE), (-3.0, S.FATTY_MARROW)])


def paint_back_muscles(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint erector spinae with fat planes, iliacus, psoas, quadratus lumborum and crura."""
    bulk = anatomy.muscle**0.5
    for side in (-1, 1):
        erector = tubes("erector spinae", side, bulk)
        shell = 0.2 + 0.7 * anatomy.visceral
        canvas.paint(erector, [(shell, S.INTERMUSCULAR_FAT), (-0.25, S.MUSCLE)],
                     only=[S.MUSCLE, S.VISCERAL_FAT], noise=1.8, scale=5)  # fmt: skip
        split = Shape().box(
            (side * 40, 66, 60), (0.7, 24, 110), rotation(turn_z=20 * side), rounding=0.5
        )
        canvas.paint(split, S.INTERMUSCULAR_FAT, only=[S.MUSCLE], noise=0.8, scale=3)
        canvas.paint(
            tubes("iliacus", side, bulk), S.MUSCLE, only=[S.VISCERAL_FAT], noise=1.0, scale=8
        )
        canvas.paint(tubes("psoas", side, bulk), [(1.0, S.INTERMUSCULAR_FAT), (0, S.MUSCLE)],
                     only=[S.VISCERAL_FAT, S.MUSCLE], noise=0.8, scale=8)  # fmt: skip
        canvas.paint(tubes("quadratus lumborum", side, bulk), S.MUSCLE, only=[S.VISCERAL_FAT])
        canvas.paint(
            tubes("crus", side), S.DIAPHRAGM, only=[S.VISCERAL_FAT, S.LUNG, S.PERICARDIAL_FAT]
        )


def paint_column_sleeve(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint soft tissue around the thoracic spine, which separates the lung from the canal."""
    z = np.arange(120.0, 450.0, 20.0)
    y = anatomy.spine_y(z) + np.interp(z, [120, 440], [30, 18])
    sleeve = Shape()
    for side in (-1, 1):
        sleeve.tube(np.column_stack([np.full_like(z, 15.0 * side), y, z]), 24, step=15)
    sleeve.tube(np.column_stack([np.zeros_like(z), y - 16, z]), 20, step=15)
    canvas.paint(sleeve, S.MUSCLE, only=[S.LUNG, S.VISCERAL_FAT, S.DIAPHRAGM])


def paint_skeleton(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the skeleton in the order that resolves overlaps correctly."""
    paint_back_muscles(canvas, anatomy)
    paint_column_sleeve(canvas, anatomy)
    paint_ribs(canvas, anatomy, frame)
    paint_girdle(canvas, anatomy, frame)
    paint_spine(canvas, anatomy)

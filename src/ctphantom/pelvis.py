# ruff: noqa: N817, RUF005 - S is Structure; lists are added to arrays, not joined to them
"""Pelvis: hip bones, sacrum, femora, gluteal muscles, bladder, rectum, genital organs."""

from __future__ import annotations

import numpy as np

from ctphantom import painting_kernels as kernels
from ctphantom.anatomy import Anatomy
from ctphantom.canvas import Canvas
from ctphantom.parts import tubes
from ctphantom.shapes import Shape, spline
from ctphantom.skeleton import bone
from ctphantom.structures import Structure as S

CREST = np.array([(45, 70, -2), (62, 66, 22), (88, 45, 38), (110, 15, 44), (121, -18, 38),
                  (123, -46, 20), (116, -64, 0), (106, -62, -30)], float)  # fmt: skip
HUB = np.array([(50, 58, -40), (62, 40, -62), (78, 18, -82), (88, 2, -88), (93, -10, -88),
                (95, -20, -88), (95, -28, -86), (94, -30, -85)], float)  # fmt: skip


def paint_pelvic_bones(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint hip bones, sacrum and the upper femora."""
    crest, hub = spline(CREST, 26), spline(HUB, 26)
    female = anatomy.sex == "female"
    wide = 1.05 if female else 1.0
    for side in (-1, 1):
        wing = Shape()
        flip = np.array([side * wide, 1, 1])
        for a, b in zip(crest, hub, strict=True):
            middle = 0.5 * (a + b) + [3, 0, 0]
            wing.tube([a * flip, middle * flip, b * flip], [6.5, 4.2, 9.0], smooth=False, blend=2)
        wing.ellipsoid(np.array([92, -2, -106]) * flip, (31, 33, 34))
        wing.join(tubes("hip bone", side * wide))
        canvas.paint(wing, bone(canvas, 1.4))
        head = np.array([92, -4, -107]) * flip
        canvas.paint(Shape().ellipsoid(head, (26.5, 26.5, 26.5)), S.CARTILAGE)
        canvas.paint(Shape().ellipsoid(head + [side * 14, 0, -14], (25, 25, 25)), S.MUSCLE,
                     only=[S.CARTILAGE])  # fmt: skip
        femur = Shape().ellipsoid(head, (23.5, 23.5, 23.5))
        femur.tube([head, head + [30 * side, 6, -22]], [17, 16], smooth=False, blend=4)
        femur.ellipsoid(head + [38 * side, 16, -14], (15, 19, 24), blend=6)
        femur.tube(
            [head + [32 * side, 8, -30], head + [30 * side, 10, -70], head + [26 * side, 6, -200]],
            [19, 15, 14],
            blend=4,
        )
        canvas.paint(
            femur, [(0, S.CORTICAL_BONE), (-1.6, S.TRABECULAR_BONE), (-14.5, S.FATTY_MARROW)]
        )
        shaft = Shape().tube(
            [head + [31 * side, 9, -60], head + [26 * side, 6, -200]], [14, 14], smooth=False
        )
        canvas.paint(shaft, [(0, S.CORTICAL_BONE), (-5.0, S.FATTY_MARROW)])
    symphysis = Shape().box((0, -76, -120), (3, 9, 17), rounding=2)
    canvas.paint(symphysis, S.CARTILAGE)
    _sacrum(canvas, anatomy)


def _sacrum(canvas: Canvas, anatomy: Anatomy) -> None:
    shape = Shape()
    z = np.array([-10, -30, -52, -74, -94])
    y = anatomy.spine_y(z)
    for i, (zz, yy) in enumerate(zip(z, y, strict=True)):
        r = 24 - 3.5 * i
        shape.ellipsoid((0, yy, zz), (r, 14 - 1.4 * i, 13), blend=5)
        shape.ellipsoid((0, yy + 20 - 2 * i, zz - 3), (16 - 2 * i, 8, 11), blend=5)
        for side in (-1, 1):
            wide = [38, 36, 28, 19, 12][i]
            shape.ellipsoid(
                (wide * side, yy + 10, zz - 2), (23 - 3.5 * i, 18 - 2.5 * i, 15), blend=6
            )
    shape.tube([(0, 62, -98), (0, 52, -112), (0, 40, -126)], [7, 6, 4])
    canvas.paint(shape, bone(canvas, 1.5))
    for i, (zz, yy) in enumerate(zip(z[:4], y[:4], strict=True)):
        for side in (-1, 1):
            hole = Shape().tube(
                [((21 - 2 * i) * side, yy - 12, zz - 10), ((18 - 2 * i) * side, yy + 10, zz - 10)],
                4.5, smooth=False,
            )  # fmt: skip
            canvas.paint(hole, S.INTERMUSCULAR_FAT, only=[S.TRABECULAR_BONE, S.CORTICAL_BONE])
    canal = Shape().tube([(0, 34, -5), (0, 60, -40), (0, 72, -66)], [9, 6, 4])
    canvas.paint(canal, [(0, S.INTERMUSCULAR_FAT), (-2.5, S.CSF)])


def paint_pelvic_muscles(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the fat planes between the gluteal and hip muscles, and the pelvic floor."""
    fat = 0.8 + 0.9 * anatomy.visceral
    for side in (-1, 1):
        for name in ("gluteus maximus", "gluteus medius", "gluteus minimus", "rectus femoris",
                     "adductors", "hamstrings"):  # fmt: skip
            canvas.paint(
                tubes(name, side), [(fat, S.INTERMUSCULAR_FAT), (-0.4, S.MUSCLE)], only=[S.MUSCLE],
                noise=1.2, scale=7,
            )  # fmt: skip
        canvas.paint(tubes("obturator", side), S.MUSCLE, only=[S.VISCERAL_FAT])
        fossa = Shape().ellipsoid((34 * side, 44, -132), (20, 24, 28))
        canvas.paint(fossa, S.VISCERAL_FAT, only=[S.MUSCLE])
    floor = (
        Shape()
        .ellipsoid((0, 5, -118), (52, 66, 26))
        .ellipsoid((0, 5, -106), (50, 64, 28), op=kernels.SUBTRACT)
    )
    canvas.paint(floor, S.MUSCLE, only=[S.VISCERAL_FAT])


def paint_pelvic_organs(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the bladder, the rectum and the genital organs."""
    rng = anatomy.rng(20)
    radius = (anatomy.bladder_ml * 3 / (4 * np.pi) * 1000) ** (1 / 3)
    flat = rng.uniform(0.75, 1.0)
    half = np.array([radius * 1.1, radius / flat**0.5, radius * flat**0.5])
    half[0] = min(half[0], 56)
    half *= (radius**3 / half.prod()) ** (1 / 3)
    bottom = -112.0
    female = anatomy.sex == "female"
    bladder = Shape().ellipsoid((rng.normal(0, 3), -68 + 0.75 * half[1], bottom + half[2]), half)
    wall = float(np.interp(anatomy.bladder_ml, [40, 200, 500], [6, 3.5, 2.2]))
    free = [S.VISCERAL_FAT]
    rectum = Shape().tube(
        [
            (0, 34, -130),
            (0, 36, -112),
            (rng.normal(0, 6), 44, -85),
            (rng.normal(0, 8), 38, -55),
            (8, 22, -32),
        ],
        np.array([11, 13, 15, 15, 14]) * rng.uniform(0.8, 1.25),
    )
    if female:
        tip = rng.normal(0, 10)
        lean = rng.uniform(-12, 8)
        top = bottom + 1.2 * half[2] + 28
        uterus = Shape().tube(
            [(0, 14, -102), (tip * 0.3, 8, -82), (tip, lean - 10, max(-58, min(top, -40)))],
            [12, 15, 24],
        )
        canvas.paint(uterus, S.UTERUS, only=free, compete=True, bias=3, noise=1.5)
        ovaries = (
            Shape().ellipsoid((38, 6, -52), (15, 10, 13)).ellipsoid((-38, 8, -55), (14, 11, 13))
        )
        canvas.paint(ovaries, S.OVARY, only=free, compete=True)
        canvas.paint(
            Shape().tube([(0, 14, -104), (0, 4, -140)], 8, smooth=False),
            S.VAGINA,
            only=[*free, S.MUSCLE],
        )
    else:
        big = rng.uniform(0.85, 1.4)
        prostate = Shape().ellipsoid((0, -14, -122), np.array([23, 17, 17]) * big)
        canvas.paint(prostate, S.PROSTATE, only=[*free, S.MUSCLE], noise=0.8)
        vesicles = Shape().tube([(-26, 16, -96), (0, 10, -102), (26, 16, -96)], [5, 5, 5])
        canvas.paint(vesicles, S.SEMINAL_VESICLE, only=free, noise=1.5, scale=4)
        canvas.paint(Shape().tube([(0, -74, -140), (0, -96, -165)], 14, smooth=False), S.PENIS,
                     spare=[S.CORTICAL_BONE, S.TRABECULAR_BONE])  # fmt: skip
    canvas.paint(bladder, [(0, S.BLADDER_WALL), (-wall, S.URINE)],
                 only=[*free, S.UTERUS, S.OVARY], compete=True, noise=0.8)  # fmt: skip
    gas = 34.0 if rng.random() < 0.4 else -1e9
    fill = S.COLON_CONTENT
    canvas.paint(rectum, [(0, S.COLON_WALL), (-3.2, fill)], only=free, compete=True, bias=2,
                 gas=S.BOWEL_GAS, gas_level=gas, noise=1.0)  # fmt: skip
    canvas.paint(Shape().tube([(0, 34, -126), (0, 42, -160)], 9, smooth=False), S.MUSCLE,
                 spare=[S.OUTSIDE_AIR, S.SKIN])  # fmt: skip


def paint_hip_metal(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint a hip prosthesis: head, neck and stem."""
    side = 1 if anatomy.rng(21).random() < 0.5 else -1
    head = np.array([92 * side, -4, -107])
    metal = Shape().ellipsoid(head, (15, 15, 15))
    metal.tube([head, head + [32 * side, 7, -28]], [7, 8], smooth=False)
    metal.tube([head + [30 * side, 8, -25], head + [27 * side, 7, -150]], [9, 5], smooth=False)
    canvas.paint(metal, S.METAL)

# ruff: noqa: N817, RUF005 - S is Structure; lists are added to arrays, not joined to them
"""Kidneys, adrenals and ureters, and definitions shared by the abdomen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctphantom.anatomy import Anatomy
from ctphantom.canvas import Canvas
from ctphantom.shapes import Shape, axes
from ctphantom.structures import Structure as S

FREE = [S.VISCERAL_FAT]
#: organs that compete for space
SOFT = [
    S.VISCERAL_FAT,
    S.LIVER,
    S.SPLEEN,
    S.STOMACH_WALL,
    S.STOMACH_CONTENT,
    S.STOMACH_GAS,
    S.PANCREAS,
    S.GALLBLADDER,
    S.GALLBLADDER_WALL,
    S.SMALL_BOWEL_WALL,
    S.SMALL_BOWEL_CONTENT,
    S.COLON_WALL,
    S.COLON_CONTENT,
    S.BOWEL_GAS,
]


def shift_z(anatomy: Anatomy) -> float:
    """Return the superior shift of the upper abdominal organs by breathing in mm."""
    return 22.0 * (0.5 - anatomy.breathing)


def kidney_center(anatomy: Anatomy, side: int) -> np.ndarray:
    """Return the center (x, y, z) in mm of a kidney: -1 right, +1 left."""
    drop = anatomy.kidney_drop[0 if side < 0 else 1]
    return np.array([73.0 * side, 14.0, 126 - drop + 0.5 * shift_z(anatomy)])


def kidney_shape(
    anatomy: Anatomy, side: int
) -> tuple[Shape, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the shape, center, axes (rows) and half sizes of one kidney."""
    rng = anatomy.rng(33 if side < 0 else 41)
    size = anatomy.kidney[0 if side < 0 else 1]
    c = kidney_center(anatomy, side)
    lean = axes((1, 0.55 * side, 0.18 * side), (-0.24 * side, 0.22, 1))
    half = np.array([28, 30, 55]) * size * rng.uniform(0.95, 1.06, 3)
    return Shape().ellipsoid(c, half, lean), c, lean, half


def paint_kidneys(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint kidneys with cortex, pyramids, sinus fat and pelvis; adrenals; ureters."""
    rng = anatomy.rng(42)
    for side, size in zip((-1, 1), anatomy.kidney, strict=True):
        body, c, lean, half = kidney_shape(anatomy, side)
        hilum = c + lean.T @ np.array([-side * 0.85 * half[0], 0, 0])
        canvas.paint(body, S.KIDNEY_CORTEX, only=FREE, noise=1.0, scale=9)
        sinus = Shape().ellipsoid(
            c + lean.T @ np.array([-side * 0.55 * half[0], 0, 0]),
            (0.62 * half[0], 0.42 * half[1], 0.56 * half[2]),
            lean,
        )
        pyramids = Shape()
        for w in np.linspace(-0.62, 0.62, 6):
            for turn in np.radians((-75, -25, 25, 75)):
                out = np.array([side * np.cos(turn) * 0.55, np.sin(turn) * 0.55, w * 1.0])
                pyramids.ellipsoid(c + lean.T @ (out * half), (6.5 * size, 6.5 * size, 6.5 * size))
        canvas.paint(pyramids, S.KIDNEY_MEDULLA, only=[S.KIDNEY_CORTEX], noise=1.0, scale=5)
        canvas.paint(
            sinus, S.VISCERAL_FAT, only=[S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA], noise=2.5, scale=5
        )
        full = rng.uniform(0.7, 1.3)
        pelvis = Shape().tube(
            [hilum + [-8 * side, -2, -8], hilum + [6 * side, 0, 0]],
            [4 * full, 6 * full],
            smooth=False,
        )
        for w in (-0.4, 0, 0.4):
            pelvis.tube(
                [hilum + [5 * side, 0, 0], c + lean.T @ (np.array([side * 0.05, 0, w]) * half)],
                [3.5 * full, 3 * full],
                smooth=False,
            )
        canvas.paint(pelvis, S.RENAL_PELVIS, only=[*FREE, S.KIDNEY_MEDULLA])
        ureter = Shape().tube(
            [
                hilum + [-8 * side, -2, -10],
                (44 * side, -18, 60),
                (38 * side, -26, 0),
                (54 * side, 0, -60),
                (22 * side, 0, -100),
            ],
            1.9,
        )
        canvas.paint(ureter, S.URETER, only=FREE)
        top = c + lean.T @ np.array([-side * 8, -6, half[2] + 2])
        adrenal = Shape()
        base = np.array([(34 if side > 0 else -32), -8, max(top[2] - 2, 160)])
        adrenal.tube([base + [0, -8, 8], base + [8 * side, 8, 0]], [4.0, 3.0], smooth=False)
        adrenal.tube([base + [0, -8, 8], base + [-2 * side, 10, -4]], [3.6, 2.8], smooth=False)
        adrenal.tube([base + [0, -8, 10], base + [9 * side, 4, -14]], [3.6, 2.8], smooth=False)
        canvas.paint(adrenal, S.ADRENAL, only=FREE, noise=0.5, scale=4)


def paint_perirenal_fat(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the fat capsule around the kidneys."""
    thick = 0.8 + 6.0 * anatomy.visceral
    soft = [label for label in SOFT if label != S.VISCERAL_FAT]
    for side in (-1, 1):
        shape = kidney_shape(anatomy, side)[0]
        canvas.paint(shape, [(thick, S.VISCERAL_FAT)], only=soft, noise=2.5, scale=10)

# ruff: noqa: N817, RUF005 - S is Structure; lists are added to arrays, not joined to them
"""The solid organs of the abdomen, kidneys and adrenals, and the vessels between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctphantom import painting_kernels as kernels
from ctphantom.anatomy import Anatomy, Frame
from ctphantom.canvas import Canvas
from ctphantom.envelope import paint_envelope
from ctphantom.parts import rows, tubes
from ctphantom.shapes import Shape, axes, rotation
from ctphantom.structures import Structure as S
from ctphantom.thorax import aorta_points, prevertebral

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


def paint_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the aorta, the inferior vena cava and the iliac vessels."""
    aorta = aorta_points(anatomy)
    low = aorta[aorta[:, 2] < 240]
    where = [S.VISCERAL_FAT, S.MUSCLE, S.DIAPHRAGM, S.INTERMUSCULAR_FAT]
    layers = [(0.0, S.AORTA)]
    canvas.paint(Shape().tube(low[:, :3], low[:, 3]), layers, only=where)
    if anatomy.calcium > 0.2:
        rng = anatomy.rng(30)
        plaque = Shape()
        for _ in range(int(14 * anatomy.calcium)):
            row = low[rng.integers(len(low))]
            turn = rng.uniform(0, 2 * np.pi)
            plaque.ellipsoid(
                row[:3] + [row[3] * np.cos(turn), row[3] * np.sin(turn), rng.uniform(-15, 15)],
                rng.uniform(1.2, 3.5, 3),
            )
        canvas.paint(plaque, S.CALCIFICATION, only=[S.AORTA])
    veins, arteries = Shape(), Shape()
    z = np.array([215, 190, 160, 130, 95, 60, 42])
    y = [prevertebral(anatomy, v, 7) for v in z]
    y[0] -= 8
    flat = anatomy.rng(31).uniform(0.7, 1.1)
    veins.tube(np.column_stack([[-24, -22, -19, -17, -16, -15, -12], y, z]),
               np.array([12, 12, 12, 11.5, 11, 10, 10]) * flat**0.5)  # fmt: skip
    canvas.paint(veins, S.VENA_CAVA, only=where)
    fork, meet = low[-1, :3], np.array([-12, y[-1], 42])
    iliac = Shape()
    for side in (-1, 1):
        path = rows()["iliac artery"][0].points * [side, 1, 1]
        arteries.tube([fork, *path], [6.5, 5.5, 5, 4.8, 4.8, 4.5, 4.2], step=8)
        arteries.join(tubes("internal iliac artery", side))
        iliac.tube(
            [meet, *(path + [-9 * side if side > 0 else 6, 9, -2])],
            [8, 7.5, 7, 6.5, 6.5, 6.5, 6],
            step=8,
        )
        iliac.join(tubes("internal iliac vein", side))
    canvas.paint(iliac, S.VEIN, only=where)
    canvas.paint(arteries, S.ARTERY, only=where)


def paint_crura(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the crura of the diaphragm, on both sides of the aorta up to the hiatus.

    They are plates of muscle that become thinner downwards; the right one is longer.
    """
    rng = anatomy.rng(42)
    aorta = aorta_points(anatomy)
    crura = Shape()
    for side, end in ((-1, 88 + rng.normal(0, 9)), (1, 112 + rng.normal(0, 9))):
        thick = rng.uniform(1.6, 3.6) * anatomy.muscle
        for z in np.linspace(end, 232, 16):
            share = (z - end) / (232 - end)
            x, y, radius = (np.interp(z, aorta[::-1, 2], aorta[::-1, k]) for k in (0, 1, 3))
            # beside the vertebral body below, in front of the aorta at the hiatus
            forward = np.clip((z - 165) / 50, 0, 1)
            angle = np.radians(-15 + 85 * forward + rng.normal(0, 3))
            reach = radius + 1.2 + thick
            place = [x + side * reach * np.cos(angle), y - reach * np.sin(angle), z]
            if forward > 0.7:  # the two sides meet left of the midline, around the esophagus
                place[0] += 6 * side
            wide = rng.uniform(7, 9) + 5 * forward
            turn = axes((np.cos(angle) * side, -np.sin(angle), 0), (0.0, 0.0, 1.0))
            crura.ellipsoid(place, (thick * (0.55 + 0.6 * share), wide, 9), turn, blend=2)
    canvas.paint(crura, S.DIAPHRAGM, only=[S.VISCERAL_FAT, S.PERICARDIAL_FAT, S.LIVER],
                 noise=0.6, scale=7)  # fmt: skip


def paint_branches(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint celiac, mesenteric and renal vessels and their branches in the fat."""
    rng = anatomy.rng(32)
    origin = prevertebral(anatomy, 165, 18)
    art, vein = Shape(), Shape()
    celiac = np.array([7, origin - 14, 163])
    art.tube([(8, origin, 168), celiac], [4, 3.6], smooth=False)
    art.tube([celiac, (-20, origin - 16, 160), (-42, -48, 158)], [3.2, 2.8, 2.4])
    sma = [
        (8, prevertebral(anatomy, 150, 18), 152),
        (6, prevertebral(anatomy, 135, 30), 138),
        (2, prevertebral(anatomy, 100, 34), 100),
        (-12, prevertebral(anatomy, 60, 40), 55),
        (-40, -55, 10),
    ]
    art.tube(sma, [4, 3.8, 3.4, 2.8, 2])
    vein.tube(
        [
            (-4, -52, 138),
            (-6, prevertebral(anatomy, 100, 36), 100),
            (-20, prevertebral(anatomy, 60, 42), 55),
            (-46, -55, 12),
        ],
        [5.5, 5, 4, 2.5],
    )
    for side in (-1, 1):
        kz = kidney_center(anatomy, side)[2]
        art.tube(
            [
                (8, prevertebral(anatomy, 135, 9), 135),
                (34 * side, -2, 0.5 * (135 + kz)),
                (58 * side, 2, kz),
            ],
            [3.2, 2.8, 2.2],
        )
        vein.tube(
            [
                (-14 if side < 0 else -4, prevertebral(anatomy, 132, 16), 132),
                (34 * side, -12, 0.5 * (132 + kz)),
                (56 * side, -6, kz),
            ],
            [5, 4.6, 4],
        )
    for _ in range(26):
        start = np.array([rng.uniform(-18, 12), -52, rng.uniform(20, 105)])
        out = np.array(
            [rng.uniform(-85, 85), rng.uniform(-85, -45), start[2] - rng.uniform(-5, 70)]
        )
        kind = art if rng.random() < 0.5 else vein
        kind.tube([start, 0.5 * (start + out) + rng.normal(0, 6, 3), out], [2.2, 1.7, 1.1], step=9)
    canvas.paint(vein, S.VEIN, only=FREE)
    canvas.paint(art, S.ARTERY, only=FREE)


def liver_shape(anatomy: Anatomy) -> Shape:
    """Return the liver's shape before competition with its neighbors."""
    g = anatomy.liver
    rng = anatomy.rng(34)
    s = shift_z(anatomy)
    shape = Shape().ellipsoid((-78, -14, 184 + s), np.array([82, 92, 72]) * g, rotation(tilt_y=-8))
    tip = 108 - 34 * anatomy.riedel + rng.normal(0, 8)
    shape.tube(
        [(-92, -14, 170 + s), (-102, -18, tip + 30 + 0.6 * s)],
        np.array([52, 30]) * g,
        smooth=False,
        blend=20,
    )
    reach = 8 + 92 * anatomy.left_lobe
    thick = rng.uniform(26, 38)
    shape.ellipsoid(
        (0.45 * reach - 12, -74, 196 + s),
        (52 + 0.45 * reach, 42, thick),
        rotation(turn_z=rng.uniform(-8, 12), tilt_y=8),
        blend=22,
    )
    shape.ellipsoid((-18, -14, 190 + s), (21, 22, 30), blend=6)
    shape.ellipsoid(*caudate(anatomy), blend=4)
    dent = np.array([-32, -32, 148 + s]) + rng.normal(0, 5, 3)  # the porta
    shape.ellipsoid(dent, rng.uniform((13, 11, 9), (22, 18, 15)), rotation(tilt_y=30),
                    op=kernels.SUBTRACT, blend=14)  # fmt: skip
    # space for the right kidney with its fat, and for the spine
    shape.ellipsoid((-66, 58, 112), (34, 34, 66), op=kernels.SUBTRACT, blend=12)
    shape.ellipsoid((-20, 34, 150), (34, 34, 70), op=kernels.SUBTRACT, blend=8)
    return shape


def caudate(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return center and radii (x, y, z) of the caudate lobe, in front of the vena cava."""
    rng = anatomy.rng(43)
    center = np.array([-8.0, -32.0, 186.0 + shift_z(anatomy)]) + rng.normal(0, (4, 3, 6))
    return center, rng.uniform((15, 10, 18), (25, 15, 34))


def paint_liver(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the liver and the fissures of its ligaments."""
    canvas.paint(liver_shape(anatomy), S.LIVER, only=SOFT, compete=True, noise=1.6, scale=14)
    s = shift_z(anatomy)
    open_by = 0.5 + 1.2 * anatomy.visceral
    fissure = Shape().box(
        (6 - 10 * anatomy.liver, -88, 165 + s), (open_by, 24, 26), rotation(turn_z=12), rounding=0.5
    )
    # the ligamentum venosum, between the caudate and the left lobe
    rng = anatomy.rng(44)
    center, radii = caudate(anatomy)
    gap = (radii[0] + rng.uniform(2, 12), 0.6 + 1.5 * anatomy.visceral, radii[2] + 4)
    place = center + [8, -radii[1], 0]
    fissure.box(place, gap, rotation(turn_z=rng.uniform(-12, 18)), rounding=0.5)
    canvas.paint(fissure, S.VISCERAL_FAT, only=[S.LIVER], noise=1.0, scale=6)
    if rng.random() < 0.5:  # the papillary process hangs down in front of the vena cava
        tip = center + [rng.uniform(-4, 8), rng.uniform(2, 6), -radii[2] - rng.uniform(2, 12)]
        drop = Shape().tube([center, tip], rng.uniform((9, 7), (12, 11)), smooth=False)
        canvas.paint(drop, S.LIVER, only=FREE)


def paint_liver_vessels(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the hepatic veins, the portal veins, and the inferior vena cava at the liver."""
    rng = anatomy.rng(35)
    s = shift_z(anatomy)
    hepatic, portal = Shape(), Shape()
    junction = np.array([-25, -24, 216 + s])

    def grow(shape: Shape, start: np.ndarray, end: np.ndarray, radius: float, level: int) -> None:
        middle = 0.5 * (start + end) + rng.normal(0, 5, 3)
        shape.tube([start, middle, end], [radius, 0.85 * radius, 0.7 * radius], step=8)
        if level:
            for _ in range(3):
                t = rng.uniform(0.35, 1.0)
                base = start + (end - start) * t
                away = (end - start) * 0.45 + rng.normal(0, 17, 3)
                grow(shape, base, base + away, radius * rng.uniform(0.45, 0.65), level - 1)

    for goal in ((-125, 5, 190), (-95, -70, 180), (-15, -95, 190), (-110, 20, 150)):
        grow(hepatic, junction, np.array(goal) + [0, 0, s] + rng.normal(0, 6, 3), 5.0, 2)
    porta = np.array([-38, -42, 166 + s])
    for goal in (
        (-112, -50, 170),
        (-115, 0, 165),
        (-8, -80, 185),
        (-80, -30, 215),
        (-100, -10, 130),
    ):
        grow(portal, porta, np.array(goal) + [0, 0, s] + rng.normal(0, 6, 3), 5.2, 2)
    canvas.paint(portal, S.PORTAL_VEIN, only=[S.LIVER])
    canvas.paint(hepatic, S.HEPATIC_VEIN, only=[S.LIVER, S.PORTAL_VEIN])
    canvas.paint(Shape().tube([(-24, -14, 180 + s), junction, (-27, -20, 245)], 11.5), S.VENA_CAVA,
                 only=[S.LIVER, S.HEPATIC_VEIN, S.PORTAL_VEIN, S.VISCERAL_FAT])  # fmt: skip


def paint_gallbladder(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the gallbladder below the liver, and the bile duct."""
    s = shift_z(anatomy)
    rng = anatomy.rng(36)
    duct = Shape().tube([(-38, -46, 164 + s), (-28, -38, 140), (-24, -36, 112)], rng.uniform(2, 4))
    canvas.paint(duct, S.BILE_DUCT, only=FREE)
    if anatomy.gallbladder <= 0:
        return
    g = anatomy.gallbladder ** (1 / 3)
    tip = np.array([-72, -88, 122 + 0.7 * s]) + rng.normal(0, 6, 3)
    shape = Shape().tube(
        [(-44, -50, 158 + s), 0.45 * np.array([-44, -50, 158 + s]) + 0.55 * tip, tip],
        np.array([4, 13, 16]) * g,
    )
    canvas.paint(
        shape,
        [(0, S.GALLBLADDER_WALL), (-1.8, S.GALLBLADDER)],
        only=SOFT,
        compete=True,
        bias=12,
        noise=0.7,
    )


def spleen_shape(anatomy: Anatomy, frame: Frame, size: float) -> Shape:
    """Return the spleen: a curved wedge along the wall, with impressions and notches."""
    rng = anatomy.rng(37)
    s = shift_z(anatomy)
    middle = 13 + 34 * anatomy.spleen_back + rng.normal(0, 5)  # degrees behind lateral
    arc = 27 * size * rng.uniform(0.75, 1.25)
    upright = 0.2 + 1.3 * anatomy.spleen_turn
    height = 172 + 0.7 * s + rng.normal(0, 12) - 10 * (size - 1)
    thick = 20 * size * rng.uniform(0.78, 1.45)
    tall = rng.uniform(0.85, 1.2)
    taper_front, taper_back = rng.uniform(0.72, 0.95, 2)
    shape = Shape()
    for t in np.linspace(-1, 1, 9):
        theta = middle - arc * t * (1 - 0.4 * anatomy.spleen_turn)
        z = height - 24 * size * upright * t
        taper = float(np.sqrt(max(1 - ((taper_front if t > 0 else taper_back) * t) ** 2, 0.05)))
        point = frame.lining(theta, z, -0.8 * thick * taper)
        outward = point - [0, 10, 0]
        radii = (
            thick * (0.5 + 0.6 * taper), 19 * size,
            34 * size * tall * (0.35 + 0.65 * taper),
        )  # fmt: skip
        shape.ellipsoid(point, radii, axes([outward[0], outward[1], 0], (0.0, 0.2, 1.0)), blend=9)
    hollow = rng.uniform(0.9, 1.35)
    inward = frame.lining(middle - rng.uniform(-6, 20), height + rng.normal(0, 8), -2.0 * thick)
    inward -= np.array([30, 8, 0]) * size
    shape.ellipsoid(
        inward, (32 * size, 36 * size, 50 * size), op=kernels.SUBTRACT, blend=6 * hollow
    )
    medial = np.array([60.0, 15.0, 160.0])  # stay lateral of the kidney
    shape.cut(medial, (-0.95, 0.3, -0.38), blend=6)
    notches = int(2.9 * anatomy.spleen_notch)
    for _ in range(notches):
        t = rng.uniform(0.2, 0.9)
        edge = frame.lining(middle - arc * t, height - 24 * size * upright * t, -0.7 * thick)
        edge[2] += 33 * size * rng.choice([-1, 1]) * rng.uniform(0.7, 1.0)
        shape.ellipsoid(edge, (14, 5, 9), op=kernels.SUBTRACT, blend=3)
    return shape


def fit_spleen(anatomy: Anatomy, frame: Frame) -> Shape:
    """Return the spleen scaled so that its volume after clipping by its neighbors is correct."""
    spacing = 5.0
    trial = Canvas((48, 48, 36), (spacing,) * 3, (-10.0, -110.0, 55.0), seed=anatomy.seed)
    paint_envelope(trial, anatomy, frame)
    side = kidney_shape(anatomy, 1)[0]
    trial.paint(side, S.KIDNEY_CORTEX, only=FREE)
    empty = trial.labels.copy()
    size = (anatomy.spleen_ml / 170) ** (1 / 3)
    shape = spleen_shape(anatomy, frame, size)
    for _ in range(4):
        trial.labels[...] = empty
        trial.paint(shape, S.SPLEEN, only=FREE)
        got = float((trial.labels == S.SPLEEN).sum()) * spacing**3 / 1000
        ratio = anatomy.spleen_ml / max(got, 10.0)
        if abs(ratio - 1) < 0.05:
            break
        size = float(np.clip(size * np.clip(ratio, 0.5, 2.0) ** 0.4, 0.5, 2.2))
        shape = spleen_shape(anatomy, frame, size)
    return shape


def paint_spleen(canvas: Canvas, anatomy: Anatomy, frame: Frame) -> None:
    """Paint the spleen and an accessory spleen, if there is one."""
    canvas.paint(
        fit_spleen(anatomy, frame), S.SPLEEN, only=SOFT, compete=True, bias=6, noise=1.3, scale=12
    )
    if anatomy.accessory_spleen:
        rng = anatomy.rng(38)
        spot = frame.lining(20, 150 + shift_z(anatomy), -rng.uniform(38, 52)) + rng.normal(0, 8, 3)
        small = Shape().ellipsoid(spot, np.full(3, rng.uniform(4, 9)))
        canvas.paint(small, S.SPLEEN, only=FREE)


def pancreas_points(anatomy: Anatomy) -> np.ndarray:
    """Return the center line (n, 3) of the pancreas from head to tail."""
    s = 0.5 * shift_z(anatomy)
    tail = -14 + 26 * anatomy.pancreas_tail
    y = prevertebral(anatomy, 135, 6)
    return np.array(
        [
            (-30, y - 20, 100 + s),
            (-24, y - 26, 116 + s),
            (-10, y - 36, 130 + s),
            (12, y - 40, 140 + s),
            (36, y - 30, 146 + s + 0.3 * tail),
            (62, y - 10, 152 + s + 0.6 * tail),
            (86, y + 12, 158 + s + tail),
        ],
        float,
    )


def paint_pancreas(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint the lobulated pancreas, the splenic vessels and the portal vein."""
    line = pancreas_points(anatomy)
    size = anatomy.pancreas
    lobes = 1.5 + 2.5 * anatomy.visceral
    shape = Shape().tube(line, np.array([14, 15, 11, 9.5, 11, 11, 9]) * size**0.5, blend=3)
    canvas.paint(shape, S.PANCREAS, only=FREE, compete=True, bias=4, noise=lobes, scale=4)
    s = shift_z(anatomy)
    behind = line[2:] + [0, 11, 1]
    splenic = Shape().tube([*behind, behind[-1] + [12, 6, 6]], 4.2)
    splenic.tube([behind[0], (-22, -40, 150 + 0.7 * s), (-38, -42, 166 + s)], [6.5, 6.5, 6.5])
    canvas.paint(splenic, S.PORTAL_VEIN, only=[*FREE, S.PANCREAS])
    rng = anatomy.rng(39)
    artery = line[3:] + [0, 8, 9] + rng.normal(0, 3, line[3:].shape)
    canvas.paint(
        Shape().tube([(7, line[3][1] + 20, 163), *artery], 2.6), S.ARTERY, only=[*FREE, S.PANCREAS]
    )
    hilum = Shape()
    for _ in range(6):
        hilum.tube(
            [behind[-1] + [6, 4, 4], behind[-1] + [20, 10, 8] + rng.normal(0, 12, 3)],
            [3.2, 1.6],
            smooth=False,
        )
    canvas.paint(hilum, S.PORTAL_VEIN, only=FREE)


def paint_findings(canvas: Canvas, anatomy: Anatomy) -> None:
    """Paint cysts of liver and kidneys."""
    rng = anatomy.rng(40)
    for _ in range(anatomy.cysts):
        if rng.random() < 0.5:
            spot = np.array([rng.uniform(-120, -20), rng.uniform(-70, 30), rng.uniform(150, 215)])
        else:
            spot = kidney_center(anatomy, int(rng.choice([-1, 1]))) + rng.normal(0, 18, 3)
        canvas.paint(Shape().ellipsoid(spot, np.full(3, rng.uniform(4, 20))), S.CYST,
                     only=[S.LIVER, S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA])  # fmt: skip


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

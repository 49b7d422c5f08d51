"""Soft tissue of head and neck: eyes, muscles, glands, tongue, airway, vessels, nose, ears."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomochrome.phantom.anatomy import Anatomy
from tomochrome.phantom.head_frame import HeadFrame
from tomochrome.phantom.head_skull import BONE, INSIDE, KEEP, SOFT
from tomochrome.phantom.structures import Structure as S  # noqa: N817


def paint_nose_and_ears(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Nose, lips' fullness and auricles: what stands out of the face."""
    long = float(rng.uniform(-3, 4))
    skin = max(1.6, 0.75 * float(frame.canvas.spacing.max()))
    nose = frame.tubes(
        [([(0, -86, 30), (0, -94, 16), (0, -101 - long, 0), (0, -103 - long, -6)],
          [7, 7.5, 8.5, 8.5]),
         ([(0, -84, 24), (0, -88, 8), (0, -91, -7)], [8, 10, 11.5])],
        mirror=False, blend=5.0,
    )  # fmt: skip
    wings = frame.ellipsoids([((9.5, -95, -9), (6.5, 9, 7))], blend=5.0)
    sides = frame.tubes([([(4, -91, 24), (8, -92, 4), (12, -90, -9)], [6.5, 8.0, 8.5])], blend=5.0)
    wings.rows += sides.rows
    wings.bounds += sides.bounds
    nose.rows += wings.rows
    nose.bounds += wings.bounds
    frame.paint(nose, [(0.0, S.SKIN), (-skin, S.SUBCUTANEOUS_FAT), (-3.0, S.MUSCLE)],
                only=[S.OUTSIDE_AIR])  # fmt: skip
    frame.paint(nose, [(-skin, S.SUBCUTANEOUS_FAT)], only=[S.SKIN])
    nostril = frame.tubes([([(6, -100, -15), (5.5, -96, -8), (6, -84, -10)], [3.2, 3.6, 4])])
    frame.paint(nostril, S.SINUS_GAS, spare=[*INSIDE, S.OUTSIDE_AIR, *BONE])
    out = float(rng.uniform(0.0, 7.0))
    ear = frame.ellipsoids([((75 + 0.4 * out, 14, 4), (3.0, 15, 26))], angles=(-12, 0, -14 - out))
    rim = frame.tubes(
        [([(73, 3, 14), (77 + 0.5 * out, 6, 28), (81 + out, 19, 30), (82 + out, 27, 14),
           (78 + out, 22, -8), (73, 11, -22)], [2.6, 2.6, 2.8, 2.8, 3.0, 4.0])]
    )  # fmt: skip
    for part in (ear, rim):
        frame.paint(part, [(0.0, S.SKIN), (-1.2, S.CARTILAGE)], only=[S.OUTSIDE_AIR])
    concha = frame.ellipsoids([((77.5, 8, 2), (3.0, 7, 9))], angles=(0, 0, -14 - out))
    frame.paint(concha, S.OUTSIDE_AIR, only=[S.CARTILAGE, S.SKIN])


def _off(point: NDArray[np.float64], x: float, y: float, z: float) -> tuple[float, float, float]:
    """The point moved by (x, y, z) mm."""
    return float(point[0] + x), float(point[1] + y), float(point[2] + z)


def paint_orbits(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Orbit walls and fat, globe with lens, optic nerve, muscles, lacrimal gland, lids."""
    thin = max(1.0, 0.55 * float(frame.canvas.spacing.max()))
    gap = float(rng.normal(32.0, 1.4))
    out = float(rng.normal(0.0, 2.0))  # the eye stands out or lies deep
    eye = np.array([gap, -73.0 - out, 25.0])
    apex = (15.0, -31.0, 27.0)
    cone = frame.tubes(
        [([(gap + 1, -78, 25), (gap + 1, -66, 25), (25, -48, 26), apex], [17.0, 17.5, 12, 4.5])]
    )
    frame.paint(cone, [(thin, S.CORTICAL_BONE), (0.0, S.ORBITAL_FAT)], spare=KEEP)
    front = frame.ellipsoids([((gap, -86, 25), (17, 10, 13))])
    frame.paint(front, S.MUSCLE, only=[*BONE, S.ORBITAL_FAT, S.SUBCUTANEOUS_FAT])
    frame.paint(front, S.SUBCUTANEOUS_FAT, only=[S.MUSCLE], noise=4.0, scale=3.0)
    nerve = frame.tubes([([_off(eye, 0, 11, 0), (24, -50, 27), apex], [2.2, 2.0, 2.2])])
    frame.paint(nerve, [(1.2, S.CSF), (0.0, S.OPTIC_NERVE)], only=[S.ORBITAL_FAT])
    frame.paint(nerve, S.OPTIC_NERVE, only=[S.ORBITAL_FAT, S.CSF])
    muscles = []
    for dx, dz in ((11.5, 0), (-11.5, 0), (0, 11.5), (0, -11.5)):
        middle = 0.5 * (eye + np.array(apex)) + (0.9 * dx, 4, 0.9 * dz)
        muscles.append(
            ([_off(eye, dx, -1, dz), _off(eye, dx, 7, dz), middle, apex], [0.8, 1.6, 2.3, 1.4])
        )
    frame.paint(frame.tubes(muscles), S.MUSCLE, only=[S.ORBITAL_FAT])
    gland = frame.ellipsoids([((gap + 13, -73, 34), (3, 6, 5))])
    frame.paint(gland, S.SALIVARY_GLAND, only=[S.ORBITAL_FAT, S.MUSCLE])
    size = float(rng.normal(12.0, 0.4))
    globe = frame.ellipsoids(
        [(tuple(eye), (size, size, size)), (_off(eye, 0, -4.8, 0), (8, 8, 8))], blend=1.0
    )
    coat = max(0.9, 0.5 * float(frame.canvas.spacing.max()))
    frame.paint(globe, [(0.0, S.SCLERA), (-coat, S.VITREOUS)], spare=INSIDE)
    lid = frame.ellipsoids([(_off(eye, 0, -2.5, 0), (13.5, 12.5, 12))])
    frame.paint(lid, S.SKIN, only=[S.OUTSIDE_AIR])
    if rng.random() > 0.12:  # operated lenses are thin
        lens = frame.ellipsoids([(_off(eye, 0, -8.2, 0), (4.8, 2.2, 4.8))])
    else:
        lens = frame.ellipsoids([(_off(eye, 0, -7.8, 0), (3.4, 0.8, 3.4))])
    frame.paint(lens, S.LENS, only=[S.VITREOUS, S.SCLERA])


def paint_muscles(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Spaces of fat between the muscles of chewing, the muscles, and the salivary glands."""
    bulk = 0.5 + 0.5 * anatomy.muscle
    fat = frame.ellipsoids(
        [((44, -46, -14), (13, 17, 28)), ((52, -24, 8), (11, 26, 16)),
         ((38, -14, -25), (16, 12, 26)), ((52, -54, -32), (10, 16, 20))], blend=4.0,
    )  # fmt: skip
    frame.paint(fat, S.INTERMUSCULAR_FAT, only=[S.MUSCLE])
    masseter = frame.ellipsoids([((56, -27, -26), (7.5 * bulk, 15, 25))], angles=(14, 0, 8))
    frame.paint(masseter, S.MUSCLE, only=SOFT)
    inner = frame.ellipsoids([((37, -24, -28), (7 * bulk, 11, 22))], angles=(12, 10, 0))
    frame.paint(inner, S.MUSCLE, only=SOFT)
    lateral = frame.tubes([([(20, -38, -2), (34, -26, 0), (47, -11, -4)], [8, 9, 5])])
    frame.paint(lateral, S.MUSCLE, only=SOFT)
    temporalis = frame.tubes([([(54, -26, 26), (54, -30, 8), (47, -32, -6)], [11, 9, 4])])
    frame.paint(temporalis, S.MUSCLE, only=SOFT)
    parotid = frame.ellipsoids(
        [((59, -4, -24), (9, 14, 23)), ((52, 2, -22), (8, 9, 16)), ((63, -24, -20), (4, 14, 10))],
        blend=5.0,
    )
    frame.paint(parotid, S.PAROTID, only=SOFT[:3], noise=1.5, scale=3.0)
    below = frame.ellipsoids([((29, -38, -74), (8, 14, 10))], blend=2.0)
    frame.paint(below, S.SALIVARY_GLAND, only=SOFT[:3], noise=1.0, scale=3.0)
    cheek = frame.tubes(
        [([(38, -42, -34), (36, -66, -38), (18, -90, -42), (0, -94, -43)], [2, 2, 4, 4.5])]
    )
    frame.paint(cheek, S.MUSCLE, only=SOFT[:3])
    nodes = frame.ellipsoids(
        [
            ((40 + rng.uniform(-4, 6), 4 + rng.uniform(-18, 14), -58 + rng.uniform(-30, 20)),
             tuple(rng.uniform(2, 4, 3)))
            for _ in range(10)
        ]
    )  # fmt: skip
    frame.paint(nodes, S.LYMPH_NODE, only=[S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT])


def paint_mouth(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Tongue, floor of the mouth, soft palate, pharynx with its air, hyoid, epiglottis."""
    floor = frame.ellipsoids([((0, -54, -62), (24, 28, 10))], mirror=False)
    frame.paint(floor, S.MUSCLE, only=SOFT)
    tongue = frame.ellipsoids(
        [((0, -58, -44), (22, 26, 15)), ((0, -42, -56), (19, 20, 18))], mirror=False, blend=8.0
    )
    frame.paint(tongue, S.TONGUE, only=SOFT)
    septum = frame.boxes([((0, -54, -52), (0.9, 18, 14))], mirror=False)
    frame.paint(septum, S.INTERMUSCULAR_FAT, only=[S.TONGUE])
    open_mouth = float(rng.choice([0.0, 0.0, 1.5, 4.0]))
    if open_mouth > 0:
        air = frame.ellipsoids([((0, -60, -29), (19, 24, open_mouth))], mirror=False)
        frame.paint(air, S.AIRWAY_GAS, only=[*SOFT, S.TONGUE])
    wall = frame.tubes(
        [([(0, -27, -4), (0, -22, -28), (0, -23, -55), (0, -25, -82), (0, -26, -100)],
          [15, 14, 14, 15, 15])], mirror=False,
    )  # fmt: skip
    frame.paint(wall, S.MUSCLE, only=[*SOFT[:3], S.TONGUE])
    width = float(rng.uniform(0.7, 1.25))
    pharynx: list[tuple[Sequence[float], Sequence[float]]] = [((0, -28, -4), (12 * width, 9, 10))]
    pharynx += [
        ((0, -21.5 - 0.03 * (z + 20), z), (11 * width, (4.5 if z > -45 else 6.5) * width, 9))
        for z in range(-14, -75, -10)
    ]
    lumen = frame.ellipsoids(pharynx, mirror=False, blend=3.0)
    frame.paint(
        lumen, [(0.8, S.MUCOSA), (-0.2, S.AIRWAY_GAS)], spare=[*KEEP, *BONE, S.TOOTH, S.METAL]
    )
    larynx = frame.tubes(
        [([(0, -30, -78), (0, -31, -90), (0, -30, -104)], [8, 6, 7])], mirror=False
    )
    frame.paint(larynx, [(0.8, S.MUCOSA), (-0.2, S.AIRWAY_GAS)], spare=[*KEEP, *BONE])
    velum = frame.tubes([([(0, -36, -24), (0, -27, -29), (0, -24, -40)], [4, 5, 4])], mirror=False)
    frame.paint(velum, S.MUSCLE, only=[*SOFT, S.MUCOSA, S.AIRWAY_GAS])
    flap = frame.boxes([((0, -30, -70), (9, 1.4, 9))], angles=(-25, 0, 0), mirror=False)
    frame.paint(flap, S.CARTILAGE, only=[*SOFT, S.MUCOSA, S.AIRWAY_GAS])
    hyoid = frame.tubes([([(0, -52, -80), (14, -48, -79), (22, -30, -75)], [4, 3, 1.8])])
    frame.paint(hyoid, [(0.0, S.CORTICAL_BONE), (-2.0, S.FATTY_MARROW)], spare=KEEP)
    horns = frame.boxes([((11, -38, -98), (1.6, 14, 12))], angles=(0, 0, -25))
    frame.paint(horns, S.CARTILAGE, only=[*SOFT])


def paint_vessels(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Carotid and vertebral arteries, jugular veins, in the neck and up to the skull base."""
    torso = frame.tubes([([(28, 5, -80), (28, 5, -118)], 8.0)], neck=True)
    frame.paint(torso, S.MUSCLE, only=[S.ARTERY])
    fat = frame.tubes(
        [([(32, -2, -26), (33, -6, -60), (33, -12, -104), (30, -10, -138)], [12, 12, 12, 9.0])],
        neck=True,
    )
    frame.paint(fat, S.INTERMUSCULAR_FAT, only=[S.MUSCLE])
    jugular = frame.tubes(
        [([(33, 4, -18), (36, 2, -50), (38, -5, -80), (37, -9, -106), (35, -9, -130)],
          [4.5, 5, 5.5, 6, 6])], neck=True,
    )  # fmt: skip
    frame.paint(jugular, S.VEIN, spare=[*KEEP, *BONE, S.TOOTH])
    carotid = frame.tubes(
        [([(24, -4, -16), (28, -6, -40), (28, -9, -66), (27, -13, -82), (25, -15, -106),
           (26, -5, -136), (28, -2, -150)], [2.7, 2.7, 3.2, 4.2, 3.6, 3.8, 4.0]),
         ([(44, -14, -28), (38, -16, -50), (29, -15, -78)], [1.8, 2.0, 2.4])], neck=True,
    )  # fmt: skip
    frame.paint(carotid, S.ARTERY, spare=[*KEEP, *BONE, S.TOOTH])
    veins = frame.tubes([([(56, -6, -40), (52, 6, -70), (48, 2, -104)], [2, 2.4, 2.6])], neck=True)
    frame.paint(veins, S.VEIN, only=SOFT[:3])
    plaque = frame.ellipsoids(
        [
            ((29 * s, -14 + rng.uniform(-3, 3), -74 + rng.uniform(-6, 4)), (1.3, 1.3, 2.0))
            for s in (1, -1)
        ],
        mirror=False,
    )
    if rng.random() < 0.3:
        frame.paint(plaque, S.CALCIFICATION, only=[S.ARTERY])

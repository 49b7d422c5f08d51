"""Soft tissue of head and neck: eyes, muscles, glands, tongue, airway, vessels, nose, ears."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctphantom.anatomy import Anatomy
from ctphantom.head_frame import HeadFrame
from ctphantom.head_skull import BONE, INSIDE, KEEP, SOFT
from ctphantom.structures import Structure as S  # noqa: N817


def paint_nose_and_ears(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint the nose and the auricles."""
    long = float(rng.uniform(-3, 4))
    skin = max(1.6, 0.75 * float(frame.canvas.spacing.max()))
    nose = frame.tubes(
        [([(0, -86, 30), (0, -94, 16), (0, -101 - long, 0), (0, -103 - long, -6)],
          [7, 7.5, 8.5, 8.5]),
         ([(0, -84, 24), (0, -88, 8), (0, -91, -7)], [8, 10, 11.5])],
        mirror=False, blend=5.0,
    )  # fmt: skip
    nose.join(frame.part("nose wings")).join(frame.part("nose sides"))
    frame.paint(nose, [(0.0, S.SKIN), (-skin, S.SUBCUTANEOUS_FAT), (-3.0, S.MUSCLE)],
                only=[S.OUTSIDE_AIR])  # fmt: skip
    frame.paint(nose, [(-skin, S.SUBCUTANEOUS_FAT)], only=[S.SKIN])
    frame.paint("nostril", S.SINUS_GAS, spare=[*INSIDE, S.OUTSIDE_AIR, *BONE])
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
    """Return the point shifted by (x, y, z) mm."""
    return float(point[0] + x), float(point[1] + y), float(point[2] + z)


def paint_orbits(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint orbit walls and fat, globe with lens, optic nerve, muscles, lacrimal gland, lids."""
    thin = max(1.0, 0.55 * float(frame.canvas.spacing.max()))
    gap = float(rng.normal(32.0, 1.4))
    out = float(rng.normal(0.0, 2.0))  # protrusion of the eye
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
    if rng.random() > 0.12:  # else an artificial lens, which is thin
        lens = frame.ellipsoids([(_off(eye, 0, -8.2, 0), (4.8, 2.2, 4.8))])
    else:
        lens = frame.ellipsoids([(_off(eye, 0, -7.8, 0), (3.4, 0.8, 3.4))])
    frame.paint(lens, S.LENS, only=[S.VITREOUS, S.SCLERA])


def paint_muscles(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint the masticatory muscles with the fat between them, glands and lymph nodes."""
    bulk = 0.5 + 0.5 * anatomy.muscle
    frame.paint("chewing fat", S.INTERMUSCULAR_FAT, only=[S.MUSCLE])
    masseter = frame.ellipsoids([((56, -27, -26), (7.5 * bulk, 15, 25))], angles=(14, 0, 8))
    frame.paint(masseter, S.MUSCLE, only=SOFT)
    inner = frame.ellipsoids([((37, -24, -28), (7 * bulk, 11, 22))], angles=(12, 10, 0))
    frame.paint(inner, S.MUSCLE, only=SOFT)
    frame.paint("lateral pterygoid", S.MUSCLE, only=SOFT)
    frame.paint("temporalis", S.MUSCLE, only=SOFT)
    frame.paint("parotid", S.PAROTID, only=SOFT[:3], noise=1.5, scale=3.0)
    frame.paint("submandibular", S.SALIVARY_GLAND, only=SOFT[:3], noise=1.0, scale=3.0)
    frame.paint("cheek muscle", S.MUSCLE, only=SOFT[:3])
    nodes = frame.ellipsoids(
        [
            ((40 + rng.uniform(-4, 6), 4 + rng.uniform(-18, 14), -58 + rng.uniform(-30, 20)),
             tuple(rng.uniform(2, 4, 3)))
            for _ in range(10)
        ]
    )  # fmt: skip
    frame.paint(nodes, S.LYMPH_NODE, only=[S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT])


def paint_mouth(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint tongue, floor of the mouth, soft palate, pharynx, larynx, hyoid and epiglottis."""
    frame.paint("mouth floor", S.MUSCLE, only=SOFT)
    frame.paint("tongue", S.TONGUE, only=SOFT)
    frame.paint("tongue septum", S.INTERMUSCULAR_FAT, only=[S.TONGUE])
    open_mouth = float(rng.choice([0.0, 0.0, 1.5, 4.0]))
    if open_mouth > 0:
        air = frame.ellipsoids([((0, -60, -29), (19, 24, open_mouth))], mirror=False)
        frame.paint(air, S.AIRWAY_GAS, only=[*SOFT, S.TONGUE])
    frame.paint("pharynx wall", S.MUSCLE, only=[*SOFT[:3], S.TONGUE])
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
    frame.paint("larynx", [(0.8, S.MUCOSA), (-0.2, S.AIRWAY_GAS)], spare=[*KEEP, *BONE])
    frame.paint("velum", S.MUSCLE, only=[*SOFT, S.MUCOSA, S.AIRWAY_GAS])
    frame.paint("flap", S.CARTILAGE, only=[*SOFT, S.MUCOSA, S.AIRWAY_GAS])
    frame.paint("hyoid", [(0.0, S.CORTICAL_BONE), (-2.0, S.FATTY_MARROW)], spare=KEEP)
    frame.paint("thyroid horns", S.CARTILAGE, only=[*SOFT])


def paint_vessels(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint carotid arteries and jugular veins up to the skull base, and carotid plaque."""
    frame.paint("torso vessels", S.MUSCLE, only=[S.ARTERY])
    frame.paint("carotid fat", S.INTERMUSCULAR_FAT, only=[S.MUSCLE])
    frame.paint("jugular", S.VEIN, spare=[*KEEP, *BONE, S.TOOTH])
    frame.paint("carotid", S.ARTERY, spare=[*KEEP, *BONE, S.TOOTH])
    frame.paint("external jugular", S.VEIN, only=SOFT[:3])
    plaque = frame.ellipsoids(
        [
            ((29 * s, -14 + rng.uniform(-3, 3), -74 + rng.uniform(-6, 4)), (1.3, 1.3, 2.0))
            for s in (1, -1)
        ],
        mirror=False,
    )
    if rng.random() < 0.3:
        frame.paint(plaque, S.CALCIFICATION, only=[S.ARTERY])

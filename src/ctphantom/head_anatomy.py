"""Structures of the head and the upper neck, painted one after the other in the head frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ctphantom.anatomy import VERTEBRA_Z, Anatomy
from ctphantom.head_frame import ATLAS, HeadFrame
from ctphantom.structures import Structure as S  # noqa: N817

#: structures inside the skull, which bones of the face do not overwrite
INSIDE = (S.GREY_MATTER, S.WHITE_MATTER, S.CEREBELLUM, S.CSF, S.DURA)
BONE = (S.CORTICAL_BONE, S.DIPLOE, S.TRABECULAR_BONE, S.FATTY_MARROW)
SOFT = (S.MUSCLE, S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT, S.SKIN)
KEEP = (*INSIDE, S.OUTSIDE_AIR)
CEREBRUM = (S.GREY_MATTER, S.WHITE_MATTER, S.CSF, S.DEEP_GREY)
_BESIDE_VERTEBRAE = (S.OUTSIDE_AIR, *INSIDE[:3], S.BRAINSTEM, S.AIRWAY_GAS)


def _shell(thickness: float, core: S = S.FATTY_MARROW) -> list[tuple[float, S]]:
    return [(0.0, S.CORTICAL_BONE), (-thickness, core)]


def paint_base(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint sphenoid, clivus, petrous bones, mastoids and occipital condyles."""
    fine = frame.canvas.spacing.max()
    wall = max(1.4, 0.7 * fine)
    frame.paint("sphenoid body", _shell(2.0), spare=KEEP)
    frame.paint("clivus", _shell(2.2), spare=KEEP)
    frame.paint("plates", S.CORTICAL_BONE, spare=KEEP)
    frame.paint("petrous", [(0.0, S.CORTICAL_BONE)], spare=KEEP)
    frame.paint("mastoid", S.CORTICAL_BONE, spare=KEEP)
    # air cells of variable extent
    size = float(rng.uniform(0.7, 1.15))
    cells = frame.ellipsoids(
        [((53, 23, -8), (7.6, 10.5 * size, 15 * size)), ((51, 18, 8), (7, 10 * size, 7))], blend=4.0
    )
    frame.paint(cells, S.MASTOID_AIR, only=BONE, noise=2.0, scale=3.0)
    bubbles = [
        (
            (53 + rng.uniform(-5, 5), 21 + rng.uniform(-10, 10), -5 + rng.uniform(-13, 17)),
            tuple(rng.uniform(1.0, 2.3, 3)),
        )
        for _ in range(34)
    ]
    frame.paint(frame.ellipsoids(bubbles), S.SINUS_GAS, only=[S.MASTOID_AIR])
    frame.paint("ear canal", S.SINUS_GAS, spare=[*INSIDE])
    frame.paint("tympanum", S.SINUS_GAS, only=BONE)
    frame.paint("inner ear", S.CSF, only=BONE)
    frame.paint("meatus", S.CSF, only=BONE)
    frame.paint("styloid", S.CORTICAL_BONE, spare=KEEP)
    frame.paint("condyle", _shell(wall, S.TRABECULAR_BONE), spare=KEEP)


def paint_cheeks(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint brow, orbital rims, zygomatic bones and arches, upper jaw and nasal bones."""
    frame.paint("brow", _shell(2.0, S.DIPLOE), spare=KEEP)
    frame.paint("wing", _shell(1.6, S.DIPLOE), spare=KEEP)
    frame.paint("orbit roof", _shell(1.8, S.DIPLOE), spare=KEEP)
    frame.paint("rim", _shell(2.2), spare=KEEP)
    frame.paint("cheek", _shell(2.2), spare=KEEP)
    frame.paint("zygomatic arch", _shell(2.4), spare=KEEP)
    frame.paint("nasal", S.CORTICAL_BONE, spare=INSIDE)
    frame.paint("frontal process", _shell(1.8), spare=KEEP)
    jaw = frame.tubes([(_dental_arch(27, -38, -86, -29), 7.0)], mirror=False, step=8)
    frame.paint(jaw, _shell(1.8, S.TRABECULAR_BONE), spare=KEEP)
    wall = max(1.2, 0.6 * float(frame.canvas.spacing.max()))
    palate = frame.boxes([((0, -60, -24), (22, 24, wall))], mirror=False)
    frame.paint(palate, S.CORTICAL_BONE, spare=KEEP)


def _dental_arch(
    half: float, back: float, front: float, z: float, n: int = 15
) -> NDArray[np.float64]:
    """Return points of a dental arch from the right end to the left."""
    t = np.linspace(-1.0, 1.0, n)
    x = half * np.sin(t * np.pi / 2)
    y = front + (back - front) * np.abs(t) ** 2.1
    return np.stack([x, y, np.full(n, z)], 1)


def paint_jaw(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint the lower jaw and the teeth; some are missing, some metal."""
    low = float(rng.normal(-62, 2.5))
    points = [(0, -87, low - 10), (19, -80, low - 9), (36, -56, low - 3), (46, -24, low + 6),
              (49, -14, low + 22), (50, -10, -22), (50, -9, -4)]  # fmt: skip
    lower = frame.tubes([(points, [7.5, 7.0, 6, 5, 3.6, 3.6, 5.5])])
    frame.paint(lower, _shell(2.6), spare=KEEP)
    ridge = [(0, -85, low + 1), (18, -78, low + 2), (33, -56, low + 4), (42, -32, low + 10)]
    upper = frame.tubes([(ridge, [6, 6, 6, 5])])
    frame.paint(upper, _shell(2.2, S.TRABECULAR_BONE), only=SOFT)
    frame.paint("ramus", _shell(1.7), spare=KEEP)
    coronoid = frame.tubes([([(47, -26, low + 18), (47, -32, -18), (46, -34, -2)], [5, 3.5, 2])])
    frame.paint(coronoid, _shell(2.4), spare=KEEP)
    lost = float(rng.uniform(0, 0.45)) if rng.random() < 0.5 else 0.0
    if rng.random() < 0.07:
        lost = 1.0
    for half, back, front, root, crown in (
        (27, -44, -86, -29.0, -41.0),
        (26, -42, -84, low + 3.0, low + 17.0),
    ):
        _teeth(frame, rng, _dental_arch(half, back, front, 0.0, 60), root, crown, lost)


def _teeth(
    frame: HeadFrame,
    rng: np.random.Generator,
    arch: NDArray[np.float64],
    root: float,
    crown: float,
    lost: float,
) -> None:
    """Paint 14 teeth along an arch, with roots at height ``root`` and crowns to ``crown``."""
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))]
    widths = np.array([9, 9, 7, 7, 7.5, 6.2, 8.0])
    widths = np.r_[widths, widths[::-1]]
    at = (np.cumsum(widths) - widths / 2) / widths.sum() * length[-1]
    for place, width in zip(at, widths, strict=True):
        if rng.random() < lost:
            continue
        x, y = np.interp(place, length, arch[:, 0]), np.interp(place, length, arch[:, 1])
        tip = crown + 0.55 * (root - crown)
        turn = np.degrees(np.arctan2(x, -(y + 30)))
        shape = frame.boxes(
            [((x, y, 0.5 * (crown + tip)), (0.44 * width, 3.6, abs(crown - tip) / 2 + 1))],
            angles=(0, 0, float(turn)), mirror=False, rounding=2.0,
        )  # fmt: skip
        shape.tube(frame.points([(x, y, tip), (x, y + 0.5, root)]), [2.9, 1.7], smooth=False)
        metal = rng.random() < 0.03
        frame.paint(shape, S.METAL if metal else S.TOOTH, spare=KEEP)


def _nose(frame: HeadFrame, rng: np.random.Generator, thin: float) -> None:
    """Paint the nasal cavity: walls, conchae, and a deviated septum."""
    frame.paint(
        "cavity", [(thin, S.CORTICAL_BONE), (0.0, S.MUCOSA), (-1.0, S.SINUS_GAS)], spare=KEEP
    )
    frame.paint("entry", S.SINUS_GAS, spare=[*KEEP, *BONE])
    swell = float(rng.uniform(0.8, 1.3))
    for side in (1, -1):  # mucosal swelling alternates between the sides (nasal cycle)
        own = swell * float(rng.uniform(0.75, 1.25))
        low = ((8.5 * side, -61, -13), (4.0 * own, 21, 5.5))
        high = ((5.5 * side, -57, 2), (2.2 * own, 17, 6.5))
        frame.paint(frame.ellipsoids([low, high], mirror=False), S.MUCOSA, only=[S.SINUS_GAS])
        bone = frame.boxes(
            [((low[0][0] + side, -60, -12), (0.5, 18, 3.5)), ((high[0][0], -56, 3), (0.4, 14, 5))],
            mirror=False, rounding=0.3,
        )  # fmt: skip
        frame.paint(bone, S.CORTICAL_BONE, only=[S.MUCOSA])
    bend = float(rng.normal(0, 5.0))
    septum = frame.boxes(
        [((0, -78, -3), (thin, 14, 22)), ((0, -50, -3), (thin, 16, 22))],
        angles=(0, 0, bend), mirror=False, rounding=0.5,
    )  # fmt: skip
    frame.paint(septum, [(0.7, S.MUCOSA), (0.0, S.CARTILAGE)], only=[S.SINUS_GAS, S.MUCOSA])


def paint_sinuses(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint the nasal cavity and the maxillary, ethmoid, sphenoid and frontal sinuses."""
    thin = max(0.7, 0.5 * float(frame.canvas.spacing.max()))
    bone = [(thin, S.CORTICAL_BONE), (0.0, S.SINUS_GAS)]
    # maxillary: with swollen mucosa or fluid in some patients
    fluid = rng.random() < 0.12
    lining = float(rng.choice([0.0, 0.0, 1.5, 4.0]))
    large = float(rng.uniform(0.85, 1.08))
    antrum = frame.boxes(
        [((27, -60, -4), (11.5 * large, 15, 15 * large))], angles=(0, 12, -24), rounding=7.0
    )
    back = frame.ellipsoids([((31, -55, 2), (14 * large, 15, 13))])
    antrum.join(back)
    gas = S.MUCOSA if fluid else S.SINUS_GAS
    layers = [(thin, S.CORTICAL_BONE), (0.0, S.MUCOSA), (-max(0.3, lining), gas)]
    frame.paint(antrum, layers, spare=KEEP)
    _nose(frame, rng, thin)
    # ethmoid cells between the orbits
    frame.paint("block", [(thin, S.CORTICAL_BONE), (0.0, S.MUCOSA)], spare=[*KEEP, S.SINUS_GAS])
    cells = frame.ellipsoids(
        [
            ((x + rng.uniform(-0.8, 0.8), y + rng.uniform(-1, 1), z + rng.uniform(-1, 1)),
             tuple(rng.uniform(2.8, 4.6, 3)))
            for x in (3.8, 9) for y in (-68, -61, -54, -47, -40) for z in (18, 25, 31)
        ]
    )  # fmt: skip
    frame.paint(cells, S.SINUS_GAS, only=[S.MUCOSA])
    left, right = rng.uniform(0.6, 1.15, 2)
    sphenoid = frame.ellipsoids([((7, -34, 18), (6.8 * left, 10 * left, 9 * left))], mirror=False)
    frame.paint(sphenoid, bone, only=[*BONE, *SOFT, S.MUCOSA])
    sphenoid = frame.ellipsoids(
        [((-7, -34, 18), (6.8 * right, 10 * right, 9 * right))], mirror=False
    )
    frame.paint(sphenoid, bone, only=[*BONE, *SOFT, S.MUCOSA])
    if rng.random() < 0.9:
        for side, size in zip((1, -1), rng.uniform(0.5, 1.2, 2), strict=True):
            item = ((9 * side, -83, 43), (9 * size, 4.2, 10 * size))
            frontal = frame.ellipsoids([item], mirror=False)
            frame.paint(frontal, [(2.0, S.CORTICAL_BONE), (0.0, S.SINUS_GAS)], only=[*BONE, *SOFT])


def paint_brain(frame: HeadFrame, rng: np.random.Generator, age: float) -> None:
    """Paint the inside of the brain; ``age`` (0..1) widens ventricles and cisterns."""
    # corpus callosum and central white matter
    frame.paint("callosum wings", S.WHITE_MATTER, only=CEREBRUM)
    frame.paint("callosum", S.WHITE_MATTER, only=CEREBRUM)
    frame.paint("white core", S.WHITE_MATTER, only=CEREBRUM)
    # on both sides of the internal capsule
    frame.paint("thalamus", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("caudate", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("lentiform", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("claustrum", S.DEEP_GREY, only=[S.WHITE_MATTER])
    frame.paint("temporal grey", S.DEEP_GREY, only=CEREBRUM)
    wide = 0.85 + 0.35 * age
    cisterns = frame.ellipsoids(
        [((0, -15, 33), (11 * wide, 9, 6)), ((0, 24, 41), (9 * wide, 6, 6)),
         ((0, -5, 14), (12, 7, 12)), ((0, 62, -12), (14 * wide, 10, 7))], mirror=False,
    )  # fmt: skip
    ambient = frame.tubes([([(6, -10, 33), (17, 2, 33), (17, 14, 37), (6, 23, 42)], 2.4 * wide)])
    frame.paint(cisterns, S.CSF, only=[*CEREBRUM, S.CEREBELLUM])
    frame.paint(ambient, S.CSF, only=[*CEREBRUM, S.DURA])
    _ventricles(frame, rng, age)
    _hindbrain(frame, age)
    frame.paint(
        "pituitary", S.PITUITARY, only=[S.CSF, S.CORTICAL_BONE, S.FATTY_MARROW, S.GREY_MATTER]
    )
    hard = rng.random() < 0.65
    frame.paint("pineal", S.CALCIFICATION if hard else S.DEEP_GREY, only=[S.CSF, *CEREBRUM])
    if rng.random() < 0.5:
        frame.paint("plexus spots", S.CALCIFICATION, only=[S.DEEP_GREY, S.CSF])
    _brain_vessels(frame, rng)


def _ventricles(frame: HeadFrame, rng: np.random.Generator, age: float) -> None:
    """Paint the lateral and third ventricles with the choroid plexus."""
    size = float((0.72 + 0.75 * age**1.3) * rng.uniform(0.85, 1.2))
    spread = 1.0 + 0.35 * (size - 1.0)
    for side in (1, -1):  # slightly asymmetric
        own = size * float(rng.uniform(0.88, 1.14))
        line = np.array(
            [(5, -36, 42), (8, -28, 49), (9, -10, 55), (13, 10, 56), (21, 28, 48), (25, 36, 38.0)]
        )
        line[:, 0] *= spread * side
        body = frame.tubes([(line, np.array([3.0, 4.5, 4.3, 4.3, 6.2, 5.0]) * own)], mirror=False)
        frame.paint(body, S.CSF, only=CEREBRUM)
        horn = [(25, 36, 38), (24, 48, 36), (20, 60, 36)]
        temporal = [(25, 36, 38), (33, 24, 26), (34, 8, 18), (31, -4, 16)]
        points = [np.array(p, float) * (side, 1, 1) for p in (horn, temporal)]
        tails = frame.tubes(
            [(points[0], np.array([4.6, 3.2, 1.2]) * own),
             (points[1], np.array([4.4, 3.0, 1.8, 1.4]) * own)],
            mirror=False,
        )  # fmt: skip
        frame.paint(tails, S.CSF, only=CEREBRUM)
    frame.paint("septum pellucidum", S.WHITE_MATTER, only=[S.CSF])
    third = frame.boxes(
        [((0, -2, 37), (1.4 + 2.2 * age * size, 12, 8))], mirror=False, rounding=1.5
    )
    frame.paint(third, S.CSF, only=[*CEREBRUM])
    plexus = frame.ellipsoids([((20.5 * spread, 29, 46), (2.4, 5, 3.5))])
    frame.paint(plexus, S.DEEP_GREY, only=[S.CSF])


def _hindbrain(frame: HeadFrame, age: float) -> None:
    """Paint brainstem, cerebellar white matter and fourth ventricle."""
    frame.paint("hemisphere", S.WHITE_MATTER, only=[S.CEREBELLUM], noise=2.5, scale=2.2)
    frame.paint("pontine bridge", S.BRAINSTEM, only=[S.CSF, S.CEREBELLUM])
    frame.paint("brainstem", S.BRAINSTEM, only=[*CEREBRUM, S.CEREBELLUM, S.DURA])
    frame.paint("cerebral peduncle", S.BRAINSTEM, only=[S.CSF, S.GREY_MATTER, S.WHITE_MATTER])
    frame.paint("notch", S.CSF, only=[S.BRAINSTEM])
    wide = 0.85 + 0.4 * age
    fourth = frame.ellipsoids([((0, 20, 10), (6.5 * wide, 4.5 * wide, 9))], mirror=False, blend=2.0)
    fourth.tube(frame.points([(0, 18, 36), (0, 18, 18)]), 1.2, smooth=False)
    frame.paint(fourth, S.CSF, only=[S.BRAINSTEM, S.CEREBELLUM])


def _brain_vessels(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint the arteries at the base of the brain, and the dural sinuses."""
    inside = [*CEREBRUM, S.BRAINSTEM, S.DURA]
    frame.paint("brain arteries", S.ARTERY, only=[*inside, S.FATTY_MARROW])
    frame.paint("basilar", S.ARTERY, only=inside)
    frame.paint("straight sinus", S.DURAL_SINUS, only=[*inside, S.CEREBELLUM])
    frame.paint("superior sagittal sinus", S.DURAL_SINUS, only=inside)
    dominant = 1.0 + 0.35 * float(rng.choice([-1, 1]))
    for side, width in ((1, dominant), (-1, 2.0 - dominant)):
        path = np.array(
            [(3, 77, 12), (26, 70, 11), (48, 45, 12), (54, 26, 8), (47, 20, -6), (37, 14, -18)],
            float,
        )
        path[:, 0] *= side
        lateral = frame.tubes(
            [(path, np.array([4, 4, 4.2, 4.4, 4.4, 4.4]) * width**0.5)], mirror=False
        )
        frame.paint(
            lateral, S.DURAL_SINUS, only=[*inside, S.CEREBELLUM, S.CORTICAL_BONE, S.MASTOID_AIR]
        )


def paint_neck_muscles(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint the muscles of the neck with fat between them."""
    bulk = 0.55 + 0.45 * anatomy.muscle
    frame.paint("neck fat", S.INTERMUSCULAR_FAT, only=[S.MUSCLE])
    bundles: dict[str, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {
        "suboccipital": [((14, 34, -30), (13, 11, 9))],
        "semispinalis": [((13, 50, -50), (12, 10, 34)), ((13, 44, -90), (12, 10, 36)),
                         ((13, 40, -128), (12, 9, 30))],
        "splenius": [((30, 50, -52), (10, 8, 34)), ((27, 50, -88), (12, 7, 34)),
                     ((24, 47, -126), (13, 6, 28))],
        "trapezius": [((16, 64, -62), (14, 4, 34)), ((26, 60, -98), (22, 5, 30)),
                      ((34, 56, -130), (30, 6, 28))],
        "longissimus": [((34, 30, -50), (8, 9, 32)), ((32, 28, -90), (9, 9, 34)),
                        ((30, 28, -128), (9, 9, 28))],
        "levator": [((38, 16, -62), (8, 10, 34)), ((40, 18, -98), (8, 10, 30)),
                    ((46, 26, -130), (9, 11, 28))],
        "multifidus": [((11, 34, -74), (9, 8, 40)), ((11, 30, -124), (9, 8, 30))],
        "sternomastoid": [((53, 14, -36), (7, 13, 26)), ((47, 0, -68), (7, 14, 30)),
                          ((42, -14, -100), (7, 13, 28)), ((32, -26, -128), (9, 9, 26))],
        "scalene": [((28, -2, -92), (8, 8, 32)), ((34, 2, -128), (10, 11, 26))],
        "longus": [((8, -19, -66), (7, 4.5, 44))],
        "strap": [((9, -44, -98), (9, 3.5, 20))],
        "digastric": [((24, -58, -78), (5, 18, 4)), ((46, 8, -38), (4, 8, 12))],
    }  # fmt: skip
    for items in bundles.values():
        wide = bulk * float(rng.uniform(0.93, 1.1))
        sized = [(center, (r[0] * wide, r[1] * wide, r[2] * 1.05)) for center, r in items]
        shape = frame.ellipsoids(sized, blend=3.0)
        frame.paint(shape, S.MUSCLE, only=[S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT, S.MUSCLE],
                    noise=0.8, scale=3.0)  # fmt: skip
    frame.paint("nuchal", S.FASCIA, only=SOFT[:3])


def paint_vertebrae(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint the cervical vertebrae C1 to C5, discs, spinal canal and cord."""
    fine = float(frame.canvas.spacing.max())
    shell = max(1.5, 0.7 * fine)
    layers = [(0.0, S.CORTICAL_BONE), (-shell, S.TRABECULAR_BONE)]
    thick = [(0.0, S.CORTICAL_BONE), (-max(2.2, fine), S.TRABECULAR_BONE)]
    below = float(ATLAS[2]) - anatomy.head_origin[2]  # from the patient frame to the head frame
    heights = {name: VERTEBRA_Z[name] + below for name in ("C2", "C3", "C4", "C5")}
    for name in ("C3", "C4", "C5"):
        z = heights[name]
        body = frame.boxes([((0, -7, z), (9.5, 7.5, 6.2))], mirror=False, rounding=3.0)
        frame.paint(body, layers, spare=_BESIDE_VERTEBRAE)
        disc = frame.boxes([((0, -7, z + 8), (8.5, 7, 1.8))], mirror=False, rounding=1.5)
        frame.paint(disc, S.INTERVERTEBRAL_DISC, only=[*SOFT[:3]])
        facet = frame.ellipsoids([((20, 8, z), (6, 7, 8))], angles=(35, 0, 0))
        frame.paint(facet, layers, spare=_BESIDE_VERTEBRAE)
        lateral = frame.tubes([([(10, -5, z), (22, -6, z - 1)], [3.2, 3.0])])
        frame.paint(lateral, thick, spare=_BESIDE_VERTEBRAE)
        _vertebral_arch(frame, z - 4, 18.0, 40.0, 3.6, thick)
    # axis: body, dens, wide arch
    z = heights["C2"]
    axis = frame.part("axis")
    body = frame.boxes([((0, -7, z), (8, 7, 8))], mirror=False, rounding=3.0, blend=4.0)
    axis.join(body)
    frame.paint(axis, layers, spare=_BESIDE_VERTEBRAE)
    frame.paint("joint", layers, spare=_BESIDE_VERTEBRAE)
    _vertebral_arch(frame, z - 4, 15.0, 41.0, 6.0, thick)
    # atlas: lateral masses and two arches
    frame.paint("mass", layers, spare=_BESIDE_VERTEBRAE)
    frame.paint("front", thick, spare=_BESIDE_VERTEBRAE)
    frame.paint("rear", thick, spare=_BESIDE_VERTEBRAE)
    frame.paint("neck wings", thick, spare=_BESIDE_VERTEBRAE)
    _canal(frame, heights["C5"])


def _vertebral_arch(
    frame: HeadFrame, z: float, half: float, tip: float, spine: float, layers: list[tuple[float, S]]
) -> None:
    """Paint the laminae and the spinous process of a vertebra."""
    arch = frame.tubes([([(half, 10, z + 2), (11, 22, z), (2, 28, z - 2)], [4, 3.6, 4])])
    frame.paint(arch, layers, spare=_BESIDE_VERTEBRAE)
    process = frame.tubes([([(0, 27, z - 2), (0, tip, z - 7)], [4.0, spine])], mirror=False)
    frame.paint(process, layers, spare=_BESIDE_VERTEBRAE)


def _canal(frame: HeadFrame, lowest: float) -> None:
    line = np.array([(0, 14, -16), (0, 14, -26), (0, 13, -40), (0, 10, -58), (0, 10, -74),
                     (0, 10, lowest - 8)], float)  # fmt: skip
    canal = frame.tubes([(line, [13, 12.5, 11, 9, 8.5, 8.5])], mirror=False, neck=True)
    frame.paint(
        canal, S.CSF, spare=[S.BRAINSTEM, S.CEREBELLUM, *INSIDE[:1], S.WHITE_MATTER, S.ARTERY]
    )
    cord = frame.tubes([(line[1:], [6.2, 5.8, 5.2, 5.2, 5.2])], mirror=False, neck=True)
    frame.paint(cord, S.SPINAL_CORD, only=[S.CSF, S.DURA])
    frame.paint("neck arteries", S.ARTERY, spare=[S.BRAINSTEM, S.SPINAL_CORD, S.OUTSIDE_AIR])


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


def paint_chewing_muscles(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
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

"""Bones of the face and the skull base, teeth, and paranasal sinuses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctphantom.head_frame import HeadFrame
from ctphantom.structures import Structure as S  # noqa: N817

#: structures inside the skull, which bones of the face do not overwrite
INSIDE = (S.GREY_MATTER, S.WHITE_MATTER, S.CEREBELLUM, S.CSF, S.DURA)
BONE = (S.CORTICAL_BONE, S.DIPLOE, S.TRABECULAR_BONE, S.FATTY_MARROW)
SOFT = (S.MUSCLE, S.INTERMUSCULAR_FAT, S.SUBCUTANEOUS_FAT, S.SKIN)
KEEP = (*INSIDE, S.OUTSIDE_AIR)


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
    _mastoid_cells(frame, rng)
    frame.paint("ear canal", S.SINUS_GAS, spare=[*INSIDE])
    frame.paint("tympanum", S.SINUS_GAS, only=BONE)
    frame.paint("inner ear", S.CSF, only=BONE)
    frame.paint("meatus", S.CSF, only=BONE)
    frame.paint("styloid", S.CORTICAL_BONE, spare=KEEP)
    frame.paint("condyle", _shell(wall, S.TRABECULAR_BONE), spare=KEEP)


def _mastoid_cells(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint the air cells of the mastoids, with variable extent."""
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
    jaw = frame.tubes([(_arch(27, -38, -86, -29), 7.0)], mirror=False, step=8)
    frame.paint(jaw, _shell(1.8, S.TRABECULAR_BONE), spare=KEEP)
    wall = max(1.2, 0.6 * float(frame.canvas.spacing.max()))
    palate = frame.boxes([((0, -60, -24), (22, 24, wall))], mirror=False)
    frame.paint(palate, S.CORTICAL_BONE, spare=KEEP)


def _arch(half: float, back: float, front: float, z: float, n: int = 15) -> NDArray[np.float64]:
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
        _teeth(frame, rng, _arch(half, back, front, 0.0, 60), root, crown, lost)


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

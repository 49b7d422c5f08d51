"""The upper neck: first four vertebrae, cord, and the muscles around them."""

from __future__ import annotations

import numpy as np

from ctphantom.anatomy import VERTEBRA_Z, Anatomy
from ctphantom.head_frame import ATLAS, HeadFrame
from ctphantom.head_skull import INSIDE, SOFT
from ctphantom.structures import Structure as S  # noqa: N817

_KEEP = (S.OUTSIDE_AIR, *INSIDE[:3], S.BRAINSTEM, S.AIRWAY_GAS)


def _below(name: str, anatomy: Anatomy) -> float:
    """Return the head-frame z of a vertebra from its patient-frame z."""
    return VERTEBRA_Z[name] - anatomy.head_origin[2] + float(ATLAS[2])


def paint_muscles(frame: HeadFrame, anatomy: Anatomy, rng: np.random.Generator) -> None:
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
        sized = [
            (tuple(frame_point), (r[0] * wide, r[1] * wide, r[2] * 1.05))
            for frame_point, r in items
        ]
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
    heights = {n: _below(n, anatomy) for n in ("C2", "C3", "C4", "C5")}
    for name in ("C3", "C4", "C5"):
        _cervical(frame, heights[name], layers, thick)
    # axis: body, dens, wide arch
    z = heights["C2"]
    axis = frame.part("axis")
    body = frame.boxes([((0, -7, z), (8, 7, 8))], mirror=False, rounding=3.0, blend=4.0)
    axis.join(body)
    frame.paint(axis, layers, spare=_KEEP)
    frame.paint("joint", layers, spare=_KEEP)
    _arch(frame, z - 4, 15.0, 41.0, 6.0, thick)
    # atlas: lateral masses and two arches
    frame.paint("mass", layers, spare=_KEEP)
    frame.paint("front", thick, spare=_KEEP)
    frame.paint("rear", thick, spare=_KEEP)
    frame.paint("neck wings", thick, spare=_KEEP)
    _canal(frame, heights["C5"])


def _cervical(
    frame: HeadFrame, z: float, layers: list[tuple[float, S]], thick: list[tuple[float, S]]
) -> None:
    body = frame.boxes([((0, -7, z), (9.5, 7.5, 6.2))], mirror=False, rounding=3.0)
    frame.paint(body, layers, spare=_KEEP)
    disc = frame.boxes([((0, -7, z + 8), (8.5, 7, 1.8))], mirror=False, rounding=1.5)
    frame.paint(disc, S.INTERVERTEBRAL_DISC, only=[*SOFT[:3]])
    facet = frame.ellipsoids([((20, 8, z), (6, 7, 8))], angles=(35, 0, 0))
    frame.paint(facet, layers, spare=_KEEP)
    lateral = frame.tubes([([(10, -5, z), (22, -6, z - 1)], [3.2, 3.0])])
    frame.paint(lateral, thick, spare=_KEEP)
    _arch(frame, z - 4, 18.0, 40.0, 3.6, thick)


def _arch(
    frame: HeadFrame, z: float, half: float, tip: float, spine: float, layers: list[tuple[float, S]]
) -> None:
    """Paint the laminae and the spinous process of a vertebra."""
    arch = frame.tubes([([(half, 10, z + 2), (11, 22, z), (2, 28, z - 2)], [4, 3.6, 4])])
    frame.paint(arch, layers, spare=_KEEP)
    process = frame.tubes([([(0, 27, z - 2), (0, tip, z - 7)], [4.0, spine])], mirror=False)
    frame.paint(process, layers, spare=_KEEP)


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

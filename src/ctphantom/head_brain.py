"""Inside of the brain: ventricles, deep grey nuclei, brainstem, cisterns, vessels."""

from __future__ import annotations

import numpy as np

from ctphantom.head_frame import HeadFrame
from ctphantom.structures import Structure as S  # noqa: N817

CEREBRUM = (S.GREY_MATTER, S.WHITE_MATTER, S.CSF, S.DEEP_GREY)


def paint_brain(frame: HeadFrame, rng: np.random.Generator, age: float) -> None:
    """Paint the inside of the brain; ``age`` (0..1) widens ventricles and cisterns."""
    _white(frame)
    _deep_grey(frame)
    _cisterns(frame, age)
    _ventricles(frame, rng, age)
    _hindbrain(frame, age)
    _calcium(frame, rng)
    _vessels(frame, rng)


def _white(frame: HeadFrame) -> None:
    """Paint the corpus callosum and the central white matter."""
    frame.paint("callosum wings", S.WHITE_MATTER, only=CEREBRUM)
    frame.paint("callosum", S.WHITE_MATTER, only=CEREBRUM)
    frame.paint("white core", S.WHITE_MATTER, only=CEREBRUM)


def _deep_grey(frame: HeadFrame) -> None:
    """Paint the thalamus, caudate and lentiform nuclei on both sides of the internal capsule."""
    frame.paint("thalamus", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("caudate", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("lentiform", S.DEEP_GREY, only=CEREBRUM)
    frame.paint("claustrum", S.DEEP_GREY, only=[S.WHITE_MATTER])
    frame.paint("temporal grey", S.DEEP_GREY, only=CEREBRUM)


def _cisterns(frame: HeadFrame, age: float) -> None:
    wide = 0.85 + 0.35 * age
    cisterns = frame.ellipsoids(
        [((0, -15, 33), (11 * wide, 9, 6)), ((0, 24, 41), (9 * wide, 6, 6)),
         ((0, -5, 14), (12, 7, 12)), ((0, 62, -12), (14 * wide, 10, 7))], mirror=False,
    )  # fmt: skip
    ambient = frame.tubes([([(6, -10, 33), (17, 2, 33), (17, 14, 37), (6, 23, 42)], 2.4 * wide)])
    frame.paint(cisterns, S.CSF, only=[*CEREBRUM, S.CEREBELLUM])
    frame.paint(ambient, S.CSF, only=[*CEREBRUM, S.DURA])


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


def _calcium(frame: HeadFrame, rng: np.random.Generator) -> None:
    """Paint the pituitary and the pineal gland, and calcifications of pineal and plexus."""
    frame.paint(
        "pituitary", S.PITUITARY, only=[S.CSF, S.CORTICAL_BONE, S.FATTY_MARROW, S.GREY_MATTER]
    )
    hard = rng.random() < 0.65
    frame.paint("pineal", S.CALCIFICATION if hard else S.DEEP_GREY, only=[S.CSF, *CEREBRUM])
    if rng.random() < 0.5:
        frame.paint("plexus spots", S.CALCIFICATION, only=[S.DEEP_GREY, S.CSF])


def _vessels(frame: HeadFrame, rng: np.random.Generator) -> None:
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

"""Head and upper neck of a phantom patient, and the scanner's headrest.

Dimensions are from textbooks of adult anatomy, compared visually with a CT of a head.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from ctphantom import head_anatomy
from ctphantom import painting_kernels as kernels
from ctphantom.anatomy import Anatomy, shared_noise
from ctphantom.canvas import Canvas
from ctphantom.envelope import make_frame
from ctphantom.head_frame import ATLAS, HeadFrame
from ctphantom.structures import Structure as S  # noqa: N817

#: face: z, half width, front (y) in mm of the head frame
FACE = np.array(
    [(-95, 34, -70), (-90, 40, -84), (-85, 45, -92), (-80, 48, -95), (-72, 53, -96),
     (-64, 57, -93), (-57, 60, -95), (-50, 62, -98), (-44, 63, -97), (-38, 64, -99),
     (-30, 66, -97), (-20, 68, -95), (-10, 69, -92), (0, 70, -91), (10, 70, -88), (20, 70, -85),
     (30, 69, -86), (40, 67, -90), (50, 64, -90), (60, 60, -88)],
    dtype=float,
)  # fmt: skip
#: neck: z, half width, front, back (y)
NECK = np.array(
    [(-95, 57, -46, 63), (-80, 57, -44, 65), (-60, 58, -42, 70), (-40, 60, -38, 75),
     (-20, 61, -32, 79), (0, 60, -24, 81), (10, 56, -20, 78)],
    dtype=float,
)  # fmt: skip

_NAMES = np.array(
    [S.OUTSIDE_AIR, S.CSF, S.DURA, S.GREY_MATTER, S.WHITE_MATTER, S.CEREBELLUM, S.SKIN,
     S.SUBCUTANEOUS_FAT, S.MUSCLE, S.INTERMUSCULAR_FAT, S.CORTICAL_BONE, S.DIPLOE, S.COUCH,
     S.COUCH_FOAM, S.BLANKET],
    np.uint8,
)  # fmt: skip


def paint_head(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator | None = None) -> None:
    """Paint the head and the neck down to the fourth cervical vertebra.

    The torso there is overwritten; arms beside the head remain.

    Parameters
    ----------
    canvas
        Label map in the patient's frame.
    anatomy
        The patient; the head is placed at ``anatomy.head_origin``.
    rng
        Random number generator of the head's shape; by default one from the anatomy's seed.
    """
    rng = rng if rng is not None else anatomy.rng(40)
    frame = _place(canvas, anatomy, rng)
    cranium, age = _draw_cranium(anatomy, rng, float(canvas.spacing.max()))
    face, neck = _tables(anatomy, frame, rng)
    turn = np.ascontiguousarray(frame.turn.T)
    pose = kernels.Pose(turn, frame.pivot, frame.scale, ATLAS)
    canvas.run(
        kernels.paint_head, 0, canvas.shape[0], canvas.labels, canvas.grid, pose, cranium,
        face, neck, kernels.Roughness(shared_noise(), rng.uniform(0, 64, 9)), _NAMES,
    )  # fmt: skip
    head_anatomy.paint_nose_and_ears(frame, anatomy, rng)
    head_anatomy.paint_neck_muscles(frame, anatomy, rng)
    head_anatomy.paint_chewing_muscles(frame, anatomy, rng)
    head_anatomy.paint_mouth(frame, rng)
    head_anatomy.paint_base(frame, rng)
    head_anatomy.paint_cheeks(frame, rng)
    head_anatomy.paint_sinuses(frame, rng)
    head_anatomy.paint_jaw(frame, rng)
    head_anatomy.paint_orbits(frame, rng)
    head_anatomy.paint_brain(frame, rng, age)
    head_anatomy.paint_vertebrae(frame, anatomy, rng)
    head_anatomy.paint_vessels(frame, rng)


def paint_headrest(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the scanner's headrest: a carbon-fiber shell with foam inside.

    Parameters
    ----------
    canvas
        Label map with the head; only air is overwritten.
    rng
        Random number generator of the headrest's size.
    """
    rows, columns = np.nonzero((canvas.labels != S.OUTSIDE_AIR).any(axis=0))
    if len(rows) == 0:
        return
    dy, dx = canvas.spacing[1], canvas.spacing[2]
    radius, foam = rng.uniform(108, 128), rng.uniform(6, 16)
    shell = max(2.0, 0.7 * dy)
    middle = np.median(columns) * dx
    center = rows.max() * dy + foam - radius
    y = np.arange(canvas.shape[1])[:, None] * dy - center
    x = np.arange(canvas.shape[2])[None, :] * dx - middle
    reach = np.hypot(y, x) - radius
    cradle = y > radius * rng.uniform(0.0, 0.45)
    plane = np.zeros(reach.shape, np.uint8)
    plane[cradle & (np.abs(reach) < shell / 2)] = S.COUCH
    plane[cradle & (reach < -shell / 2) & (reach > -shell / 2 - foam)] = S.COUCH_FOAM
    for slice_ in canvas.labels:
        np.copyto(slice_, plane, where=(slice_ == S.OUTSIDE_AIR) & (plane > 0))


def _place(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> HeadFrame:
    """Draw the position, rotation and size of the head."""
    angles = rng.normal(0.0, (5.0, 1.6, 3.5))
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    size = (1.02 if anatomy.sex == "male" else 0.985) * rng.normal(1.0, 0.02)
    # heads vary less than bodies, so divide by the body's scale
    scale = size * rng.normal(1.0, 0.02, 3) / np.asarray(anatomy.scale)
    return HeadFrame(canvas, np.asarray(anatomy.head_origin, float), turn, scale)


def _draw_cranium(
    anatomy: Anatomy, rng: np.random.Generator, voxel: float
) -> tuple[kernels.Cranium, float]:
    """Draw the shape of skull and brain, and the degree of atrophy by age (0 to 1)."""
    age = float(rng.beta(1.3, 1.6))
    lean = anatomy.subcutaneous
    base = kernels.Cranium()
    return base._replace(
        half_width=base.half_width * rng.normal(1.0, 0.025),
        front=base.front * rng.normal(1.0, 0.02),
        back=base.back * rng.normal(1.0, 0.03),
        top=base.top * rng.normal(1.0, 0.02),
        temples=float(rng.uniform(0.10, 0.22)),
        thickness=base.thickness * float(rng.uniform(0.72, 1.3)),
        thinnest=max(2.0, 1.05 * min(voxel, 4.0)),
        scalp=float(3.6 + 0.07 * lean + rng.uniform(0, 1.5)),
        face_fat=float(3.0 + 0.14 * lean),
        neck_fat=float(3.0 + 0.28 * lean),
        gap=float(0.4 + 2.3 * age**1.5),
        sulcus=float(max(0.0, 0.95 * age - 0.15)),
        sulcus_depth=float(rng.uniform(12, 18)),
        gyrus=float(rng.uniform(2.5, 3.2)),
        fissure=float(0.6 + 1.3 * age**1.5),
        cortex=float(rng.uniform(3.0, 3.8)),
        temporalis=float(rng.uniform(7, 13) * anatomy.muscle),
    ), age


def _tables(
    anatomy: Anatomy, frame: HeadFrame, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return tables of face (every 5 mm) and neck (10 mm) from z = -95: half width, front, back."""
    z = np.arange(-95.0, 61.0, 5.0)
    face = np.stack([PchipInterpolator(FACE[:, 0], FACE[:, c])(z) for c in (1, 2)])
    grow = 0.12 * (anatomy.subcutaneous - 16.0)
    low = 1.0 / (1.0 + np.exp((z - 5.0) / 12.0))
    face[0] = face[0] * rng.normal(1.0, 0.025) + grow * low
    face[1] = face[1] + rng.normal(0, 1.5) * low - 0.3 * grow * low
    z = np.arange(-95.0, 16.0, 10.0)
    neck = np.stack([PchipInterpolator(NECK[:, 0], NECK[:, c])(z) for c in (1, 2, 3)])
    bulk = 6.0 * (anatomy.muscle - 1.0) + 0.22 * (anatomy.subcutaneous - 16.0)
    female = anatomy.sex == "female"
    neck += np.array([[bulk - 4 * female], [-0.5 * bulk + 2 * female], [0.7 * bulk - 4 * female]])
    share = np.clip((-50.0 - z) / 35.0, 0.0, 1.0)
    return face, neck + share * share * (3 - 2 * share) * (_torso_neck(anatomy, frame, z) - neck)


def _torso_neck(anatomy: Anatomy, frame: HeadFrame, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half width, front and back of the torso's skin in head-frame mm."""
    torso = make_frame(anatomy)
    height = frame.pivot[2] + (z - ATLAS[2]) * frame.scale[2]
    at = np.round(np.array([0.0, 0.75, 0.25]) * len(torso.theta)).astype(int)
    half, front, back = (np.interp(height, torso.z, torso.skin[:, i]) for i in at)
    center = np.interp(height, torso.z, torso.center)
    shift = frame.pivot[1]
    return np.stack(
        [
            half / frame.scale[0],
            (center - front - shift) / frame.scale[1] + ATLAS[1],
            (center + back - shift) / frame.scale[1] + ATLAS[1],
        ]
    )

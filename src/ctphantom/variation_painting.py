# ruff: noqa: N817, RUF005 - S is Structure; lists are added to arrays, not joined to them
"""Painting of variations over a finished patient, in the patient frame.

Variations with a parameter in `Anatomy` are not painted here: they set it, and all organs adapt.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctphantom import painting_kernels as kernels
from ctphantom.anatomy import VERTEBRA_Z, Anatomy, Frame
from ctphantom.canvas import Canvas
from ctphantom.envelope import dress
from ctphantom.shapes import Shape
from ctphantom.skeleton import body_size
from ctphantom.structures import Structure as S
from ctphantom.variations import Variations


def paint_variations(
    canvas: Canvas, anatomy: Anatomy, frame: Frame, variations: Variations
) -> None:
    """Paint the variations without a parameter in `Anatomy` over a finished trunk.

    Parameters
    ----------
    canvas
        The patient, changed in place.
    anatomy, frame
        The anatomy after `Variations.apply`, and its frame.
    variations
        The variations.
    """
    for side, name in ((-1, "right kidney"), (1, "left kidney")):
        if name in variations.removed:
            # fat instead of the kidney and its ureter; its vessels are truncated
            flank = Shape().box((110 * side, 10, 60), (109, 90, 190))
            gone = [S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA, S.RENAL_PELVIS, S.URETER]
            canvas.paint(flank, S.VISCERAL_FAT, only=gone)
            bed = Shape().ellipsoid((78 * side, 14, 120), (40, 40, 75))
            canvas.paint(bed, S.VISCERAL_FAT, only=[S.CYST, S.ARTERY, S.VEIN])
    if variations.ascites_mm > 0:
        _surround_with_fluid(canvas, variations.ascites_mm)
    if max(variations.effusion_mm) > 3:
        # lung beside the fluid is atelectatic, close to it airless
        thickness, distance = (
            4.0 + 0.1 * max(variations.effusion_mm),
            _distance(canvas, [S.EFFUSION_FLUID]),
        )
        labels = canvas.labels
        labels[(distance < thickness) & (labels == S.LUNG)] = S.LUNG_DEPENDENT
        labels[(distance < 0.6 * thickness) & (labels == S.LUNG_DEPENDENT)] = S.LUNG_SOLID
    if variations.consolidation_mm > 0:
        _consolidate_lung(canvas, anatomy, variations.consolidation_mm)
    if variations.nodules:
        _paint_nodules(canvas, anatomy, variations.nodules)
    if variations.hernia_mm > 0:
        _herniate(canvas, frame, variations.hernia_mm)
    if variations.varices_mm > 0:
        _paint_varices(canvas, variations.varices_mm)
    if variations.spine_implant:
        _implant_spine(canvas, anatomy, variations.spine_implant)


def _distance(canvas: Canvas, labels: list[S]) -> np.ndarray:
    """Return the distance (z, y, x) in mm to the nearest voxel of the structures, or infinity."""
    inside = np.isin(canvas.labels, labels)
    if not inside.any():
        return np.full(canvas.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~inside, sampling=canvas.spacing))


def _surround_with_fluid(canvas: Canvas, thickness: float) -> None:
    """Replace intraperitoneal fat along liver, spleen and wall by free fluid, mostly posterior.

    The fat around the kidneys and in front of the spine is retroperitoneal.
    """
    fat = canvas.labels == S.VISCERAL_FAT
    distance = _distance(canvas, [S.LIVER, S.SPLEEN, S.MUSCLE, S.DIAPHRAGM, S.ASCITES])
    voxels = np.argwhere(fat & (distance < thickness))
    if not len(voxels):
        return
    p = np.empty(voxels.shape, np.float64)
    kernels.positions(canvas.grid, voxels.astype(np.float64), p)
    x, y, z = p.T
    share = np.clip((y + 105) / 70, 0.2, 1.0)
    inside = (distance[tuple(voxels.T)] < thickness * share) & (y < 22) & (z > -112)
    inside &= (x / 46) ** 2 + ((y - 10) / 52) ** 2 > 1
    for side in (-1, 1):
        inside &= (((p - [76 * side, 18, 118]) / [50, 46, 90]) ** 2).sum(1) > 1
    pool = np.zeros(fat.shape, np.float32)
    pool[tuple(voxels[inside].T)] = 1
    canvas.labels[fat & (ndimage.gaussian_filter(pool, 3.0 / canvas.spacing) > 0.4)] = S.ASCITES


def _consolidate_lung(canvas: Canvas, anatomy: Anatomy, radius: float) -> None:
    """Replace a part of one lung by airless lung with open bronchi, denser lung around it."""
    rng = anatomy.rng(45)
    side = int(rng.choice([-1, 1]))
    center = np.array([85 * side, 30, 250.0]) + rng.normal(0, (14, 26, 38))
    patch = Shape().ellipsoid(center, radius * rng.uniform(0.6, 1.2, 3))
    for _ in range(4):
        offset = rng.normal(0, 0.6 * radius, 3)
        patch.ellipsoid(center + offset, radius * rng.uniform(0.3, 0.7, 3), blend=8)
    air = [S.LUNG, S.LUNG_DEPENDENT]
    rim = rng.uniform(2, 12)
    canvas.paint(patch, [(rim, S.LUNG_DEPENDENT)], only=[S.LUNG], noise=4, scale=9)
    canvas.paint(patch, S.LUNG_SOLID, only=air, noise=4, scale=9)
    bronchi = Shape()
    for _ in range(5):
        start = center + rng.normal(0, 0.5 * radius, 3)
        end = start + rng.normal(0, 0.6 * radius, 3)
        bronchi.tube([start, end], rng.uniform(1, 2), smooth=False)
    canvas.paint(bronchi, S.AIRWAY_GAS, only=[S.LUNG_SOLID])


def _paint_nodules(canvas: Canvas, anatomy: Anatomy, count: int) -> None:
    """Paint solid nodules in the lungs, most of them small."""
    rng = anatomy.rng(46)
    for _ in range(count):
        side = int(rng.choice([-1, 1]))
        place = np.array([80 * side, 5, 290.0]) + rng.uniform((-45, -65, -110), (45, 75, 110))
        radius = min(2.0 + rng.exponential(5.0), 24.0)
        nodule = Shape().ellipsoid(place, radius * rng.uniform(0.8, 1.25, 3))
        only = [S.LUNG, S.LUNG_DEPENDENT, S.LUNG_VESSEL]
        canvas.paint(nodule, S.LUNG_SOLID, only=only, noise=0.12 * radius, scale=4)


def _herniate(canvas: Canvas, frame: Frame, radius: float) -> None:
    """Paint an umbilical hernia: a gap in the wall, and a sac with fat and a loop of bowel."""
    height, deep = 52.0, 0.8 * radius
    wall, skin = (frame.wall(-90, height, 0.0, surface)[0] for surface in ("muscle", "skin"))
    # at most 16 mm beyond the skin, as the grid ends near it
    center = np.array([wall[0], max(wall[1] - 0.3 * radius, skin[1] - 16 + deep), height])
    sac = Shape().ellipsoid(center, (1.1 * radius, deep, radius))
    dress(canvas, sac, 4.0, muscle=False)
    canvas.paint(sac, S.VISCERAL_FAT, only=[S.SUBCUTANEOUS_FAT], noise=1.0)
    gap = Shape().tube([center, center + [0, deep + 25, 0]], 0.5 * radius, smooth=False)
    canvas.paint(gap, S.VISCERAL_FAT, only=[S.MUSCLE, S.INTERMUSCULAR_FAT, S.FASCIA])
    turn = [(-0.2, 1.2, 0), (-0.5, 0.2, 0.3), (0, -0.2, -0.2), (0.5, 0.2, 0.2), (0.2, 1.2, 0)]
    loop = Shape().tube(center + radius * np.array(turn), 0.27 * radius)
    layers = [(0.0, S.SMALL_BOWEL_WALL), (-2.5, S.SMALL_BOWEL_CONTENT)]
    canvas.paint(loop, layers, only=[S.VISCERAL_FAT])


def _paint_varices(canvas: Canvas, radius: float) -> None:
    """Paint tortuous veins in the fat of the left upper abdomen."""
    rng = np.random.default_rng(round(1000 * radius))
    veins = Shape()
    for _ in range(36):
        start = rng.uniform((10, -100, 120), (115, 10, 225))
        path = start + np.cumsum(rng.normal(0, 13, (7, 3)), axis=0)
        veins.tube(path, radius * rng.uniform(0.5, 1.2))
    canvas.paint(veins, S.PORTAL_VEIN, only=[S.VISCERAL_FAT])


def _implant_spine(canvas: Canvas, anatomy: Anatomy, names: tuple[str, ...]) -> None:
    """Paint pedicle screws in each vertebra, and a rod on each side."""
    z = np.array([VERTEBRA_Z[name] for name in names], float)
    slope = (anatomy.spine_y(z + 8) - anatomy.spine_y(z - 8)) / 16.0
    metal = Shape()
    for side in (-1, 1):
        heads = []
        for name, height, lean in zip(names, z, slope, strict=True):
            rx, ry, _ = body_size(name)
            back = np.array([0, 1, -lean]) / np.hypot(1, lean)
            center = np.array([0, float(anatomy.spine_y(height)), height + 3])
            head = center + back * (ry + 24) + [side * (0.62 * rx + 7), 0, 0]
            tip = center - back * (0.35 * ry) + [side * 0.35 * rx, 0, 0]
            metal.tube([head, tip], [3.4, 2.6], smooth=False)
            metal.ellipsoid(head, (6.0, 6.5, 6.0))
            heads.append(head)
        if len(heads) > 1:
            ends = [heads[0] - [0, 0, 9], *heads, heads[-1] + [0, 0, 9]]
            metal.tube(ends, 3.0)
    canvas.paint(metal, S.METAL, spare=[S.OUTSIDE_AIR, S.SKIN])

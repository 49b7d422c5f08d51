# ruff: noqa: N817, RUF005 - S is Structure; lists are added to arrays, not joined to them
"""Variations of the healthy adult: habitus, age, fluid, operations, implants.

Variations with a parameter in `Anatomy` set it, so that all organs adapt; the others are painted
over the finished patient, in the patient frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from tomochrome.errors import OptionError
from tomochrome.phantom import kernels
from tomochrome.phantom.anatomy import VERTEBRA_Z, Anatomy, Frame, draw_anatomy
from tomochrome.phantom.canvas import Canvas
from tomochrome.phantom.shapes import Shape
from tomochrome.phantom.structures import Structure as S

Removable = Literal["right kidney", "left kidney", "gallbladder"]
LUMBAR = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10")
_MOST_FAT_MM = 68.0
_MAX_NODULES = 40
_LIMITS = {
    "fat": (0.02, 25.0),
    "scoliosis_mm": (-45.0, 45.0),
    "ascites_mm": (0.0, 40.0),
    "hernia_mm": (0.0, 45.0),
    "varices_mm": (0.0, 6.0),
    "consolidation_mm": (0.0, 60.0),
    "child": (0.65, 1.0),
}


@dataclass(frozen=True)
class Variations:
    """Differences of one phantom patient from a healthy adult; the defaults change nothing.

    Parameters
    ----------
    fat
        Factor on subcutaneous fat (up to 68 mm); visceral fat and muscle change with it.
    scoliosis_mm
        Deviation of the spine at its apex (T8), to the patient's left.
    effusion_mm
        Depth of pleural fluid right, left.
    ascites_mm
        Thickness of the fluid along abdominal wall, liver and spleen.
    removed
        Surgically removed organs.
    hernia_mm
        Radius of the sac of an umbilical hernia.
    varices_mm
        Radius of dilated veins in the fat around stomach and spleen (portal hypertension).
    consolidation_mm
        Radius of an airless part of one lung, as in pneumonia.
    nodules
        Number of solid nodules in the lungs, up to 40.
    hip_implant
        Whether one hip is a prosthesis.
    spine_implant
        Vertebrae with pedicle screws, of `LUMBAR`, lowest first.
    arms_down
        Whether the arms are at the sides.
    child
        Size relative to an adult's: 0.78 is about 10 years, 0.95 about 15.

    Raises
    ------
    OptionError
        If a value is out of range, or a name is unknown.
    """

    fat: float = 1.0
    scoliosis_mm: float = 0.0
    effusion_mm: tuple[float, float] = (0.0, 0.0)
    ascites_mm: float = 0.0
    removed: tuple[Removable, ...] = ()
    hernia_mm: float = 0.0
    varices_mm: float = 0.0
    consolidation_mm: float = 0.0
    nodules: int = 0
    hip_implant: bool = False
    spine_implant: tuple[str, ...] = ()
    arms_down: bool = False
    child: float = 1.0

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _LIMITS}
        for name, value in values.items():
            low, high = _LIMITS[name]
            if not low <= value <= high:
                raise OptionError(f"a phantom's '{name}' must be {low:g} to {high:g}, not {value}")
        if not 0 <= self.nodules <= _MAX_NODULES:
            raise OptionError(
                f"a phantom's 'nodules' must be 0 to {_MAX_NODULES}, not {self.nodules}"
            )
        if len(self.effusion_mm) != 2 or not all(0 <= mm <= 100 for mm in self.effusion_mm):
            raise OptionError(
                f"a phantom's 'effusion_mm' must be two depths of 0 to 100, not {self.effusion_mm}"
            )
        for name, known in (("removed", get_args(Removable)), ("spine_implant", LUMBAR)):
            for one in getattr(self, name):
                if one not in known:
                    raise OptionError(
                        f"a phantom's '{name}' has no '{one}'; choose from {', '.join(known)}"
                    )

    def apply(self, anatomy: Anatomy, region: str = "torso") -> Anatomy:
        """Return the anatomy with these variations.

        Parameters
        ----------
        anatomy
            The patient without variations.
        region
            A key of `tomochrome.phantom.patient.REGIONS`. In ``"head"`` a child is scaled less,
            as its head has nearly the size of an adult's.

        Returns
        -------
        Anatomy
            The modified anatomy; `paint_variations` adds variations without a parameter.
        """
        a, lean = anatomy, min(self.fat, 1.0)
        size = self.child**0.3 if region == "head" else self.child
        more = 0.35 * max(self.fat - 1.0, 0.0)
        thick = self.fat > 1 and a.subcutaneous * self.fat > 36  # flanks would overlap the arms
        right, left = self.effusion_mm
        young = self.child < 1
        return replace(
            a,
            subcutaneous=min(a.subcutaneous * self.fat, max(a.subcutaneous, _MOST_FAT_MM)),
            visceral=max(a.visceral, min(a.visceral + more, 1.25)) * lean,
            muscle=a.muscle * (0.7 + 0.3 * lean),
            size=a.size * size,
            scoliosis=a.scoliosis + self.scoliosis_mm,
            effusion=(max(a.effusion[0], right), max(a.effusion[1], left)),
            ascites=max(a.ascites, min(self.ascites_mm / 30.0, 1.0)),
            gallbladder=0.0 if "gallbladder" in self.removed else a.gallbladder,
            hip_metal=a.hip_metal or self.hip_implant,
            arms_up=(a.arms_up or thick) and not self.arms_down,
            calcium=0.0 if young else a.calcium,
        )


def draw_variations(seed: int) -> Variations:
    """Draw one to three variations from a separate random stream.

    Parameters
    ----------
    seed
        The patient's seed.

    Returns
    -------
    Variations
        At least one variation.
    """
    rng = np.random.default_rng([abs(int(seed)), 7, 1201])
    kinds = ["obese", "emaciated", "scoliosis", "effusion", "ascites", "kidney", "gallbladder",
             "hernia", "hip", "spine", "arms", "child", "consolidation", "nodules"]  # fmt: skip
    chosen = set(rng.choice(kinds, size=int(rng.integers(1, 4)), replace=False))
    if "obese" in chosen:  # arms would overlap an obese trunk
        chosen -= {"emaciated", "arms"}
    if "child" in chosen:
        chosen -= {"hip", "obese"}
    deep = rng.uniform(15, 70, 2) * (rng.random(2) < 0.65)
    deep[int(rng.integers(2))] += 20.0
    low, levels = int(rng.integers(0, 4)), int(rng.integers(2, 6))
    bend = float(rng.choice([-1, 1]) * rng.uniform(12, 40))
    side: Removable = "left kidney" if rng.random() < 0.5 else "right kidney"
    removed: list[Removable] = [side] if "kidney" in chosen else []
    if "gallbladder" in chosen:
        removed.append("gallbladder")
    own = draw_anatomy(seed).subcutaneous
    fat = {
        "obese": max(1.3, rng.uniform(38, 66) / own),
        "emaciated": min(0.5, rng.uniform(1.5, 4) / own),
    }
    return Variations(
        fat=float(next((factor for kind, factor in fat.items() if kind in chosen), 1.0)),
        scoliosis_mm=bend if "scoliosis" in chosen else 0.0,
        effusion_mm=(float(deep[0]), float(deep[1])) if "effusion" in chosen else (0.0, 0.0),
        ascites_mm=float(rng.uniform(6, 30)) if "ascites" in chosen else 0.0,
        removed=tuple(removed),
        hernia_mm=float(rng.uniform(18, 40)) if "hernia" in chosen else 0.0,
        hip_implant="hip" in chosen,
        spine_implant=LUMBAR[low : low + levels] if "spine" in chosen else (),
        arms_down="arms" in chosen,
        child=float(rng.uniform(0.76, 0.95)) if "child" in chosen else 1.0,
        varices_mm=float(rng.uniform(2.0, 4.5)) if rng.random() < 0.35 else 0.0,
        consolidation_mm=float(rng.uniform(12, 55)) if "consolidation" in chosen else 0.0,
        nodules=int(rng.integers(1, 16)) if "nodules" in chosen else 0,
    )


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
            _remove_kidney(canvas, side)
    if variations.ascites_mm > 0:
        _surround_with_fluid(canvas, variations.ascites_mm)
    if max(variations.effusion_mm) > 3:
        _compress_lung(canvas, 4.0 + 0.1 * max(variations.effusion_mm))
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


def _remove_kidney(canvas: Canvas, side: int) -> None:
    """Replace a kidney and its ureter by fat, and truncate its vessels."""
    flank = Shape().box((110 * side, 10, 60), (109, 90, 190))
    gone = [S.KIDNEY_CORTEX, S.KIDNEY_MEDULLA, S.RENAL_PELVIS, S.URETER]
    canvas.paint(flank, S.VISCERAL_FAT, only=gone)
    bed = Shape().ellipsoid((78 * side, 14, 120), (40, 40, 75))
    canvas.paint(bed, S.VISCERAL_FAT, only=[S.CYST, S.ARTERY, S.VEIN])


def _patient_positions(canvas: Canvas, voxels: np.ndarray) -> np.ndarray:
    """Return patient-frame positions (n, 3: x, y, z) of voxels (n, 3: z, y, x)."""
    found = np.empty(voxels.shape, np.float64)
    kernels.positions(canvas.grid, voxels.astype(np.float64), found)
    return found


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
    p = _patient_positions(canvas, voxels)
    x, y, z = p.T
    share = np.clip((y + 105) / 70, 0.2, 1.0)
    inside = (distance[tuple(voxels.T)] < thickness * share) & (y < 22) & (z > -112)
    inside &= (x / 46) ** 2 + ((y - 10) / 52) ** 2 > 1
    for side in (-1, 1):
        inside &= (((p - [76 * side, 18, 118]) / [50, 46, 90]) ** 2).sum(1) > 1
    pool = np.zeros(fat.shape, np.float32)
    pool[tuple(voxels[inside].T)] = 1
    canvas.labels[fat & (ndimage.gaussian_filter(pool, 3.0 / canvas.spacing) > 0.4)] = S.ASCITES


def _compress_lung(canvas: Canvas, thickness: float) -> None:
    """Replace lung next to pleural fluid by atelectatic lung, airless close to the fluid."""
    distance = _distance(canvas, [S.EFFUSION_FLUID])
    canvas.labels[(distance < thickness) & (canvas.labels == S.LUNG)] = S.LUNG_DEPENDENT
    canvas.labels[(distance < 0.6 * thickness) & (canvas.labels == S.LUNG_DEPENDENT)] = S.LUNG_SOLID


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
    from tomochrome.phantom.body import dress

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
    from tomochrome.phantom.skeleton import body_size

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

"""Variations of the healthy adult: habitus, age, fluid, operations, implants."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from ctphantom.anatomy import Anatomy, draw_anatomy
from ctphantom.interface import PhantomError

Removable = Literal["right kidney", "left kidney", "gallbladder"]
LUMBAR = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10")
_MAX_FAT_MM = 68.0
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
    PhantomError
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
                raise PhantomError(f"a phantom's '{name}' must be {low:g} to {high:g}, not {value}")
        if not 0 <= self.nodules <= _MAX_NODULES:
            raise PhantomError(
                f"a phantom's 'nodules' must be 0 to {_MAX_NODULES}, not {self.nodules}"
            )
        if len(self.effusion_mm) != 2 or not all(0 <= mm <= 100 for mm in self.effusion_mm):
            raise PhantomError(
                f"a phantom's 'effusion_mm' must be two depths of 0 to 100, not {self.effusion_mm}"
            )
        for name, choices in (("removed", get_args(Removable)), ("spine_implant", LUMBAR)):
            for one in getattr(self, name):
                if one not in choices:
                    raise PhantomError(
                        f"a phantom's '{name}' has no '{one}'; choose from {', '.join(choices)}"
                    )

    def apply(self, anatomy: Anatomy, region: str = "torso") -> Anatomy:
        """Return the anatomy with these variations.

        Parameters
        ----------
        anatomy
            The patient without variations.
        region
            A key of `ctphantom.patient.REGIONS`. In ``"head"`` a child is scaled less,
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
            subcutaneous=min(a.subcutaneous * self.fat, max(a.subcutaneous, _MAX_FAT_MM)),
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

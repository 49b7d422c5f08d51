"""Materials of the phantom's structures: Hounsfield units, texture, color.

Means and enhancement are typical, rounded values of adult CT at 120 kV from radiology textbooks
(for example, liver 55 HU native and about 110 HU in the portal phase). Enhancement is added to
the native value. Colors are those of a frozen section (`cryosection`), measured on photographs of
the Visible Human Project or, for tissues not shown there, chosen to match.

The table is ``materials.csv``, one row per structure; an empty group is the structure's own.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctphantom.interface import PhantomError
from ctphantom.structures import N_STRUCTURES, Structure

Phase = Literal["native", "arterial", "portal", "delayed"]
PHASES: tuple[Phase, ...] = ("native", "arterial", "portal", "delayed")
TABLE = Path(__file__).resolve().parent / "materials.csv"


@dataclass(frozen=True)
class Material:
    """Material of one structure.

    Attributes
    ----------
    structure
        The structure.
    group
        Structures of one group (such as all fat or all arterial blood) have the same random
        deviation from the mean in a patient.
    hu, spread
        Native mean in HU, and its standard deviation between patients.
    enhancement
        HU added in the arterial, portal and delayed phase.
    texture, grain_mm
        Standard deviation (HU) and correlation length (mm) of the texture in one patient.
    color, color_spread
        sRGB of a frozen section, 0 to 255, and its standard deviation in one section.
    """

    structure: Structure
    group: str
    hu: float
    spread: float
    enhancement: tuple[float, float, float]
    texture: float
    grain_mm: float
    color: tuple[int, int, int]
    color_spread: float


def _read() -> tuple[Material, ...]:
    materials = {}
    with TABLE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            name, group = row.pop("structure"), row.pop("group")
            hu, spread, arterial, portal, delayed, texture, grain, *color = map(float, row.values())
            red, green, blue = map(int, color[:3])
            materials[Structure[name]] = Material(
                Structure[name], group or name.lower(), hu, spread,
                (arterial, portal, delayed), texture, grain, (red, green, blue), color[3],
            )  # fmt: skip
    return tuple(materials[structure] for structure in Structure)


MATERIALS: tuple[Material, ...] = _read()
"""One `Material` for each `Structure`, in the order of its index."""

_GROUPS = tuple(sorted({material.group for material in MATERIALS}))
_GROUP_OF = np.array([_GROUPS.index(material.group) for material in MATERIALS])
_NATIVE = np.array([material.hu for material in MATERIALS])
_SPREAD = np.array([material.spread for material in MATERIALS])
_ENHANCED = np.array([(0.0, *material.enhancement, 0.0) for material in MATERIALS])


_STOMACH = {"water": (0.0, 18.0), "food": (15.0, 60.0), "contrast": (150.0, 400.0)}


def material(structure: Structure | int) -> Material:
    """Return the material of a structure.

    Raises
    ------
    PhantomError
        If there is no structure with that index.
    """
    index = int(structure)
    if not 0 <= index < N_STRUCTURES:
        raise PhantomError(f"there is no structure {index}: valid are 0 to {N_STRUCTURES - 1}")
    return MATERIALS[index]


def texture_table() -> NDArray[np.float32]:
    """Return the texture of each structure, float32 (n_structures, 2): sd (HU), grain (mm)."""
    return np.array([(m.texture, m.grain_mm) for m in MATERIALS], dtype=np.float32)


def color_table() -> NDArray[np.float32]:
    """Return frozen-section colors, float32 (n_structures, 4): sRGB 0..255 and spread."""
    return np.array([(*m.color, m.color_spread) for m in MATERIALS], dtype=np.float32)


def hu_table(
    phase: Phase = "native", rng: np.random.Generator | None = None, *, stomach: str | None = None
) -> NDArray[np.float32]:
    """Return the mean HU of each structure in one phase, for one patient.

    Parameters
    ----------
    phase
        Contrast phase.
    rng
        Random number generator of the patient's deviations; None for the means.
    stomach
        Stomach content ``"water"``, ``"food"`` or ``"contrast"``; any other value for a random
        one.

    Returns
    -------
    NDArray
        float32 (n_structures,).

    Raises
    ------
    PhantomError
        If the phase is unknown.
    """
    if phase not in PHASES:
        raise PhantomError(f"unknown phase '{phase}': choose one of {', '.join(PHASES)}")
    if rng is None:
        return np.asarray(_NATIVE + _ENHANCED[:, PHASES.index(phase)], dtype=np.float32)
    hu = _draw(float(PHASES.index(phase)), rng, dose=0.15, own=0.10, native=1.0)
    if stomach in _STOMACH:
        hu[Structure.STOMACH_CONTENT] = rng.uniform(*_STOMACH[stomach])
    return hu


def sample_hu(phase: Phase | None, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the mean HU of each structure for a random patient, with large variation for training.

    Parameters
    ----------
    phase
        Approximate contrast phase; None for a random time after injection, also between phases.
    rng
        Random number generator.

    Returns
    -------
    NDArray
        float32 (n_structures,), as from `hu_table`.

    Raises
    ------
    PhantomError
        If the phase is unknown.
    """
    if phase is not None and phase not in PHASES:
        raise PhantomError(f"unknown phase '{phase}': choose one of {', '.join(PHASES)}")
    if phase is not None:
        moment = max(0.0, PHASES.index(phase) + rng.uniform(-0.35, 0.35) * (phase != "native"))
    else:
        moment = 0.0 if rng.random() < 0.25 else float(rng.uniform(0.5, 3.4))
    return _draw(moment, rng, dose=0.3, own=0.28, native=1.5)


def _draw(
    moment: float, rng: np.random.Generator, *, dose: float, own: float, native: float
) -> NDArray[np.float32]:
    """Draw one patient at a moment of the bolus (0 native, 1 arterial, 2 portal, 3 delayed)."""
    groups = len(_GROUPS)
    shift = np.clip(rng.standard_normal(groups), -2.2, 2.2)[_GROUP_OF]
    single = np.clip(_own(rng), -2.2, 2.2)
    hu = _NATIVE + native * _SPREAD * (0.85 * shift + 0.5 * single)

    lower = min(int(moment), 3)
    share = moment - lower
    enhanced = (1.0 - share) * _ENHANCED[:, lower] + share * _ENHANCED[:, lower + 1]
    common = np.exp(dose * rng.standard_normal())
    by_group = np.exp(own * np.clip(rng.standard_normal(groups), -2.0, 2.0))[_GROUP_OF]
    by_one = np.exp(0.4 * own * np.clip(_own(rng), -2.0, 2.0))
    hu += enhanced * common * by_group * by_one

    density = rng.uniform(0.55, 1.3)  # of bone, as with age
    for structure in (Structure.TRABECULAR_BONE, Structure.DIPLOE):
        hu[structure] *= density
    hu[Structure.CORTICAL_BONE] *= 0.5 * (1.0 + density)
    if rng.random() < 0.2 * native:  # fatty infiltration
        loss = rng.uniform(5.0, 35.0)
        for structure in (Structure.MUSCLE, Structure.TONGUE, Structure.DIAPHRAGM):
            hu[structure] -= loss
    if rng.random() < 0.1 * native:  # fatty liver
        loss = rng.uniform(8.0, 45.0)
        hu[Structure.LIVER] -= loss
        hu[Structure.LESION] -= 0.3 * loss
    hu[Structure.LESION] = hu[Structure.LIVER] + rng.uniform(-55.0, 35.0)
    # contents of stomach and bowel: water, food, or positive oral contrast
    positive = rng.random() < 0.3
    strength = rng.uniform(130.0, 400.0)
    for structure, reach in (
        (Structure.STOMACH_CONTENT, 0.8),
        (Structure.SMALL_BOWEL_CONTENT, 0.8),
        (Structure.COLON_CONTENT, 0.45),
    ):
        if positive and rng.random() < reach:
            hu[structure] = strength * rng.uniform(0.5, 1.25)
        elif structure is not Structure.COLON_CONTENT:
            hu[structure] = rng.uniform(0.0, 18.0) if rng.random() < 0.5 else rng.uniform(15, 60)
    hu[Structure.OUTSIDE_AIR] = -1000.0
    return hu.astype(np.float32)


def _own(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the deviation of each structure from its group, (n_structures,).

    Solid lung, the last of them, has none, so that a seed gives the HU that it gave before this
    structure existed.
    """
    return np.append(rng.standard_normal(N_STRUCTURES - 1), 0.0)

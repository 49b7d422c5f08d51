from .anatomy import Anatomy, draw_anatomy
from .generation import (
    REGIONS,
    Patient,
    StructureMap,
    make_patient,
    make_structures,
)
from .interface import PhantomError, Progress
from .materials import PHASES, Phase
from .structures import N_STRUCTURES, Structure
from .variations import Variations, draw_variations

__all__ = [
    "N_STRUCTURES",
    "PHASES",
    "REGIONS",
    "Anatomy",
    "Patient",
    "PhantomError",
    "Phase",
    "Progress",
    "Structure",
    "StructureMap",
    "Variations",
    "draw_anatomy",
    "draw_variations",
    "make_patient",
    "make_structures",
]

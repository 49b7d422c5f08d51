"""A procedural CT phantom: realistic patients by seed, as arrays.

A patient consists of a label map, a CT in HU and an affine. Arrays are indexed (z, y, x), with z to
superior, y to posterior and x to the patient's left; positions are LPS in mm. The package needs
numpy, scipy and numba, and importing it does not load numba.
"""

from ctphantom.anatomy import Anatomy, draw_anatomy
from ctphantom.generation import (
    REGIONS,
    Patient,
    StructureMap,
    make_patient,
    make_structures,
)
from ctphantom.interface import PhantomError, Progress
from ctphantom.materials import PHASES, Phase
from ctphantom.structures import N_STRUCTURES, Structure
from ctphantom.variations import Variations, draw_variations

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

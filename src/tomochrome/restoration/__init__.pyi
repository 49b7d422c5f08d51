from .defects import Defect, DefectMap, Restoration
from .projection import Projector
from .simulation import (
    Damaged,
    add_metal,
    add_motion,
    add_noise,
    add_rings,
    lose_lines,
    lose_slices,
    truncate_field,
)

__all__ = [
    "Damaged",
    "Defect",
    "DefectMap",
    "Projector",
    "Restoration",
    "add_metal",
    "add_motion",
    "add_noise",
    "add_rings",
    "lose_lines",
    "lose_slices",
    "truncate_field",
]

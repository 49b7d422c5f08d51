from .color import (
    ColorScore,
    Flicker,
    OrganScore,
    colored_outside,
    flicker,
    photograph_error,
    score_color,
)
from .color_truth import ColorTruth
from .coloring_figures import ColorFigures, color_figures
from .consistency import inverse_consistency
from .jacobian import jacobian_measures
from .labels import overlap
from .landmarks import landmark_errors
from .registration import measure_registration
from .similarity import similarity_measures

__all__ = [
    "ColorFigures",
    "ColorScore",
    "ColorTruth",
    "Flicker",
    "OrganScore",
    "color_figures",
    "colored_outside",
    "flicker",
    "inverse_consistency",
    "jacobian_measures",
    "landmark_errors",
    "measure_registration",
    "overlap",
    "photograph_error",
    "score_color",
    "similarity_measures",
]

from .color_scores import (
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
from .labels import overlap
from .model_evaluation import (
    Coloring,
    ScanSet,
    Truth,
    TruthFiles,
    evaluate_models,
    read_scan_sets,
)
from .registration import measure_registration
from .similarity import similarity_measures
from .transform_measures import inverse_consistency, jacobian_measures, landmark_errors

__all__ = [
    "ColorFigures",
    "ColorScore",
    "ColorTruth",
    "Coloring",
    "Flicker",
    "OrganScore",
    "ScanSet",
    "Truth",
    "TruthFiles",
    "color_figures",
    "colored_outside",
    "evaluate_models",
    "flicker",
    "inverse_consistency",
    "jacobian_measures",
    "landmark_errors",
    "measure_registration",
    "overlap",
    "photograph_error",
    "read_scan_sets",
    "score_color",
    "similarity_measures",
]

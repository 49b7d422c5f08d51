"""Evaluation of colorings and registrations against a ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.evaluate.color import (
        ColorScore,
        Flicker,
        OrganScore,
        colored_outside,
        flicker,
        photograph_error,
        score_color,
    )
    from tomochrome.evaluate.color_truth import ColorTruth
    from tomochrome.evaluate.coloring_figures import ColorFigures, color_figures
    from tomochrome.evaluate.consistency import inverse_consistency
    from tomochrome.evaluate.jacobian import jacobian_measures
    from tomochrome.evaluate.labels import overlap
    from tomochrome.evaluate.landmarks import landmark_errors
    from tomochrome.evaluate.registration import measure_registration
    from tomochrome.evaluate.similarity import similarity_measures

_HOMES = {
    "ColorFigures": "coloring_figures",
    "ColorScore": "color",
    "ColorTruth": "color_truth",
    "Flicker": "color",
    "OrganScore": "color",
    "color_figures": "coloring_figures",
    "colored_outside": "color",
    "flicker": "color",
    "inverse_consistency": "consistency",
    "jacobian_measures": "jacobian",
    "landmark_errors": "landmarks",
    "measure_registration": "registration",
    "overlap": "labels",
    "photograph_error": "color",
    "score_color": "color",
    "similarity_measures": "similarity",
}

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


def __getattr__(name: str) -> Any:
    # lazy imports, as the measures need numba and scipy
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tomochrome.evaluate.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

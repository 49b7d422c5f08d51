"""Figures: how far colors and registrations are from the truth."""

from __future__ import annotations

from tomochrome.evaluate.color import (
    ColorScore,
    Flicker,
    OrganScore,
    colored_outside,
    flicker,
    photograph_error,
    score_color,
)

__all__ = [
    "ColorScore",
    "Flicker",
    "OrganScore",
    "colored_outside",
    "flicker",
    "photograph_error",
    "score_color",
]

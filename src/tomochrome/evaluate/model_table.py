"""A table of model errors on several test sets, relative to grey and to the lookup table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tomochrome.evaluate.coloring_figures import ColorFigures

BASELINE = "transfer-function"
"""The baseline model."""
_HEADS = (
    "model", "color error", "relative to grey", "relative to the lookup table", "CIEDE2000",
    "s/slice", "",
)  # fmt: skip


@dataclass(frozen=True)
class ModelRow:
    """One model on one test set.

    Attributes
    ----------
    figures
        Figures over all scans of the set.
    seconds_per_slice
        Time of coloring, without reading.
    to_baseline
        Color error relative to that of `BASELINE` on the same set; None without a baseline.
    """

    figures: ColorFigures
    seconds_per_slice: float
    to_baseline: float | None = None

    @property
    def error(self) -> float:
        """Mean distance in (a*, b*) over true tissues if known, otherwise over voxels."""
        error = self.figures.organ_error
        return self.figures.chroma_error if error is None else error

    @property
    def grey_error(self) -> float:
        """The `error` of a grey image."""
        error = self.figures.grey_organ_error
        return self.figures.grey_chroma_error if error is None else error

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of `error`."""
        name = "chroma_error" if self.figures.organ_error is None else "organ_error"
        return self.figures.intervals.get(name)

    @property
    def remark(self) -> str:
        """Warning on a poor model, or an empty string."""
        if self.error >= self.grey_error:
            return "worse than grey"
        named = self.figures.model
        if named != BASELINE and self.to_baseline is not None and self.to_baseline >= 1:
            return "no better than the lookup table"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": self.figures.model,
            "error": round(self.error, 3),
            "to_grey": round(self.error / self.grey_error, 3) if self.grey_error else None,
            "to_transfer_function": None
            if self.to_baseline is None
            else round(self.to_baseline, 3),
            "remark": self.remark,
            "seconds_per_slice": round(self.seconds_per_slice, 4),
            "figures": self.figures.to_json(),
        }


def rows(figures: Mapping[str, tuple[ColorFigures, float]]) -> list[ModelRow]:
    """Return the rows of a test set, sorted by error.

    Parameters
    ----------
    figures
        Figures and seconds per slice of each model by name.
    """
    made = {name: ModelRow(*each) for name, each in figures.items()}
    baseline = made[BASELINE].error if BASELINE in made else None
    if baseline:
        made = {
            name: ModelRow(row.figures, row.seconds_per_slice, row.error / baseline)
            for name, row in made.items()
        }
    return sorted(made.values(), key=lambda row: row.error)


def markdown(sets: Sequence[tuple[str, str, Sequence[ModelRow]]]) -> str:
    """Return a Markdown table for each test set.

    Parameters
    ----------
    sets
        Name, description and rows of each set.
    """
    parts = []
    for name, about, models in sets:
        lines = [
            f"**{name}**: {about}",
            "",
            "| " + " | ".join(_HEADS) + " |",
            "| --- |" + " ---: |" * (len(_HEADS) - 2) + " --- |",
        ]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in models]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cells(row: ModelRow) -> list[str]:
    figures = row.figures
    return [
        f"`{figures.model}`",
        _with_interval(row.error, row.interval),
        f"{row.error / row.grey_error:.2f}" if row.grey_error else "-",
        "-" if row.to_baseline is None else f"{row.to_baseline:.2f}",
        _with_interval(figures.ciede2000, figures.intervals.get("ciede2000")),
        f"{row.seconds_per_slice:.2g}",
        row.remark,
    ]


def _with_interval(value: float, ends: tuple[float, float] | None) -> str:
    return f"{value:.1f}" if ends is None else f"{value:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"

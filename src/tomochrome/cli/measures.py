"""The metrics of a registration as a text table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tomochrome.registration.verdict import Row, rows_of

_DISTANCES = {
    "mean": "mean",
    "median": "median",
    "p95": "95th percentile",
    "p99": "99th percentile",
    "max": "maximum",
}
_MAX_LABELS = 30


def format_measures(data: Mapping[str, Any]) -> str:
    """Return the text output of `tomochrome evaluate registration`."""
    lines = [_title(data), *table(data)]
    if seconds := data.get("seconds"):
        total = seconds.get("total", sum(seconds.values()))
        lines.append(f"  registered in {total:.1f} s")
    return "\n".join([*lines, "  not for diagnosis"])


def table(measured: Mapping[str, Any]) -> list[str]:
    """Return the metrics of a report as lines: before, after, folds, inverse consistency, labels.

    ``measured`` is a result of `tomochrome.evaluate.measure_registration` or
    ``validate_synthetic``.
    """
    before, after = measured.get("before", {}), measured.get("after", {})
    # landmarks and the inverse consistency are given in more detail
    rows = [row for row in rows_of(measured) if row.key not in ("tre_mm", "inverse_consistency_mm")]
    lines = lines_of(rows, compared="before" in measured)
    error = measured.get("error_mm")
    if error is not None:
        lines += _distances("Error in the body", error["before"], error["after"])
        if error["percent"] is not None:
            lines += _numbers("Remaining error (%)", None, error["percent"])
        lines += _numbers("Evaluated part of the body (%)", None, error["measured_percent"])
    old, new = before.get("tre_mm", {}), after.get("tre_mm", {})
    if old or new:
        lines += _distances(f"{(new or old)['count']} landmarks", old, new)
    lines += _distances("Inverse consistency", {}, measured.get("inverse_consistency_mm", {}))
    return [*lines, *_labels(before, after)]


def lines_of(rows: Iterable[Row], *, compared: bool = True) -> list[str]:
    """Return rows as lines, with headings of the columns if measures before are given too."""
    lines = [_line("", "before", "after")] if compared else []
    return [*lines, *(_line(row.name, row.before, row.after) for row in rows)]


def _title(data: Mapping[str, Any]) -> str:
    if "synthetic" in data:
        field = data["deformation"]
        return (
            f"{Path(data['synthetic']).name} deformed by {data['error_mm']['before']['mean']:.2g} "
            f"mm on average (seed {field['seed']}), noise {field['noise']:.3g}, then registered"
        )
    transform = data["transform"]
    how = "without a transform" if transform is None else f"with {Path(transform).name}"
    return f"{Path(data['fixed']).name} and {Path(data['moving']).name}, {how}"


def _labels(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each label: Dice and 95 % Hausdorff distance, each before and after."""
    labels = after.get("dice", {})
    if not labels:
        return
    if before:
        yield _line("Label", "Dice", "after", "HD95 mm", "after")
    else:
        yield _line("Label", "", "Dice", "", "HD95 mm")
    for label in list(labels)[:_MAX_LABELS]:
        dice = [_number(part.get("dice", {}).get(label)) for part in (before, after)]
        far = [_number(part.get("hausdorff95_mm", {}).get(label)) for part in (before, after)]
        if before:
            yield _line(f"  {label}", *dice, *far)
        else:
            yield _line(f"  {label}", "", dice[1], "", far[1])
    if len(labels) > _MAX_LABELS:
        yield _line(f"  and {len(labels) - _MAX_LABELS} more, see --json")


def _distances(
    name: str, before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> Iterator[str]:
    for key, word in _DISTANCES.items():
        yield from _numbers(f"{name}, {word} (mm)", before.get(key), after.get(key))


def _numbers(name: str, before: float | None, after: float | None) -> Iterator[str]:
    """Yield a line with two numbers, unless both are missing."""
    if before is not None or after is not None:
        yield _line(name, _number(before), _number(after))


def _line(name: str, *cells: str) -> str:
    """Return one line of the table."""
    return f"  {name:<34}{''.join(f'{cell:>10}' for cell in cells)}".rstrip()


def _number(value: float | None) -> str:
    """Format a number for the table, None as an empty string."""
    return "" if value is None else f"{value:.3f}"

"""The measures of a registration as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_LIKENESS = (
    ("ncc", "correlation"),
    ("local_ncc", "local correlation"),
    ("mutual_information", "mutual information"),
    ("dice_mean", "mean Dice"),
    ("dice_mean_large", "mean Dice over 30 ml"),
)
_DISTANCES = {"mean": "mean", "median": "median", "p95": "95 %", "p99": "99 %", "max": "largest"}
_MOST_LABELS = 30


def in_words(data: Mapping[str, Any]) -> str:
    """Return what `tomochrome evaluate registration` prints."""
    lines = [_title(data), *table(data)]
    if "seconds" in data:
        lines.append("  registered in " + _seconds(data["seconds"]))
    return "\n".join([*lines, "  not for diagnosis"])


def table(measured: Mapping[str, Any]) -> list[str]:
    """Return a report's measures as lines: before, after, folds, the way back, labels.

    Parameters
    ----------
    measured
        What `tomochrome.evaluate.measure_registration` or ``validate_synthetic`` returns.
    """
    before, after = measured.get("before", {}), measured.get("after", {})
    columns = ("before", "after") if "before" in measured else ("", "")
    lines = [_line("", *columns)] if any(columns) else []
    for key, name in _LIKENESS:
        lines += _row(name, before.get(key), after.get(key))
    error = measured.get("error_mm")
    if error is not None:
        lines += _distances("error in the body", error["before"], error["after"])
        if error["percent"] is not None:
            lines += _row("what is left of it (%)", None, error["percent"])
        lines += _row("share of the body measured (%)", None, error["measured_percent"])
    if "tre_mm" in after or "tre_mm" in before:
        old, new = before.get("tre_mm", {}), after.get("tre_mm", {})
        lines += _distances(f"{(new or old)['count']} landmarks", old, new)
    jacobian = measured.get("jacobian", {})
    lines += _row("folded voxels (%)", None, jacobian.get("folded_percent"))
    lines += _row("sd of log Jacobian", None, jacobian.get("sd_log"))
    lines += _distances("inverse consistency", {}, measured.get("inverse_consistency_mm", {}))
    return [*lines, *_labels(before, after)]


def _title(data: Mapping[str, Any]) -> str:
    if "synthetic" in data:
        made = data["deformation"]
        return (
            f"{Path(data['synthetic']).name} deformed by {data['error_mm']['before']['mean']:.2g} "
            f"mm on average (seed {made['seed']}), noise {made['noise']:.3g}, registered back"
        )
    way = data["transform"]
    through = "as they lie" if way is None else f"through {Path(way).name}"
    return f"{Path(data['fixed']).name} and {Path(data['moving']).name}, {through}"


def _labels(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """One line a label: Dice and 95 % Hausdorff distance, each before and after."""
    known = after.get("dice", {})
    if not known:
        return
    if before:
        yield _line("label", "Dice", "after", "HD95 mm", "after")
    else:
        yield _line("label", "", "Dice", "", "HD95 mm")
    for label in list(known)[:_MOST_LABELS]:
        dice = [_number(part.get("dice", {}).get(label)) for part in (before, after)]
        far = [_number(part.get("hausdorff95_mm", {}).get(label)) for part in (before, after)]
        if before:
            yield _line(f"  {label}", *dice, *far)
        else:
            yield _line(f"  {label}", "", dice[1], "", far[1])
    if len(known) > _MOST_LABELS:
        yield _line(f"  and {len(known) - _MOST_LABELS} more, see --json")


def _distances(
    name: str, before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> Iterator[str]:
    for key, word in _DISTANCES.items():
        yield from _row(f"{name}, {word} (mm)", before.get(key), after.get(key))


def _row(name: str, before: float | None, after: float | None) -> Iterator[str]:
    if before is not None or after is not None:
        yield _line(name, _number(before), _number(after))


def _line(name: str, *cells: str) -> str:
    return f"  {name:<34}{''.join(f'{cell:>10}' for cell in cells)}".rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(seconds: Mapping[str, float]) -> str:
    total = seconds.get("total", sum(seconds.values()))
    return f"{total:.1f} s"

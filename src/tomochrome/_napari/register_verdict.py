"""What a registration's numbers mean: rows of a table, and whether to trust it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tomochrome._napari.wording import sentence
from tomochrome.registration.report import A_FEW_PERCENT, LOST, share_in_words, warnings_of

Grade = Literal["good", "caution", "bad"]

_LITTLE_ALIKE: Final = 0.5  # correlation below this is no match one would trust unseen
_HARDLY: Final = 0.01
_ROUGH: Final = 0.5  # sd of the logarithm of the Jacobian
_INCONSISTENT_MM: Final = 1.0
_DONT: Final = "do not trust it there. The Jacobian map shows where, in red."
_LOOK: Final = "Look at the checkerboard before you rely on it."


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure before and after, as text; better is up or down.

    Parameters
    ----------
    name, meaning
        Of the measure, and what it says.
    before, after
        Values; ``before`` is empty where there is no such thing.
    change
        Whether it became better (1), worse (-1), or neither.
    """

    name: str
    meaning: str
    before: str
    after: str
    change: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether to trust a registration: a grade, a heading, and sentences."""

    grade: Grade
    heading: str
    text: str


_COMPARED: Final = (
    # key, name, meaning, digits, whether more is better, least change that counts
    ("ncc", "Correlation", "NCC over the common field of view: 1 is perfect", 3, True, 0.005),
    ("local_ncc", "Local correlation", "NCC in small neighbourhoods: 1 is perfect", 3, True, 0.005),
    ("mutual_information", "Mutual information", "Also where contrasts differ; more is better",
     3, True, 0.01),
    ("dice_mean", "Label overlap (Dice)", "1 is perfect", 3, True, 0.005),
)  # fmt: skip
_BY_CHANCE: Final = ("ncc", "local_ncc", "mutual_information")  # may be high in a thin slice


def rows_of(report: Mapping[str, Any]) -> list[Row]:
    """Return the lines of the table."""
    before, after = report.get("before", {}), report.get("after", {})
    rows = []
    for key, name, meaning, digits, more, least in _COMPARED:
        old, new = before.get(key), after.get(key)
        if new is None:
            continue
        row = _compared(name, meaning, old, new, digits, more, least)
        rows.append(replace(row, change=0) if key in _BY_CHANCE and _was_apart(report) else row)
    old, new = before.get("overlap"), after.get("overlap")
    if None not in (old, new) and min(old, new) < LOST * max(old, new):
        meaning = "Share of the fixed scan that the moving one reaches"
        rows.append(Row("In common", meaning, f"{100 * old:.0f} %", f"{100 * new:.0f} %"))
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if new is not None:
        meaning = "Mean distance between landmarks that belong together (TRE)"
        rows.append(_compared("Landmarks, mm", meaning, old, new, 2, False, 0.05))
    jacobian = report.get("jacobian", {})
    folded = jacobian.get("folded_percent")
    if folded is not None:
        meaning = "Share of voxels where space is turned inside out; must be 0"
        change = -1 if folded > 0 else 0
        rows.append(Row("Folded voxels", meaning, "", share_in_words(folded), change))
    if jacobian.get("sd_log") is not None:
        meaning = "How unevenly volume changes: standard deviation of the log Jacobian"
        rows.append(Row("Roughness", meaning, "", f"{jacobian['sd_log']:.3f}"))
    there = report.get("inverse_consistency_mm", {})
    if there.get("mean") is not None:
        meaning = "How far there and back again misses the start: mean / 99 % stay below"
        text = f"{there['mean']:.2f} / {there.get('p99', there.get('max')):.2f}"
        rows.append(Row("There and back, mm", meaning, "", text))
    return rows


def _was_apart(report: Mapping[str, Any]) -> bool:
    """Whether the two had too little in common before for their likeness to be a measure."""
    old, new = (report.get(when, {}).get("overlap") for when in ("before", "after"))
    return None not in (old, new) and old < LOST * new


def _compared(
    name: str,
    meaning: str,
    old: float | None,
    new: float,
    digits: int,
    more_is_better: bool,
    least: float,
) -> Row:
    change = 0
    if old is not None and abs(new - old) > least:
        change = 1 if (new > old) == more_is_better else -1
    before = "" if old is None else f"{old:.{digits}f}"
    return Row(name, meaning, before, f"{new:.{digits}f}", change)


def verdict_of(report: Mapping[str, Any]) -> Verdict:
    """Say whether to trust a registration."""
    said = [str(text) for text in report.get("warnings", ())]
    measured = warnings_of(report, str(report.get("similarity", "lncc")))
    worse = [text for text in dict.fromkeys([*said, *measured]) if "made it worse" in text]
    folded = report.get("jacobian", {}).get("folded_percent") or 0.0
    folds = []
    if folded > 0:
        folds = [f"The deformation is folded in {share_in_words(folded)} of the voxels: {_DONT}"]
    if worse:
        advice = "Try another start or similarity, or masks; the moving volume is as it was."
        words = " ".join([*map(sentence, worse), *folds])
        return Verdict("bad", "It made things worse. Do not use it.", f"{words} {advice}")
    if folded >= A_FEW_PERCENT:
        return Verdict("bad", "Do not trust it everywhere.", " ".join(folds))
    if report.get("after", {}).get("ncc") is None:
        text = "Moved, the two have nothing in common that could be measured."
        return Verdict("bad", "Do not use it.", text)
    doubts = [*folds, *_doubts(report)]
    if doubts:
        return Verdict("caution", "Look closely.", " ".join([*doubts, _LOOK]))
    old, new = report.get("before", {}).get("ncc"), report.get("after", {}).get("ncc")
    compared = old and new and not _was_apart(report)
    gain = f"The correlation went from {old:.2f} to {new:.2f}; n" if compared else "N"
    return Verdict("good", "It fits better.", f"{gain}othing folds. {_LOOK}")


def _doubts(report: Mapping[str, Any]) -> list[str]:
    before, after = report.get("before", {}), report.get("after", {})
    found = []
    old, new = before.get("ncc"), after.get("ncc")
    other = before.get("mutual_information"), after.get("mutual_information")
    same = old is not None and new is not None and new < old + _HARDLY
    if same and not _was_apart(report) and None not in other and other[1] < other[0] + _HARDLY:
        found.append("The numbers are hardly better than before.")
    if new is not None and new < _LITTLE_ALIKE:
        found.append(f"The two still look little alike (correlation {new:.2f}).")
    rough = report.get("jacobian", {}).get("sd_log")
    if rough is not None and rough > _ROUGH:
        found.append("The deformation is rough: some places grew or shrank a great deal.")
    there = report.get("inverse_consistency_mm", {}).get("mean")
    if there is not None and there > _INCONSISTENT_MM:
        found.append(f"There and back misses the start by {there:.1f} mm on average.")
    return found

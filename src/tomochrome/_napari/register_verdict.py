"""What a registration's numbers mean: rows of a table, and whether to trust it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tomochrome._napari.wording import sentence
from tomochrome.notices import Notice
from tomochrome.registration.report import A_FEW_PERCENT, LOST, share_in_words, warnings_of

Grade = Literal["good", "caution", "bad"]

_LITTLE_ALIKE: Final = 0.5  # correlation below this is no match one would trust unseen
_HARDLY: Final = 0.01
_ROUGH: Final = 0.5  # sd of the logarithm of the Jacobian
_INCONSISTENT_MM: Final = 1.0
_FOLDED: Final = "the result is not valid there. The Jacobian map shows where, in red."
OF_VERDICT: Final = ("worse", "folds")  #: codes of the warnings that a verdict is about
_LOOK: Final = "Check the alignment in the checkerboard before you use it."
_TRY: Final = (
    "Try another initial alignment or similarity measure, or masks; the moving image is unchanged."
)
_TRY_LOADED: Final = (
    "Check that the file belongs to these two images, that fixed and moving image are not "
    "interchanged, and that it is not the inverse transform."
)


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
    ("ncc", "Correlation", "Normalized cross-correlation where the images overlap; 1 is perfect",
     3, True, 0.005),
    ("local_ncc", "Local correlation", "Normalized cross-correlation in small neighbourhoods; "
     "1 is perfect", 3, True, 0.005),
    ("mutual_information", "Mutual information", "Also valid for different contrasts; "
     "higher is better", 3, True, 0.01),
    ("dice_mean", "Label overlap (Dice)", "Mean Dice coefficient of the labels; 1 is perfect",
     3, True, 0.005),
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
        meaning = "Share of the fixed image that the moving image covers"
        rows.append(Row("Overlap", meaning, f"{100 * old:.0f} %", f"{100 * new:.0f} %"))
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if new is not None:
        meaning = "Target registration error: mean distance of corresponding landmarks"
        rows.append(_compared("Landmark error (mm)", meaning, old, new, 2, False, 0.05))
    jacobian = report.get("jacobian", {})
    folded = jacobian.get("folded_percent")
    if folded is not None:
        meaning = "Share of voxels where the deformation folds (Jacobian not positive); should be 0"
        change = -1 if folded > 0 else 0
        rows.append(Row("Folded voxels", meaning, "", share_in_words(folded), change))
    if jacobian.get("sd_log") is not None:
        meaning = "Standard deviation of the logarithm of the Jacobian; lower is smoother"
        rows.append(Row("Deformation roughness", meaning, "", f"{jacobian['sd_log']:.3f}"))
    there = report.get("inverse_consistency_mm", {})
    if there.get("mean") is not None:
        meaning = "Distance from the start after forward and inverse transform: mean / 99 %"
        text = f"{there['mean']:.2f} / {there.get('p99', there.get('max')):.2f}"
        rows.append(Row("Inverse consistency (mm)", meaning, "", text))
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


def verdict_of(
    report: Mapping[str, Any], warnings: Sequence[Notice] = (), *, loaded: bool = False
) -> Verdict:
    """Say whether to trust a transform.

    Parameters
    ----------
    report
        As in ``report.json``.
    warnings
        What else is known of the result. Of `OF_VERDICT` the verdict says all.
    loaded
        Whether the transform was loaded from a file, and not found by a registration.
    """
    measured = warnings_of(report, str(report.get("similarity", "lncc")))
    said = dict.fromkeys([*warnings, *measured])
    worse = [sentence(notice.fact or notice) for notice in said if notice.code == "worse"]
    folded = report.get("jacobian", {}).get("folded_percent") or 0.0
    folds = []
    if folded > 0:
        folds = [f"The deformation folds in {share_in_words(folded)} of the voxels: {_FOLDED}"]
    if worse:
        advice = _TRY_LOADED if loaded else _TRY
        words = " ".join([*worse, *folds])
        heading = "The images match worse than before. Do not use it."
        return Verdict("bad", heading, f"{words} {advice}")
    if folded >= A_FEW_PERCENT:
        return Verdict("bad", "Not valid everywhere: the deformation folds.", " ".join(folds))
    if report.get("after", {}).get("ncc") is None:
        text = "After the transform the two images do not overlap in anything measurable."
        return Verdict("bad", "Do not use it.", f"{text} {_TRY_LOADED if loaded else _TRY}")
    doubts = [*folds, *_doubts(report)]
    if doubts:
        return Verdict("caution", "Check it carefully.", " ".join([*doubts, _LOOK]))
    old, new = report.get("before", {}).get("ncc"), report.get("after", {}).get("ncc")
    compared = old and new and not _was_apart(report)
    gain = f"Correlation {old:.2f} before, {new:.2f} after. " if compared else ""
    return Verdict("good", "The images match better.", f"{gain}No folding. {_LOOK}")


def _doubts(report: Mapping[str, Any]) -> list[str]:
    before, after = report.get("before", {}), report.get("after", {})
    found = []
    old, new = before.get("ncc"), after.get("ncc")
    other = before.get("mutual_information"), after.get("mutual_information")
    same = old is not None and new is not None and new < old + _HARDLY
    if same and not _was_apart(report) and None not in other and other[1] < other[0] + _HARDLY:
        found.append("The match is hardly better than before.")
    if new is not None and new < _LITTLE_ALIKE:
        found.append(f"The images still match poorly (correlation {new:.2f}).")
    rough = report.get("jacobian", {}).get("sd_log")
    if rough is not None and rough > _ROUGH:
        found.append("The deformation is rough: some regions shrink or grow a great deal.")
    apart = report.get("inverse_consistency_mm", {}).get("mean")
    if apart is not None and apart > _INCONSISTENT_MM:
        found.append(f"The inverse consistency error is {apart:.1f} mm on average.")
    return found

"""The interpretation of a registration report: the rows of the table, and a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tomochrome._napari.kit.messages import sentence
from tomochrome.notices import Notice
from tomochrome.registration.report import (
    MIN_OVERLAP_RATIO,
    SMALLEST_PERCENT,
    format_share,
    has_nothing_in_common,
    warnings_of,
)

Grade = Literal["good", "caution", "bad"]

_POOR_NCC: Final = 0.5  # a correlation below this needs a warning
_MIN_GAIN: Final = 0.01
_ROUGH: Final = 0.5  # standard deviation of the log Jacobian
_INCONSISTENT_MM: Final = 1.0
_FOLDED: Final = "the result is not valid there. The Jacobian map shows where, in red."
OF_VERDICT: Final = (
    "worse",
    "folds",
    "partial",
    "unrelated",
    "mirrored",
)  #: codes of the warnings covered by the verdict
_SWAPPED: Final = "Left and right may be swapped."
_ALL: Final = {"fixed_body": 1.0, "moving_body": 1.0}  # a report without coverage
_CHECK: Final = "Check the alignment in the checkerboard before you use it."
_TRY: Final = (
    "Try another initial alignment or similarity measure, or masks; the moving image is unchanged."
)
_TRY_LOADED: Final = (
    "Check that the file belongs to these two images, that fixed and moving image are not "
    "interchanged, and that it is not the inverse transform."
)


@dataclass(frozen=True)
class Row:
    """One row of the table: a metric before and after registration, as text."""

    name: str
    meaning: str  #: explanation of the metric
    before: str  #: empty if it does not apply
    after: str
    change: int = 0  #: 1 for better, -1 for worse, 0 for neither


@dataclass(frozen=True)
class Verdict:
    """A grade of a registration, with a heading and an explanation."""

    grade: Grade
    heading: str
    text: str


_COMPARED: Final = (
    # key, name, meaning, digits, whether higher is better, smallest relevant change
    ("ncc", "Correlation", "Normalized cross-correlation where the images overlap; 1 is perfect",
     3, True, 0.005),
    ("local_ncc", "Local correlation", "Normalized cross-correlation in small neighborhoods; "
     "1 is perfect", 3, True, 0.005),
    ("mutual_information", "Mutual information", "Also valid for different contrasts; "
     "higher is better", 3, True, 0.01),
    ("dice_mean", "Label overlap (Dice)", "Mean Dice coefficient of the labels; 1 is perfect",
     3, True, 0.005),
)  # fmt: skip
_OVERLAP_METRICS: Final = ("ncc", "local_ncc", "mutual_information")  # unreliable if small


_COVERED: Final = (
    ("fixed_body", "Fixed body covered", "Percentage of the body in the fixed image that the "
     "moving image shows; outside it, nothing can be compared"),
    ("moving_body", "Moving body covered", "Percentage of the body in the moving image that lies "
     "within the fixed image"),
)  # fmt: skip


def rows_of(report: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the table."""
    before, after = report.get("before", {}), report.get("after", {})
    rows = []
    for key, name, meaning, digits, more, least in _COMPARED:
        old, new = before.get(key), after.get(key)
        if new is None:
            continue
        row = _compared(name, meaning, old, new, digits, more, least)
        unreliable = key in _OVERLAP_METRICS and _overlap_was_small(report)
        rows.append(replace(row, change=0) if unreliable else row)
    old, new = before.get("overlap"), after.get("overlap")
    if None not in (old, new) and min(old, new) < MIN_OVERLAP_RATIO * max(old, new):
        meaning = "Percentage of the fixed image covered by the moving image"
        rows.append(Row("Overlap", meaning, f"{100 * old:.0f} %", f"{100 * new:.0f} %"))
    for key, name, meaning in _COVERED:
        old, new = (m.get("coverage", {}).get(key) for m in (before, after))
        if new is not None:
            rows.append(Row(name, meaning, "" if old is None else _percent(old), _percent(new)))
    if report.get("plausibility", {}).get("mirrored"):
        meaning = "The moving image fits the fixed image better when it is mirrored"
        rows.append(Row("Left and right", meaning, "", "may be swapped", -1))
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if new is not None:
        meaning = "Target registration error: mean distance of corresponding landmarks"
        rows.append(_compared("Landmark error (mm)", meaning, old, new, 2, False, 0.05))
    jacobian = report.get("jacobian", {})
    folded = jacobian.get("folded_percent")
    if folded is not None:
        meaning = "Percentage of voxels where the deformation folds (Jacobian ≤ 0); should be 0"
        change = -1 if folded > 0 else 0
        rows.append(Row("Folded voxels", meaning, "", format_share(folded), change))
    if jacobian.get("sd_log") is not None:
        meaning = "Standard deviation of the logarithm of the Jacobian; lower is smoother"
        rows.append(Row("Deformation roughness", meaning, "", f"{jacobian['sd_log']:.3f}"))
    error = report.get("inverse_consistency_mm", {})
    if error.get("mean") is not None:
        meaning = (
            "Distance of points from their original position after forward and inverse transform: "
            "mean / 99th percentile"
        )
        text = f"{error['mean']:.2f} / {error.get('p99', error.get('max')):.2f}"
        rows.append(Row("Inverse consistency (mm)", meaning, "", text))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _overlap_was_small(report: Mapping[str, Any]) -> bool:
    """Whether the initial overlap was too small for a meaningful similarity."""
    old, new = (report.get(when, {}).get("overlap") for when in ("before", "after"))
    return None not in (old, new) and old < MIN_OVERLAP_RATIO * new


def _compared(
    name: str,
    meaning: str,
    old: float | None,
    new: float,
    digits: int,
    higher_is_better: bool,
    min_change: float,
) -> Row:
    change = 0
    if old is not None and abs(new - old) > min_change:
        change = 1 if (new > old) == higher_is_better else -1
    before = "" if old is None else f"{old:.{digits}f}"
    return Row(name, meaning, before, f"{new:.{digits}f}", change)


def verdict_of(
    report: Mapping[str, Any], warnings: Sequence[Notice] = (), *, loaded: bool = False
) -> Verdict:
    """Return the verdict on a transform, from its report and warnings.

    ``loaded`` says that the transform was loaded from a file, not found by a registration.
    """
    measured = warnings_of(report, str(report.get("similarity", "lncc")))
    notices = dict.fromkeys([*warnings, *measured])
    worse = [sentence(notice.fact or notice) for notice in notices if notice.code == "worse"]
    folded = report.get("jacobian", {}).get("folded_percent") or 0.0
    folds = []
    if folded > 0:
        folds = [f"The deformation folds in {format_share(folded)} of the voxels: {_FOLDED}"]
    advice = _TRY_LOADED if loaded else _TRY
    partial, unrelated, mirrored = (
        [sentence(notice) for notice in notices if notice.code == code]
        for code in ("partial", "unrelated", "mirrored")
    )
    for said, heading in ((unrelated, "The images do not match."), (mirrored, _SWAPPED)):
        if said:
            words = " ".join([*said, *worse, *partial, *folds])
            return Verdict("bad", heading, f"{words} {advice}")
    if worse:
        words = " ".join([*worse, *partial, *folds])
        heading = "The images match worse than before. Do not use this result."
        return Verdict("bad", heading, f"{words} {advice}")
    if folded >= SMALLEST_PERCENT:
        return Verdict(
            "bad", "Not valid everywhere: the deformation folds.", " ".join([*folds, *partial])
        )
    if has_nothing_in_common(report.get("after", {}).get("coverage") or _ALL):
        words = " ".join([*partial, *folds])
        return Verdict("bad", "The images have nothing in common.", f"{words} {advice}")
    if report.get("after", {}).get("ncc") is None:
        text = "After the transform, the two images do not overlap enough to be evaluated."
        return Verdict("bad", "Do not use this result.", f"{text} {advice}")
    doubts = [*partial, *folds, *_doubts(report)]
    if doubts:
        heading = "Only a part can be compared." if partial else "Check this result carefully."
        return Verdict("caution", heading, " ".join([*doubts, _CHECK]))
    old, new = report.get("before", {}).get("ncc"), report.get("after", {}).get("ncc")
    compared = old and new and not _overlap_was_small(report)
    gain = f"Correlation {old:.2f} before, {new:.2f} after. " if compared else ""
    return Verdict("good", "The images match better.", f"{gain}No folding. {_CHECK}")


def _doubts(report: Mapping[str, Any]) -> list[str]:
    before, after = report.get("before", {}), report.get("after", {})
    doubts = []
    old, new = before.get("ncc"), after.get("ncc")
    mi = before.get("mutual_information"), after.get("mutual_information")
    same = old is not None and new is not None and new < old + _MIN_GAIN
    if same and not _overlap_was_small(report) and None not in mi and mi[1] < mi[0] + _MIN_GAIN:
        doubts.append("The match is hardly better than before.")
    if new is not None and new < _POOR_NCC:
        doubts.append(f"The images still match poorly (correlation {new:.2f}).")
    rough = report.get("jacobian", {}).get("sd_log")
    if rough is not None and rough > _ROUGH:
        doubts.append("The deformation is rough: some regions shrink or expand considerably.")
    error = report.get("inverse_consistency_mm", {}).get("mean")
    if error is not None and error > _INCONSISTENT_MM:
        doubts.append(f"The mean inverse consistency error is {error:.1f} mm.")
    return doubts

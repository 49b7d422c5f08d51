"""What the report of a registration says: warnings, the rows of a table, and a verdict.

Python, the command line and the panels show these alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple

from tomochrome.notices import Code, Notice, sentence

Report = Mapping[str, Any]
"""A report as in ``report.json``, or the measured part of one."""
Grade = Literal["good", "caution", "bad"]
Reason = Literal[
    "unrelated",  # the images are not alike
    "mirrored",  # left and right may be swapped
    "worse",  # a measure is worse than before
    "folds",  # the deformation folds
    "nothing-in-common",  # the images show different parts of the body
    "no-overlap",  # the images cannot be compared after the transform
    "partial",  # much of a body is absent from the other image
    "doubtful",  # a poor match, a rough deformation, or a large inverse consistency error
    "better",  # the images match better
]

# A smaller change is not reported as worse, because the overlap differs slightly, and because
# landmarks are not placed more precisely.
_TOLERANCE: Final = {"ncc": 0.005, "mutual_information": 0.01, "dice_mean": 0.005, "tre_mm": 0.5}
_BLUR: Final = 0.05  # relative loss of mutual information that interpolation can cause
_LOCAL_DROP, _INFORMATION_DROP = 0.08, 0.15  # relative, of local correlation and information
_SAME_IMAGE: Final = 0.98  # correlation of an image with an interpolated copy
MIN_OVERLAP_RATIO: Final = 0.5
"""Similarities are not compared if the overlap changed by a larger factor."""
MIN_COVERAGE: Final = 0.8
"""Share of a body in common below which the user is told."""
_NO_COVERAGE: Final = 0.1  # share of both bodies below which two images have nothing in common
_UNRELATED_NCC: Final = 0.3  # a higher correlation shows that two images are alike
_INCONSISTENT_MM: Final = 2.0  # a larger inverse consistency error is visible in a mapped contour
_MIN_PERCENT: Final = 0.01  # smaller percentages of voxels are not given as numbers
_POOR_NCC: Final = 0.5  # a correlation below this needs a warning
_MIN_GAIN: Final = 0.01
_ROUGH: Final = 0.5  # standard deviation of the log Jacobian
_DOUBTFUL_MM: Final = 1.0  # mean inverse consistency error
IN_VERDICT: Final[tuple[Code, ...]] = ("worse", "folds", "partial", "unrelated", "mirrored")
"""Codes of the warnings that are part of a verdict."""
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
    """One row of the table: a measure before and after the registration, as text.

    Parameters
    ----------
    key
        Name of the measure in the report.
    name, meaning
        Name of the measure for people, and its explanation.
    before, after
        The values; empty if the measure does not apply.
    change
        1 for better, -1 for worse, 0 for neither.
    """

    key: str
    name: str
    meaning: str
    before: str
    after: str
    change: int = 0


@dataclass(frozen=True)
class Verdict:
    """The verdict on a registration.

    Parameters
    ----------
    grade
        ``"good"``, ``"caution"`` or ``"bad"``. Also a good result needs to be looked at.
    reason
        What decided, for programs.
    heading
        The verdict in a sentence.
    findings
        Sentences that explain it.
    advice
        A sentence that says what to do; may be empty.
    """

    grade: Grade
    reason: Reason
    heading: str
    findings: tuple[str, ...]
    advice: str = ""

    @property
    def text(self) -> str:
        """Findings and advice as one text."""
        return " ".join(filter(None, (*self.findings, self.advice)))

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as it is in ``report.json``."""
        return {**asdict(self), "findings": list(self.findings)}


class _Measure(NamedTuple):
    """A measure that is compared before and after the registration."""

    key: str
    name: str
    meaning: str
    needs_overlap: bool  #: whether it says nothing if the overlap was small before


_MEASURES: Final = (
    _Measure(
        "ncc",
        "Correlation",
        "Normalized cross-correlation where the images overlap; 1 is perfect",
        True,
    ),
    _Measure(
        "local_ncc",
        "Local correlation",
        "Normalized cross-correlation in small neighborhoods; 1 is perfect",
        True,
    ),
    _Measure(
        "mutual_information",
        "Mutual information",
        "Also valid for different contrasts; higher is better",
        True,
    ),
    _Measure(
        "dice_mean",
        "Label overlap (Dice)",
        "Mean Dice coefficient of the labels; 1 is perfect",
        False,
    ),
    _Measure(
        "dice_mean_large",
        "Label overlap over 30 ml (Dice)",
        "Mean Dice coefficient of labels of more than 30 ml; 1 is perfect",
        False,
    ),
)
_MAX_REGIONS: Final = 12
_MIN_CHANGE: Final = {"mutual_information": 0.01}  # of a measure; 0.005 for the others
_COVERED: Final = (
    (
        "fixed_body",
        "Fixed body covered",
        "Percentage of the body in the fixed image that the moving image shows; outside it, "
        "nothing can be compared",
    ),
    (
        "moving_body",
        "Moving body covered",
        "Percentage of the body in the moving image that lies within the fixed image",
    ),
)


def warnings_of(measured: Report, similarity: str) -> tuple[Notice, ...]:
    """Return the warnings about a result.

    Parameters
    ----------
    measured
        The measured part of a report.
    similarity
        The optimized similarity; the correlation is only checked for those of one modality.
    """
    before, after = measured.get("before", {}), measured.get("after", {})
    notices = _alignment_warnings(before, after, similarity)
    plausible = measured.get("plausibility", {})
    if plausible.get("unrelated") and abs(after.get("ncc") or 0.0) < _UNRELATED_NCC:
        values = [part.get("ncc") for part in (before, after)]
        shown = " before and ".join("none" if v is None else f"{v:.3f}" for v in values)
        text = (
            f"the two images do not match: they have nothing in common (correlation {shown} "
            "after the registration); make sure that both show the same part of the body"
        )
        notices.append(Notice("unrelated", "warning", text))
    if plausible.get("mirrored"):
        text = (
            "left and right may be swapped in one of the two images: the moving image fits clearly "
            "better when it is mirrored; check the orientation of both before using the result"
        )
        notices.append(Notice("mirrored", "warning", text))
    partial = _partial(after.get("coverage"))
    if partial:
        notices.append(Notice("partial", "warning", partial))
    folded = measured.get("jacobian", {}).get("folded_percent")
    if folded:
        text = (
            f"the deformation folds {_format_percent(folded)} of the voxels: do not trust it there"
        )
        notices.append(Notice("folds", "warning", text))
    error = measured.get("inverse_consistency_mm", {}).get("p99")
    if error is not None and error > _INCONSISTENT_MM:
        text = (
            f"in 1 % of the voxels the inverse consistency error is {error:.1f} mm or more: map "
            "points and contours there in one direction only, and check them"
        )
        notices.append(Notice("inconsistent", "warning", text))
    return tuple(notices)


def _alignment_warnings(before: Report, after: Report, similarity: str) -> list[Notice]:
    """Return the warnings about the overlap, and about measures that are worse than before."""
    notices = []
    old, new = before.get("overlap"), after.get("overlap")
    if old == 0 and new:
        text = (
            "according to their headers the two volumes do not overlap: they were aligned by their "
            "content only, so make sure that they show the same part of the body"
        )
        notices.append(Notice("coverage", "warning", text))
    if old is not None and new is not None and new < MIN_OVERLAP_RATIO * old:
        notices.append(
            _worse(f"only {100 * new / old:.0f} % of the overlap of the two volumes is left")
        )
    names = {"dice_mean": "the mean Dice overlap of the labels", "ncc": "the correlation"}
    if similarity in ("mi", "mind"):
        names.pop("ncc")
        if (after.get("ncc") or 0.0) < _SAME_IMAGE:
            names["mutual_information"] = "the mutual information"
    if _overlap_was_small(before, after):  # similarities within a thin overlap are not meaningful
        names = {key: name for key, name in names.items() if key == "dice_mean"}
    for key, name in names.items():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            continue
        if new < old - _TOLERANCE[key] - (_BLUR * old if key == "mutual_information" else 0.0):
            notices.append(_worse(f"{name} fell from {old:.3f} to {new:.3f}"))
    if "ncc" in names and not notices and _locally_worse(before, after):
        old, new = before["local_ncc"], after["local_ncc"]
        notices.append(_worse(f"the local correlation fell from {old:.3f} to {new:.3f}"))
    old, new = (part.get("tre_mm", {}).get("mean") for part in (before, after))
    if old is not None and new is not None and new > old + _TOLERANCE["tre_mm"]:
        notices.append(_worse(f"the mean landmark error increased from {old:.2f} to {new:.2f} mm"))
    return notices


def _worse(fact: str) -> Notice:
    return Notice("worse", "warning", f"the registration made it worse: {fact}", fact)


def _locally_worse(before: Report, after: Report) -> bool:
    """Whether local correlation and mutual information both decreased.

    The global correlation hardly changes when only a small region is displaced.
    """
    for key, drop in (("local_ncc", _LOCAL_DROP), ("mutual_information", _INFORMATION_DROP)):
        old, new = before.get(key), after.get(key)
        if old is None or new is None or new >= old * (1 - drop):
            return False
    return True


def _overlap_was_small(before: Report, after: Report) -> bool:
    """Whether the initial overlap was too small for a meaningful similarity."""
    old, new = before.get("overlap"), after.get("overlap")
    return old is not None and new is not None and bool(old < MIN_OVERLAP_RATIO * new)


def _partial(coverage: Report | None) -> str:
    """Return a clause that says which part of a body is absent from the other image, or ""."""
    if coverage is None or min(coverage["fixed_body"], coverage["moving_body"]) >= MIN_COVERAGE:
        return ""
    fixed, moving = (100 * coverage[key] for key in ("fixed_body", "moving_body"))
    if _has_nothing_in_common(coverage):
        return (
            f"the two images have practically nothing in common: the moving image shows "
            f"{fixed:.0f} % of the body in the fixed one; make sure that both show the same part "
            "of the body"
        )
    parts = []
    if coverage["fixed_body"] < MIN_COVERAGE:
        parts.append(f"the moving image shows only {fixed:.0f} % of the body in the fixed image")
    if coverage["moving_body"] < MIN_COVERAGE:
        parts.append(f"only {moving:.0f} % of the body in the moving image is inside the fixed one")
    return f"{' and '.join(parts)}: nothing can be compared outside the part in common"


def _has_nothing_in_common(coverage: Report | None) -> bool:
    """Whether two images show practically no common part of the body."""
    if not coverage:  # was not measured
        return False
    return bool(max(coverage["fixed_body"], coverage["moving_body"]) < _NO_COVERAGE)


def _format_percent(percent: float) -> str:
    """Format a percentage of voxels; very small ones as "less than 0.01 %"."""
    small = 0 < percent < _MIN_PERCENT
    return f"less than {_MIN_PERCENT:g} %" if small else f"{percent:.2g} %"


def rows_of(report: Report) -> list[Row]:
    """Return the rows of the table of a report: what was measured, before and after.

    Parameters
    ----------
    report
        The report of a registration, or the result of `tomochrome.evaluate.measure_registration`.
    """
    before, after = report.get("before", {}), report.get("after", {})
    was_small = _overlap_was_small(before, after)
    rows = []
    for measure in _MEASURES:
        old, new = before.get(measure.key), after.get(measure.key)
        if new is None:
            continue
        change = _change(old, new, _MIN_CHANGE.get(measure.key, 0.005))
        if measure.needs_overlap and was_small:
            change = 0
        texts = "" if old is None else f"{old:.3f}", f"{new:.3f}"
        rows.append(Row(measure.key, measure.name, measure.meaning, *texts, change))
    rows += _coverage_rows(before, after)
    if report.get("plausibility", {}).get("mirrored"):
        meaning = "The moving image fits the fixed image better when it is mirrored"
        rows.append(Row("plausibility", "Left and right", meaning, "", "may be swapped", -1))
    old, new = (part.get("tre_mm", {}).get("mean") for part in (before, after))
    if new is not None:
        meaning = "Target registration error: mean distance of corresponding landmarks"
        texts = "" if old is None else f"{old:.2f}", f"{new:.2f}"
        change = -_change(old, new, 0.05)
        rows.append(Row("tre_mm", "Landmark error (mm)", meaning, *texts, change))
    return [*rows, *_change_rows(report), *_transform_rows(report)]


def _change_rows(report: Report) -> Iterator[Row]:
    """Yield the volumes of the largest labelled regions in both scans."""
    regions = sorted(report.get("change", {}).items(), key=lambda item: -item[1]["before_ml"])
    for label, change in regions[:_MAX_REGIONS]:
        meaning = (
            f"Volume of the region with label {label} in the fixed image, and of what it is "
            f"mapped to in the moving image: {change['percent']:+.1f} %"
        )
        texts = f"{change['before_ml']:.2f}", f"{change['after_ml']:.2f}"
        yield Row(f"change {label}", f"Region {label} (mL)", meaning, *texts)


def _change(old: float | None, new: float, min_change: float) -> int:
    """Return 1 if a value has increased, -1 if it has decreased, 0 if it is about the same."""
    if old is None or abs(new - old) <= min_change:
        return 0
    return 1 if new > old else -1


def _coverage_rows(before: Report, after: Report) -> Iterator[Row]:
    old, new = before.get("overlap"), after.get("overlap")
    small = _overlap_was_small(before, after) or _overlap_was_small(after, before)
    if small and old is not None and new is not None:
        meaning = "Percentage of the fixed image covered by the moving image"
        yield Row("overlap", "Overlap", meaning, f"{100 * old:.0f} %", f"{100 * new:.0f} %")
    for key, name, meaning in _COVERED:
        old, new = (part.get("coverage", {}).get(key) for part in (before, after))
        if new is not None:
            text = "" if old is None else f"{100 * old:.0f} %"
            yield Row(key, name, meaning, text, f"{100 * new:.0f} %")


def _transform_rows(report: Report) -> Iterator[Row]:
    """Yield the rows about the transform itself."""
    jacobian = report.get("jacobian", {})
    folded = jacobian.get("folded_percent")
    if folded is not None:
        meaning = "Percentage of voxels where the deformation folds (Jacobian ≤ 0); should be 0"
        change = -1 if folded > 0 else 0
        yield Row("folded_percent", "Folded voxels", meaning, "", _format_percent(folded), change)
    if jacobian.get("sd_log") is not None:
        meaning = "Standard deviation of the logarithm of the Jacobian; lower is smoother"
        yield Row("sd_log", "Deformation roughness", meaning, "", f"{jacobian['sd_log']:.3f}")
    rigid = report.get("rigid_mm")
    if rigid is not None:
        meaning = "Distance of the voxels of rigid parts from a rigid motion: mean / maximum"
        text = f"{rigid['mean']:.2f} / {rigid['max']:.2f}"
        yield Row("rigid_mm", "Rigid parts (mm)", meaning, "", text)
    error = report.get("inverse_consistency_mm", {})
    if error.get("mean") is not None:
        meaning = (
            "Distance of points from their original position after forward and inverse transform: "
            "mean / 99th percentile"
        )
        text = f"{error['mean']:.2f} / {error.get('p99', error.get('max')):.2f}"
        name = "Inverse consistency (mm)"
        yield Row("inverse_consistency_mm", name, meaning, "", text)


def verdict_of(report: Report, warnings: Sequence[Notice] = ()) -> Verdict:
    """Return the verdict on a transform.

    Parameters
    ----------
    report
        The report of the registration that made it, or what was measured of it; ``"loaded"`` says
        that it was loaded from a file.
    warnings
        The warnings about it; those that follow from the report may be missing.
    """
    measured = warnings_of(report, str(report.get("similarity", "lncc")))
    notices = dict.fromkeys([*warnings, *measured])
    worse = [sentence(notice.fact or notice) for notice in notices if notice.code == "worse"]
    partial, unrelated, mirrored = (
        [sentence(notice) for notice in notices if notice.code == code]
        for code in ("partial", "unrelated", "mirrored")
    )
    folded = report.get("jacobian", {}).get("folded_percent") or 0.0
    folds = []
    if folded > 0:
        share = _format_percent(folded)
        folds = [
            f"The deformation folds in {share} of the voxels: the result is not valid there. "
            "The Jacobian map shows where."
        ]
    advice = _TRY_LOADED if report.get("loaded") else _TRY
    said = (*worse, *partial, *folds)
    if unrelated:
        heading = "The images do not match."
        return Verdict("bad", "unrelated", heading, (*unrelated, *said), advice)
    if mirrored:
        heading = "Left and right may be swapped."
        return Verdict("bad", "mirrored", heading, (*mirrored, *said), advice)
    if worse:
        heading = "The images match worse than before. Do not use this result."
        return Verdict("bad", "worse", heading, said, advice)
    if folded >= _MIN_PERCENT:
        heading = "Not valid everywhere: the deformation folds."
        return Verdict("bad", "folds", heading, (*folds, *partial))
    after = report.get("after", {})
    if _has_nothing_in_common(after.get("coverage")):
        heading = "The images have nothing in common."
        return Verdict("bad", "nothing-in-common", heading, said, advice)
    if after.get("ncc") is None:
        text = "After the transform, the two images do not overlap enough to be evaluated."
        return Verdict("bad", "no-overlap", "Do not use this result.", (text,), advice)
    doubts = (*partial, *folds, *_doubts(report))
    if partial:
        return Verdict("caution", "partial", "Only a part can be compared.", doubts, _CHECK)
    if doubts:
        return Verdict("caution", "doubtful", "Check this result carefully.", doubts, _CHECK)
    return Verdict("good", "better", "The images match better.", _gain(report), _CHECK)


def _doubts(report: Report) -> Iterator[str]:
    """Yield what is unsatisfactory about a result that is neither worse nor folded."""
    before, after = report.get("before", {}), report.get("after", {})
    old, new = before.get("ncc"), after.get("ncc")
    mi = before.get("mutual_information"), after.get("mutual_information")
    same = old is not None and new is not None and new < old + _MIN_GAIN
    was_small = _overlap_was_small(before, after)
    if same and not was_small and None not in mi and mi[1] < mi[0] + _MIN_GAIN:
        yield "The match is hardly better than before."
    if new is not None and new < _POOR_NCC:
        yield f"The images still match poorly (correlation {new:.2f})."
    rough = report.get("jacobian", {}).get("sd_log")
    if rough is not None and rough > _ROUGH:
        yield "The deformation is rough: some regions shrink or expand considerably."
    error = report.get("inverse_consistency_mm", {}).get("mean")
    if error is not None and error > _DOUBTFUL_MM:
        yield f"The mean inverse consistency error is {error:.1f} mm."


def _gain(report: Report) -> tuple[str, ...]:
    """Return what a good result achieved."""
    before, after = report.get("before", {}), report.get("after", {})
    old, new = before.get("ncc"), after.get("ncc")
    if not (old and new) or _overlap_was_small(before, after):
        return ("No folding.",)
    return (f"Correlation {old:.2f} before, {new:.2f} after.", "No folding.")

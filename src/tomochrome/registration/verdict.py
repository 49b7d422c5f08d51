"""What a registration's report says: warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tomochrome.notices import Notice

# A smaller change is not reported as worse, because the overlap differs slightly.
_TOLERANCE = {"ncc": 0.005, "mutual_information": 0.01, "dice_mean": 0.005, "tre_mm": 0.05}
_BLUR = 0.05  # relative loss of mutual information that interpolation can cause
_LOCAL_DROP, _INFORMATION_DROP = 0.08, 0.15  # relative, of local correlation and information
_SAME_IMAGE = 0.98  # correlation of an image with an interpolated copy
MIN_OVERLAP_RATIO = 0.5  #: similarities are not compared if the overlap changed by a larger factor
MIN_COVERAGE = 0.8  #: share of a body in common below which the user is told
NO_COVERAGE = 0.1  #: share of both bodies below which two images have nothing in common
_UNRELATED_NCC = 0.3  # a higher correlation shows that two images are alike
_INCONSISTENT_MM = 2.0  # a larger inverse consistency error is visible in a mapped contour
SMALLEST_PERCENT = 0.01  #: smaller percentages of voxels are not given as numbers


def warnings_of(measured: Mapping[str, Any], similarity: str) -> tuple[Notice, ...]:
    """Return the warnings about a result.

    Parameters
    ----------
    measured
        The measured part of a report.
    similarity
        The optimized similarity; the correlation is only checked for those of one modality.
    """
    before, after = measured.get("before", {}), measured.get("after", {})
    found = []
    names = {"dice_mean": "the mean Dice overlap of the labels", "ncc": "the correlation"}
    if similarity in ("mi", "mind"):
        names.pop("ncc")
        if (after.get("ncc") or 0.0) < _SAME_IMAGE:
            names["mutual_information"] = "the mutual information"
    reached = before.get("overlap"), after.get("overlap")
    if reached[0] == 0 and reached[1]:
        text = (
            "according to their headers the two volumes do not overlap: they were aligned by their "
            "content only, so make sure that they show the same part of the body"
        )
        found.append(Notice("coverage", "warning", text))
    if None not in reached and reached[1] < MIN_OVERLAP_RATIO * reached[0]:
        left = 100 * reached[1] / reached[0]
        found.append(_worse(f"only {left:.0f} % of the overlap of the two volumes is left"))
    if None not in reached and reached[0] < MIN_OVERLAP_RATIO * reached[1]:
        # similarities within a thin overlap are not meaningful
        names = {key: name for key, name in names.items() if key == "dice_mean"}
    for key, name in names.items():
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            continue
        if new < old - _TOLERANCE[key] - (_BLUR * old if key == "mutual_information" else 0.0):
            found.append(_worse(f"{name} fell from {old:.3f} to {new:.3f}"))
    if "ncc" in names and not found and _locally_worse(before, after):
        old, new = before["local_ncc"], after["local_ncc"]
        found.append(_worse(f"the local correlation fell from {old:.3f} to {new:.3f}"))
    old, new = (m.get("tre_mm", {}).get("mean") for m in (before, after))
    if old is not None and new is not None and new > old + _TOLERANCE["tre_mm"]:
        found.append(_worse(f"the mean landmark error increased from {old:.2f} to {new:.2f} mm"))
    plausible = measured.get("plausibility", {})
    if plausible.get("unrelated") and abs(after.get("ncc") or 0.0) < _UNRELATED_NCC:
        values = [part.get("ncc") for part in (before, after)]
        shown = " before and ".join("none" if v is None else f"{v:.3f}" for v in values)
        text = (
            f"the two images do not match: they have nothing in common (correlation {shown} "
            "after the registration); make sure that both show the same part of the body"
        )
        found.append(Notice("unrelated", "warning", text))
    if plausible.get("mirrored"):
        text = (
            "left and right may be swapped in one of the two images: the moving image fits clearly "
            "better when it is mirrored; check the orientation of both before using the result"
        )
        found.append(Notice("mirrored", "warning", text))
    partial = _partial(after.get("coverage"))
    if partial:
        found.append(Notice("partial", "warning", partial))
    folded = measured.get("jacobian", {}).get("folded_percent")
    if folded:
        text = f"the deformation folds {format_share(folded)} of the voxels: do not trust it there"
        found.append(Notice("folds", "warning", text))
    error = measured.get("inverse_consistency_mm", {}).get("p99")
    if error is not None and error > _INCONSISTENT_MM:
        text = (
            f"in 1 % of the voxels the inverse consistency error is {error:.1f} mm or more: map "
            "points and contours there in one direction only, and check them"
        )
        found.append(Notice("inconsistent", "warning", text))
    return tuple(found)


def _partial(coverage: Mapping[str, Any] | None) -> str:
    """Return a clause that says which part of a body is absent from the other image, or ""."""
    if coverage is None or is_enough(coverage):
        return ""
    fixed, moving = (100 * coverage[key] for key in ("fixed_body", "moving_body"))
    if has_nothing_in_common(coverage):
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


def is_enough(coverage: Mapping[str, Any]) -> bool:
    """Whether each of two images shows most of the other one's body."""
    return min(coverage["fixed_body"], coverage["moving_body"]) >= MIN_COVERAGE


def has_nothing_in_common(coverage: Mapping[str, Any]) -> bool:
    """Whether two images show practically no common part of the body."""
    return max(coverage["fixed_body"], coverage["moving_body"]) < NO_COVERAGE


def _worse(fact: str) -> Notice:
    return Notice("worse", "warning", f"the registration made it worse: {fact}", fact)


def _locally_worse(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether local correlation and mutual information both decreased.

    The global correlation hardly changes when only a small region is displaced.
    """
    for key, drop in (("local_ncc", _LOCAL_DROP), ("mutual_information", _INFORMATION_DROP)):
        old, new = before.get(key), after.get(key)
        if old is None or new is None or new >= old * (1 - drop):
            return False
    return True


def format_share(percent: float) -> str:
    """Format a percentage of voxels; very small ones as "less than 0.01 %"."""
    small = 0 < percent < SMALLEST_PERCENT
    return f"less than {SMALLEST_PERCENT:g} %" if small else f"{percent:.2g} %"
